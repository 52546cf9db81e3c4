# SPDX-License-Identifier: Apache-2.0
"""Example questions of a report: which ones, and what is seen of their videos and images."""

import io
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from PIL import Image

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium
from rgpt4d_plugin.eval_hooks.metrics import mean
from rgpt4d_plugin.eval_hooks.report.page import Example, Picture
from rgpt4d_plugin.eval_hooks.scoring import Result, Row, digest
from rgpt4d_plugin.files import ImageError, open_image
from rgpt4d_plugin.video.clip import VideoError
from rgpt4d_plugin.video.frames import read_frames, read_info


logger = logging.getLogger(__name__)

_SIZE = (480, 480)  # pixels of a picture at most
_IMAGES = 3  # of one question


class Shots:
    """Pictures of the items of a result's folder.

    Where the folder is no longer there, or no longer fits, the examples go without pictures and say why.
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
                opened = (open_image(medium.data if medium.data is not None else medium.path) for medium in images)
                return [self._picture(key, i, image, "an image of") for i, image in enumerate(opened)], ""
            return [self._picture(key, 0, _middle(media[0]), "the middle frame of")], ""
        # A SyntaxError is what Pillow raises for a PNG file with a broken chunk.
        except (VideoError, BenchmarkDataError, ImageError, OSError, SyntaxError) as err:
            return [], f"No picture: {err}"

    def _picture(self, key: str, number: int, image: Image.Image, what: str) -> Picture:
        with image:
            small = image.convert("RGB")
        small.thumbnail(_SIZE)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=82)
        name = digest(f"{self._name}:{key}:{number}").hex()[:12]
        return Picture(f"example_{name}.jpg", buffer.getvalue(), f"{what} {key}")


def worst_categories(result: Result, n: int = 3) -> list[tuple[str, float]]:
    """The categories with the lowest strict score, the lowest first: (name, percent)."""
    scores = defaultdict(list)
    for row in result.rows:
        scores[row.category].append(100 * row.strict)
    means = {category: mean(own) for category, own in scores.items()}
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
    """One item with its row in every run."""
    return Example(rows, *shots.of(next(iter(rows.values())).key))


def verdicts(row: Row) -> list[tuple[str, str, bool]]:
    """(reading, what it read, right or wrong) of a reply, if there is one."""
    if row.reply is None or row.error is not None:
        return []
    official = "random letter or default" if row.fallback else row.official_parsed or "nothing"
    return [
        ("official", _credit(official, row.official), row.official > 0.5),
        ("strict", _credit(row.parsed or row.how, row.strict), row.strict > 0.5),
        *((name.replace("_", "-"), _credit("", value), value > 0.5) for name, value in row.columns.items()),
    ]


def _credit(read: str, score: float) -> str:
    """A score between wrong and right is said in percent."""
    return read if score in (0.0, 1.0) else f"{read} ({100 * score:.0f} %)".strip()


def _middle(medium: Medium) -> Image.Image:
    path = str(medium.path)
    info = read_info(path)
    first = info.frame_at(medium.start) if medium.start is not None else 0
    last = info.frame_at(medium.end) if medium.end is not None else info.last
    return read_frames(path, [min((first + last) // 2, info.last)])[0]
