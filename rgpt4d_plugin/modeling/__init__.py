# SPDX-License-Identifier: Apache-2.0
"""The model types `rgpt4d_<base>`: base models with timestamp positional encoding (TPE).

One self-contained file a base, which is also saved with a model as its remote code: a base is supported if its file
is there. `patches.auto_classes` makes transformers' Auto classes import it when it is first asked for.
"""

import copy
import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


PREFIX = "rgpt4d_"
_MODULE = f"modeling_{PREFIX}"

BASES = tuple(
    found.name.removeprefix(_MODULE) for found in pkgutil.iter_modules(__path__) if found.name.startswith(_MODULE)
)
"""`model_type` of each base, from the names of the files."""

MARKER_MODULE = "rgpt4d_timestamps"
"""An empty module of the `rgpt4d_` models, which their adapters name; see `patches.adapters`."""

OWN_BASES = tuple(base for base in BASES if (Path(__file__).parent / f"modeling_{base}.py").exists())
"""Those that transformers does not have: they come with the plugin, as `modeling_<base>.py` and
`processing_<base>.py`."""


@dataclass(frozen=True)
class TimestampEncoding:
    """Timestamp positional encoding of a model: its amplitude, and the base of its wavelengths."""

    scale: float
    base: float


def is_timestamped(model_type: str) -> bool:
    """Returns whether a `model_type` is one of the `rgpt4d_` types."""
    return model_type.startswith(PREFIX) and base_type(model_type) in BASES


def base_type(model_type: str) -> str:
    """`model_type` of the base; that of a base is its own."""
    return model_type.removeprefix(PREFIX)


def encoding_of(config: Any) -> TimestampEncoding | None:
    """Returns the encoding of a model by its configuration; None for a base."""
    return TimestampEncoding(config.tpe_scale, config.tpe_base) if is_timestamped(config.model_type) else None


class BaseClasses(NamedTuple):
    """The three classes on a base."""

    config: type
    model: type
    processor: type


def load(base: str) -> BaseClasses:
    """Imports the classes on a base, by its `model_type`, and registers them with transformers' Auto classes.

    Their names are those of `modeling_rgpt4d_<base>.py`: RGPT4D, the base in its own spelling, and the kind of class.
    A base that transformers does not have is registered with them.
    """
    module = importlib.import_module(f"{__name__}.{_MODULE}{base}")
    if base in OWN_BASES:
        _register_own(base, module)
    return _register(module, PREFIX + base)


def _register(module: ModuleType, model_type: str) -> BaseClasses:
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    kinds = ("Config", "ForConditionalGeneration", "Processor")
    classes = BaseClasses(*(_named(module, f"{model_type}{kind}") for kind in kinds))
    AutoConfig.register(model_type, classes.config, exist_ok=True)
    AutoModelForImageTextToText.register(classes.config, classes.model, exist_ok=True)
    AutoProcessor.register(classes.config, classes.processor, exist_ok=True)
    return classes


def _register_own(base: str, module: ModuleType) -> None:
    from transformers import AutoImageProcessor, AutoVideoProcessor

    config = _register(module, base).config
    parts = importlib.import_module(f"{__name__}.processing_{base}")
    # Under both names, or the library would say that it misses one and takes the other.
    images = dict.fromkeys(("torchvision", "pil"), _named(parts, f"{base}ImageProcessor"))
    AutoImageProcessor.register(config, image_processor_classes=images, exist_ok=True)
    AutoVideoProcessor.register(config, _named(parts, f"{base}VideoProcessor"), exist_ok=True)


def processor_class_by_name(name: str) -> type | None:
    """The processor class of that name, or None for a class of another package."""
    wanted = _spelled_alike(name)
    for base in BASES:
        if wanted == _spelled_alike(f"{PREFIX}{base}Processor"):
            return load(base).processor
        if base in OWN_BASES and wanted == _spelled_alike(f"{base}Processor"):
            load(base)
            return _named(importlib.import_module(f"{__name__}.processing_{base}"), name)
    return None


def _named(module: ModuleType, name: str) -> type:
    """The class of a module by its name, however it is spelled."""
    return next(value for key, value in vars(module).items() if _spelled_alike(key) == _spelled_alike(name))


def _spelled_alike(name: str) -> str:
    """One spelling for `qwen2_5_vl` and Qwen2_5_VL, `llava_onevision` and LlavaOnevision."""
    return name.replace("_", "").lower()


def timestamped_config(config: Any, scale: float, base: float) -> Any:
    """Returns the configuration of a base as that of its `rgpt4d_` type; the given object stays as it is."""
    bases = ("model_type", "architectures", "auto_map")
    values = {key: value for key, value in config.to_dict().items() if key not in bases}
    new = load(config.model_type).config.from_dict({**values, "tpe_scale": scale, "tpe_base": base})
    new.name_or_path = config.name_or_path
    return new


def base_config(config: Any) -> Any:
    """Returns the configuration of a timestamped model as that of its base."""
    base = base_type(config.model_type)
    ours = ("model_type", "architectures", "auto_map", "tpe_scale", "tpe_base")
    return load(base).config.__mro__[1].from_dict({k: v for k, v in config.to_dict().items() if k not in ours})


def timestamped_processor(processor: Any, base: str) -> Any:
    """Returns a base's processor as that of its `rgpt4d_` type; the given object stays as it is."""
    timed = load(base).processor
    if isinstance(processor, timed):
        return processor
    if not isinstance(processor, timed.__bases__[-1]):
        # GLM-4.6V has the model types of GLM-4.1V and GLM-4.5V, and a processor of its own.
        timed = processor_class_by_name(f"{PREFIX}{type(processor).__name__}") or timed
    new = copy.copy(processor)
    new.__class__ = timed
    return new
