# SPDX-License-Identifier: Apache-2.0
"""A record of TRL's conversational format, with videos and regions, to what a chat template and a processor take.

A record has `messages`, or `prompt` and `completion` (the loss is then on the completion). Media stand in a message's
content parts:

    {"role": "user", "content": [
        {"type": "video", "video": "kitchen.mp4", "start": 10.0, "end": 18.0},     start and end in seconds, optional
        {"type": "text", "text": "Does <obj_1> reach <obj_2>?"}]}

or in the columns `videos` and `images`, in the order of the parts {"type": "video"} and {"type": "image"} without a
file, or of the words <video> and <image> in a plain string. Media that nothing stands for come first in the first
message of the user, as TRL has it. A video is a file or a list of its frames. `regions` are as in the datasets of
region prompts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from rgpt4d_plugin.arguments import RegionArguments
from rgpt4d_plugin.files import ImageError, open_image
from rgpt4d_plugin.regions.media_entries import decode_clip, decode_image_entry, parse_clip
from rgpt4d_plugin.regions.prompt_styles import apply_style
from rgpt4d_plugin.regions.region import RegionError, check_mentions, parse_regions
from rgpt4d_plugin.regions.rendering import (
    Sampling,
    ShownClip,
    check_clip,
    check_still,
    fit,
    show_clip,
    show_frames,
    show_still,
)
from rgpt4d_plugin.video import VideoError
from rgpt4d_plugin.video.entries import with_time_sentences


COLUMNS = ("messages", "prompt", "completion", "images", "videos", "regions")
"""Columns of a record that are read."""

# Between media and text while the regions' words are put in: no text holds these.
_MARKS = {"image": "\0image\0", "video": "\0video\0"}
_PLACEHOLDERS = (_MARKS["image"], _MARKS["video"])
_MARK = re.compile("\0(image|video)\0")
_WORD = re.compile("<(image|video)>")


class RecordError(ValueError):
    """A record is not in a format that can be read. The message names the field."""


@dataclass(frozen=True)
class ShownRecord:
    """A record as the model is shown it: `messages`, or `prompt` and `completion`, with content parts that hold no
    files.

    Images and clips are marked and scaled, in the order of their parts.
    """

    conversation: dict[str, list[dict[str, Any]]]
    images: list[Image.Image]
    clips: list[ShownClip]


def show_record(
    record: Mapping[str, Any], sampling: Sampling, regions: RegionArguments, sentences: bool = False
) -> ShownRecord:
    """Reads a record, decodes its media and draws its regions; with `sentences` it says the length of every video.

    Raises:
        RecordError: the record is in another format.
        RegionError: the regions do not fit the text or the media.
        VideoError: a video cannot be read.
    """
    with _named(record, "in the record that begins"):
        conversation, images, videos = _ask(_without_none(record), regions, sentences)
        pictures = [_picture(entry, sampling) for entry in images]
        return ShownRecord(conversation, pictures, [_clip(entry, sampling) for entry in videos])


def check_record(
    record: Mapping[str, Any], number: int, sampling: Sampling, regions: RegionArguments, sentences: bool = False
) -> None:
    """Raises what `show_record` would, as far as headers and ends of files tell it; decodes nothing.

    Messages say the `number` of the record.
    """
    with _named(record, f"record {number}, which begins"):
        _, images, videos = _ask(_without_none(record), regions, sentences)
        for entry in images:
            still = decode_image_entry(entry)
            if still is not None:
                check_still(still)
            else:
                _open(entry)
        for entry in videos:
            if isinstance(entry, list):
                for frame in entry:
                    _open(frame)
            else:
                check_clip(decode_clip(entry), sampling)


@contextmanager
def _named(record: Mapping[str, Any], which: str) -> Iterator[None]:
    """Errors inside the block say which record they are about."""
    try:
        yield
    except (RecordError, RegionError) as err:
        raise type(err)(f"{err}{_place(record, which)}") from err
    except VideoError as err:
        raise VideoError(f"{err}{_place(record, which)}", err.entry) from err
    except (ImageError, OSError) as err:
        raise RecordError(f"images: {err}{_place(record, which)}") from err


def _ask(
    record: Mapping[str, Any], options: RegionArguments, sentences: bool
) -> tuple[dict[str, list[dict[str, Any]]], list[Any], list[Any]]:
    """The conversation with content parts that hold no files, and the images and videos that it shows."""
    turns = {key: record[key] for key in ("prompt", "completion", "messages") if key in record}
    if set(turns) not in ({"messages"}, {"prompt", "completion"}):
        raise RecordError(f"expected `messages`, or `prompt` and `completion`; the record has {', '.join(record)}")
    for key, messages in turns.items():
        if not isinstance(messages, list) or not all(isinstance(m, Mapping) and "content" in m for m in messages):
            raise RecordError(f"{key}: expected a list of messages with role and content, got {messages!r}")
    messages = [message for part in turns.values() for message in part]
    media = _Media({"image": _column(record, "images"), "video": _column(record, "videos")})
    texts = media.flatten(messages)
    images, videos = media.found["image"], media.found["video"]

    parsed = parse_regions(record.get("regions"), len(videos), len(images))
    if "regions" in record:  # elsewhere, <obj_1> is text like any other
        check_mentions(texts, parsed)
    marked = [{**message, "content": text} for message, text in zip(messages, texts, strict=True)]
    styled = apply_style(marked, images, videos, parsed, options, _PLACEHOLDERS)
    messages = styled.messages
    if sentences:
        messages = with_time_sentences(messages, videos, _PLACEHOLDERS)
    spoken = iter([{**message, "content": _parts(message["content"])} for message in messages])
    return {key: [next(spoken) for _ in part] for key, part in turns.items()}, styled.images, styled.videos


@dataclass
class _Media:
    """Collects the media of a record in the order in which the messages show them."""

    columns: dict[str, list[Any]]
    found: dict[str, list[Any]] = field(default_factory=lambda: {"image": [], "video": []})

    def __post_init__(self) -> None:
        self.given = {kind: len(entries) for kind, entries in self.columns.items()}

    def flatten(self, messages: list[Mapping[str, Any]]) -> list[str]:
        """The text of every message, with a mark for each image and video."""
        asking = {kind: sum(self._asks(message["content"], kind) for message in messages) for kind in self.given}
        leading = [kind for kind, count in self.given.items() if count and not asking[kind]]
        texts = []
        for message in messages:
            front = ""
            if leading and message.get("role") == "user":
                front = "".join(self._next(kind) for kind in leading for _ in range(self.given[kind]))
                leading = []
            texts.append(front + self._text(message["content"]))
        for kind, entries in self.columns.items():
            if leading or entries:
                raise RecordError(
                    f"{kind}s: {self.given[kind]} in the column, but the messages show {asking[kind]} of them"
                )
        return texts

    def _asks(self, content: Any, kind: str) -> int:
        """How many entries of a column a message shows."""
        if isinstance(content, str):
            return content.count(f"<{kind}>") if self.given[kind] else 0
        return sum(part.get("type") == kind and not _source(part) for part in content)

    def _text(self, content: Any) -> str:
        if isinstance(content, str):
            return _WORD.sub(lambda word: self._next(word[1]) if self.given[word[1]] else word[0], content)
        return "".join(self._part(part) for part in content)

    def _part(self, part: Mapping[str, Any]) -> str:
        kind = part.get("type")
        if kind == "text":
            return part["text"]
        if kind not in _MARKS:
            raise RecordError(f"content: expected parts of type text, image or video, got {part!r}")
        entry = _source(part)
        return self._next(kind) if not entry else self._show(kind, entry)

    def _next(self, kind: str) -> str:
        if not self.columns[kind]:
            raise RecordError(f"{kind}s: the messages show more of them than the column has")
        return self._show(kind, self.columns[kind].pop(0))

    def _show(self, kind: str, entry: Any) -> str:
        number = len(self.found[kind])
        if kind == "video" and not isinstance(entry, list):
            entry = parse_clip(entry, f"videos[{number}]")
        self.found[kind].append(entry)
        return _MARKS[kind]


def _source(part: Mapping[str, Any]) -> Any:
    """The file of a content part, in the form of a column's entry; empty if the part stands for one of the column."""
    given = {key: value for key, value in part.items() if key != "type"}
    for name in (part["type"], "path"):
        if name in given:
            entry = given.pop(name)
            return {"path": entry, **given} if given else entry
    if given:
        raise RecordError(f"content: expected {part['type']!r} or 'path' with the file, got {part!r}")
    return None


