# SPDX-License-Identifier: Apache-2.0
"""The types of what a source yields, record by record, and the checks that all sources share."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shortened
from typing import Any


VIDEO = "<video>"
IMAGE = "<image>"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class LeftOut(Exception):
    """Raised for a record that is of no use as it was published. It is counted and listed, and is not an error.

    `reason` is the same few words for all records left out for it; `problem` says what was found, and what to do.
    """

    def __init__(self, reason: str, field: str, problem: str):
        super().__init__(problem)
        self.reason = reason
        self.field = field
        self.problem = problem


class BadRecord(LeftOut):
    """Raised for a record that should have been usable. It is an error, unless `--skip-bad` tolerates it."""


@dataclass(frozen=True)
class Row:
    """An entry of an annotation file, numbered from 0; of a file that is one JSON object, a pair of key and value."""

    value: Any
    number: int
    file: Path


@dataclass(frozen=True)
class Record:
    """One sample for the host.

    Attributes:
        id: Unique within its dataset wherever it is in the source.
        kind: The question's type, in the source's words.
        messages: User and assistant in turns, with as many placeholders as there are media.
        more: Further columns, the same ones with the same types in every record of a dataset. The host ignores them.
        remarks: Caveats about this record, counted in the summary.
        regions: Regions of its video, for a dataset that has them.
    """

    id: str
    kind: str
    messages: list[dict[str, str]]
    videos: Sequence[Path] = ()
    images: Sequence[Path] = ()
    more: dict[str, str | list[int]] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    regions: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Dataset:
    """One dataset of the host, and how to get its records.

    Attributes:
        read: Number of entries of a file, and the entries.
        convert: The records of an entry. Raises BadRecord or LeftOut.
        media_dir: Folder that holds all media of the records.
        media: Media columns.
        regions: Records have regions.
        training: False for a dataset that is meant for evaluation and prediction only.
        notes: Sentences for the summary.
    """

    name: str
    files: Sequence[Path]
    read: Callable[[Path], tuple[int, Iterable[Any]]]
    convert: Callable[[Row], list[Record]]
    media_dir: Path
    media: Sequence[str] = ("videos",)
    regions: bool = False
    training: bool = True
    notes: Sequence[str] = ()


def take(value: Any, name: str, kind: type | tuple[type, ...], at: str = "") -> Any:
    """Returns `value[name]`, which must exist and be of this type; `at` is where in the record `value` stands."""
    where = f"{at}.{name}" if at else name
    if not isinstance(value, dict):
        raise BadRecord("wrong type", at or "(record)", f"expected an object, found {shortened(value)}")
    if name not in value:
        raise BadRecord("missing field", where, f"missing; there are {', '.join(map(str, value)) or 'no fields'}")
    # JSON's true is no number, though Python's is.
    if not isinstance(value[name], kind) or isinstance(value[name], bool):
        wanted = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise BadRecord("wrong type", where, f"expected {wanted}, found {shortened(value[name])}")
    return value[name]


def exchange(question: str, answer: str) -> list[dict[str, str]]:
    """Returns the messages of one question and its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def conversation(turns: Any, name: str) -> list[dict[str, str]]:
    """Returns the messages of turns with `from` and `value` about one video.

    The first one begins with a placeholder, which some files call an image although the record has a video.
    """
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise BadRecord("wrong type", name, f"expected question and answer in turns, found {shortened(turns)}")
    messages = []
    for index, turn in enumerate(turns):
        at = f"{name}[{index}]"
        role, known = (("user", ("human",)), ("assistant", ("gpt", "assistant")))[index % 2]
        content = take(turn, "value", str, at)
        if turn.get("from", known[0]) not in known:
            raise BadRecord("wrong role", f"{at}.from", f"expected {' or '.join(known)}, found {turn['from']!r}")
        messages.append({"role": role, "content": content})
    text = messages[0]["content"]
    tag = re.match(r"<(video|image)>\n?", text)
    if not tag:
        raise BadRecord("no placeholder", f"{name}[0].value", f"expected to begin with {VIDEO}, found {text[:60]!r}")
    messages[0]["content"] = f"{VIDEO}\n{text[tag.end() :]}"
    return messages


def gold_letter(answer: str, options: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Returns the letter of the first option that is the answer, or None, and remarks on it."""
    places = [letter for letter, option in zip(LETTERS, options) if option == answer]
    remarks = ("several options have the answer's text: the first one counts",) if len(places) > 1 else ()
    return (places[0] if places else None), remarks
