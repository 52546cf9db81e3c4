# SPDX-License-Identifier: Apache-2.0
"""The contact sheet of one training sample: what the model gets of it, on one picture. Knows no host and no model."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from rgpt4d_plugin.files import replacing
from rgpt4d_plugin.preview.frame_grid import (
    FAINT,
    GAP,
    INK,
    INNER,
    LABEL,
    MARK,
    PANEL,
    PAPER,
    SMALL,
    SOFT,
    Column,
    blank,
    draw_tiles,
    resized,
    stack,
)
from rgpt4d_plugin.preview.text_layout import (
    Colour,
    Face,
    Span,
    draw_lines,
    missing_characters,
    rounded,
    wrap,
)


MARGIN = 48
WIDTH = INNER + 2 * MARGIN
SHOWN_FRAMES = 16
SHOWN_LINES = 120

RULE: Colour = (226, 229, 234)
WARN_INK, WARN_FILL = (133, 62, 0), (255, 243, 222)
CHIP_INK, CHIP_FILL = (84, 93, 110), (233, 236, 241)
VISUAL_INK, VISUAL_FILL, VISUAL = (43, 61, 150), (226, 232, 253), (111, 134, 232)
TRAINED_INK, TRAINED_FILL, TRAINED = (16, 82, 48), (209, 240, 221), (52, 168, 100)
PROMPT: Colour = (181, 188, 199)

TITLE, HEADING, FIGURE = Face("bold", 30), Face("bold", 19), Face("bold", 24)
BODY, STRONG, CHIP = Face("regular", 16), Face("bold", 16), Face("mono", 13)
LEADING = 27

_OBJECT = re.compile(r"(<obj_\d+>)")


@dataclass(frozen=True)
class Piece:
    """A part of the token sequence: text, or one special token and how often it stands there in a row."""

    text: str
    tokens: int = 1
    kind: Literal["text", "special", "visual"] = "text"
    trained: bool = False


@dataclass(frozen=True)
class MapRow:
    """One kind of map of a clip: (T, H, W, 3) uint8, of any size, from the frame `first` on. `legend` says how to read
    it."""

    title: str
    legend: str
    frames: np.ndarray
    first: int = 0


@dataclass(frozen=True)
class SheetClip:
    """A video of the sample.

    Attributes:
        frames: (T, H, W, 3) uint8, as the model gets them.
        timestamps: Seconds of the real frames; the frames beyond them repeat the last one.
        grid: Tokens (t, h, w), of which the sample has `tokens`.
        marked: Position of a frame -> labels of the regions drawn on it.
    """

    name: str
    frames: np.ndarray
    timestamps: Sequence[float]
    grid: tuple[int, int, int]
    tokens: int
    marked: dict[int, list[str]] = field(default_factory=dict)
    maps: Sequence[MapRow] = ()


@dataclass(frozen=True)
class SheetImage:
    """An image of the sample: (H, W, 3) uint8 as the model gets it."""

    name: str
    pixels: np.ndarray
    grid: tuple[int, int, int]
    tokens: int


@dataclass(frozen=True)
class SheetSample:
    """All that a sheet says.

    Attributes:
        record: Number in the dataset, from 0.
        full_length: Tokens before `cutoff_len` cut.
        pieces: The whole sequence, in order.
        notes: Sentences about faults of the sample.
    """

    dataset: str
    record: int
    template: str
    model: str
    cutoff_len: int
    full_length: int
    pieces: Sequence[Piece]
    clips: Sequence[SheetClip] = ()
    images: Sequence[SheetImage] = ()
    notes: Sequence[str] = ()

    def count(self, kind: str | None = None) -> int:
        """Tokens, all or of one kind."""
        return sum(piece.tokens for piece in self.pieces if kind in (None, piece.kind))

    @property
    def trained(self) -> int:
        """Tokens that the loss sees."""
        return sum(piece.tokens for piece in self.pieces if piece.trained)


def save_sheet(sample: SheetSample, path: str | PathLike) -> None:
    """Writes the sheet as a PNG, whole or not at all."""
    with replacing(Path(path), "wb") as file:
        draw_sheet(sample).save(file, format="PNG")


def draw_sheet(sample: SheetSample) -> Image.Image:
    """Draws the sheet, `WIDTH` pixels wide and as high as it takes."""
    notes = [*sample.notes, *_font_notes(sample)]
    blocks = [_header(sample), _budget(sample)]
    blocks += [_notes(notes)] if notes else []
    blocks += [_clip(clip, number, len(sample.clips)) for number, clip in enumerate(sample.clips, 1)]
    blocks += [_images(sample.images)] if sample.images else []
    blocks.append(_sequence(sample))

    return ImageOps.expand(stack(blocks, between=30), MARGIN, PAPER)


def choose_frames(count: int, marked: Sequence[int], limit: int = SHOWN_FRAMES) -> list[int]:
    """Returns positions of all marked frames, and of others spread evenly, up to `limit` in all."""
    if count <= limit:
        return list(range(count))
    chosen = {position for position in marked if position < count}
    others = [position for position in range(count) if position not in chosen]
    room = max(limit - len(chosen), 0)
    spread = np.linspace(0, len(others) - 1, min(room, len(others))).round().astype(int)
    return sorted(chosen | {others[index] for index in spread})


# Blocks: each a picture of INNER pixels' width


def _header(sample: SheetSample) -> Image.Image:
    block = blank(124)
    draw = ImageDraw.Draw(block)
    TITLE.draw(draw, 0, 30, TITLE.elide(sample.dataset, INNER - 320), INK)
    right = f"record {sample.record}"
    TITLE.draw(draw, INNER - TITLE.width(right), 30, right, SOFT)

    total, cut = sample.count(), sample.full_length > sample.count()
    below = (
        f"cut from {sample.full_length:,} by cutoff_len" if cut else f"nothing cut · cutoff_len {sample.cutoff_len:,}"
    )
    figures = [
        ("tokens", f"{total:,}", below, WARN_INK if cut else SOFT),
        ("visual", f"{sample.count('visual'):,}", _share(sample.count("visual"), total), SOFT),
        ("trained on", f"{sample.trained:,}", _share(sample.trained, total), SOFT),
        ("template", sample.template, "", SOFT),
        ("model", sample.model, "", SOFT),
    ]
    lefts = (0, 300, 450, 610, 880)
    for left, right, (label, figure, remark, ink) in zip(lefts, (*lefts[1:], INNER + 24), figures):
        room = right - left - 24
        LABEL.draw(draw, left, 70, label, FAINT)
        FIGURE.draw(draw, left, 98, FIGURE.elide(figure, room), INK)
        SMALL.draw(draw, left, 119, SMALL.elide(remark, room), ink)
    return block


def _share(part: int, total: int) -> str:
    percent = 100 * part / max(total, 1)
    return "under 1 % of all" if 0 < percent < 1 else f"{percent:.0f} % of all"


def _budget(sample: SheetSample) -> Image.Image:
    """Draws a bar of the token budget, with its legend."""
    block = blank(44)
    draw = ImageDraw.Draw(block)
    total, visual, trained = sample.count(), sample.count("visual"), sample.trained
    parts = [
        ("visual tokens", visual, VISUAL),
        ("other prompt", total - visual - trained, PROMPT),
        ("trained on", trained, TRAINED),
        ("free up to cutoff_len", max(sample.cutoff_len - total, 0), RULE),
    ]
    whole = max(sum(tokens for _, tokens, _ in parts), 1)
    before = 0
    for _, tokens, colour in parts:
        start, end = (round(INNER * count / whole) for count in (before, before + tokens))
        block.paste(colour, (start, 0, end, 12))
        before += tokens
    left = 0.0
    for name, tokens, colour in parts:
        rounded(block, (left, 26, left + 12, 38), 3, colour)
        text = f"{name}  {tokens:,}"
        SMALL.draw(draw, left + 19, 37, text, SOFT)
        left += 19 + SMALL.width(text) + 30
    return block


def _notes(notes: Sequence[str]) -> Image.Image:
    lines = [line for note in notes for line in wrap([Span(note, BODY, WARN_INK)], INNER - 48)]
    block = blank(len(lines) * LEADING + 24)
    rounded(block, (0, 0, INNER, block.height), 8, WARN_FILL)
    draw_lines(block, lines, 24, 12, LEADING)
    return block


def _section(title: str, name: str, facts: str, detail: str = "", ink: Colour = INK) -> Image.Image:
    """Heading of a block: title, a name beside it, facts at the right in `ink`, details below."""
    lines = wrap([Span(detail, SMALL, SOFT)], INNER) if detail else []
    block = blank(50 + 21 * len(lines) + (6 if lines else 0))
    draw = ImageDraw.Draw(block)
    draw.line((0, 0, INNER, 0), fill=RULE, width=2)
    HEADING.draw(draw, 0, 34, title, INK)
    right = INNER - BODY.width(facts)
    BODY.draw(draw, right, 34, facts, ink)
    left = HEADING.width(title) + 16
    BODY.draw(draw, left, 34, BODY.elide(name, right - left - 24), SOFT)
    draw_lines(block, lines, 0, 46, 21)
    return block


def _clip(clip: SheetClip, number: int, of: int) -> Image.Image:
    count, height, width = clip.frames.shape[:3]
    shown = choose_frames(count, list(clip.marked))
    facts = f"{count} frames · {width} × {height} px · {_grid_text(clip.grid, clip.tokens)}"
    details = [f"{clip.timestamps[0]:.2f} to {clip.timestamps[-1]:.2f} s"]
    if len(shown) < count:
        details.append(f"{len(shown)} of {count} shown")
    if clip.marked:
        details.append(f"{len(clip.marked)} with marks, in orange")
    if count > len(clip.timestamps):
        details.append("the last frame is repeated to fill its temporal step")
    details += [f"{row.title}: {row.legend}" for row in clip.maps]
    ink = INK if clip.tokens == math.prod(clip.grid) else WARN_INK
    heading = _section(f"Video {number}" if of > 1 else "Video", clip.name, facts, " · ".join(details), ink)

    columns = []
    for position in shown:
        real = position < len(clip.timestamps)
        caption = f"{clip.timestamps[position]:.2f} s" if real else "repeated"
        pictures = [clip.frames[position]]
        for row in clip.maps:
            has_map = row.first <= position < len(row.frames)
            pictures.append(row.frames[position] if has_map else None)
        columns.append(Column(f"frame {position}", caption, pictures, clip.marked.get(position, [])))
    titles = ["", *(row.title for row in clip.maps)] if clip.maps else []
    return stack([heading, draw_tiles(columns, (height, width), titles)])


def _images(images: Sequence[SheetImage]) -> Image.Image:
    """Draws the images in rows of equal cells, each under its captions."""
    tokens = sum(image.tokens for image in images)
    heading = _section("Image" if len(images) == 1 else f"{len(images)} images", "", f"{tokens:,} tokens")
    across = min(max(len(images), 2), 4)
    room, height = (INNER - (across - 1) * GAP) // across, 330
    block = blank(math.ceil(len(images) / across) * (height + GAP))
    draw = ImageDraw.Draw(block)
    for number, image in enumerate(images):
        left, top = number % across * (room + GAP), number // across * (height + GAP)
        LABEL.draw(draw, left, top + 16, f"image {number + 1}", INK)
        indent = LABEL.width(f"image {number + 1}") + 10
        SMALL.draw(draw, left + indent, top + 16, SMALL.elide(image.name, room - indent), SOFT)
        high, wide = image.pixels.shape[:2]
        ink = SOFT if image.tokens == math.prod(image.grid) else WARN_INK
        facts = f"{wide} × {high} px · {_grid_text(image.grid[1:], image.tokens)}"
        SMALL.draw(draw, left, top + 36, SMALL.elide(facts, room), ink)
        scale = min((height - 46) / high, room / wide)
        size = max(round(high * scale), 1), max(round(wide * scale), 1)
        block.paste(resized(image.pixels, size), (left, top + 46))
    return stack([heading, block])


def _grid_text(grid: Sequence[int], tokens: int) -> str:
    """Describes the student's grid, and how many of its tokens the sample has where `cutoff_len` cut it."""
    size = math.prod(grid)
    text = f"grid {' × '.join(map(str, grid))} = {size:,} tokens"
    return text if tokens == size else f"{text}, {tokens:,} kept"


