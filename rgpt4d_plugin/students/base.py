# SPDX-License-Identifier: Apache-2.0
"""Base class of the student families: positions of the video tokens, and the module of the last hidden states."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rgpt4d_plugin.students.tokens import ClipTokens, Grid


@dataclass(frozen=True)
class RowMedia:
    """The media of one row of a batch.

    Attributes:
        images: Number of images.
        frames: Number of decoded frames of each clip.
    """

    images: int = 0
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class StudentFamily(ABC):
    """A family of base models. A subclass gives the token grids; the rest is shared.

    Attributes:
        name: Name in messages.
        model_types: The `model_type`s of the family's configs.
        templates: Names of the host's templates for the family, for messages.
        plugins: Names of the multimodal plugin classes of these templates; every host template of such a class gets a
            derived template.
        reader: Template reader as 'module:Class', for a family that needs more than `template.clip_reader`.
        counts_each_clip: A derived template counts the tokens of every clip on its own, because the host's plugin
            takes the length of all clips from the first.
        composite: Host model type with the same names of vision tower, projector and language model, if the host has
            no entry for the family.
        public_models: The public models: the host's names for them, or pairs (name, repository).
        image_token: Placeholder of one token of an image.
        clip_token: Placeholder of one token of a clip; in some families the same.
        tokens_before_step: Number of clip tokens that precede each temporal step of a clip's grid (a class token).
        tokens_after_clip: Number of clip tokens that follow the grid of a clip.
        single_image_is_tiled: The only image of a record has other tokens than one of several.
        takes_videos: Its processor in transformers does; otherwise the host shows it the frames as images.
        bidirectional_images: Image tokens attend to later tokens of the same image or frame (Gemma 3).
        loads_under_zero3: transformers loads the weights under DeepSpeed ZeRO-3.
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
    tokens_before_step: int = 0
    tokens_after_clip: int = 0
    single_image_is_tiled: bool = False
    bidirectional_images: bool = False
    takes_videos: bool = True
    loads_under_zero3: bool = True

    def decoder(self, model: Any) -> nn.Module:
        """Returns the text decoder whose output is the last hidden state, after its final norm: (B, L, C)."""
        return model.get_decoder()

    def hidden_size(self, config: Any) -> int:
        """Returns the width C of the last hidden states."""
        return config.get_text_config().hidden_size

    def frames_per_step(self, processor: Any) -> int:
        """Returns the number of frames that one temporal step of the token grid covers."""
        return 1

    def visible_box(self, width: int, height: int, processor: Any) -> tuple[float, float, float, float]:
        """Returns the box that the token grid covers: (left, top, right, bottom) in pixels of the decoded frame."""
        return 0, 0, width, height

    @abstractmethod
    def video_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        """Returns the token grid (t, h, w) of every clip of a batch, in order.

        `inputs` are the processor's outputs, a batch that holds them, or the notes of the template's plugin on clips
        that it has not decoded.
        """

    @abstractmethod
    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        """Returns the token grid of every image, with t = 1; (1, 1, n) where its n tokens are no grid."""

    @abstractmethod
    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        """Returns the frames that the model gets, read back from its inputs: the inverse of the processor.

        Per clip (T, H, W, 3) uint8 RGB after all resizing, exact to one level (bfloat16 inputs) or exact (float32). T
        counts the frames that fill the last temporal step too.
        """

    @abstractmethod
    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        """Returns every image as `frames` does clips, (H, W, 3); of several tiles, the one with the whole image."""

    def visual_tokens(
        self, input_ids: torch.Tensor, rows: Sequence[RowMedia], tokenizer: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the masks of clip tokens and of image tokens, each (B, L) bool."""
        clip, image = (tokenizer.convert_tokens_to_ids(token) for token in (self.clip_token, self.image_token))
        return input_ids == clip, input_ids == image

    def clip_tokens(
        self, input_ids: torch.Tensor, inputs: Any, rows: Sequence[RowMedia], processor: Any, tokenizer: Any
    ) -> list[ClipTokens | None]:
        """Returns the positions of the tokens of every clip of a batch; None for a truncated clip.

        `inputs` are the processor's outputs, or the batch that holds them.
        """
        is_clip, _ = self.visual_tokens(input_ids, rows, tokenizer)
        grids = self.video_grids(inputs, processor, rows)
        clips = [len(row.frames) for row in rows]
        return locate_clips(is_clip, clips, grids, self.tokens_after_clip, self.tokens_before_step)

    def clip_length(self, grid: Grid) -> int:
        """Returns how many clip tokens a clip of this grid (t, h, w) has, with those that are no place of it."""
        t, h, w = grid
        return t * (self.tokens_before_step + h * w) + self.tokens_after_clip

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
        """Returns the `video_timestamps` of prompts for a model with timestamp positional encoding, (B, L) int64.

        `images` and `clips` count the media of each row; `seconds` has the time of each frame for every clip, rows in
        order.
        """
        frames = iter(map(len, seconds))
        rows = [RowMedia(count, tuple(itertools.islice(frames, n))) for count, n in zip(images, clips, strict=True)]
        found = self.clip_tokens(input_ids, inputs, rows, processor, tokenizer)
        tokens = [clip for clip in found if clip is not None]
        if len(tokens) != len(found):
            raise TokenCountError(f"the tokens of clip {found.index(None)} are truncated: the row ends before them")
        return timestamps_of(input_ids, tokens, seconds, self.frames_per_step(processor))


def unscaled(pixels: torch.Tensor, processor: Any) -> torch.Tensor:
    """Undoes normalization and rescaling by an image or video processor: (N, 3, ...) of a model's inputs to uint8."""
    pixels = pixels.float()
    if processor.do_normalize:
        shape = (3, *[1] * (pixels.dim() - 2))
        mean, std = (torch.tensor(values).view(shape) for values in (processor.image_mean, processor.image_std))
        pixels = pixels * std + mean
    if processor.do_rescale:
        pixels = pixels / processor.rescale_factor
    return pixels.round().clamp(0, 255).to(torch.uint8)


def has_linear_attention(config: Any) -> bool:
    """Whether some layers of a model carry a state along the row (Qwen3.5), which no 4D attention mask cuts."""
    return "linear_attention" in (getattr(config.get_text_config(), "layer_types", None) or ())


class TokenCountError(ValueError):
    """The video tokens of a row do not match the grids of its clips."""


def locate_clips(
    is_clip: torch.Tensor,
    clips_per_row: Sequence[int],
    grids: Sequence[Grid],
    tokens_after_clip: int = 0,
    tokens_before_step: int = 0,
) -> list[ClipTokens | None]:
    """Finds the tokens of every clip in a padded batch.

    The tokens of a clip are in row-major t, h, w order in every family. Text may stand between the steps (timestamps
    in Qwen3-VL, frame names in InternVL), so tokens are collected by kind and split by count.

    Args:
        is_clip: (B, L) bool, from `StudentFamily.visual_tokens`.
        clips_per_row: number of clips in each row.
        grids: (t, h, w) of all clips, rows in order.
        tokens_after_clip: number of tokens after the grid of a clip that stand for no place of it.
        tokens_before_step: number of tokens before each of its steps, likewise.

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
            size = t * (tokens_before_step + h * w)
            here = positions[taken : taken + size]
            taken += size + tokens_after_clip
            # The model refuses a clip that lacks any of its tokens, those after its grid too.
            if taken > len(positions):
                clips.append(None)
                continue
            places = here.view(t, tokens_before_step + h * w)[:, tokens_before_step:].flatten()
            clips.append(ClipTokens(places, (t, h, w)))
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
    """Returns the `video_timestamps` of a batch, (B, L) int64, see `modeling.timestamp_encoding`.

    Args:
        input_ids: (B, L).
        clips: the token positions of each clip.
        seconds: per clip the time of each frame.
        frames_per_step: Number of frames of one temporal step.
    """
    # Imported here: transformers' modeling code is slow to import, and most users of this module need none of it.
    from rgpt4d_plugin.modeling.timestamp_encoding import step_times, token_timestamps

    timed = [
        (clip.index, step_times(times, clip.grid[0], frames_per_step))
        for clip, times in zip(clips, seconds, strict=True)
    ]
    rows, length = input_ids.shape
    return token_timestamps((rows, length), timed, input_ids.device)
