# SPDX-License-Identifier: Apache-2.0
"""Unpacking what a benchmark's download brings."""

import shutil
import zipfile
from pathlib import Path


_ANY_SIZE, _RATIO = 1 << 30, 20  # bytes that any archive may become; more than that only by this factor


def unpack(archive: Path) -> None:
    """Unpacks a zip archive into its own folder. Members that are there in full are left alone.

    Raises:
        ValueError: The archive would grow more than twentyfold beyond a gigabyte, as videos and images never
            do, or beyond the room on the disk.
    """
    with zipfile.ZipFile(archive) as file:
        members = [(member, archive.parent / member.filename) for member in file.infolist()]
        absent = [m for m, path in members if not path.is_file() or path.stat().st_size != m.file_size]
        size, packed = sum(member.file_size for member in absent), archive.stat().st_size
        if size > max(_ANY_SIZE, _RATIO * packed):
            raise ValueError(f"{archive}: {packed:,} bytes would become {size:,}; it is not the published archive.")
        if size > (free := shutil.disk_usage(archive.parent).free):
            raise ValueError(f"{archive}: needs {size:,} bytes to unpack, and {free:,} are free on the disk.")
        for member in absent:
            file.extract(member, archive.parent)
