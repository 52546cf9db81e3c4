# SPDX-License-Identifier: Apache-2.0
"""Reply files: they only grow, so that a run killed at any point goes on where it was."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import ConfigDict, StrictBool

from rgpt4d_plugin.eval_hooks.benchmarks.records import AnyText
from rgpt4d_plugin.files import append, lock, parse_json
from rgpt4d_plugin.validation import check


logger = logging.getLogger(__name__)


class ReplyFileError(ValueError):
    """A file of replies cannot be used. Names file, line and what to do."""


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        key: `Benchmark.key` of the item.
        text: as the model wrote it, untrimmed; "" for a failure.
        truncated: ended by the token limit.
        error: the engine's failure after its retries; such a reply counts as wrong, and is counted.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: AnyText
    text: AnyText
    truncated: StrictBool = False
    error: AnyText | None = None


NO_COMPLETION = (ValueError, LookupError, TypeError, AttributeError)
"""What anything else than an OpenAI chat completion raises when it is read as one."""


def of_completion(key: str, body: Any) -> Reply:
    """The reply in the body of an OpenAI chat completion; one of `NO_COMPLETION` if it is none."""
    choice = body["choices"][0]
    message, finish = choice["message"], choice.get("finish_reason")
    text = message["content"]
    if text is None:  # a refusal, or a token limit that was reached while thinking
        text = message.get("refusal") or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    return Reply(key, text, truncated=finish == "length")


class ReplyFile:
    """Replies and the settings they were made with, as JSON lines.

    The first line is `{"settings": {...}}`, every further one a reply. A line is written whole or not at all, and is
    on the disk when `append` returns. Bytes after the last line break are a line that a killed run did not finish.
    Only one run at a time can have the file open for writing.

    Attributes:
        path: the file.
        settings: what the first line says, as JSON gives it back (a tuple is a list).
        replies: the last reply of every key, failures included.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], replies: Iterable[Reply]) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self.settings = dict(settings)
        self.replies = {reply.key: reply for reply in replies}

    @classmethod
    def open(cls, path: str | Path, settings: Mapping[str, Any], fresh: bool = False) -> "ReplyFile":
        """Creates the file, or resumes it; an unfinished last line is cut off, with a word in the log.

        Args:
            path: the file; its folder is made.
            settings: whatever the replies depend on, JSON values only.
            fresh: begin anew, whatever the file holds.

        Raises:
            ReplyFileError: the file is no file of replies, was made with other settings, or another run writes to it.
        """
        path, settings = Path(path), json.loads(json.dumps(dict(settings)))
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
        if not lock(file):
            file.close()
            raise ReplyFileError(
                f"{path}: another run is writing to it. Wait until it has ended, or choose another folder."
            )
        try:
            if fresh:
                file.truncate(0)
            return cls._resumed(path, file, settings)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _resumed(cls, path: Path, file: IO[bytes], settings: dict[str, Any]) -> "ReplyFile":
        whole, torn = _split(path.read_bytes())
        opening = b'{"settings": '
        if whole or torn[: len(opening)] != opening[: len(torn)]:  # else: nothing yet, or the start of our first line
            resumed = cls._parse(path, whole)
            if differing := differences(resumed.settings, settings):
                raise ReplyFileError(
                    f"{path}: its replies were made with other settings: {'; '.join(differing)}. Choose another "
                    "folder, or remove the file to ask everything again."
                )
        if torn:
            logger.warning("%s: the last line was not finished (%d bytes) and is dropped.", path, len(torn))
            file.truncate(len(whole))
        if not whole:
            _write(file, {"settings": settings})
            resumed = cls(path, settings, ())
        resumed._file = file
        return resumed

    @classmethod
    def read(cls, path: str | Path) -> "ReplyFile":
        """Reads a file and leaves it as it is; ReplyFileError if it is missing, or no file of replies."""
        path = Path(path)
        if not path.is_file():
            raise ReplyFileError(f"{path}: no such file")
        whole, torn = _split(path.read_bytes())
        if torn:
            logger.warning("%s: the last line was not finished (%d bytes) and does not count.", path, len(torn))
        return cls._parse(path, whole)

    def append(self, *replies: Reply) -> None:
        """Adds replies; they are on the disk when this returns."""
        if self._file is None:
            raise ValueError(f"{self.path} was opened for reading only, or is closed")
        _write(self._file, *map(_record, replies))
        self.replies |= {reply.key: reply for reply in replies}

    def close(self) -> None:
        """Lets other runs write to the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "ReplyFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def done(self) -> set[str]:
        """Keys of the replies without an error, which a resumed run need not ask for again."""
        return {key for key, reply in self.replies.items() if reply.error is None}

    @classmethod
    def _parse(cls, path: Path, whole: bytes) -> "ReplyFile":
        records = read_json_lines(path, whole)
        if not records or not isinstance(records[0][1].get("settings"), dict):
            raise ReplyFileError(
                f'{path}: the first line must be {{"settings": {{...}}}}; this is no file of replies.'
            )
        return cls(path, records[0][1]["settings"], [_reply(path, *record) for record in records[1:]])


def read_json_lines(path: Path, content: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Number and object of every line that is not blank; ReplyFileError if one is no JSON object."""
    records = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = parse_json(line)
        except ValueError as err:
            raise ReplyFileError(f"{path}, line {number}: not JSON ({err}): {line[:80]!r}") from err
        if not isinstance(record, dict):
            raise ReplyFileError(f"{path}, line {number}: expected an object {{...}}, found {line[:80]!r}")
        records.append((number, record))
    return records


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns what differs between two nested mappings, one `model.name: 'a' before, 'b' now` per key."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        name = f"{prefix}{key}"
        if key not in new:
            found.append(f"{name}: {old[key]!r} before, absent now")
        elif key not in old:
            found.append(f"{name}: absent before, {new[key]!r} now")
        elif isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            found += differences(old[key], new[key], f"{name}.")
        elif old[key] != new[key]:
            found.append(f"{name}: {old[key]!r} before, {new[key]!r} now")
    return found


def _split(content: bytes) -> tuple[bytes, bytes]:
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _write(file: IO[bytes], *records: Mapping[str, Any]) -> None:
    # ASCII, since a reply may hold half of a surrogate pair, which UTF-8 cannot say.
    append(file, b"".join(json.dumps(record).encode() + b"\n" for record in records))


def _record(reply: Reply) -> dict[str, Any]:
    defaults = {"truncated": False, "error": None}
    return {name: value for name, value in vars(reply).items() if name not in defaults or value != defaults[name]}


def _reply(path: Path, number: int, record: Mapping[str, Any]) -> Reply:
    problems: list[str] = []
    reply = check(Reply, record, "", problems)
    if reply is None:
        raise ReplyFileError(f"{path}, line {number}: {'; '.join(problems)}")
    return reply
