# SPDX-License-Identifier: Apache-2.0
"""Replies from anywhere: our own files, the host's predictions, lmms-eval samples, OpenAI batches, plain lines."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkData, Item
from rgpt4d_plugin.eval_hooks.replies import Reply, ReplyFile, ReplyFileError, read_json_lines
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
    """Replies of a file.

    Attributes:
        format: One of those that `FORMATS` describes.
        settings: What the file says they were made with; at least its name and hash.
        replies: Key -> reply.
    """

    format: str
    settings: Mapping[str, Any]
    replies: Mapping[str, Reply]


def read_replies(
    path: str | Path, benchmark: Benchmark, data: BenchmarkData, limit: int | None = None, seed: int = 0
) -> Replies:
    """Reads replies to a benchmark's items; the format is seen from the fields of the first line.

    Args:
        path: The file.
        benchmark: gives keys and right answers.
        data: The items.
        limit: The host's predictions may be those of this sample.
        seed: Seed of the sample.

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
    name, convert = _detect(path, records[0][1])
    reader = _Reader(path, benchmark, data, limit, seed)
    replies = convert(reader, records)
    reader.finish()
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


def _detect(path: Path, record: Record) -> tuple[str, Callable[["_Reader", Sequence[tuple[int, Record]]], dict]]:
    if {"prompt", "predict", "label"} <= record.keys():
        return "host", _host
    if "doc_id" in record and record.keys() & {"resps", "filtered_resps"}:
        return "lmms-eval", _lmms_eval
    if "custom_id" in record and record.keys() & {"response", "error"}:
        return "openai", _openai
    if record.keys() & set(_NAMES) and record.keys() & {*_TEXTS, "error"}:
        return "plain", _plain
    raise ReplyFileError(
        f"{path}: no known format of replies has lines with the fields {', '.join(record) or '(none)'}. Known are:\n"
        f"{FORMATS}"
    )


class _Reader:
    """Collects replies and problems of one file, with the line each was found in."""

    def __init__(self, path: Path, benchmark: Benchmark, data: BenchmarkData, limit: int | None, seed: int) -> None:
        self.path, self.benchmark, self.data, self.limit, self.seed = path, benchmark, data, limit, seed
        self.items = {benchmark.key(item): item for item in data.items}
        self.replies: dict[str, Reply] = {}
        self._lines: dict[str, int] = {}
        self._problems: list[str] = []

    def problem(self, line: int, what: str) -> None:
        self._problems.append(f"line {line}: {what}")

    def add(self, line: int, reply: Reply) -> None:
        if reply.key not in self.items:
            self.problem(line, f"{reply.key!r} is no item (keys look like {some(self.items)})")
        elif reply.key in self.replies:
            self.problem(line, f"{reply.key!r} has been answered in line {self._lines[reply.key]}")
        else:
            self.replies[reply.key] = reply
            self._lines[reply.key] = line

    def check_label(self, line: int, item: Item, label: Any) -> None:
        """The right answer that a file tells must be that of the item it is taken for."""
        gold = self.benchmark.gold(item)
        if gold is None or not isinstance(label, str) or not label.strip():
            return
        options = self.benchmark.options(item) or {}
        told = label.strip()
        same = (gold, f"({gold})", f"{gold}.", f"{gold})", str(options.get(gold, gold)).strip())
        if told not in same and told.upper() != gold.upper() and _number(told) != _number(gold):
            self.problem(
                line, f"the right answer to {self.benchmark.key(item)!r} is {gold!r} here, but {told!r} in the file"
            )

    def finish(self) -> None:
        if self._problems:
            shown = self._problems[:_SHOWN]
            more = len(self._problems) - len(shown)
            rest = [f"and {more:,} more"] if more else []
            raise ReplyFileError(
                f"{self.path} does not fit {self.benchmark.title} in {self.data.folder}:\n"
                + "\n".join([*shown, *rest])
            )


def _host(reader: _Reader, records: Sequence[tuple[int, Record]]) -> dict[str, Reply]:
    # The lines have no keys. Their number and their labels are what shows that they belong to these items.
    items = list(reader.data.items)
    if len(records) != len(items) and reader.limit is not None:
        items = sample(reader.benchmark, items, reader.limit, reader.seed)
    if len(records) != len(items):
        sampled = "" if reader.limit is None else f", and the sample {len(items):,}"
        raise ReplyFileError(
            f"{reader.path}: {len(records):,} predictions, but {reader.benchmark.title} in {reader.data.folder} has "
            f"{len(reader.data.items):,} items{sampled}. The host's predictions have no keys, so they must be as "
            "many, and in the same order. Items without a right answer belong to the benchmark too."
        )
    for (line, record), item in zip(records, items):
        text = record.get("predict")
        if not isinstance(text, str):
            reader.problem(line, f"`predict` is {text!r}, expected text")
            continue
        reader.check_label(line, item, record.get("label"))
        reader.add(line, Reply(reader.benchmark.key(item), text))
    return reader.replies


