# SPDX-License-Identifier: Apache-2.0
"""Configurations and processors of tiny GLM-4.1V, GLM-4.5V and GLM-4.6V students."""

from transformers import (
    Glm4vConfig,
    Glm4vImageProcessor,
    Glm4vMoeConfig,
    Glm4vProcessor,
    Glm4vVideoProcessor,
    Glm46VConfig,
    Glm46VImageProcessor,
    Glm46VProcessor,
    Glm46VVideoProcessor,
    PreTrainedConfig,
    ProcessorMixin,
)

from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.synth4d.tiny_tokenizer import qwen_tokenizer
from tests.tiny_models.square import chat_template, text_config


_TOKENS = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}
_SPECIAL = ["<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
_ADDED = ["<think>", "</think>", "<answer>", "</answer>"]
_CHAT = """[gMASK]<sop>{%- for message in messages %}
{{- '<|' + message['role'] + '|>\\n' + parts(message['content']) }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}"""
_IMAGE, _VIDEO = "<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>"

_CONFIGS = {"glm4v": Glm4vConfig, "glm4v_moe": Glm4vMoeConfig, "glm46v": Glm46VConfig}


def build_glm4v(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """The dense ones have GLM-4.1V's processor, which writes whole seconds; GLM-4.6V is the one with experts."""
    tokenizer = qwen_tokenizer([*_SPECIAL, *_TOKENS.values()], _ADDED)
    text = text_config(sizes, tokenizer) | {
        "head_dim": 16,
        # Half of a head's dimensions are rotated.
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 1, 1],
            "partial_rotary_factor": 0.5,
        },
    }
    vision = {
        "depth": sizes.vision_layers,
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": 2 * sizes.vision_hidden,
        "out_hidden_size": sizes.hidden,
        "num_heads": sizes.vision_heads,
        "image_size": 16 * sizes.patch,
        "patch_size": sizes.patch,
        "spatial_merge_size": sizes.merge,
        "temporal_patch_size": sizes.temporal_patch,
        "initializer_range": sizes.initializer_range,
    }
    if family == "glm4v_moe":
        text |= {
            "n_routed_experts": 32,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 3 * sizes.hidden // 4,
            "first_k_dense_replace": 1,
        }
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    config = _CONFIGS[family](text_config=text, vision_config=vision, **ids)
    grid = {
        "patch_size": sizes.patch,
        "merge_size": sizes.merge,
        "temporal_patch_size": sizes.temporal_patch,
        "size": {"shortest_edge": (sizes.patch * sizes.merge) ** 2, "longest_edge": 2**24},
    }
    processor, image_processor, video_processor = (
        (Glm4vProcessor, Glm4vImageProcessor, Glm4vVideoProcessor)
        if family == "glm4v"
        else (Glm46VProcessor, Glm46VImageProcessor, Glm46VVideoProcessor)
    )
    return config, processor(
        image_processor=image_processor(**grid),
        tokenizer=tokenizer,
        video_processor=video_processor(**grid),
        chat_template=chat_template(_CHAT, _IMAGE, _VIDEO),
    )
