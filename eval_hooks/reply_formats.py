# SPDX-License-Identifier: Apache-2.0
"""Replies from anywhere: our own files, the host's predictions, lmms-eval samples, OpenAI batches, plain lines."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkData, Item
from rgpt4d_plugin.eval_hooks.replies import (
    NO_COMPLETION,
    Reply,
    ReplyFile,
    ReplyFileError,
    of_completion,
    read_json_lines,
)
from rgpt4d_plugin.eval_hooks.scoring import sample, some


Record = Mapping[str, Any]

FORMATS = """\
rgpt4d: what `rgpt4d eval run` writes, {"settings": {...}} in the first line
host: the host's generated_predictions.jsonl, {"prompt", "predict", "label"}, in the order of the items
lmms-eval: samples of --log_samples, {"doc_id", "filtered_resps" or "resps", ...}
openai: output of an OpenAI or vLLM batch, {"custom_id", "response" or "error", ...}, custom_id being the key
plain: {"key" or "id", "reply" or "response" or "text"}, and "truncated", "error" where known"""

_NAMES = ("key", "id")
_TEXTS = ("reply", "response", "text")
_SHOWN = 8  # problems in a message


@dataclass(frozen=True)
class Replies:
    """The format of a file (see `FORMATS`), its settings, at least its name and hash, and its replies by key."""

    format: str
    settings: Mapping[str, Any]
    replies: Mapping[str, Reply]


def read_replies(
    path: str | Path, benchmark: Benchmark, data: BenchmarkData, limit: int | None = None, seed: int = 0
) -> Replies:
    """Reads replies to a benchmark's items; the format is seen from the fields of the first line.

    Args:
        path: The file.
        benchmark: Gives keys and right answers.
        data: The items.
        limit, seed: The host's predictions may be those of this sample.

    Raises:
        ReplyFileError: No known format, or lines that do not belong to the items: all problems of the file at once.
    """
    path = Path(path)
    if not path.is_file():
        raise ReplyFileError(f"{path}: no such file")
    content = path.read_bytes()
    first = content.split(b"\n", 1)[0]
    if b'"settings"' in first and "settings" in read_json_lines(path, first)[0][1]:
        file = ReplyFile.read(path)
        _check_settings(path, file.settings)
        return Replies("rgpt4d", file.settings, file.replies)
    records = read_json_lines(path, content)
    if not records:
        raise ReplyFileError(f"{path}: no replies in it")
    name = _format(path, records[0][1])
    items = data.items
    if name == "host":
        items = _in_order(path, len(records), benchmark, data, limit, seed)
    read = _Converter(benchmark, data.items, items)
    convert = {"host": read.host, "lmms-eval": read.lmms_eval, "openai": read.openai, "plain": read.plain}[name]
    replies: dict[str, Reply] = {}
    lines: dict[str, int] = {}
    problems = []
    for place, (line, record) in enumerate(records):
        try:
            reply = convert(place, record)
            read.check_key(reply.key)
            if reply.key in lines:
                raise _Unfit(f"{reply.key!r} has been answered in line {lines[reply.key]}")
            replies[reply.key], lines[reply.key] = reply, line
        except _Unfit as err:
            problems.append(f"line {line}: {err}")
    if problems:
        rest = [f"and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
        raise ReplyFileError(
            "\n".join([f"{path} does not fit {benchmark.title} in {data.folder}:", *problems[:_SHOWN], *rest])
        )
    digest = hashlib.sha256(content).hexdigest()
    return Replies(name, {"replies": {"file": path.name, "format": name, "sha256": digest}}, replies)


_SETTINGS: Mapping[str, Callable[[Any], bool]] = {
    "benchmark, data, revision, style": lambda value: isinstance(value, str),
    "limit, frames, max_new_tokens": lambda value: type(value) is int and value > 0,
    "seed": lambda value: type(value) is int,
    "engine": lambda value: isinstance(value, Mapping),
}


def _check_settings(path: Path, settings: Record) -> None:
    """Refuses settings of which a value cannot be what `rgpt4d eval run` has written."""
    wrong = [
        f"{name} is {settings[name]!r:.80}"
        for names, fits in _SETTINGS.items()
        for name in names.split(", ")
        if settings.get(name) is not None and not fits(settings[name])
    ]
    if wrong:
        raise ReplyFileError(f"{path}, line 1: settings that no run has: {'; '.join(wrong)}. Mend or remove them.")


def _format(path: Path, record: Record) -> str:
    if {"prompt", "predict", "label"} <= record.keys():
        return "host"
    if "doc_id" in record and record.keys() & {"resps", "filtered_resps"}:
        return "lmms-eval"
    if "custom_id" in record and record.keys() & {"response", "error"}:
        return "openai"
    if record.keys() & set(_NAMES) and record.keys() & {*_TEXTS, "error"}:
        return "plain"
    raise ReplyFileError(
        f"{path}: no known format of replies has lines with the fields {', '.join(record) or '(none)'}. Known are:\n"
        f"{FORMATS}"
    )


def _in_order(
    path: Path, predictions: int, benchmark: Benchmark, data: BenchmarkData, limit: int | None, seed: int
) -> Sequence[Item]:
    """The items that the host's predictions are to, which have no keys: their number and labels must show it."""
    items, sampled = data.items, ""
    if predictions != len(items) and limit is not None:
        items = sample(benchmark, items, limit, seed)
        sampled = f", and the sample {len(items):,}"
    if predictions != len(items):
        raise ReplyFileError(
            f"{path}: {predictions:,} predictions, but {benchmark.title} in {data.folder} has "
            f"{len(data.items):,} items{sampled}. The host's predictions have no keys, so they must be as "
            "many, and in the same order. Items without a right answer belong to the benchmark too."
        )
    return items


