# SPDX-License-Identifier: Apache-2.0
"""Plugin and template of NVILA-Lite for LLaMA-Factory, which has neither (0.9.5 and main).

Tokens and pictures are those of `modeling.processing_nvila`. The chat format is that of the released models.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from llamafactory.data.mm_plugin import BasePlugin
from llamafactory.data.template import Template
from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER
from PIL import Image

from rgpt4d_plugin.students import get_family
from rgpt4d_plugin.students.nvila import SYSTEM
from rgpt4d_plugin.students.shared_token import token_runs
from rgpt4d_plugin.template.plugin_classes import with_reader
from rgpt4d_plugin.template.square import clips_of, image_options


NAME = "rgpt4d_nvila"
"""Of the plugin and of the template."""


class NVILATemplate(Template):
    """Puts the newlines behind pictures in as tokens: as text, Qwen's tokenizer would join them with what follows."""

    def _convert_elements_to_ids(self, tokenizer: Any, elements: Any) -> list[int]:
        # Imported here: most runs of the host are of other models, and transformers' processors are slow to import.
        from rgpt4d_plugin.modeling.processing_nvila import with_newlines

        return with_newlines(super()._convert_elements_to_ids(tokenizer, elements), tokenizer)


@dataclass
class NVILAPlugin(BasePlugin):
    """The multimodal plugin, written like those of the host."""

    def process_messages(self, messages: list, images: list, videos: list, audios: list, processor: Any) -> list:
        """Returns the messages with a token for every place of an image or a clip, before they are tokenized."""
        self._validate_input(processor, images, videos, audios)
        self._validate_messages(messages, images, videos, audios)
        if not self.expand_mm_tokens:
            shown = iter([self.image_token] * len(images)), iter([self.video_token] * len(videos))
        else:
            written = processor.written(self.image_token, 1)
            if len(images) == 1 and not videos and processor.image_processor.image_aspect_ratio == "dynamic":
                (image,) = self._images(images, processor)
                written = processor.written_tiles(processor.image_processor.pictures_of(*image.size))
            frames = [processor.written(self.video_token, len(clip)) for clip in clips_of(self, videos, processor)]
            shown = iter([written] * len(images)), iter(frames)

        def expanded(found: re.Match) -> str:
            return next(shown[found[0] == VIDEO_PLACEHOLDER])

        placeholders = f"{re.escape(IMAGE_PLACEHOLDER)}|{re.escape(VIDEO_PLACEHOLDER)}"
        return [{**message, "content": re.sub(placeholders, expanded, message["content"])} for message in messages]

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
        """Returns the tensors of a batch. The only image of a record without clips is shown in tiles too."""
        self._validate_input(processor, images, videos, audios)
        inputs: dict[str, torch.Tensor] = {}
        if images:
            left, shown = iter(self._images(images, processor)), []
            for count, ids in zip(imglens, batch_ids, strict=True):
                shown += _shown([next(left) for _ in range(count)], ids, processor)
            pictures = [picture for tiles in shown for picture in tiles]
            inputs |= processor.image_processor(pictures, return_tensors="pt")
            inputs["image_tiles"] = torch.tensor([len(tiles) for tiles in shown])
        if videos:
            frames = [frame for clip in clips_of(self, videos, processor) for frame in clip]
            inputs["pixel_values_videos"] = processor.image_processor(frames, return_tensors="pt")["pixel_values"]
        return inputs

    def _images(self, images: list, processor: Any) -> list[Image.Image]:
        return self._regularize_images(images, **image_options(processor))["images"]


def _shown(images: Sequence[Image.Image], ids: Sequence[int], processor: Any) -> list[list[Image.Image]]:
    """Returns the pictures that each image of a row is shown in, as the tokens say: `packing` makes rows of several
    records, and one image of them may have been alone in its record."""
    counts = [processor.image_processor.pictures_of(*image.size) for image in images]
    runs = token_runs(np.asarray(ids), processor.image_token_id)
    between = processor.tokenizer.encode("\n", add_special_tokens=False) * 2
    joined = [list(ids[stop:start]) == between for (_, stop), (start, _) in itertools.pairwise(runs)]
    tiled = _tiled(counts, [*joined, False][: len(runs)])
    if tiled is None:  # `cutoff_len` cut the row
        tiled = [False] * len(images)
    return [processor.image_processor.tiles(image) if own else [image] for image, own in zip(images, tiled)]


def _tiled(counts: Sequence[int], joined: Sequence[bool]) -> list[bool] | None:
    """Returns which images of a row are in tiles; None if there is no way.

    Args:
        counts: Pictures of each image if it is in tiles.
        joined: For each picture of the row, whether the next one may be a tile of the same image.
    """
    if not counts:
        return None if joined else []
    for tiles in dict.fromkeys([counts[0], 1]):
        if tiles <= len(joined) and all(joined[: tiles - 1]):
            rest = _tiled(counts[1:], joined[tiles:])
            if rest is not None:
                return [tiles > 1, *rest]
    return None


def register(module: ModuleType, plugins: ModuleType) -> list[str]:
    """Registers the plugin in `llamafactory.data.mm_plugin` and the template in `llamafactory.data.template`.

    Returns the template's name unless it is there already.
    """
    if NAME in module.TEMPLATES:
        return []
    if NAME not in plugins.PLUGINS:
        plugins.register_mm_plugin(NAME, NVILAPlugin)
    family = get_family("nvila")
    plugin = module.get_mm_plugin(NAME, image_token=family.image_token, video_token=family.clip_token)
    module.register_template(
        name=NAME,
        # The line break behind an answer is not trained on, so that it stands at the beginning of the next turn.
        format_user=module.StringFormatter(
            slots=["\n<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n"]
        ),
        format_assistant=module.StringFormatter(slots=["{{content}}<|im_end|>"]),
        format_system=module.StringFormatter(slots=["<|im_start|>system\n{{content}}<|im_end|>"]),
        default_system=SYSTEM,
        stop_words=["<|im_end|>"],
        replace_eos=True,
        mm_plugin=with_reader(plugin),
        template_class=NVILATemplate,
    )
    return [NAME]
