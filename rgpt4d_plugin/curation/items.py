# SPDX-License-Identifier: Apache-2.0
"""What is curated: questions about videos, from records or from a benchmark."""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rgpt4d_plugin.convert.records import VIDEO
from rgpt4d_plugin.convert.scenes import read_records
from rgpt4d_plugin.curation.recipe import CurationRecipe
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.regions.media_entries import parse_clip
from rgpt4d_plugin.video.entries import Clip, span
from rgpt4d_plugin.video.frames import VideoInfo, read_info
from rgpt4d_plugin.video.sampling import spread_in_time


@dataclass(frozen=True)
class Item:
    """A question about a video, or a part of it.

    Attributes:
        id: Unique within its source.
        clip: The video's file, and the part of it in seconds.
        shown: The video's path relative to the folder of media.
        options: Texts to choose from, if the question has any.
        task: Its kind, in the source's words.
    """

    id: str
    clip: Clip
    shown: str
    question: str
    answer: str
    options: tuple[str, ...] = ()
    task: str = ""

    @functools.cached_property
    def info(self) -> VideoInfo:
        """The video; VideoError if it cannot be read."""
        return read_info(self.clip.path)

    def sampled(self, frames: int) -> list[int]:
        """Returns the numbers of the frames that the model is going to see; VideoError if there are none."""
        first, final, _ = span(self.clip, self.info)
        return spread_in_time(self.info, first, final, frames)

    @property
    def content(self) -> dict[str, Any]:
        """All that the steps depend on, the video by what is in its file."""
        return {
            "question": self.question,
            "answer": self.answer,
            "options": self.options,
            "video": _digest(self.clip.path),
            "part": [self.clip.start, self.clip.end],
        }


@dataclass
class Case:
    """An item on its way: what each step found, and why it ended, if it did."""

    item: Item
    found: dict[str, Any] = field(default_factory=dict)
    rejected: tuple[str, str, str] | None = None  # step, reason, what was found
    failed: str = ""  # the error of a step that will be tried again

    @property
    def alive(self) -> bool:
        """False once it is rejected or a step has failed."""
        return self.rejected is None and not self.failed


def read_items(recipe: CurationRecipe) -> list[Item]:
    """Returns what the recipe's source asks; ValueError if it cannot be used."""
    items = list(_of_benchmark(recipe) if recipe.source in BENCHMARKS else _of_records(recipe))[: recipe.limit]
    if len({item.id for item in items}) < len(items):
        raise ValueError(f"{recipe.source}: two questions have the same id")
    if not items:
        raise ValueError(f"{recipe.source}: no question")
    return items


def _of_records(recipe: CurationRecipe) -> Iterator[Item]:
    path = Path(recipe.source)
    media = Path(recipe.data or path.parent)
    for number, record in enumerate(read_records(path)):
        try:
            (entry,) = record.get("videos") or []
            clip = parse_clip(entry, "videos[0]")
            asked, answered = record["messages"]
            question = asked["content"].replace(VIDEO, "").strip()
            name, options = str(record.get("id", number)), tuple(map(str, record.get("options") or ()))
            task = str(record.get("kind") or record.get("task") or "")
            part = Clip(str(media / clip.path), clip.start, clip.end)
            yield Item(name, part, clip.path, question, answered["content"], options, task)
        except (ValueError, LookupError, TypeError, AttributeError) as err:
            wanted = "one video, a question and its answer"
            raise ValueError(f"{path}, record {number}: expected {wanted} ({type(err).__name__}: {err})") from err


def _of_benchmark(recipe: CurationRecipe) -> Iterator[Item]:
    if recipe.data is None:
        raise ValueError(f"data: missing; the folder of {recipe.source}")
    benchmark = get(recipe.source)
    data = benchmark.load(recipe.data)
    for item in data.items:
        videos = [medium for medium in benchmark.media(item, data.folder) if medium.kind == "video"]
        options, question = benchmark.options(item), item.get("question") or item.get("Question")
        if len(videos) != 1 or not isinstance(question, str):
            raise ValueError(f"{recipe.source}: {benchmark.key(item)} is no question about one video")
        (video,) = videos
        gold = benchmark.gold(item)
        texts = tuple(str(option) for option in (options or {}).values())
        answer = str(options[gold]) if options and gold else str(gold or "")
        clip = Clip(str(video.path), video.start, video.end)
        shown = Path(str(video.path)).relative_to(data.folder).as_posix()
        yield Item(benchmark.key(item), clip, shown, question, answer, texts, benchmark.category(item) or "")


def _digest(path: str) -> str:
    try:
        state = Path(path).stat()
    except OSError:
        return "missing"
    return _digest_of(path, state.st_mtime_ns, state.st_size)


@functools.cache
def _digest_of(path: str, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
