# SPDX-License-Identifier: Apache-2.0
"""Downloading a benchmark from the Hub into the folder that it is then read from."""

import zipfile
from collections.abc import Sequence
from pathlib import Path


def download(repository: str, files: Sequence[str], folder: str | Path, revision: str | None = None) -> Path:
    """Downloads a dataset's files, or what is missing of them, and unpacks its archives beside them.

    Args:
        repository: Name of the dataset on the Hub.
        files: Patterns of the files that the benchmark needs; others can be a hundred times as large.
        folder: To download to.
        revision: Commit, tag or branch; None for the newest.

    Returns:
        The folder.
    """
    from huggingface_hub import snapshot_download  # a second of imports that reading a local folder need not wait for

    folder = Path(folder)
    snapshot_download(
        repo_id=repository, repo_type="dataset", revision=revision, allow_patterns=list(files), local_dir=str(folder)
    )
    for archive in sorted(folder.rglob("*.zip")):
        unpack(archive)
    return folder


def unpack(archive: Path) -> None:
    """Unpacks a zip archive into its own folder. Members that are there in full are left alone."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            target = archive.parent / member.filename
            if not target.is_file() or target.stat().st_size != member.file_size:
                file.extract(member, archive.parent)
