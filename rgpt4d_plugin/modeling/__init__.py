# SPDX-License-Identifier: Apache-2.0
"""The model types `rgpt4d_<base>`: base models with timestamp positional encoding (TPE).

One self-contained file a base, which is also saved with a model as its remote code. Nothing is imported before it is
asked for: `patches.auto_classes` makes transformers' Auto classes ask.
"""

import copy
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any


PREFIX = "rgpt4d_"

BASES = {
    "qwen2_vl": "Qwen2VL",
    "qwen2_5_vl": "Qwen2_5_VL",
    "qwen3_vl": "Qwen3VL",
    "llava_next_video": "LlavaNextVideo",
    "llava_onevision": "LlavaOnevision",
    "internvl": "InternVL",
    "gemma3": "Gemma3",
}
"""`model_type` of each base, and the stem of its class names."""


@dataclass(frozen=True)
class TimestampEncoding:
    """Timestamp positional encoding that a model was, or is to be, trained with.

    Attributes:
        scale: Amplitude.
        base: Base of the wavelengths.
    """

    scale: float
    base: float


def is_timestamped(model_type: str) -> bool:
    """Whether a `model_type` is one of ours."""
    return model_type.startswith(PREFIX) and base_type(model_type) in BASES


def base_type(model_type: str) -> str:
    """`model_type` of the base; that of a base is its own."""
    return model_type.removeprefix(PREFIX)


def encoding_of(config: Any) -> TimestampEncoding | None:
    """The encoding of a model by its configuration; None for a base."""
    return TimestampEncoding(config.tpe_scale, config.tpe_base) if is_timestamped(config.model_type) else None


def config_class(base: str) -> type:
    """The configuration class on a base, by the base's `model_type`."""
    return _class(base, "Config")


def model_class(base: str) -> type:
    """The model class on a base, by the base's `model_type`."""
    return _class(base, "ForConditionalGeneration")


def processor_class(base: str) -> type:
    """The processor class on a base, by the base's `model_type`."""
    return _class(base, "Processor")


def processor_class_by_name(name: str) -> type | None:
    """The processor class of that name, or None if it is none of ours."""
    base = next((base for base, stem in BASES.items() if name == f"RGPT4D{stem}Processor"), None)
    return None if base is None else processor_class(base)


def _class(base: str, kind: str) -> type:
    return getattr(load(base), f"RGPT4D{BASES[base]}{kind}")


def load(base: str) -> ModuleType:
    """The module of a base, whose classes transformers' Auto classes know from then on."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    module = importlib.import_module(f"{__name__}.modeling_{PREFIX}{base}")
    stem = f"RGPT4D{BASES[base]}"
    config = getattr(module, f"{stem}Config")
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForImageTextToText.register(config, getattr(module, f"{stem}ForConditionalGeneration"), exist_ok=True)
    AutoProcessor.register(config, getattr(module, f"{stem}Processor"), exist_ok=True)
    return module


def timestamped_config(config: Any, scale: float, base: float) -> Any:
    """The configuration of a base model as that of its `rgpt4d_` type; the given object stays as it is.

    Args:
        config: of a base in `BASES`.
        scale: amplitude of the encoding.
        base: of its wavelengths.
    """
    values = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "architectures")}
    new = config_class(config.model_type).from_dict({**values, "tpe_scale": scale, "tpe_base": base})
    new.name_or_path = config.name_or_path
    return new


def base_config(config: Any) -> Any:
    """The configuration of a timestamped model as that of its base."""
    base = base_type(config.model_type)
    ours = ("model_type", "architectures", "auto_map", "tpe_scale", "tpe_base")
    return config_class(base).__mro__[1].from_dict({k: v for k, v in config.to_dict().items() if k not in ours})


def timestamped_processor(processor: Any, base: str) -> Any:
    """A base's processor as that of its `rgpt4d_` type; the given object stays as it is."""
    if isinstance(processor, processor_class(base)):
        return processor
    new = copy.copy(processor)
    new.__class__ = processor_class(base)
    return new
