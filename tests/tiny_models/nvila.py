# SPDX-License-Identifier: Apache-2.0
"""Configuration and processor of a tiny NVILA-Lite."""

from transformers import AutoConfig, PreTrainedConfig, ProcessorMixin

from rgpt4d_plugin.convert_model.nvila import CHAT_TEMPLATE
from rgpt4d_plugin.modeling.processing_nvila import (
    ADDED_TOKENS,
    NVILAImageProcessor,
    NVILAProcessor,
    NVILAVideoProcessor,
)
from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.synth4d.tiny_tokenizer import qwen_tokenizer
from tests.tiny_models.square import square, text_config, vision_config


def build_nvila(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """SigLIP and a Qwen2. Two patches along a side become one token as in the other families, not three."""
    tokenizer = qwen_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *ADDED_TOKENS])
    image, video = tokenizer.convert_tokens_to_ids(["<image>", "<vila/video>"])
    config = AutoConfig.for_model(
        "nvila",
        text_config={"model_type": "qwen2", **text_config(sizes, tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **vision_config(sizes), "vision_use_head": False},
        image_token_id=image,
        video_token_id=video,
        downsample=2,
    )
    processor = NVILAProcessor(
        image_processor=NVILAImageProcessor(size=square(sizes)),
        tokenizer=tokenizer,
        video_processor=NVILAVideoProcessor(size=square(sizes)),
        patch_size=sizes.patch,
        downsample=2,
        chat_template=CHAT_TEMPLATE,
    )
    return config, processor
