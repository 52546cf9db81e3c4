# SPDX-License-Identifier: Apache-2.0
"""Configurations and processors of the tiny Qwen students that the demo does not use."""

from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import (
    PreTrainedConfig,
    ProcessorMixin,
    Qwen3_5Config,
    Qwen3_5MoeConfig,
    Qwen3VLMoeConfig,
)

from rgpt4d_plugin.synth4d.tiny_qwen import build_qwen
from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes


_CONFIGS = {"qwen3_vl_moe": Qwen3VLMoeConfig, "qwen3_5": Qwen3_5Config, "qwen3_5_moe": Qwen3_5MoeConfig}


def build_qwen3(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """Qwen3-VL with experts, and Qwen3.5 with and without, on the parts of Qwen3-VL."""
    config, processor = build_qwen("qwen3_vl", sizes)
    text, vision = config.text_config.to_dict(), config.vision_config.to_dict()
    ids = {key: value for key, value in config.to_dict().items() if key.endswith("_token_id")}
    for part in (text, vision):
        del part["model_type"]
    if family.endswith("moe"):
        text |= {"num_experts": 32, "num_experts_per_tok": 2, "moe_intermediate_size": 3 * sizes.hidden // 4}
    if family.startswith("qwen3_5"):
        del vision["deepstack_visual_indexes"]
        # As in the released models a quarter of a head's dimensions is rotated, and the last of some layers (here all
        # before it) attends to the row; the others carry a state.
        text |= {
            "head_dim": 32,
            "rope_parameters": text["rope_parameters"] | {"mrope_section": [2, 1, 1], "partial_rotary_factor": 0.25},
            "layer_types": ["linear_attention"] * (sizes.layers - 1) + ["full_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "shared_expert_intermediate_size": sizes.hidden,
        }
    return _CONFIGS[family](text_config=text, vision_config=vision, **ids), processor


def as_released(file: Path) -> None:
    """Turns a Qwen3-VL MoE's experts as they lie in the released files.

    transformers 5.5 turns them back where their shape tells; under ZeRO-3, where it does not see the shape, always.
    """
    tensors = load_file(file)
    turned = {name: tensor.transpose(1, 2).contiguous() for name, tensor in tensors.items() if ".experts." in name}
    save_file(tensors | turned, file, {"format": "pt"})
