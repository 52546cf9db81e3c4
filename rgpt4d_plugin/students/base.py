# SPDX-License-Identifier: Apache-2.0
"""What differs between base video MLLMs: where the video tokens stand, and where the last hidden states come out."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rgpt4d_plugin.students.tokens import ClipTokens


@dataclass(frozen=True)
class RowMedia:
    """The media of one row of a batch.

    Attributes:
        images: how many.
        frames: of each clip, how many were decoded for it.
    """

    images: int = 0
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class StudentFamily(ABC):
    """Base class of the families. A family is one small file that says its grid; the rest is shared.

    Attributes:
        name: for messages.
        model_types: the `model_type`s of the family's configs.
        templates: the host's templates that fit, for messages.
        plugins: names of the multimodal plugin classes of the templates that fit; each of the host's such templates
            gets a derived template.
        reader: 'module:Class' of the template reader, where the family needs more than `template.clip_reader`.
        counts_each_clip: whether a derived template counts the tokens of every clip on its own, because the host's
            plugin takes the length of all clips from the first.
        composite: the host's model type whose vision tower, projector and language model have the same names, where
            the host has no entry for the family.
        public_models: the public models: the host's names for them, or pairs (name, repository) where it has none.
        image_token: what stands for one token of an image.
        clip_token: what stands for one token of a clip; in some families the same.
        tokens_after_clip: how many more of them follow a clip's grid.
        single_image_is_tiled: whether an image has other tokens where it is the only one of its record.
        bidirectional_images: whether the tokens of an image or frame see those of it that come after them.
    """

    name: str
    model_types: tuple[str, ...]
    templates: tuple[str, ...]
    plugins: tuple[str, ...]
    image_token: str
    clip_token: str
    reader: str = ""
    counts_each_clip: bool = False
    composite: str = ""
    public_models: tuple[str | tuple[str, str], ...] = ()
    tokens_after_clip: int = 0
    single_image_is_tiled: bool = False
    bidirectional_images: bool = False

    def decoder(self, model: Any) -> nn.Module:
        """The text decoder whose output is the last hidden state, after its final norm: (B, L, C)."""
        return model.get_decoder()

    def hidden_size(self, config: Any) -> int:
        """C, the width of those hidden states."""
        return config.get_text_config().hidden_size

    def frames_per_step(self, processor: Any) -> int:
        """Frames that one temporal step of the token grid covers."""
        return 1

    def visible_box(self, width: int, height: int, processor: Any) -> tuple[float, float, float, float]:
        """What of a frame the token grid covers: (left, top, right, bottom) in pixels of the decoded frame."""
        return 0, 0, width, height

    @abstractmethod
    def video_grids(
        self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]
    ) -> list[tuple[int, int, int]]:
        """Token grid (t, h, w) of every clip of a batch, in order.

        Args:
            inputs: the processor's outputs, a batch that holds them, or what the template's plugin knows of the clips
                without decoding them.
            processor: of the student.
            rows: the media of each row.
        """

    @abstractmethod
    def image_grids(
        self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]
    ) -> list[tuple[int, int, int]]:
        """The same of every image, with t = 1; (1, 1, n) where an image's n tokens are no grid."""

    @abstractmethod
    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        """The frames that the model gets, read back from its inputs: the inverse of the processor.

        Args:
            inputs: the processor's outputs, or a batch that holds them.
            processor: of the student.
            rows: the media of each row.

        Returns:
            Per clip (T, H, W, 3) uint8 RGB after all resizing, exact to one level (bfloat16 inputs) or exact
            (float32). T counts the frames that fill the last temporal step too.
        """

    @abstractmethod
    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        """The same of every image: (H, W, 3) uint8 RGB. Of an image in several tiles, the one that shows all of it."""

    def visual_tokens(
        self, input_ids: torch.Tensor, rows: Sequence[RowMedia], tokenizer: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which tokens are a clip's and which an image's: two (B, L) bool masks.

        Args:
            input_ids: (B, L).
            rows: the media of each row.
            tokenizer: of the student.
        """
        clip, image = (tokenizer.convert_tokens_to_ids(token) for token in (self.clip_token, self.image_token))
        return input_ids == clip, input_ids == image

    def clip_tokens(
        self, input_ids: torch.Tensor, inputs: Any, rows: Sequence[RowMedia], processor: Any, tokenizer: Any
    ) -> list[ClipTokens | None]:
        """Where the tokens of every clip of a batch stand; None for a clip that `locate_clips` finds cut.

        Args:
            input_ids: (B, L).
            inputs: the processor's outputs, or the batch that holds them.
            rows: the media of each row.
            processor: of the student.
            tokenizer: of the student.
        """
        is_clip, _ = self.visual_tokens(input_ids, rows, tokenizer)
        grids = self.video_grids(inputs, processor, rows)
        return locate_clips(is_clip, [len(row.frames) for row in rows], grids, self.tokens_after_clip)

    def timestamps(
        self,
        input_ids: torch.Tensor,
        inputs: Any,
        images: Sequence[int],
        clips: Sequence[int],
        seconds: Sequence[Sequence[float]],
        processor: Any,
        tokenizer: Any,
    ) -> torch.Tensor:
        """`video_timestamps` of questions that are put to a model with timestamp positional encoding, (B, L) int64.

        Args:
            input_ids: (B, L).
            inputs: the processor's outputs, or the batch that holds them.
            images: how many each row has.
            clips: the same of clips.
            seconds: per clip, rows in order, the time of each frame.
            processor: of the student.
            tokenizer: of the student.
        """
        frames = iter(map(len, seconds))
        rows = [RowMedia(count, tuple(itertools.islice(frames, n))) for count, n in zip(images, clips, strict=True)]
        found = self.clip_tokens(input_ids, inputs, rows, processor, tokenizer)
        tokens = [clip for clip in found if clip is not None]
        if len(tokens) != len(found):
            raise TokenCountError(f"the tokens of clip {found.index(None)} are cut off; raise cutoff_len")
        return timestamps_of(input_ids, tokens, seconds, self.frames_per_step(processor))


class TokenCountError(ValueError):
    """The video tokens of a row do not match the grids of its clips."""


def locate_clips(
    is_clip: torch.Tensor,
    clips_per_row: Sequence[int],
    grids: Sequence[tuple[int, int, int]],
    tokens_after_clip: int = 0,
) -> list[ClipTokens | None]:
    """Finds every clip's tokens in a padded batch.

    In every family the tokens of a clip follow each other in row-major t, h, w order; text (Qwen3-VL's timestamps,
    InternVL's frame names) may stand between the steps, so tokens are collected by kind and split by count.

    Args:
        is_clip: (B, L) bool, from `StudentFamily.visual_tokens`.
        clips_per_row: number of clips in each row.
        grids: (t, h, w) of all clips, rows in order.
        tokens_after_clip: tokens that follow a clip's grid, and belong to no place of it.

    Returns:
        One entry per clip; None for a clip that lacks tokens because the row was cut before its end.

    Raises:
        TokenCountError: a row holds more video tokens than its clips have.
    """
    if len(clips_per_row) != is_clip.shape[0] or sum(clips_per_row) != len(grids):
        raise TokenCountError(
            f"{is_clip.shape[0]} rows and {len(grids)} grids, but clips per row are {list(clips_per_row)}"
        )
    length = is_clip.shape[1]
    clips: list[ClipTokens | None] = []
    for row, count in enumerate(clips_per_row):
        positions = is_clip[row].nonzero().flatten() + row * length
        taken = 0
        for t, h, w in grids[len(clips) : len(clips) + count]:
            size = t * h * w
            here = positions[taken : taken + size]
            taken += size + tokens_after_clip
            # The model refuses a clip that lacks any of its tokens, those after its grid too.
            clips.append(ClipTokens(here, (t, h, w)) if taken <= len(positions) else None)
        if taken < len(positions):
            raise TokenCountError(
                f"row {row} of the batch has {len(positions)} video tokens, its {count} clip(s) only {taken}"
            )
    return clips


def timestamps_of(
    input_ids: torch.Tensor,
    clips: Sequence[ClipTokens],
    seconds: Sequence[Sequence[float]],
    frames_per_step: int,
) -> torch.Tensor:
    """`video_timestamps` of a batch, for a model with timestamp positional encoding.

    Args:
        input_ids: (B, L).
        clips: where each clip's tokens stand in it.
        seconds: per clip the time of each frame.
        frames_per_step: of the family.

    Returns:
        (B, L) int64, see `modeling.timestamp_encoding`.
    """
    # Imported here: transformers' modeling code is slow to import, and most users of this module need none of it.
    from rgpt4d_plugin.modeling.timestamp_encoding import step_times, token_timestamps

    timed = [
        (clip.index, step_times(times, clip.grid[0], frames_per_step))
        for clip, times in zip(clips, seconds, strict=True)
    ]
    rows, length = input_ids.shape
    return token_timestamps((rows, length), timed, input_ids.device)
