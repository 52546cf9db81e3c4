# SPDX-License-Identifier: Apache-2.0
"""GLM-4.1V to GLM-4.6V: two frames are a run of <|image|>, as an image is, and the text of their time follows.

What stands between <|begin_of_video|> and <|end_of_video|> is a clip. The model (transformers 5.5) takes either images
or clips, because it looks for both at the same tokens. A step of a clip is to it what an image is, in its tower and in
its positions: `template.glm4v` gives it both as images, in the order of the tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rgpt4d_plugin.students.base import Grid, RowMedia
from rgpt4d_plugin.students.qwen_vl import QwenVLFamily
from rgpt4d_plugin.students.shared_token import token_runs
from rgpt4d_plugin.students.tokens import ClipTokens


_MARKERS = ("<|begin_of_video|>", "<|end_of_video|>", "<|begin_of_image|>")

_PARTS = (("pixel_values", "image_grid_thw"), ("pixel_values_videos", "video_grid_thw"))
"""What the model takes of images and of clips: patches, and patches along the axes (t, h, w) of each."""


@dataclass(frozen=True)
class Glm4vFamily(QwenVLFamily):
    """The grids are Qwen's; which token is a clip's, its surroundings say."""

    def visual_tokens(
        self, input_ids: torch.Tensor, rows: Sequence[RowMedia], tokenizer: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        begin, end, _ = tokenizer.convert_tokens_to_ids(_MARKERS)
        places = torch.arange(1, input_ids.shape[-1] + 1, device=input_ids.device)
        begun, ended = ((places * (input_ids == marker)).cummax(-1).values for marker in (begin, end))
        # Behind a clip that is cut may stand the image that the host adds to a batch without any.
        has_clips = torch.tensor([[bool(row.frames)] for row in rows], device=input_ids.device)
        inside = (begun > ended) & has_clips
        tokens = input_ids == tokenizer.convert_tokens_to_ids(self.image_token)
        return tokens & inside, tokens & ~inside

    def clip_tokens(
        self, input_ids: torch.Tensor, inputs: Any, rows: Sequence[RowMedia], processor: Any, tokenizer: Any
    ) -> list[ClipTokens | None]:
        # The host's chat engine has another name for them.
        return super().clip_tokens(input_ids, {**inputs, "input_ids": input_ids}, rows, processor, tokenizer)

    def video_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        return super().video_grids(self._apart(inputs, processor, rows), processor, rows)

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        return super().image_grids(self._apart(inputs, processor, rows), processor, rows)

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Any]:
        return super().frames(self._apart(inputs, processor, rows, with_pixels=True), processor, rows)

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Any]:
        return super().images(self._apart(inputs, processor, rows, with_pixels=True), processor, rows)

    def _apart(
        self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia], with_pixels: bool = False
    ) -> dict[str, Any]:
        """Undoes `joined`, of the pixels only where asked; returns inputs that are not joined as they are."""
        grids = inputs.get("image_grid_thw")
        if grids is None or len(grids) == sum(row.images for row in rows):
            return inputs
        per_step = self.frames_per_step(processor)
        left = iter(zip(inputs["pixel_values"].split(grids.prod(-1).tolist()), grids.tolist(), strict=True))
        found: tuple[list, list] = ([], [])
        for ids, row in zip(inputs["input_ids"].tolist(), rows, strict=True):
            frames = iter(row.frames)
            for is_clip in order(ids, row.images, len(row.frames), processor.tokenizer):
                steps = [next(left) for _ in range(-(-next(frames) // per_step) if is_clip else 1)]
                _, h, w = steps[0][1]
                found[is_clip].append(([part for part, _ in steps], [len(steps), h, w]))
        apart: dict[str, torch.Tensor] = {}
        for (pixels, grids), media in zip(_PARTS, found, strict=True):
            if media:
                apart[grids] = torch.tensor([shape for _, shape in media])
            if media and with_pixels:
                apart[pixels] = torch.cat([part for steps, _ in media for part in steps])
        return apart


def joined(
    inputs: Mapping[str, Any], media: Sequence[tuple[int, int]], ids: Sequence[Sequence[int]], tokenizer: Any
) -> dict[str, Any]:
    """Returns the inputs that a processor makes with every step of a clip as an image, in the order of the tokens.

    `media` counts images and clips of each row of `ids`.
    """
    left = []
    for pixels, grids in _PARTS:
        shapes = inputs[grids].tolist() if grids in inputs else []
        parts = inputs[pixels].split([t * h * w for t, h, w in shapes]) if shapes else ()
        left.append(iter(zip(parts, shapes, strict=True)))
    parts, steps = [], []
    for row, (images, clips) in zip(ids, media, strict=True):
        for is_clip in order(row, images, clips, tokenizer):
            part, (t, h, w) = next(left[is_clip])
            parts.append(part)
            steps += [[1, h, w]] * t
    found = {key: value for key, value in inputs.items() if not any(key in keys for keys in _PARTS)}
    if "mm_token_type_ids" in found:
        found["mm_token_type_ids"] = found["mm_token_type_ids"].clamp(max=1)
    return found | ({"pixel_values": torch.cat(parts), "image_grid_thw": torch.tensor(steps)} if parts else {})


def for_model(inputs: Any, processor: Any, media: Sequence[tuple[int, int]]) -> Any:
    """Returns a processor's outputs as its model takes them: `joined` if they are GLM's and of images and clips.

    Raises:
        ValueError: an image stands before a clip. The processor (transformers 5.5) then gives the clip's tokens to it.
    """
    names = {cls.__name__ for cls in type(processor).__mro__}
    if not names & {"Glm4vProcessor", "Glm46VProcessor"} or any(grids not in inputs for _, grids in _PARTS):
        return inputs
    rows = inputs["input_ids"]
    found = joined(inputs, media, rows.tolist(), processor.tokenizer)
    runs = [stop - first for row in rows.numpy() for first, stop in token_runs(row, processor.image_token_id)]
    if runs != (found["image_grid_thw"].prod(-1) // processor.image_processor.merge_size**2).tolist():
        raise ValueError(
            f"{type(processor).__name__} writes the tokens of an image that stands before a clip wrong (transformers "
            "5.5): put images behind clips, or use LLaMA-Factory with `rgpt4d_glm4v` or `rgpt4d_glm4_5v`"
        )
    return type(inputs)(found)


def order(ids: Sequence[int], images: int, clips: int, tokenizer: Any) -> list[bool]:
    """Returns whether each of a row's images and clips is a clip, in the order of their tokens.

    Those without tokens, because the row was cut, come last.
    """
    begin, end, image = tokenizer.convert_tokens_to_ids(_MARKERS)
    left, found, inside = [images, clips], [], False
    for token in ids:
        if token in (begin, image) and not inside and left[token == begin]:
            found.append(token == begin)
            left[token == begin] -= 1
        inside = token == begin or (inside and token != end)
    return [*found, *[False] * left[False], *[True] * left[True]]


FAMILIES = (
    Glm4vFamily(
        name="GLM-4.1V to GLM-4.6V",
        model_types=("glm4v", "glm4v_moe", "glm46v"),
        templates=("glm4v", "glm4_5v"),
        plugins=("GLM4VPlugin",),
        image_token="<|image|>",
        clip_token="<|image|>",
        reader="rgpt4d_plugin.template.glm4v:Glm4vReader",
        composite="glm4v",
        public_models=("GLM-4.1V-9B-Thinking", "GLM-4.5V-Air-Thinking", "GLM-4.6V-Flash", "GLM-4.6V"),
    ),
)
