# SPDX-License-Identifier: Apache-2.0
"""Timestamp positional encoding (TPE): what every `rgpt4d_<base>` model and processor adds to its base.

    video token of a clip's step at t seconds  +=  scale * PE(t)
    PE(t)[2i] = sin(t / base^(2i / C)),  PE(t)[2i + 1] = cos(t / base^(2i / C)),  0 <= i < C / 2

C is the width of the language model. The encoding has no parameters and is added to the projected video tokens, before
the first layer of the language model, as the released code does (the paper's figure draws it before the projector).
Images and text get none.

Times travel as `video_timestamps`, (B, L) int64 beside `input_ids`: microseconds from the start of the clip at its
tokens, -1 at all others. Integers, because DeepSpeed, FSDP and accelerate cast floating inputs to the training
precision, and bfloat16 knows no time between 100 s and 100.5 s. One per token, because padding, packing, several clips
and beam search then treat them as they treat `input_ids`.

A saved model takes this file and its own with it, as remote code: both import nothing but torch and transformers.
"""

import functools
import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping


NO_TIME = -1
"""Time of a token that is no video token."""


def timestamp_encoding(seconds: torch.Tensor, width: int, scale: float, base: float) -> torch.Tensor:
    """scale * PE(t) of the formula above.

    Args:
        seconds: any shape, float32.
        width: C, even.
        scale: amplitude.
        base: the longest wavelength is 2 pi base seconds.

    Returns:
        (*shape, C) float32.
    """
    exponents = torch.arange(0, width, 2, device=seconds.device, dtype=torch.float32) / width
    angles = seconds[..., None] * torch.pow(base, -exponents)
    return scale * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def step_times(seconds: Sequence[float], steps: int, frames_per_step: int) -> list[float]:
    """Time of every temporal step of a clip: the mean over the frames that it covers.

    Args:
        seconds: time of each frame.
        steps: temporal steps of the clip's token grid.
        frames_per_step: frames that a step covers; the last frame fills the last step.

    Raises:
        ValueError: the frames are too few or too many for the steps.
    """
    if not (steps - 1) * frames_per_step < len(seconds) <= steps * frames_per_step:
        raise ValueError(f"{len(seconds)} frame times for {steps} steps of {frames_per_step} frame(s)")
    filled = [*seconds, *[seconds[-1]] * (steps * frames_per_step - len(seconds))]
    groups = (filled[step * frames_per_step : (step + 1) * frames_per_step] for step in range(steps))
    return [sum(group) / frames_per_step for group in groups]