def _lmms_eval(reader: _Reader, records: Sequence[tuple[int, Record]]) -> dict[str, Reply]:
    items = list(reader.data.items)
    for line, record in records:
        # `resps` is what the model wrote; it is left out where filtering has changed nothing.
        text = record.get("resps", record.get("filtered_resps"))
        while isinstance(text, list) and len(text) == 1:
            text = text[0]
        if not isinstance(text, str):
            reader.problem(line, f"expected one reply, found {text!r:.80}")
            continue
        item = _document(reader, line, record, items)
        if item is not None:
            reader.check_label(line, item, record.get("target"))
            reader.add(line, Reply(reader.benchmark.key(item), text))
    return reader.replies


def _document(reader: _Reader, line: int, record: Record, items: Sequence[Item]) -> Item | None:
    document, index = record.get("doc"), record["doc_id"]
    by_number = items[index] if type(index) is int and 0 <= index < len(items) else None
    if not isinstance(document, Mapping):
        if by_number is None:
            reader.problem(line, f"doc_id is {index!r}, expected the number of an item, 0 to {len(items) - 1:,}")
        return by_number
    try:
        key, prompt = reader.benchmark.key(document), reader.benchmark.prompt(document)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        reader.problem(line, f"`doc` is no item as published ({type(err).__name__}: {err})")
        return None
    if key in reader.items:
        return reader.items[key]
    # The key of an item without an id of its own is its row.
    if by_number is not None and reader.benchmark.prompt(by_number) == prompt:
        return by_number
    reader.problem(line, f"{key!r} is no item (keys look like {some(reader.items)})")
    return None


def _openai(reader: _Reader, records: Sequence[tuple[int, Record]]) -> dict[str, Reply]:
    for line, record in records:
        key, response, error = record.get("custom_id"), record.get("response"), record.get("error")
        if not isinstance(key, str):
            reader.problem(line, f"custom_id is {key!r}, expected text")
            continue
        if error or not isinstance(response, Mapping):
            reader.add(line, Reply(key, "", error=_message(error or "no response")))
            continue
        body = response.get("body")
        if response.get("status_code", 200) != 200:
            told = body.get("error") if isinstance(body, Mapping) else body
            error = _message(told or f"status {response['status_code']}")
            reader.add(line, Reply(key, "", error=error))
            continue
        try:
            choice = body["choices"][0]
            message = choice["message"]
            text = message["content"] if message["content"] is not None else message.get("refusal") or ""
        except (KeyError, IndexError, TypeError, AttributeError):
            reader.problem(line, "no response.body.choices[0].message.content")
            continue
        if not isinstance(text, str):
            reader.problem(line, f"the message's content is {text!r:.80}, expected text")
            continue
        reader.add(line, Reply(key, text, truncated=choice.get("finish_reason") == "length"))
    return reader.replies


def _plain(reader: _Reader, records: Sequence[tuple[int, Record]]) -> dict[str, Reply]:
    for line, record in records:
        names = [name for name in _NAMES if name in record]
        texts = [name for name in _TEXTS if name in record]
        error = record.get("error")
        if not names or len(texts) > 1 or not (texts or error):
            fields = ", ".join(record) or "(none)"
            reader.problem(
                line, f"expected one of {', '.join(_NAMES)}, and one of {', '.join(_TEXTS)}; found {fields}"
            )
            continue
        key, text = record[names[0]], record[texts[0]] if texts else ""
        if isinstance(key, bool) or not isinstance(key, str | int):
            reader.problem(line, f"`{names[0]}` is {key!r}, expected text or a whole number")
        elif error:
            reader.add(line, Reply(str(key), text if isinstance(text, str) else "", error=_message(error)))
        elif not isinstance(text, str):
            reader.problem(line, f"`{texts[0]}` is {text!r:.80}, expected text")
        else:
            reader.add(line, Reply(str(key), text, truncated=(record.get("truncated") or record.get("cut")) is True))
    return reader.replies


def _message(error: Any) -> str:
    if isinstance(error, Mapping) and isinstance(error.get("message"), str):
        return error["message"]
    return str(error)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