def _column(record: Mapping[str, Any], name: str) -> list[Any]:
    entries = record.get(name, [])
    if not isinstance(entries, (list, tuple)):
        raise RecordError(f"{name}: expected a list, got {entries!r}")
    return list(entries)


def _parts(text: str) -> list[dict[str, Any]]:
    """Content parts of a marked text."""
    parts: list[dict[str, Any]] = []
    for number, piece in enumerate(_MARK.split(text)):
        if number % 2:
            parts.append({"type": piece})
        elif piece:
            parts.append({"type": "text", "text": piece})
    return parts


def _clip(entry: Any, sampling: Sampling) -> ShownClip:
    if isinstance(entry, list):
        return show_frames([_open(frame) for frame in entry], sampling)
    return show_clip(decode_clip(entry), sampling)


def _picture(entry: Any, sampling: Sampling) -> Image.Image:
    still = decode_image_entry(entry)
    return show_still(still, sampling) if still is not None else fit(_open(entry), sampling.image_max_pixels)


def _open(entry: Any) -> Image.Image:
    if isinstance(entry, Image.Image):
        return entry
    if isinstance(entry, str):
        return open_image(entry)
    raise RecordError(f"images: expected a path or a PIL image, got {entry!r}")


def _without_none(value: Any) -> Any:
    """Arrow fills the keys of other records in with null, and chat templates ask which keys there are."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _place(record: Mapping[str, Any], which: str) -> str:
    """Names the record by what it begins with: its number is not known to a collator."""
    messages = record.get("prompt") or record.get("messages")
    if not isinstance(messages, list) or not messages:
        return ""
    return f" ({which} {_excerpt(_texts(messages))!r})"


def _texts(messages: list[Any]) -> Iterable[str]:
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in [content] if isinstance(content, str) else content or []:
            yield part if isinstance(part, str) else part.get("text") or ""


def _excerpt(texts: Iterable[str]) -> str:
    text = " ".join(text.strip() for text in texts if text.strip())
    return text if len(text) <= 80 else text[:77] + "..."
