# SPDX-License-Identifier: Apache-2.0
"""Bounded reading of JSON and images from outside; files that are written whole, and by one process at a time."""

import errno
import io
import json
import os
import secrets
import struct
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any


if TYPE_CHECKING:
    from PIL import Image


# Formats that Pillow decodes by itself. EPS, for one, would start an external program.
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")


class ImageError(ValueError):
    """An image cannot be used. Names the file, or what holds the bytes, and says why."""


def parse_json(content: str | bytes) -> Any:
    """Parses JSON.

    Raises:
        ValueError: It is not JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def open_image(source: str | Path | bytes) -> "Image.Image":
    """Opens an image without decoding it, in a format of `IMAGE_FORMATS` and of at most Pillow's number of pixels.

    Args:
        source: A file, or the encoded bytes.

    Raises:
        ImageError: The format is none of those, or the image is too large.
        OSError: There is no such file.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    formats = [name for name in IMAGE_FORMATS if name in Image.OPEN]  # some need a library that may be absent
    name = f"an image of {len(source):,} bytes" if isinstance(source, bytes) else str(source)
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    except UnidentifiedImageError as err:
        raise ImageError(f"{name}: cannot identify image file as {', '.join(formats)}") from err
    except (Image.DecompressionBombError, ValueError, OverflowError, struct.error) as err:
        raise ImageError(f"{name}: {err}") from err


def is_file(path: Path) -> bool:
    """Returns True for a file that exists; False too for a name that no file system takes."""
    try:
        return path.is_file()
    except OSError as err:
        if err.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            return False
        raise


@contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Yields a file that takes the place of `path` when the block ends well, and is gone otherwise."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open(mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is there either as it was or in full, whenever the process ends."""
    with replacing(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def lock(file: IO[Any]) -> bool:
    """Takes the only lock of an open file; it is given back when the file is closed or the process ends.

    Returns:
        False if another process, or another open file of this one, holds it. True also where the file system has no
        locks, as some network file systems.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:
        if err.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    # A worker process that outlives this one must not keep the lock.
    opened = weakref.ref(file)
    os.register_at_fork(after_in_child=lambda: (found := opened()) and found.close())
    return True
