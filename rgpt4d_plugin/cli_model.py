# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d convert-model`."""

import argparse

from rgpt4d_plugin.convert_model import MODELS


def add_convert_model(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the subparsers of `rgpt4d`."""
    command = commands.add_parser(
        "convert-model",
        help="turn a published model that transformers cannot load into a folder that it can, and back",
        description="nvila: NVILA-Lite and 4D-RGPT, from the folder with llm/, vision_tower/ and mm_projector/ that "
        "NVIDIA publishes (its weights are for non-commercial use). Every tensor is accounted for, or nothing is "
        "written. Example: rgpt4d convert-model nvila --src NVILA-Lite-8B --out models/nvila-lite-8b",
    )
    command.add_argument("model", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    command.add_argument("--src", required=True, metavar="DIR", help="the downloaded folder; with --back a model")
    command.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    ways = command.add_mutually_exclusive_group()
    ways.add_argument(
        "--tpe",
        action="store_true",
        help="the model was trained with timestamp positional encoding (4D-RGPT), even if its config.json does not "
        "say so",
    )
    ways.add_argument("--back", action="store_true", help="write the published layout, after training")
    command.set_defaults(run=_convert_model)


def _convert_model(arguments: argparse.Namespace) -> None:
    if arguments.back:
        from rgpt4d_plugin.convert_model.nvila_back import convert_back

        lines = convert_back(arguments.src, arguments.out)
    else:
        from rgpt4d_plugin.convert_model.nvila import convert

        lines = convert(arguments.src, arguments.out, arguments.tpe)
    print(*lines, sep="\n")
