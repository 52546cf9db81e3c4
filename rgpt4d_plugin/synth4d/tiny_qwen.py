# SPDX-License-Identifier: Apache-2.0
"""Configuration and processor of tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL students."""

from copy import deepcopy

from transformers import (
    PreTrainedConfig,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.synth4d.tiny_tokenizer import qwen_tokenizer, token_ids


# Tokens of Qwen2-VL and Qwen3-VL. The second group is ordinary text to `skip_special_tokens`, as it is there.
_SPECIAL_TOKENS = (
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"]
    + ["<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"]
    + ["<|image_pad|>", "<|video_pad|>"]
)
_ADDED_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]

_CHAT_TEMPLATE = """{%- for message in messages %}
{%- if loop.first and message['role'] != 'system' and default_system %}
{{- '<|im_start|>system\\n' + default_system + '<|im_end|>\\n' }}
{%- endif %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['content'] is string %}
{{- message['content'] }}
{%- else %}
{%- for part in message['content'] %}
{%- if part['type'] == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part['type'] == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- else %}{{- part['text'] }}
{%- endif %}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""


def build_qwen(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """Configuration and processor of a family.

    Raises:
        ValueError: the sizes do not fit the family.
    """
    if family == "qwen3_vl" and sizes.merge != sizes.temporal_patch:
        # LLaMA-Factory 0.9.5 groups frame times by the spatial merge size; they are right only if both are equal.
        raise ValueError(f"qwen3_vl needs merge == temporal_patch, found {sizes.merge} and {sizes.temporal_patch}.")
    tokenizer = qwen_tokenizer(_SPECIAL_TOKENS, _ADDED_TOKENS)
    return _build_config(family, sizes, tokenizer), _build_processor(family, sizes, tokenizer)


def _build_processor(family: str, sizes: StudentSizes, tokenizer: Qwen2Tokenizer) -> ProcessorMixin:
    """Processor of the family whose smallest size is one token, so that small frames are not scaled up."""
    # The bounds count one frame in Qwen2 and the whole clip in Qwen3; the upper one leaves scaling to the host.
    grid = {
        "patch_size": sizes.patch,
        "merge_size": sizes.merge,
        "temporal_patch_size": sizes.temporal_patch,
        "size": {"shortest_edge": (sizes.patch * sizes.merge) ** 2, "longest_edge": 2**24},
    }
    processor, video_processor, default_system = {
        "qwen2_vl": (Qwen2VLProcessor, Qwen2VLVideoProcessor, "You are a helpful assistant."),
        "qwen2_5_vl": (Qwen2_5_VLProcessor, Qwen2VLVideoProcessor, "You are a helpful assistant."),
        "qwen3_vl": (Qwen3VLProcessor, Qwen3VLVideoProcessor, ""),
    }[family]
    template = f"{{%- set default_system = '{default_system}' %}}\n{_CHAT_TEMPLATE}"
    # Each part gets its own copy of the dictionaries, because some constructors change them.
    return processor(
        image_processor=Qwen2VLImageProcessor(**deepcopy(grid)),
        tokenizer=tokenizer,
        video_processor=video_processor(**deepcopy(grid)),
        chat_template=template,
    )


def _build_config(family: str, sizes: StudentSizes, tokenizer: Qwen2Tokenizer) -> PreTrainedConfig:
    """Configuration of the family at the given sizes; the token ids are the tokenizer's."""
    head_dim = sizes.hidden // sizes.heads
    spatial = head_dim // 8
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "mrope_section": [head_dim // 2 - 2 * spatial, spatial, spatial],
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.hidden,
        "intermediate_size": 4 * sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "initializer_range": sizes.initializer_range,
        "rope_parameters": rope,
        "bos_token_id": None,
        **token_ids(tokenizer),
    }
    vision = {
        "depth": sizes.vision_layers,
        "num_heads": sizes.vision_heads,
        "patch_size": sizes.patch,
        "spatial_merge_size": sizes.merge,
        "temporal_patch_size": sizes.temporal_patch,
        "initializer_range": sizes.initializer_range,
    }
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    if family == "qwen2_vl":
        vision |= {"embed_dim": sizes.vision_hidden, "hidden_size": sizes.hidden, "mlp_ratio": 2}
        return Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
    vision |= {
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": 2 * sizes.vision_hidden,
        "out_hidden_size": sizes.hidden,
    }
    if family == "qwen2_5_vl":
        # Windows of 4 x 4 tokens in all layers but the last, as in the released model but for the count.
        vision |= {
            "window_size": 4 * sizes.merge * sizes.patch,
            "fullatt_block_indexes": [sizes.vision_layers - 1],
        }
        return Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    rope["mrope_interleaved"] = True
    text["head_dim"] = head_dim
    # One vision layer feeds the first language layer, the shortest form of DeepStack.
    vision |= {"num_position_embeddings": 16 * 16, "deepstack_visual_indexes": [0]}
    return Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
