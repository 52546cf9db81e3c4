# SPDX-License-Identifier: Apache-2.0
"""A file that is only appended to: one JSON object a line, each on the disk before `append` returns.

Several processes may append to one; a line that was torn by a power failure or a kill is as if it never was.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rgpt4d_plugin.files import append, parse_json


class Journal:
    """The file `path`, which need not exist yet."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the records in their order; ValueError names a line that is none."""
        return iter(self.after(0)[0])

    def after(self, offset: int, lines: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Returns the records behind a byte, and the byte behind them; `lines` have come before, for messages."""
        if not self.path.exists():
            return [], offset
        with self.path.open("rb") as file:
            file.seek(offset)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]  # what follows the last line break was torn
        return list(self._parsed(content, lines)), offset + len(content)

    def _parsed(self, content: bytes, before: int) -> Iterator[dict[str, Any]]:
        for number, line in enumerate(content.split(b"\n")[:-1], start=before + 1):
            try:
                record = parse_json(line)
            except ValueError as err:
                raise ValueError(f"{self.path}, line {number}: not JSON ({err}); remove the line") from err
            if not isinstance(record, dict):
                raise ValueError(f"{self.path}, line {number}: expected an object; remove the line")
            yield record

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record; an OSError, such as of a full disk, leaves the file as it was."""
        line = json.dumps(record, ensure_ascii=False).encode(errors="surrogatepass") + b"\n"
        with self.path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(_whole(file))
            append(file, line)


def _whole(file: Any) -> int:
    """Returns the length of the file up to its last line break."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(end - 65536, 0)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0
