# SPDX-License-Identifier: Apache-2.0
"""Example questions of a report: which ones, and what is seen of their videos and images."""

import io
import logging
from collections.abc import Callable, Iterable, Mapping

from PIL import Image

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium
from rgpt4d_plugin.eval_hooks.report.page import Answer, Example, Picture
from rgpt4d_plugin.eval_hooks.scoring import Result, Row, digest
from rgpt4d_plugin.files import ImageError, open_image
from rgpt4d_plugin.video.clip import VideoError
from rgpt4d_plugin.video.frames import read_frames, read_info


logger = logging.getLogger(__name__)

_WIDTH, _HEIGHT = 480, 480  # pixels of a picture at most
_IMAGES = 3  # of one question


class Shots:
    """Pictures of the items of one benchmark's folder.

    Where the folder is no longer there, or no longer fits, the examples go without pictures and say why.

    Args:
        result: Says which folder.
    """

    def __init__(self, result: Result) -> None:
        self._name = result.benchmark
        self._items: dict[str, Item] = {}
        self.problem = ""
        try:
            self._benchmark: Benchmark = get(result.benchmark)
            data = self._benchmark.load(result.folder)
        except (BenchmarkDataError, OSError) as err:
            first = str(err).splitlines()[0]
            self.problem = f"The benchmark's data cannot be read on this machine: {first}"
            logger.warning("%s The report goes without pictures of its examples.", self.problem)
            return
        self._folder = data.folder
        self._items = {self._benchmark.key(item): item for item in data.items}

    def of(self, key: str) -> tuple[list[Picture], str]:
        """Pictures of an item, and why there are none; one of both is empty.

        The question's own images where it has some, among them the key frame with the marks of its regions; else the
        middle frame of what is shown of its video.
        """
        if self.problem:
            return [], self.problem
        if key not in self._items:
            return [], "The item is no longer in the benchmark's folder."
        try:
            media = self._benchmark.media(self._items[key], self._folder)
            images = [medium for medium in media if medium.kind == "image"][:_IMAGES]
            if images:
                return [self._picture(key, i, _open(medium), "an image of") for i, medium in enumerate(images)], ""
            return [self._picture(key, 0, _middle(media[0]), "the middle frame of")], ""
        # A SyntaxError is what Pillow raises for a PNG file with a broken chunk.
        except (VideoError, BenchmarkDataError, ImageError, OSError, SyntaxError) as err:
            return [], f"No picture: {err}"

    def _picture(self, key: str, number: int, image: Image.Image, what: str) -> Picture:
        image.thumbnail((_WIDTH, _HEIGHT))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=82)
        name = digest(f"{self._name}:{key}:{number}").hex()[:12]
        return Picture(f"example_{name}.jpg", buffer.getvalue(), f"{what} {key}")


def worst_categories(result: Result, n: int = 3) -> list[tuple[str, float]]:
    """The categories with the lowest strict score, the lowest first: (name, percent)."""
    scores: dict[str, list[float]] = {}
    for row in result.rows:
        scores.setdefault(row.category, []).append(row.strict)
    means = {category: 100 * sum(own) / len(own) for category, own in scores.items()}
    return sorted(means.items(), key=lambda entry: (entry[1], entry[0]))[:n]


def pick(rows: Iterable[Row], wanted: Callable[[Row], bool], n: int) -> list[Row]:
    """`n` of the wanted rows, always the same: those whose hashed key is smallest, no group twice if that can be."""
    found = sorted((row for row in rows if wanted(row)), key=lambda row: digest(row.key))
    first: dict[str, Row] = {}
    for row in found:
        first.setdefault(row.group, row)
    others = [row for row in found if first[row.group] is not row]
    return [*first.values(), *others][:n]


def example(rows: Mapping[str, Row], shots: Shots) -> Example:
    """Returns one item with the answer of every run, by the run's name, which is "" where there is only one."""
    row = next(iter(rows.values()))
    pictures, missing = shots.of(row.key)
    return Example(
        key=row.key,
        question=row.question,
        options=list((row.options or {}).items()),
        gold=row.gold,
        pictures=pictures,
        missing=missing,
        answers=[_answer(name, row) for name, row in rows.items()],
    )


def _answer(run: str, row: Row) -> Answer:
    verdicts, remarks = [], []
    if row.error is not None:
        remarks.append(f"the engine failed: {row.error}")
    elif row.reply is not None:
        official = "random letter or default" if row.fallback else row.official_parsed or "nothing"
        verdicts.append(("official", _credit(official, row.official), row.official > 0.5))
        verdicts.append(("strict", _credit(row.parsed or row.how, row.strict), row.strict > 0.5))
        verdicts += [(name.replace("_", "-"), _credit("", value), value > 0.5) for name, value in row.columns.items()]
    if row.truncated:
        remarks.append("cut off by the token limit")
    return Answer(run, row.reply, verdicts, remarks)


def _credit(read: str, score: float) -> str:
    """A score between wrong and right is said in percent."""
    return read if score in (0.0, 1.0) else f"{read} ({100 * score:.0f} %)".strip()


def _open(medium: Medium) -> Image.Image:
    with open_image(medium.data if medium.data is not None else medium.path) as image:
        return image.convert("RGB")


def _middle(medium: Medium) -> Image.Image:
    path = str(medium.path)
    info = read_info(path)
    first = info.frame_at(medium.start) if medium.start is not None else 0
    last = info.frame_at(medium.end) if medium.end is not None else info.last
    return read_frames(path, [min((first + last) // 2, info.last)])[0]
