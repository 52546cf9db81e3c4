# SPDX-License-Identifier: Apache-2.0
"""Bounded reading of JSON and images from outside; files that are written whole, and by one process at a time."""

import errno
import io
import json
import os
import secrets
import struct
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any


if TYPE_CHECKING:
    from PIL import Image


# Formats that Pillow decodes by itself. EPS, for one, would start an external program.
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")


class ImageError(ValueError):
    """An image cannot be used. Names the file, or the size of the bytes, and says why."""


def parse_json(content: str | bytes) -> Any:
    """Parses JSON.

    Raises:
        ValueError: It is not JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, remedy: str) -> Any:
    """Reads a JSON file; raises ValueError that says what to do unless it is one."""
    try:
        return parse_json(path.read_bytes())
    except ValueError as err:
        raise ValueError(f"{path} is not readable JSON ({err}): {remedy}") from err


def read_registry(path: Path) -> dict[str, Any]:
    """Returns the datasets of a dataset_info.json, none where there is no such file."""
    remedy = "mend it, or give another folder."
    info = read_json(path, remedy) if path.exists() else {}
    if not isinstance(info, dict):
        raise ValueError(f"{path} should be one JSON object: {remedy}")
    return info


def registry_entry(file: str, formatting: str, columns: Iterable[str]) -> dict[str, Any]:
    """Returns the entry of a file of records in a dataset_info.json; columns have their own names."""
    return {
        "file_name": file,
        "formatting": formatting,
        "columns": {name: name for name in columns},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }


def register(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Puts a dataset into a folder's dataset_info.json, which other processes may be writing too."""
    with only_writer(folder, wait=True):
        path = folder / "dataset_info.json"
        write_json(path, read_registry(path) | {name: dict(entry)})


def open_image(source: str | Path | bytes) -> "Image.Image":
    """Opens an image, a file or encoded bytes, without decoding it: of `IMAGE_FORMATS`, and Pillow's number of pixels
    at most.

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
def replacing(path: Path, mode: str = "w", durable: bool = True) -> Iterator[IO[Any]]:
    """Yields a file, opened by `mode` "w" or "wb", that takes the place of `path` when the block ends well, and is
    gone otherwise.

    If `durable`, waits until the disk has the content, so that a power failure cannot tear it either. This takes
    milliseconds: too many where thousands of files can be made again.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open(mode.replace("w", "x"), encoding=None if "b" in mode else "utf-8") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as err:
        if err.errno is not None and str(err.filename) in ("None", str(temporary)):  # a full disk names no file
            err.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Writes a file so that it is there either as it was or in full, whenever the process ends; see `replacing`."""
    with replacing(path, "wb", durable) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON; see `write_whole`."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def append(file: IO[bytes], content: bytes) -> None:
    """Appends to a file that is open without a buffer; the content is on the disk when this returns.

    Raises:
        OSError: As of a full disk; the file is as it was.
    """
    rest, before = memoryview(content), os.fstat(file.fileno()).st_size
    try:
        while rest:  # a disk that is nearly full takes a part
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError as err:
        file.truncate(before)  # no half line for the next one to be joined to
        err.filename = file.name  # a full disk names no file
        raise


def lock(file: IO[Any]) -> bool:
    """Takes the only lock of an open file; it is given back when the file is closed or the process ends.

    Returns:
        False if another process, or another open file of this one, holds it. True also where the file system has no
        locks, as some network file systems.
    """
    if not _lock(file.fileno()):
        return False
    # A worker process that outlives this one must not keep the lock.
    opened = weakref.ref(file)
    os.register_at_fork(after_in_child=lambda: (found := opened()) and found.close())
    return True


@contextmanager
def only_writer(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keeps other processes that ask here too from writing into a folder; `wait` until another one is done.

    Raises:
        ValueError: Another one is at it, and `wait` is False.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(descriptor, wait):
            raise ValueError(f"{folder}: another process is writing there; wait for it, or choose another folder")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, wait: bool = False) -> bool:
    """Takes the only lock of an open file or folder; returns False if it is taken, True where there are no locks."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as err:
        if err.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
            raise
    return True
