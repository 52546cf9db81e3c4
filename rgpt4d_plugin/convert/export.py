# SPDX-License-Identifier: Apache-2.0
"""Writes records with regions in the format of an annotation tool."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from rgpt4d_plugin.convert import TOOLS
from rgpt4d_plugin.convert.scenes import scenes_of


def export(
    tool: str, records: str | os.PathLike, out: str | os.PathLike, media_root: str | None = None
) -> Iterator[str]:
    """Writes a file of records for a tool; yields lines for the terminal, one per kind of thing that is not written.

    Args:
        tool: Key of `TOOLS`.
        records: JSON or JSON Lines, with one video and its regions in each record.
        out: Folder to write.
        media_root: Folder to which the paths of the videos are relative; default: that of the records.

    Raises:
        ValueError: A record cannot be used.
    """
    path = Path(records)
    scenes, lost = scenes_of(path, Path(media_root) if media_root is not None else path.parent)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    paths, more = importlib.import_module(TOOLS[tool]).write(scenes, folder)
    regions = sum(len(scene.regions) for scene in scenes)
    yield f"{len(scenes)} videos with {regions} regions in {len(paths)} files below {folder}"
    for what, count in sorted((lost + more).items()):
        yield f"  not as it was: {count} x {what}"