def token_timestamps(
    shape: tuple[int, int], clips: Iterable[tuple[torch.Tensor, Sequence[float]]], device: Any = None
) -> torch.Tensor:
    """`video_timestamps` of a batch.

    Args:
        shape: (B, L) of its `input_ids`.
        clips: per clip the flat positions (row * L + column) of its tokens, step after step with equally many in each,
            and the time of each step in seconds.
        device: Device of the result.
    """
    stamps = torch.full((shape[0] * shape[1],), NO_TIME, dtype=torch.int64, device=device)
    for index, times in clips:
        micros = torch.tensor([round(time * 1e6) for time in times], dtype=torch.int64, device=device)
        stamps[index] = micros.repeat_interleave(len(index) // len(times))
    return stamps.view(shape)


def runs_of(row: torch.Tensor, token_id: int) -> list[torch.Tensor]:
    """Positions of a token in a row of `input_ids`, one tensor for every uninterrupted run of it."""
    positions = (row == token_id).nonzero().flatten()
    breaks = (positions.diff() != 1).nonzero().flatten() + 1
    return list(positions.tensor_split(breaks)) if len(positions) else []


class TimestampedModel:
    """Mixin in front of a base's `...ForConditionalGeneration`, whose parameters and their names stay as they are.

    A subclass names its `config_class`. Weights of the base load as they are: transformers 5 renames a checkpoint's
    tensors by model type, so the base's renaming is registered for the new type too.
    """

    clip_inputs: tuple[str, ...] = ("pixel_values_videos",)
    """The inputs that may hold clips; with one, `video_timestamps` is required."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "forward" in vars(cls):
            return  # transformers copies a class that comes from a checkpoint's folder: it is finished already
        base = next(parent for parent in cls.__mro__[1:] if not issubclass(parent, TimestampedModel))
        renaming = get_checkpoint_conversion_mapping(base.config_class.model_type)
        if renaming is not None:
            register_checkpoint_conversion_mapping(cls.config_class.model_type, renaming, overwrite=True)

        # transformers reads the names that a model takes off the signature of its `forward`.
        @functools.wraps(base.forward)
        def forward(self, *args: Any, video_timestamps: torch.Tensor | None = None, **kwargs: Any) -> Any:
            return super(cls, self).forward(*args, video_timestamps=video_timestamps, **kwargs)

        forward.__signature__ = _with_parameter(inspect.signature(base.forward), "video_timestamps")
        cls.forward = forward

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        # On the object, not the class, which would make transformers take the model for one from a repository.
        self._auto_class = "AutoModelForImageTextToText"
        self.rgpt4d_timestamps = nn.Identity()  # computes nothing: adapters tell this model from its base by it
        # The model below the head takes the times, for TRL's fused head calls it past `forward` of the whole.
        take = functools.partial(_take_timestamps, clip_inputs=self.clip_inputs, whole=type(self).__name__)
        self.base_model.register_forward_pre_hook(take, with_kwargs=True)
        self.base_model.register_forward_hook(_forget_timestamps, always_call=True)
        decoder = self.get_decoder()
        decoder.video_timestamps = None
        add = functools.partial(_add_timestamps, scale=config.tpe_scale, base=config.tpe_base)
        decoder.register_forward_pre_hook(add, with_kwargs=True)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, *args: Any, video_timestamps: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
        first = kwargs.get("is_first_iteration", False) or not kwargs.get("use_cache", True)
        if video_timestamps is not None and first:
            # Without a cache the generated tokens come again, with a cache from before only the rest of the prompt.
            fresh = inputs.get("input_ids")
            length = (fresh if fresh is not None else inputs["inputs_embeds"]).shape[1]
            missing = max(input_ids.shape[1] - video_timestamps.shape[1], 0)
            padded = nn.functional.pad(video_timestamps, (0, missing), value=NO_TIME)
            inputs["video_timestamps"] = padded[:, padded.shape[1] - length :]
        return inputs


def _with_parameter(signature: inspect.Signature, name: str) -> inspect.Signature:
    """The signature with one more keyword, before `**kwargs`."""
    parameters = [part for part in signature.parameters.values() if part.kind is not part.VAR_KEYWORD]
    rest = [part for part in signature.parameters.values() if part.kind is part.VAR_KEYWORD]
    new = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=torch.Tensor | None)
    return signature.replace(parameters=[*parameters, new, *rest])


def _take_timestamps(
    model: nn.Module, args: tuple, kwargs: dict[str, Any], clip_inputs: Sequence[str], whole: str
) -> tuple[tuple, dict[str, Any]]:
    """Forward pre-hook of the model below the head: hands `video_timestamps` to the text decoder's hook."""
    stamps = kwargs.get("video_timestamps")
    if stamps is None:
        given = [name for name in clip_inputs if kwargs.get(name) is not None]
        if given:
            raise ValueError(
                f"{whole} needs `video_timestamps` with `{given[0]}`: without the times of the frames it would "
                "answer as another model. Use the processor saved with it, or in LLaMA-Factory a template "
                "`rgpt4d_...`."
            )
    elif stamps.is_floating_point():
        raise TypeError(f"video_timestamps: expected int64 microseconds, got {stamps.dtype}")
    model.get_decoder().video_timestamps = stamps
    return args, {key: value for key, value in kwargs.items() if key != "video_timestamps"}


def _forget_timestamps(model: nn.Module, args: Any, output: Any) -> None:
    model.get_decoder().video_timestamps = None


def _add_timestamps(
    decoder: nn.Module, args: tuple, kwargs: dict[str, Any], scale: float, base: float
) -> tuple[tuple, dict[str, Any]] | None:
    """Forward pre-hook of the text decoder, which gets the merged embeddings of text, images and video."""
    stamps = decoder.video_timestamps
    if stamps is None:
        return None
    embeds = kwargs["inputs_embeds"]
    if stamps.shape != embeds.shape[:2]:
        raise ValueError(
            f"video_timestamps: shape {tuple(stamps.shape)}, but the tokens are {tuple(embeds.shape[:2])}"
        )
    stamps = stamps.to(embeds.device)
    # In two parts: float32 holds no microseconds beyond 16 s.
    seconds = (stamps // 1_000_000).float() + (stamps % 1_000_000).float() / 1e6
    encoding = timestamp_encoding(seconds, embeds.shape[-1], scale, base).to(embeds.dtype)
    timed = (stamps != NO_TIME).unsqueeze(-1)
    return args, {**kwargs, "inputs_embeds": embeds + encoding * timed}


class TimestampedProcessor:
    """Mixin in front of a base's processor: it also returns `video_timestamps`.

    The times are those of the frames that the base's own video processor shows, from the file or from the
    `video_metadata` that the caller passes with decoded frames. Pixels and tokens are the base's.
    """

    _auto_class = "AutoProcessor"

    leading = 0
    """Tokens before each step of a clip's grid that see all of it."""

    trailing = 0
    """Tokens behind a clip's grid that see no frame."""

    hidden_options: tuple[str, ...] = ()
    """Options of the video processor that the base's own call does not hand on."""

    def __call__(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> Any:
        """The base's call; see there. The result has `video_timestamps` too, shaped as `input_ids`.

        Raises:
            ValueError: frames without times: they came decoded and without `video_metadata`.
        """
        if videos is None:
            inputs = super().__call__(images=images, text=text, **kwargs)
            layouts = []
        else:
            options = {key: kwargs.pop(key) for key in self.hidden_options if key in kwargs}
            with _FrameTimes(self, options) as times:
                inputs = super().__call__(images=images, text=text, videos=videos, **kwargs)
            layouts = self.clip_layouts(inputs, times.clips)
        inputs["video_timestamps"] = self._stamps(
            inputs["input_ids"], [text] if isinstance(text, str) else text, layouts
        )
        return inputs

    def _stamps(self, rows: Any, texts: Sequence[str], layouts: list[tuple[list[float], int | None]]) -> Any:
        stamps, seen = [], 0
        for row, words in zip(rows, texts, strict=True):
            row = torch.as_tensor(row)
            here = layouts[seen : seen + words.count(self.video_token)]
            seen += len(here)
            places = self.clip_tokens(row, words, here)
            clips = [(index, times) for index, (times, _) in zip(places, here, strict=True)]
            stamps.append(token_timestamps((1, len(row)), clips)[0])
        return self.contained(stamps, rows)

    @staticmethod
    def contained(stamps: list[torch.Tensor], rows: Any) -> Any:
        """The rows of `video_timestamps` in the kind of container that `input_ids` came in."""
        if isinstance(rows, torch.Tensor):
            return torch.stack(stamps)
        return [row.tolist() for row in stamps] if isinstance(rows, list) else torch.stack(stamps).numpy()

    def clip_layouts(self, inputs: Any, clips: list[list[float]]) -> list[tuple[list[float], int | None]]:
        """Time of every step of every clip, and how many tokens a step has, if the inputs say; a step is a frame."""
        return [(seconds, None) for seconds in clips]

    def clip_tokens(
        self, row: torch.Tensor, text: str, layouts: list[tuple[list[float], int | None]]
    ) -> list[torch.Tensor]:
        """Positions in a row of `input_ids` of the tokens of each of its clips, step after step."""
        if not layouts:
            return []
        positions = (row == self.video_token_id).nonzero().flatten()
        # Where the inputs do not say, all frames of a call are equally large.
        equal = (len(positions) - self.trailing * len(layouts)) // sum(len(times) for times, _ in layouts)
        places = []
        for times, size in layouts:
            count = len(times) * (equal if size is None else size)
            places.append(positions[:count].view(len(times), -1)[:, self.leading :].flatten())
            positions = positions[count + self.trailing :]
        return places

    @property
    def model_input_names(self) -> list[str]:
        return [*super().model_input_names, "video_timestamps"]


class TimestampedGridProcessor(TimestampedProcessor):
    """For the Qwen-VL processors, which return the grid of every clip."""

    def clip_layouts(self, inputs: Any, clips: list[list[float]]) -> list[tuple[list[float], int | None]]:
        frames, merged = self.video_processor.temporal_patch_size, self.video_processor.merge_size**2
        grids = torch.as_tensor(inputs["video_grid_thw"]).tolist()
        return [
            (step_times(seconds, t, frames), h * w // merged) for seconds, (t, h, w) in zip(clips, grids, strict=True)
        ]


class TimestampedRunsProcessor(TimestampedProcessor):
    """For processors that write images and clips with the same token: an image is one run of it, and a step of a clip
    is one."""

    def clip_tokens(
        self, row: torch.Tensor, text: str, layouts: list[tuple[list[float], int | None]]
    ) -> list[torch.Tensor]:
        runs, clips, places = iter(runs_of(row, self.image_token_id)), iter(layouts), []
        for found in re.findall(f"{re.escape(self.image_token)}|{re.escape(self.video_token)}", text):
            if found == self.video_token:
                times, _ = next(clips)
                places.append(torch.cat([next(runs) for _ in times]))
            else:
                next(runs)
        return places


class _FrameTimes:
    """While it is entered, notes the times of the frames that a processor's video processor shows.

    Args:
        processor: whose `video_processor` it stands in for.
        options: more arguments for that one's call.
    """

    def __init__(self, processor: Any, options: dict[str, Any]) -> None:
        self._processor = processor
        self._options = options
        self._inner = processor.video_processor
        self.clips: list[list[float]] = []

    def __enter__(self) -> "_FrameTimes":
        self._processor.video_processor = self
        return self

    def __exit__(self, *error: Any) -> None:
        self._processor.video_processor = self._inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.get("return_metadata", getattr(self._inner, "return_metadata", False))
        outputs = self._inner(*args, **{**kwargs, **self._options, "return_metadata": True})
        # Read here: some processors fill a missing frame rate with 24 later on.
        self.clips = [_frame_times(clip, number) for number, clip in enumerate(outputs["video_metadata"])]
        if not wanted:
            outputs.pop("video_metadata")
        return outputs


def _frame_times(metadata: Any, number: int) -> list[float]:
    if metadata["fps"] is None or metadata["frames_indices"] is None:
        raise ValueError(
            f"videos[{number}]: the times of its frames are not known; pass a file, or with decoded frames "
            "video_metadata=[{'fps': ..., 'frames_indices': [...], 'total_num_frames': ...}]"
        )
    return [float(index) / metadata["fps"] for index in metadata["frames_indices"]]
