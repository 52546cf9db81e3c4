# SPDX-License-Identifier: Apache-2.0
"""Tiny, randomly initialised checkpoints made offline: a student of each Qwen-VL family, and an L4P expert.

A student folder holds all that `from_pretrained` and LLaMA-Factory need: weights, configuration, its own tokenizer
and processor. It has the real architecture and the real special tokens, so it takes the same host code path as the
released model of its family.
"""

import json
import logging
from copy import deepcopy
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

import torch
from tokenizers import AddedToken, Tokenizer, trainers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoModelForImageTextToText,
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

from ..teachers.l4p import L4P, L4PConfig, save_l4p
from .tiny_expert import TINY


logger = logging.getLogger(__name__)

Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]
FAMILIES: tuple[Family, ...] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

# Tokens of Qwen2-VL and Qwen3-VL. The second group is ordinary text to `skip_special_tokens`, as it is there.
_SPECIAL_TOKENS = (
    ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"]
    + ["<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"]
    + ["<|image_pad|>", "<|video_pad|>"]
)
_ADDED_TOKENS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]

# What the tokenizer's merges are learned from. A word has two forms, with and without a space before it: an answer
# begins a turn and so has none.
_ANSWERS = (
    "yes no left right up down closer away red green blue yellow purple orange cyan white system user assistant "
    "near far slow fast still static moving A B C D"
).split()
_SENTENCES = """
You are a helpful assistant. How many balls are there? Is the camera moving? Is the red ball moving by itself?
Which way does the green ball move? Does the blue ball come closer or go away? Which is nearer at the start, the yellow
ball or the purple ball? Which is faster, the orange ball or the cyan ball or the white ball?
What is the depth of the object? How far is it from the camera in metres? How fast does it move in the video? seconds
frame frames first last start end before after between near far slow fast still static moving object person car region
Answer with one word. option Options: These images are uniformly sampled from a video of 8.0 seconds.
"""
_MAX_VOCABULARY = 1024  # 256 bytes and at most as many merges as make every word above whole

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


@dataclass(frozen=True)
class StudentSizes:
    """Sizes of a tiny student.

    Attributes:
        hidden: Width of the language model.
        layers: Layers of the language model.
        heads: Its attention heads; hidden / heads must be a multiple of 8 for the three rotary axes.
        vision_hidden: Width of the vision tower.
        vision_layers: Layers of the vision tower, at least 2.
        vision_heads: Its attention heads.
        patch: Pixels of a patch's side.
        merge: Patches along a side which become one token.
        temporal_patch: Frames which become one patch.
        initializer_range: Standard deviation of the weights. The usual 0.02 suits widths of thousands: at width 64
            the signal dies out in the layers and such a model learned nothing.
    """

    hidden: int = 64
    layers: int = 3
    heads: int = 4
    vision_hidden: int = 64
    vision_layers: int = 2
    vision_heads: int = 4
    patch: int = 8
    merge: int = 2
    temporal_patch: int = 2
    initializer_range: float = 0.1

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.hidden // self.heads % 8:
            raise ValueError(f"hidden / heads must be a multiple of 8, found {self.hidden} / {self.heads}.")
        if self.vision_hidden % self.vision_heads or self.vision_hidden // self.vision_heads % 4:
            found = f"{self.vision_hidden} / {self.vision_heads}"
            raise ValueError(f"vision_hidden / vision_heads must be a multiple of 4, found {found}.")
        if self.vision_layers < 2:
            raise ValueError(f"vision_layers must be at least 2, found {self.vision_layers}.")


def build_tiny_student(
    out_dir: str | PathLike, family: Family = "qwen2_5_vl", seed: int = 0, **sizes: int | float
) -> Path:
    """Save a random small model with its tokenizer and processor; nothing is downloaded.

    Args:
        out_dir: Folder to write, a `model_name_or_path` for the host.
        family: Architecture. In the host, use template `qwen2_vl` for the first two and `qwen3_vl_nothink` for the
            last.
        seed: Seed of the weights; the global random state is kept.
        **sizes: Fields of `StudentSizes`.

    Returns:
        The folder.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {list(FAMILIES)}, found {family!r}.")
    chosen = StudentSizes(**sizes)
    if family == "qwen3_vl" and chosen.merge != chosen.temporal_patch:
        # LLaMA-Factory 0.9.5 groups frame times by the spatial merge size; they are right only if both are equal.
        raise ValueError(f"qwen3_vl needs merge == temporal_patch, found {chosen.merge} and {chosen.temporal_patch}.")
    out = Path(out_dir)
    tokenizer = _build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(_build_config(family, chosen, tokenizer))
    model.generation_config.update(**_token_ids(tokenizer))
    model.save_pretrained(out)
    _build_processor(family, chosen, tokenizer).save_pretrained(out)
    logger.info("Saved a %s of %d parameters in %s.", family, model.num_parameters(), out)
    return out


def write_random_expert(path: str | PathLike, seed: int = 0) -> L4PConfig:
    """Save a random L4P far smaller than the shipped one, for tests; returns its configuration.

    Its frames, image size, token grid and tasks are those of the shipped expert.
    """
    hooks = (0, 1, 1, 2)
    config = replace(
        TINY,
        dim=16,
        blocks=2,
        heads=2,
        mlp_hidden=32,
        feature_dim=4,
        last_dim=4,
        layer_dims=(4, 4, 6, 6),
        tasks={name: replace(task, hooks=hooks) for name, task in TINY.tasks.items()},
    )
    save_l4p(L4P.from_config(config, seed), path)
    return config


def _build_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE with Qwen's own text splitting, merges learned from the words above."""
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=_MAX_VOCABULARY,
        min_frequency=1,
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator([*_ANSWERS, *_SENTENCES.strip().splitlines()], trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in _ADDED_TOKENS])
    return tokenizer


def _token_ids(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}


def _build_processor(family: Family, sizes: StudentSizes, tokenizer: Qwen2Tokenizer) -> ProcessorMixin:
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


def _build_config(family: Family, sizes: StudentSizes, tokenizer: Qwen2Tokenizer) -> PreTrainedConfig:
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
        **_token_ids(tokenizer),
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
