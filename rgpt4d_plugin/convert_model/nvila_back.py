# SPDX-License-Identifier: Apache-2.0
"""A model of type `nvila`, trained or merged, to the three published folders that NVlabs/VILA loads.

The tokenizer then holds VILA's tokens, and the embedding table has rows for them, as after VILA's own training.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoProcessor

from rgpt4d_plugin.convert_model.nvila_names import PARTS, check_new, published_name, shard_name, write_index
from rgpt4d_plugin.files import read_json, write_json, write_whole
from rgpt4d_plugin.modeling import base_type, is_timestamped


_AGAIN = "save or convert the model again"
_OURS = ("transformers_version", "dtype", "layer_types", "rope_parameters")


def convert_back(src: str, out: str) -> list[str]:
    """Writes a converted or trained model as the published folders.

    Args:
        src: Folder of a model of type `nvila` or `rgpt4d_nvila`; an adapter must be merged first.
        out: Folder to write.

    Returns:
        Lines for the user.

    Raises:
        ValueError: The folder holds no such model, or there is one at `out` already.
    """
    source, target = Path(src), Path(out)
    check_new(target)
    if not (source / "config.json").is_file():
        raise ValueError(f"{source} has no config.json: expected a whole model; merge an adapter first")
    found = read_json(source / "config.json", _AGAIN).get("model_type", "")
    if base_type(found) != "nvila":
        raise ValueError(f"{source} is a model of type {found!r}: expected nvila or rgpt4d_nvila")
    config, processor = AutoConfig.from_pretrained(source), AutoProcessor.from_pretrained(source)
    if (config.downsample, config.projector_hidden_act) != (3, "gelu"):
        raise ValueError(f"{source} has another projector than VILA's mlp_downsample_3x3_fix, which has no name there")
    files = _files_of(source)
    for part in PARTS:
        (target / part).mkdir(parents=True, exist_ok=True)
    _write_weights(target, files)
    configs = {
        "llm": _as_published(config.text_config, "Qwen2ForCausalLM"),
        "vision_tower": _as_published(config.vision_config, "SiglipVisionModel"),
        "mm_projector": {"model_type": "v2l_projector", "mm_projector_type": "mlp_downsample_3x3_fix"},
    }
    _write_configs(target, configs, processor)
    _write_tokenizer(target / "llm", processor)
    write_json(target / "config.json", _published(config, configs, processor))  # last: no model without it
    return [f"{target}: llm/, vision_tower/ and mm_projector/ of a {found} model"]


def _files_of(source: Path) -> dict[Path, list[tuple[str, str, str]]]:
    """Returns (our name, part, published name) of every tensor of every file."""
    paths = sorted(source.glob("model*.safetensors"))
    if not paths:
        raise ValueError(f"{source} has no model*.safetensors: {_AGAIN}")
    files = {}
    for path in paths:
        with safe_open(path, "pt") as file:
            files[path] = [(name, *published_name(name)) for name in file.keys()]
    return files


def _write_weights(target: Path, files: dict[Path, list[tuple[str, str, str]]]) -> None:
    """Writes the language model in as many files as the source has of it, the small parts in one each."""
    small: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    with_llm = [path for path, names in files.items() if any(part == "llm" for _, part, _ in names)]
    places, size = {}, 0
    for path, names in files.items():
        shard = {}
        with safe_open(path, "pt") as file:
            for ours, part, theirs in names:
                (shard if part == "llm" else small[part])[theirs] = file.get_tensor(ours)
        if not shard:
            continue
        number, count = with_llm.index(path) + 1, len(with_llm)
        name = "model.safetensors" if count == 1 else shard_name(number, count)
        save_file(shard, target / "llm" / name, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, name)
        size += sum(weight.nbytes for weight in shard.values())
    if len(with_llm) > 1:
        write_index(target / "llm", places, size)
    for part, tensors in small.items():
        save_file(tensors, target / part / "model.safetensors", metadata={"format": "pt"})


def _as_published(config: Any, architecture: str) -> dict[str, Any]:
    """Returns a part's configuration with the names of transformers 4, which VILA needs."""
    values = config.to_dict()
    written = {key: value for key, value in values.items() if key not in _OURS}
    written |= {"architectures": [architecture], "torch_dtype": values["dtype"]}
    if rope := values.get("rope_parameters"):
        rope = dict(rope)
        written["rope_theta"] = rope.pop("rope_theta")
        written["rope_scaling"] = None if rope == {"rope_type": "default"} else rope
    return written


def _write_configs(target: Path, configs: dict[str, dict[str, Any]], processor: Any) -> None:
    """Writes the configuration of each part, and that of the pictures."""
    projector = {"architectures": ["MultimodalProjector"], **configs["mm_projector"]}
    for part, values in (configs | {"mm_projector": projector}).items():
        write_json(target / part / "config.json", values)
    names = "do_normalize do_rescale do_resize image_mean image_std resample rescale_factor size".split()
    pictures = {name: processor.image_processor.to_dict()[name] for name in names}
    kind = {"image_processor_type": "SiglipImageProcessor", "do_convert_rgb": None}
    write_json(target / "vision_tower" / "preprocessor_config.json", {**kind, **pictures})


def _published(config: Any, configs: dict[str, dict[str, Any]], processor: Any) -> dict[str, Any]:
    """Returns the configuration of the whole, which repeats those of its parts."""
    images, videos = processor.image_processor, processor.video_processor
    values = {
        "architectures": ["LlavaLlamaModel"],
        "model_type": "llava_llama",
        "model_dtype": f"torch.{config.to_dict()['dtype']}",
        "hidden_size": config.text_config.hidden_size,
        "mm_hidden_size": config.vision_config.hidden_size,
        "image_aspect_ratio": images.image_aspect_ratio,
        "min_tiles": images.min_tiles,
        "max_tiles": images.max_tiles,
        "num_video_frames": videos.num_frames,
        "fps": videos.fps or 0.0,
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "cls_patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "s2": False,
        "dynamic_s2": False,
        "vision_resolution": -1,
        "interpolate_mode": "linear",
        "num_time_tokens": 0,
        "time_token_format": "<t{t}>",
        "time_token_ids": [],
        "soft_ce_std": 1.0,
        "llm_cfg": configs["llm"],
        "vision_tower_cfg": configs["vision_tower"],
        "mm_projector_cfg": configs["mm_projector"],
    }
    return {**values, "use_time_pe": True} if is_timestamped(config.model_type) else values


def _write_tokenizer(folder: Path, processor: Any) -> None:
    """Writes the files of a slow Qwen2 tokenizer, the kind that VILA loads."""
    tokenizer = processor.tokenizer
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    write_json(folder / "vocab.json", model["vocab"])
    write_whole(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
    added = tokenizer.added_tokens_decoder
    write_json(folder / "added_tokens.json", {token.content: number for number, token in added.items()})
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    names = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    write_json(folder / "special_tokens_map.json", {name: token for name, token in names.items() if token is not None})
    write_json(
        folder / "tokenizer_config.json",
        {
            **names,
            "added_tokens_decoder": {
                str(number): {flag: getattr(token, flag) for flag in flags} for number, token in added.items()
            },
            "chat_template": processor.chat_template,
            "clean_up_tokenization_spaces": False,
            "errors": "replace",
            "model_max_length": tokenizer.model_max_length,
            "padding_side": "right",
            "tokenizer_class": "Qwen2Tokenizer",
        },
    )
