# SPDX-License-Identifier: Apache-2.0
"""The command `rgpt4d annotate`."""

from argparse import Namespace
from pathlib import Path

from rgpt4d_plugin.annotate.server import Page, serve
from rgpt4d_plugin.annotate.workbook import Workbook, of_video


def annotate(arguments: Namespace) -> None:
    """Serves the page of a file of records or of a video; ValueError if it cannot be used."""
    path = Path(arguments.what)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if arguments.server is not None and arguments.model is None:
        raise ValueError("--server needs --model, the name under which the server knows it (see /v1/models)")
    media = Path(arguments.media_root) if arguments.media_root is not None else path.parent
    if path.suffix not in (".json", ".jsonl"):
        path = of_video(path)
    tracker = None
    if arguments.tracker is not None:
        from rgpt4d_plugin.curation.models import Tracker
        from rgpt4d_plugin.curation.recipe import Model

        tracker = Tracker(Model(model=arguments.tracker, licence="not said"))
    page = Page(Workbook(path, media), arguments.server, arguments.model, tracker)
    if arguments.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"Anybody who reaches {arguments.host}:{arguments.port} can see and change this data.", flush=True)
    print(
        f"http://{arguments.host}:{arguments.port}  (Ctrl-C ends; what was saved is in {page.workbook.journal.path})"
    )
    serve(page, arguments.host, arguments.port)
