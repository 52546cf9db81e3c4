# SPDX-License-Identifier: Apache-2.0
"""What differs between base video MLLMs: where the video tokens stand, and where the last hidden states come out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rgpt4d_plugin.distill.batch import ClipTokens


@dataclass(frozen=True)
class StudentFamily(ABC):
    """Base class of the families. A family is one small file that says its grid; the rest is shared.

    Attributes:
        name: for messages.
        model_types: the `model_type`s of the family's configs.
        templates: the host's templates that fit, for messages.
    """

    name: str
    model_types: tuple[str, ...]
    templates: tuple[str, ...]

    def decoder(self, model: nn.Module) -> nn.Module:
        """The text decoder whose output is the last hidden state, after its final norm: (B, L, C)."""
        return model.get_decoder()

    def hidden_size(self, config: Any) -> int:
        """C, the width of those hidden states."""
        return config.get_text_config().hidden_size

    @abstractmethod
    def frames_per_step(self, processor: Any) -> int:
        """Frames that one temporal step of the token grid covers."""

    @abstractmethod
    def video_grids(self, inputs: dict[str, Any], processor: Any) -> list[tuple[int, int, int]]:
        """Token grid (t, h, w) of every clip of a batch, in order, from the processor's outputs."""

    @abstractmethod
    def image_grids(self, inputs: dict[str, Any], processor: Any) -> list[tuple[int, int, int]]:
        """The same of every image, with t = 1."""

    @abstractmethod
    def frames(self, inputs: dict[str, Any], processor: Any) -> list[np.ndarray]:
        """The frames that the model gets, read back from its inputs: the inverse of the processor.

        Args:
            inputs: the processor's outputs, or a batch that holds them.
            processor: of the student.

        Returns:
            Per clip (T, H, W, 3) uint8 RGB after all resizing, exact to one level (bfloat16 inputs) or exact
            (float32). T counts the frames that fill the last temporal step too.
        """

    @abstractmethod
    def images(self, inputs: dict[str, Any], processor: Any) -> list[np.ndarray]:
        """The same of every image: (H, W, 3) uint8 RGB."""


class TokenCountError(ValueError):
    """The video tokens of a row do not match the grids of its clips."""


def locate_clips(
    input_ids: torch.Tensor,
    video_token_id: int,
    clips_per_row: Sequence[int],
    grids: Sequence[tuple[int, int, int]],
) -> list[ClipTokens | None]:
    """Finds every clip's tokens in a padded batch.

    In every family the tokens of a clip follow each other in row-major t, h, w order; text (Qwen3-VL's timestamps,
    InternVL's frame names) may stand between the steps, so tokens are collected by id and split by count.

    Args:
        input_ids: (B, L).
        video_token_id: the id that stands for one video token.
        clips_per_row: number of clips in each row.
        grids: (t, h, w) of all clips, rows in order.

    Returns:
        One entry per clip; None for a clip that lacks tokens because the row was cut before its end.

    Raises:
        TokenCountError: a row holds more video tokens than its clips have.
    """
    if len(clips_per_row) != input_ids.shape[0] or sum(clips_per_row) != len(grids):
        raise TokenCountError(
            f"{input_ids.shape[0]} rows and {len(grids)} grids, but clips per row are {list(clips_per_row)}"
        )
    length = input_ids.shape[1]
    clips: list[ClipTokens | None] = []
    for row, count in enumerate(clips_per_row):
        positions = (input_ids[row] == video_token_id).nonzero().flatten() + row * length
        taken = 0
        for t, h, w in grids[len(clips) : len(clips) + count]:
            size = t * h * w
            here = positions[taken : taken + size]
            clips.append(ClipTokens(here, (t, h, w)) if len(here) == size else None)
            taken += size
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
    return token_timestamps(tuple(input_ids.shape), timed, input_ids.device)
