# SPDX-License-Identifier: Apache-2.0
"""Text in pictures: a font for every character that any installed font has, and wrapped lines of styled spans."""

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont


Style = Literal["regular", "bold", "mono"]
Colour = tuple[int, int, int]

# matplotlib ships these, so that they are wherever the plugin is.
_FILES = {"regular": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf", "mono": "DejaVuSansMono.ttf"}
_BOX: Colour = (148, 155, 166)
"""Outline of the box that stands for a character no font has."""

# Scripts that are written without spaces may break after any character.
_BREAKABLE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_ATOM = re.compile(rf"\n|[^\S\n]+|[{_BREAKABLE}]|[^\s{_BREAKABLE}]+")


def _own_file(style: Style) -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / _FILES[style])


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """Code points that a font file has; none for a file that is no scalable font."""
    try:
        ImageFont.truetype(path, 16)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.cache
def _system_files() -> list[str]:
    """Installed fonts, those first that were made for many scripts."""

    def likely(path: str) -> bool:
        return bool(re.search(r"noto|cjk|wqy|unicode|unifont|gothic|hei|emoji|symbol", Path(path).name.lower()))

    return sorted(font_manager.findSystemFonts(), key=lambda path: (not likely(path), path))


@functools.cache
def _file_with(character: str, style: Style) -> str | None:
    """The first font file that has a character, beginning with the style's own; None if there is none."""
    code = ord(character)
    own = _own_file(style)
    if code in _characters(own):
        return own
    return next((path for path in _system_files() if code in _characters(path)), None)


def missing_characters(text: str) -> set[str]:
    """Characters that are shown as a box because no font has them."""
    return {char for char in set(text) if _is_shown(char) and _file_with(char, "regular") is None}


def _is_shown(character: str) -> bool:
    """False for what only says how its neighbours are drawn (joiners, variation selectors), and for controls."""
    return unicodedata.category(character) not in ("Cc", "Cf") and not "\ufe00" <= character <= "\ufe0f"


@dataclass(frozen=True)
class Face:
    """A style at a size in pixels."""

    style: Style
    size: int

    def width(self, text: str) -> float:
        """Pixels that a line of text takes."""
        return sum(
            self._box if path is None else _font(path, self.size).getlength(run)
            for path, run in _runs(text, self.style)
        )

    def draw(self, draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, ink: Colour) -> None:
        """Draws a line of text from `x` to the right, on a baseline."""
        for path, run in _runs(text, self.style):
            if path is None:
                top = baseline - 0.72 * self.size
                draw.rectangle((x + 1, top, x + self._box - 2, baseline), outline=_BOX)
                x += self._box
            else:
                font = _font(path, self.size)
                draw.text((x, baseline), run, font=font, fill=ink, anchor="ls")
                x += font.getlength(run)

    def elide(self, text: str, width: float) -> str:
        """The text, with its middle left out if it would be wider."""
        if self.width(text) <= width:
            return text
        kept = len(text)
        while kept > 2 and self.width(_without_middle(text, kept)) > width:
            kept -= 1
        return _without_middle(text, kept)

    @property
    def _box(self) -> float:
        return 0.7 * self.size


def _without_middle(text: str, kept: int) -> str:
    """The end says more than the start: of a path it is the file."""
    start = kept // 3
    return f"{text[:start]}…{text[len(text) - (kept - start) :]}"


@functools.cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.lru_cache(maxsize=4096)
def _runs(text: str, style: Style) -> tuple[tuple[str | None, str], ...]:
    """Text cut where its font changes; a character that no font has is a run of its own, without a font."""
    runs: list[tuple[str | None, str]] = []
    for character in text:
        if not _is_shown(character):
            continue
        path = _file_with(character, style)
        if runs and path is not None and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1] + character)
        else:
            runs.append((path, character))
    return tuple(runs)


@dataclass(frozen=True)
class Span:
    """Text of one look.

    Attributes:
        text: "\\n" begins a line.
        face: font.
        ink: colour of the letters.
        fill: colour behind them, or None.
        chip: drawn as one rounded label that is not broken.
    """

    text: str
    face: Face
    ink: Colour
    fill: Colour | None = None
    chip: bool = False

    @property
    def width(self) -> float:
        return self.face.width(self.text) + (2 * CHIP_MARGIN + 2 * CHIP_PADDING if self.chip else 0)


CHIP_PADDING = 6
CHIP_MARGIN = 2

Line = list[tuple[float, Span]]
"""Spans of one line with their x, pixels from the line's start."""


def wrap(spans: Iterable[Span], width: float) -> list[Line]:
    """Breaks spans into lines of at most `width` pixels: between words, within a word only if it is wider itself."""
    lines: list[Line] = [[]]
    x = 0.0
    for span in spans:
        for atom in _atoms(span, width):
            if atom.text == "\n":
                lines.append([])
                x = 0.0
                continue
            blank = atom.text.isspace()
            if x and x + atom.width > width:
                lines.append([])
                x = 0.0
                if blank:  # the break stands for it
                    continue
            _append(lines[-1], x, atom)
            x += atom.width
    return lines


def _append(line: Line, x: float, atom: Span) -> None:
    """Adds an atom to a line, to the span before it if the two look the same: letters are then spaced as one text."""
    if line and not atom.chip:
        at, last = line[-1]
        if replace(last, text="") == replace(atom, text=""):
            line[-1] = (at, replace(last, text=last.text + atom.text))
            return
    line.append((x, atom))


def _atoms(span: Span, width: float) -> Iterable[Span]:
    """What is not broken: words, blanks, chips, line breaks."""
    if span.chip:
        yield span
        return
    for text in _ATOM.findall(span.text.replace("\t", "    ")):
        atom = replace(span, text=text)
        while len(text) > 1 and atom.width > width:
            fitting = next(n for n in range(len(text) - 1, 0, -1) if n == 1 or span.face.width(text[:n]) <= width)
            yield replace(span, text=text[:fitting])
            text = text[fitting:]
            atom = replace(span, text=text)
        yield atom


def draw_lines(image: Image.Image, lines: Iterable[Line], x: float, top: float, leading: int) -> None:
    """Draws wrapped lines from (x, top) down, `leading` pixels apart."""
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        y = top + row * leading
        baseline = y + round(0.7 * leading)
        for at, span in line:
            left = x + at
            if span.chip:
                box = (left + CHIP_MARGIN, y + 2, left + span.width - CHIP_MARGIN, y + leading - 3)
                rounded(image, box, 5, span.fill)
                span.face.draw(draw, left + CHIP_MARGIN + CHIP_PADDING, baseline, span.text, span.ink)
                continue
            if span.fill is not None:
                draw.rectangle((left, y + 1, left + span.width - 1, y + leading - 2), fill=span.fill)
            span.face.draw(draw, left, baseline, span.text, span.ink)


def rounded(image: Image.Image, box: tuple[float, float, float, float], radius: int, fill: Colour) -> None:
    """Fills a rounded rectangle (left, top, right, bottom) with smooth corners."""
    left, top, right, bottom = (round(edge) for edge in box)
    if right > left and bottom > top:
        image.paste(fill, (left, top, right, bottom), _corners(right - left, bottom - top, radius))


@functools.lru_cache(maxsize=512)
def _corners(width: int, height: int, radius: int) -> Image.Image:
    scale = 4
    mask = Image.new("L", (width * scale, height * scale))
    last = (width * scale - 1, height * scale - 1)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *last), radius * scale, fill=255)
    return mask.resize((width, height), Image.Resampling.LANCZOS)