class _Unfit(ValueError):
    """A line that is no reply to any of the items."""


class _Converter:
    """Turns the place and the record of a line into a reply: a method for each format."""

    def __init__(self, benchmark: Benchmark, items: Sequence[Item], in_order: Sequence[Item]) -> None:
        self._benchmark, self._in_order = benchmark, in_order
        self._items = {benchmark.key(item): item for item in items}

    def host(self, place: int, record: Record) -> Reply:
        return self._labelled(self._in_order[place], _text("`predict`", record.get("predict")), record.get("label"))

    def lmms_eval(self, place: int, record: Record) -> Reply:
        # `resps` is what the model wrote; it is left out where filtering has changed nothing.
        text = record.get("resps", record.get("filtered_resps"))
        while isinstance(text, list) and len(text) == 1:
            text = text[0]
        if not isinstance(text, str):
            raise _Unfit(f"expected one reply, found {text!r:.80}")
        return self._labelled(self._document(record), text, record.get("target"))

    def openai(self, place: int, record: Record) -> Reply:
        key, response, error = record.get("custom_id"), record.get("response"), record.get("error")
        _text("custom_id", key)
        if error or not isinstance(response, Mapping):
            return Reply(key, "", error=_message(error or "no response"))
        body = response.get("body")
        if response.get("status_code", 200) != 200:
            told = body.get("error") if isinstance(body, Mapping) else body
            return Reply(key, "", error=_message(told or f"status {response['status_code']}"))
        try:
            return of_completion(key, body)
        except NO_COMPLETION as err:
            raise _Unfit(f"response.body is not a chat completion ({type(err).__name__}: {err})") from err

    def plain(self, place: int, record: Record) -> Reply:
        names = [name for name in _NAMES if name in record]
        texts = [name for name in _TEXTS if name in record]
        error = record.get("error")
        if not names or len(texts) > 1 or not (texts or error):
            fields = ", ".join(record) or "(none)"
            raise _Unfit(f"expected one of {', '.join(_NAMES)}, and one of {', '.join(_TEXTS)}; found {fields}")
        key, text = record[names[0]], record[texts[0]] if texts else ""
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise _Unfit(f"`{names[0]}` is {key!r}, expected text or a whole number")
        if error:
            return Reply(str(key), text if isinstance(text, str) else "", error=_message(error))
        truncated = (record.get("truncated") or record.get("cut")) is True
        return Reply(str(key), _text(f"`{texts[0]}`", text), truncated)

    def check_key(self, key: str) -> None:
        if key not in self._items:
            raise _Unfit(f"{key!r} is no item (keys look like {some(self._items)})")

    def _document(self, record: Record) -> Item:
        """The item that a sample of lmms-eval is of: by its number, or by the document itself if it is there."""
        document, index = record.get("doc"), record["doc_id"]
        items = self._in_order
        by_number = items[index] if type(index) is int and 0 <= index < len(items) else None
        if not isinstance(document, Mapping):
            if by_number is None:
                raise _Unfit(f"doc_id is {index!r}, expected the number of an item, 0 to {len(items) - 1:,}")
            return by_number
        try:
            key, prompt = self._benchmark.key(document), self._benchmark.prompt(document)
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise _Unfit(f"`doc` is no item as published ({type(err).__name__}: {err})") from err
        # The key of an item without an id of its own is its row.
        if key not in self._items and by_number is not None and self._benchmark.prompt(by_number) == prompt:
            return by_number
        self.check_key(key)
        return self._items[key]

    def _labelled(self, item: Item, text: str, label: Any) -> Reply:
        """The right answer that a file tells must be that of the item it is taken for."""
        key, gold = self._benchmark.key(item), self._benchmark.gold(item)
        told = label.strip() if isinstance(label, str) else ""
        if gold is not None and told:
            options = self._benchmark.options(item) or {}
            same = (gold, f"({gold})", f"{gold}.", f"{gold})", str(options.get(gold, gold)).strip())
            if told not in same and told.upper() != gold.upper() and _number(told) != _number(gold):
                raise _Unfit(f"the right answer to {key!r} is {gold!r} here, but {told!r} in the file")
        return Reply(key, text)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit(f"{name} is {value!r:.80}, expected text")
    return value


def _message(error: Any) -> str:
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        return error["message"]
    return str(error)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
