# SPDX-License-Identifier: Apache-2.0
"""The shared part of families that write a clip as a row of images, with the same placeholder token.

Pixels of images and frames follow each other in the order of their tokens. The text around the runs of tokens tells
clips from images: an image is one run, with all of its tiles, and a clip has a run for each frame.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rgpt4d_plugin.students.base import Grid, RowMedia
from rgpt4d_plugin.students.square import SquareFamily, pictures


@dataclass(frozen=True)
class Medium:
    """An image or a clip of a row, with the (start, stop) of its tokens: one run per frame, or one for an image."""

    is_clip: bool
    runs: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """Number of its tokens in the row."""
        return sum(stop - start for start, stop in self.runs)


@dataclass(frozen=True)
class SharedTokenFamily(SquareFamily):
    """A family that writes clips as images; a clip is known by text that only clips have."""

    @abstractmethod
    def begins_clip(self, ids: Sequence[int], runs: Sequence[tuple[int, int]], tokenizer: Any) -> bool:
        """Returns whether a clip begins with the first of at least two runs of a row, where it may be an image as
        well."""

    def side(self, processor: Any) -> int:
        return int(processor.image_seq_length**0.5)

    def media(self, ids: Sequence[int], row: RowMedia, tokenizer: Any) -> list[Medium]:
        """Returns images and clips of a row in the order of their tokens; of a truncated row, those that are left."""
        runs = token_runs(np.asarray(ids), tokenizer.convert_tokens_to_ids(self.clip_token))
        images, clips = row.images, list(row.frames)
        media = []
        while runs:
            # A last run for more than one medium: `cutoff_len` cut the row, and its text may not tell any more. As a
            # clip it is left out; an image that is lost with it does no harm.
            last = len(runs) == 1 and images > 0
            is_clip = bool(clips) and (images == 0 or last or self.begins_clip(ids, runs, tokenizer))
            count = clips.pop(0) if is_clip else 1
            images -= not is_clip
            media.append(Medium(is_clip, tuple(runs[:count])))
            runs = runs[count:]
        return media

    def visual_tokens(
        self, input_ids: torch.Tensor, rows: Sequence[RowMedia], tokenizer: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        of_clip, of_image = (torch.zeros_like(input_ids, dtype=torch.bool) for _ in range(2))
        for index, row in enumerate(rows):
            for medium in self.media(input_ids[index].tolist(), row, tokenizer):
                mask = of_clip if medium.is_clip else of_image
                for start, stop in medium.runs:
                    mask[index, start:stop] = True
        return of_clip, of_image

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        side = self.side(processor)
        return [
            (1, side, side) if tiles == 1 else (1, 1, tiles * side**2)
            for is_clip, tiles in self._blocks(inputs, processor, rows)
            if not is_clip
        ]

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        return [block for is_clip, block in self._pictures(inputs, processor, rows) if is_clip]

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        # Of several tiles the last one is the whole image.
        return [block[-1] for is_clip, block in self._pictures(inputs, processor, rows) if not is_clip]

    def _pictures(
        self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]
    ) -> Iterator[tuple[bool, np.ndarray]]:
        """Yields the pixels of each medium, (tiles or frames, H, W, 3)."""
        if "pixel_values" not in inputs:
            return
        found = pictures(inputs["pixel_values"], processor.image_processor)
        for is_clip, count in self._blocks(inputs, processor, rows):
            yield is_clip, found[:count]
            found = found[count:]

    def _blocks(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> Iterator[tuple[bool, int]]:
        """Yields (is it a clip, tiles or frames) of each medium, in the order of the pixels.

        Without `input_ids` the inputs are the outputs of an image processor: images of one tile each, then clips.
        """
        if "input_ids" not in inputs:
            yield from ((False, 1) for row in rows for _ in range(row.images))
            yield from ((True, frames) for row in rows for frames in row.frames)
            return
        for ids, row in zip(inputs["input_ids"].tolist(), rows, strict=True):
            frames = iter(row.frames)
            for medium in self.media(ids, row, processor.tokenizer):
                # A tile whose tokens were cut has its pixels all the same.
                tiles = next(frames) if medium.is_clip else -(-medium.tokens // processor.image_seq_length)
                yield medium.is_clip, tiles


def token_runs(ids: np.ndarray, token: int) -> list[tuple[int, int]]:
    """(start, stop) of every run of a token."""
    edges = np.diff(np.concatenate([[False], ids == token, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist()))
