# SPDX-License-Identifier: Apache-2.0
"""Plugin and template of LLaVA-OneVision for LLaMA-Factory, which has neither (0.9.5 and main).

The tokens are those of the processor in transformers. The chat format is that of Qwen2, with a system message only if
the record has one, as in the released models.
"""

import itertools
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from llamafactory.data.mm_plugin import BasePlugin
from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER
from torch.nn.functional import pad

from rgpt4d_plugin.students import RowMedia, get_family
from rgpt4d_plugin.students.shared_token import token_runs
from rgpt4d_plugin.template.llava import clip_tensors
from rgpt4d_plugin.template.plugin_classes import with_reader
from rgpt4d_plugin.template.square import clips_of, image_options


NAME = "rgpt4d_llava_onevision"
"""Of the plugin and of the template."""

_PLACEHOLDERS = re.compile(f"({re.escape(IMAGE_PLACEHOLDER)}|{re.escape(VIDEO_PLACEHOLDER)})")


@dataclass
class LlavaOnevisionPlugin(BasePlugin):
    """The multimodal plugin, written like those of the host."""

    def process_messages(self, messages: list, images: list, videos: list, audios: list, processor: Any) -> list:
        """Returns the messages with a token for every place of an image or a clip, before they are tokenized."""
        self._validate_input(processor, images, videos, audios)
        self._validate_messages(messages, images, videos, audios)
        written = {IMAGE_PLACEHOLDER: self.image_token, VIDEO_PLACEHOLDER: self.video_token}
        counts = {IMAGE_PLACEHOLDER: [1] * len(images), VIDEO_PLACEHOLDER: [1] * len(videos)}
        if self.expand_mm_tokens:
            inputs = self._get_mm_inputs(images, [], audios, processor, [len(images)])
            frames = [len(clip) for clip in clips_of(self, videos, processor)]
            rows, family = [RowMedia(len(images), tuple(frames))], get_family("llava_onevision")
            counts = {
                IMAGE_PLACEHOLDER: [n for _, _, n in family.image_grids(inputs, processor, rows)],
                VIDEO_PLACEHOLDER: [family.clip_length(grid) for grid in family.video_grids(inputs, processor, rows)],
            }
        left = {placeholder: iter(of_each) for placeholder, of_each in counts.items()}

        def expanded(content: str) -> str:
            # The tokens look like the placeholders, so that no part may be looked at twice.
            parts = _PLACEHOLDERS.split(content)
            return "".join(written[part] * next(left[part]) if part in written else part for part in parts)

        return [{**message, "content": expanded(message["content"])} for message in messages]

    def _get_mm_inputs(
        self, images: list, videos: list, audios: list, processor: Any, imglens: list[int] | None = None
    ) -> dict[str, torch.Tensor]:
        inputs = super()._get_mm_inputs(images, [], audios, processor, imglens)
        if not videos:
            return inputs
        clips = clip_tensors(clips_of(self, videos, processor), processor)
        longest = max(clip.shape[1] for clip in clips)
        # (clips, frames, 3, H, W); frames that a clip does not have are no number, see `patches.onevision`
        filled = [pad(clip, (0, 0) * 3 + (0, longest - clip.shape[1]), value=torch.nan) for clip in clips]
        inputs["pixel_values_videos"] = torch.cat(filled)
        return inputs

    def get_mm_inputs(
        self,
        images: list,
        videos: list,
        audios: list,
        imglens: list[int],
        vidlens: list[int],
        audlens: list[int],
        batch_ids: list[list[int]],
        processor: Any,
    ) -> dict[str, torch.Tensor]:
        """Returns the tensors of a batch. The only image of a record is shown in tiles too, several are not."""
        self._validate_input(processor, images, videos, audios)
        records, left = [], list(images)
        for count, ids in zip(imglens, batch_ids, strict=True):
            records += self._records(left[:count], ids, processor)
            left = left[count:]
        return self._get_mm_inputs(images, videos, audios, processor, records)

    def _records(self, images: list, ids: list[int], processor: Any) -> list[int]:
        """Returns the number of images of each record in a row, which `packing` makes of several.

        The tokens say which images are in tiles. Neighboring records with several images each are as one.
        """
        if len(images) < 2:
            return [len(images)]
        sizes = [image.size[::-1] for image in self._regularize_images(images, **image_options(processor))["images"]]
        tile, whole = processor.image_processor.size, processor.num_image_tokens + 1
        tiled: list[bool] = []
        for start, stop in token_runs(np.asarray(ids), processor.image_token_id):
            if len(tiled) < len(images):
                tokens = processor._get_number_of_features(*sizes[len(tiled)], tile["height"], tile["width"])
                tiled += [True] if stop - start == tokens else [False] * ((stop - start) // whole)
        tiled += [False] * (len(images) - len(tiled))  # what `cutoff_len` cut
        counts = []
        for alone, group in itertools.groupby(tiled):
            count = len(list(group))
            counts += [1] * count if alone else [count]
        return counts


def register(module: ModuleType, plugins: ModuleType) -> list[str]:
    """Registers the plugin in `llamafactory.data.mm_plugin` and the template in `llamafactory.data.template`.

    Returns the template's name unless it is there already.
    """
    if NAME in module.TEMPLATES:
        return []
    if NAME not in plugins.PLUGINS:
        plugins.register_mm_plugin(NAME, LlavaOnevisionPlugin)
    module.register_template(
        name=NAME,
        format_user=module.StringFormatter(slots=["<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"]),
        format_assistant=module.StringFormatter(slots=["{{content}}<|im_end|>\n"]),
        format_system=module.StringFormatter(slots=["<|im_start|>system\n{{content}}<|im_end|>\n"]),
        stop_words=["<|im_end|>"],
        replace_eos=True,
        mm_plugin=with_reader(module.get_mm_plugin(NAME, image_token="<image>", video_token="<video>")),
    )
    return [NAME]
