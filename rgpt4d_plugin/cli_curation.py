# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d curate`, `annotate` and `export`: parsers, which import nothing heavy, and calls."""

import argparse

from rgpt4d_plugin.cli_values import whole
from rgpt4d_plugin.convert import TOOLS


def add_curation(commands: argparse._SubParsersAction) -> None:
    """Adds the commands."""
    _add_curate(commands)
    _add_annotate(commands)
    _add_export(commands)


def _add_curate(commands: argparse._SubParsersAction) -> None:
    curate = commands.add_parser(
        "curate",
        help="turn questions about videos into questions about regions",
        description="Finds what a question is about (keywords by a VLM, boxes by a grounding model, tracks by "
        "SAM 2 or interpolation), has a VLM match regions and rewrite the question with <obj_N>, rejects with "
        "reasons, and writes records that train at once, R4D-Bench's layout, a summary and a picture per decision. "
        "A run that was stopped goes on where it was. Example: rgpt4d curate recipes/curate.yaml out=data/curated",
    )
    curate.add_argument("recipe", metavar="RECIPE", help="YAML file, see docs/curation.md")
    curate.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of its keys")
    curate.set_defaults(run=_curate)


def _add_annotate(commands: argparse._SubParsersAction) -> None:
    annotate = commands.add_parser(
        "annotate",
        help="mark regions on videos, and verify them, in the browser",
        description="Serves a page on which regions are drawn and named on any frame, and records are accepted, "
        "corrected or rejected by one or several annotators. Everything is kept at once beside RECORDS, in "
        "NAME.marks.jsonl; RECORDS itself is not changed. "
        "Example: rgpt4d annotate data/curated/curated.jsonl --media-root data",
    )
    annotate.add_argument("what", metavar="RECORDS|VIDEO", help="file of records, .json or .jsonl, or one video")
    annotate.add_argument("--media-root", metavar="DIR", help="folder of the videos (default: that of RECORDS)")
    annotate.add_argument("--host", default="127.0.0.1", help="address to listen at (default %(default)s)")
    annotate.add_argument("--port", type=whole(0, 65535), default=7861, help="default: %(default)s")
    annotate.add_argument("--server", metavar="URL", help="OpenAI-compatible server to ask about regions")
    annotate.add_argument("--model", metavar="NAME", help="name under which the server knows the model")
    annotate.add_argument("--tracker", metavar="MODEL", help="SAM 2 or SAM 3 tracker to follow boxes with")
    annotate.set_defaults(run=_annotate)


def _add_export(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser(
        "export",
        help="write regions for an annotation tool",
        description="Writes records with regions for Label Studio (video JSON), CVAT (for video, XML 1.1) or as COCO "
        "(videos, boxes, masks, tracks); `rgpt4d convert` reads them back. What a format cannot hold is counted. "
        "Example: rgpt4d export cvat data/kitchen.jsonl --media-root data --out data/for_cvat",
    )
    export.add_argument("tool", choices=TOOLS, metavar="TOOL", help=", ".join(TOOLS))
    export.add_argument("records", metavar="RECORDS", help="file of records, .json or .jsonl")
    export.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    export.add_argument("--media-root", metavar="DIR", help="folder of the videos (default: that of RECORDS)")
    export.set_defaults(run=_export)


def _curate(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.curation.recipe import read_curation
    from rgpt4d_plugin.curation.run import curate

    for line in curate(read_curation(arguments.recipe, arguments.overrides)):
        print(line, flush=True)


def _annotate(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.annotate.command import annotate

    annotate(arguments)


def _export(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.convert.export import export

    for line in export(arguments.tool, arguments.records, arguments.out, arguments.media_root):
        print(line)