def _sequence(sample: SheetSample) -> Image.Image:
    """Draws the whole token sequence as text."""
    heading = _section("What the model reads", "", "")
    legend = [("special token", CHIP_INK, CHIP_FILL), ("visual tokens", VISUAL_INK, VISUAL_FILL)]
    legend.append(("trained on", TRAINED_INK, TRAINED_FILL))
    spans = [Span(text, CHIP, ink, fill, chip=True) for text, ink, fill in legend]
    right = INNER - sum(span.width for span in spans)
    draw_lines(heading, wrap(spans, INNER), right, 14, LEADING)

    lines = wrap([span for piece in sample.pieces for span in _spans(piece)], INNER - 48)
    if len(lines) > SHOWN_LINES:
        half = SHOWN_LINES // 2
        left_out = [(0.0, Span(f"… {len(lines) - 2 * half} lines are not shown …", STRONG, FAINT))]
        lines = [*lines[:half], [], left_out, [], *lines[-half:]]
    if not lines[-1]:
        lines.pop()
    panel = blank(len(lines) * LEADING + 40)
    rounded(panel, (0, 0, INNER, panel.height), 8, PANEL)
    draw_lines(panel, lines, 24, 20, LEADING)
    return stack([heading, panel])


def _spans(piece: Piece) -> list[Span]:
    if piece.kind != "text":
        text = piece.text if piece.tokens == 1 else f"{piece.text} × {piece.tokens:,}"
        ink, fill = (VISUAL_INK, VISUAL_FILL) if piece.kind == "visual" else (CHIP_INK, CHIP_FILL)
        if piece.trained:
            ink, fill = TRAINED_INK, TRAINED_FILL
        return [Span(text, CHIP, ink, fill, chip=True)]
    ink, fill = (TRAINED_INK, TRAINED_FILL) if piece.trained else (INK, None)
    spans = []
    for part in _OBJECT.split(piece.text):
        is_object = bool(_OBJECT.fullmatch(part))
        for number, line in enumerate(part.split("\n")):
            if number:
                spans += [Span("↵", BODY, TRAINED if piece.trained else FAINT, fill), Span("\n", BODY, ink)]
            spans.append(Span(line, STRONG if is_object else BODY, MARK if is_object else ink, fill))
    return [span for span in spans if span.text]


def _font_notes(sample: SheetSample) -> list[str]:
    missing = missing_characters("".join([sample.dataset, *(piece.text for piece in sample.pieces)]))
    if not missing:
        return []
    return [
        f"{len(missing)} different characters are shown as boxes, because no installed font has them; the model reads "
        "them all the same. Install a font that has them, for Chinese, Japanese and Korean fonts-noto-cjk."
    ]
