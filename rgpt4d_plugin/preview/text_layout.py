# SPDX-License-Identifier: Apache-2.0
"""Text in pictures: a font for every character that any installed font has, and wrapped lines of styled spans."""

import functools
import itertools
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

# Scripts that are written without spaces may break after any character.
_BREAKABLE = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_ATOM = re.compile(rf"\n|[^\S\n]+|[{_BREAKABLE}]|[^\s{_BREAKABLE}]+")

CHIP_PADDING, CHIP_MARGIN = 6, 2


def _own_file(style: Style) -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / _FILES[style])


@functools.cache
def _characters(path: str) -> frozenset[int]:
    """Returns the code points that a font file has; none for a file that is no scalable font."""
    try:
        ImageFont.truetype(path, 16)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


@functools.cache
def _system_files() -> list[str]:
    """Returns the installed fonts, those first that were made for many scripts."""
    likely = re.compile(r"noto|cjk|wqy|unicode|unifont|gothic|hei|emoji|symbol")
    return sorted(font_manager.findSystemFonts(), key=lambda path: (not likely.search(Path(path).name.lower()), path))


@functools.cache
def _file_with(character: str, style: Style) -> str | None:
    """Returns the first font file that has a character, beginning with the style's own; None if there is none."""
    if ord(character) in _characters(_own_file(style)):
        return _own_file(style)
    return next((path for path in _system_files() if ord(character) in _characters(path)), None)


def missing_characters(text: str) -> set[str]:
    """Returns the characters that are shown as boxes because no font has them."""
    return {char for char in set(text) if _is_shown(char) and _file_with(char, "regular") is None}


def _is_shown(character: str) -> bool:
    """Returns False for controls, and for joiners and variation selectors, which only change their neighbors."""
    return unicodedata.category(character) not in ("Cc", "Cf") and not "\ufe00" <= character <= "\ufe0f"


@dataclass(frozen=True)
class Face:
    """A style at a size in pixels."""

    style: Style
    size: int

    def width(self, text: str) -> float:
        """Returns the pixels that a line of text takes."""
        return sum(font.getlength(run) for font, run in _runs(text, self))

    def draw(self, draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, ink: Colour) -> None:
        """Draws a line of text from `x` to the right, on a baseline."""
        for font, run in _runs(text, self):
            draw.text((x, baseline), run, font=font, fill=ink, anchor="ls")
            x += font.getlength(run)

    def elide(self, text: str, width: float) -> str:
        """Returns the text, with its middle left out if it would be wider. Of a path, the end says most."""
        shown, kept = text, len(text)
        while kept > 2 and self.width(shown) > width:
            kept -= 1
            shown = f"{text[: kept // 3]}…{text[len(text) - kept + kept // 3 :]}"
        return shown


@functools.cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.lru_cache(maxsize=4096)
def _runs(text: str, face: Face) -> tuple[tuple[ImageFont.FreeTypeFont, str], ...]:
    """Cuts text where its font changes. A font draws a box for a character that it does not have."""
    shown = filter(_is_shown, text.encode("utf-8", "replace").decode())
    grouped = itertools.groupby(shown, lambda character: _file_with(character, face.style) or _own_file(face.style))
    return tuple((_font(path, face.size), "".join(run)) for path, run in grouped)


@dataclass(frozen=True)
class Span:
    """Text of one look; "\\n" begins a line. A chip is drawn as one rounded label and never broken."""

    text: str
    face: Face
    ink: Colour
    fill: Colour | None = None
    chip: bool = False

    @property
    def width(self) -> float:
        """Pixels that the span takes in a line."""
        return self.face.width(self.text) + (2 * CHIP_MARGIN + 2 * CHIP_PADDING if self.chip else 0)


Line = list[tuple[float, Span]]
"""Spans of one line with their x, pixels from the line's start."""


def wrap(spans: Iterable[Span], width: float) -> list[Line]:
    """Breaks spans into lines of at most `width` pixels: between words, within a word only if it is wider itself."""
    lines: list[Line] = [[]]
    x = 0.0
    for span in spans:
        for atom in [span] if span.chip else _atoms(span, width):
            is_break = atom.text == "\n"
            if is_break or (x and x + atom.width > width):
                lines.append([])
                x = 0.0
                if is_break or atom.text.isspace():  # the break stands for a blank
                    continue
            lines[-1].append((x, atom))
            x += atom.width
    return lines


def _atoms(span: Span, width: float) -> Iterable[Span]:
    """Yields the unbreakable parts: words, blanks and line breaks; the characters of a word that no line can hold."""
    for text in _ATOM.findall(span.text.replace("\t", "    ")):
        word = replace(span, text=text)
        yield from [word] if word.width <= width else (replace(span, text=character) for character in text)


def draw_lines(image: Image.Image, lines: Iterable[Line], x: float, top: float, leading: int) -> None:
    """Draws wrapped lines from (x, top) down, `leading` pixels apart."""
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        y = top + row * leading
        for at, span in line:
            left, right = x + at, x + at + span.width
            if span.chip:
                left += CHIP_MARGIN
                rounded(image, (left, y + 2, right - CHIP_MARGIN, y + leading - 3), 5, span.fill)
                left += CHIP_PADDING
            elif span.fill is not None:
                draw.rectangle((left, y + 1, right, y + leading - 2), fill=span.fill)
            span.face.draw(draw, left, y + round(0.7 * leading), span.text, span.ink)


def rounded(image: Image.Image, box: tuple[float, float, float, float], radius: int, fill: Colour) -> None:
    """Fills a rounded rectangle (left, top, right, bottom), drawn four times as large for smooth corners."""
    left, top, right, bottom = (round(edge) for edge in box)
    size = max(right - left, 1), max(bottom - top, 1)
    mask = Image.new("L", (4 * size[0], 4 * size[1]))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * size[0] - 1, 4 * size[1] - 1), 4 * radius, fill=255)
    image.paste(fill, (left, top, left + size[0], top + size[1]), mask.reduce(4))
