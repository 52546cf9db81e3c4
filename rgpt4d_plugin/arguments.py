# SPDX-License-Identifier: Apache-2.0
"""The `p4d:` block of a recipe: one dataclass per part, parsed and validated once, all errors reported together."""

import difflib
import math
import os
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


TERMS = ("latent", "depth", "flow", "motion", "camray")
"""Names of the loss terms, in the order in which they are logged."""

# [release]: the weights and the decoder of the code released in June 2026. [reproduction]: a public third-party
# run on Qwen3-VL-2B. A preset only supplies defaults: any key written in the recipe wins.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "release": {
        "loss": {"type": "mse", "latent": 0.01, "depth": 0.1, "flow": 0.001, "motion": 0.01, "camray": 0.00001},
        "decoder": {"layers": 1},
    },
    "reproduction": {
        "loss": {"type": "smooth_l1", "latent": 0.5, "depth": 0.1, "flow": 0.01, "motion": 0.005, "camray": 0.005},
        "decoder": {"layers": 3},
    },
}


class P4DConfigError(ValueError):
    """The `p4d:` block, or its combination with the rest of the recipe, cannot work. Lists every problem found."""

    block = "p4d"

    @classmethod
    def from_problems(cls, problems: list[str]) -> "P4DConfigError":
        lines = "".join(f"\n  - {problem}" for problem in problems)
        return cls(f"The `{cls.block}:` block of the recipe has {len(problems)} problem(s):{lines}")


def option(help: str, *, minimum: float | None = None, above: float | None = None, **kwargs: Any) -> Any:
    """A dataclass field with its documentation and its range."""
    return field(metadata={"help": help, "minimum": minimum, "above": above}, **kwargs)


@dataclass(frozen=True)
class TimestampEncoding:
    """Timestamp positional encoding that a model was, or is to be, trained with; see `modeling`.

    Attributes:
        scale: amplitude.
        base: of the wavelengths.
    """

    scale: float
    base: float


@dataclass(frozen=True, kw_only=True)
class TeacherArguments:
    """The frozen 4D expert."""

    type: Literal["l4p", "depth_anything_3"] = option("Architecture of the expert.", default="l4p")
    checkpoint: str | None = option(
        "Path of the expert's weights (.ckpt or .safetensors), e.g. from NVlabs/L4P.", default=None
    )
    dtype: Literal["float32", "bfloat16"] = option("Precision the expert runs in.", default="bfloat16")
    device: str = option("'auto' (the student's device), 'cpu', 'cuda' or 'cuda:N'.", default="auto")

    def __post_init__(self) -> None:
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", os.path.expanduser(self.checkpoint))


@dataclass(frozen=True, kw_only=True)
class DecoderArguments:
    """The 4D perception decoder: student hidden states to teacher latents, training only (paper: D_4DP)."""

    layers: int = option(
        "Linear layers. 1: the release's linear map (normal init, std 0.1); 2 or more: the paper's MLP "
        "(GELU between layers, Xavier init).",
        minimum=1,
        default=3,
    )
    hidden_size: int = option("Width between the layers of the MLP.", minimum=1, default=2560)
    learning_rate: float | None = option(
        "Own learning rate of the decoder; null: the recipe's `learning_rate`.", above=0.0, default=None
    )


@dataclass(frozen=True, kw_only=True)
class LossArguments:
    """Element loss and one weight per term. A term with weight 0 is not computed."""

    type: Literal["mse", "smooth_l1", "l1"] = option("Element loss of every term.", default="mse")
    latent: float = option("Teacher features at the hooks (L_LD).", minimum=0.0, default=0.0)
    depth: float = option("Log depth map.", minimum=0.0, default=0.0)
    flow: float = option("Backward 2D flow map, pixels of the teacher's input.", minimum=0.0, default=0.0)
    motion: float = option("Logit of the motion (dynamic object) mask.", minimum=0.0, default=0.0)
    camray: float = option("Raw camera-ray map (direction and moment).", minimum=0.0, default=0.0)

    @property
    def weights(self) -> dict[str, float]:
        """Weight per term, in the order of `TERMS`, zeros included."""
        return {term: getattr(self, term) for term in TERMS}

    @property
    def active(self) -> dict[str, float]:
        """Weight per term that has one."""
        return {term: weight for term, weight in self.weights.items() if weight > 0}


@dataclass(frozen=True, kw_only=True)
class LoggingArguments:
    """What the trainer logs beside the host's own keys."""

    weighted: bool = option("Log each term times its weight instead of the term itself.", default=False)


@dataclass(frozen=True, kw_only=True)
class RegionArguments:
    """How records of `formatting: rgpt4d` show their regions."""

    style: Literal["som", "som_image", "text", "none"] = option(
        "'som': numbered outlines on the frames that carry the regions; 'som_image': the marked key frame as an image "
        "before the video, with the release's preamble; 'text': coordinates and times in words; 'none': only <obj_N>.",
        default="som",
    )
    missing_frame: Literal["error", "insert"] = option(
        "When no sampled frame is within half a sampling step of a region's: refuse the record, or insert its frame.",
        default="error",
    )


@dataclass(frozen=True, kw_only=True)
class P4DArguments:
    """The whole `p4d:` block."""

    preset: Literal["release", "reproduction", "none"] = option(
        "Defaults for `loss` and `decoder.layers`; 'none': every weight is 0 unless given.", default="release"
    )
    teacher: TeacherArguments = field(default_factory=TeacherArguments)
    frames: int | None = option(
        "Frames per clip, spread uniformly over the whole clip (a shorter file gives all it has), in place of the "
        "host's `video_fps` / `video_maxlen` rule; null: the host's rule.",
        minimum=1,
        default=None,
    )
    tpe: Literal["off", "add", "text"] = option(
        "Timestamp positional encoding. 'add': added to the video tokens, the model becomes an rgpt4d_<base>; 'text': "
        "the sentence 'These images are uniformly sampled from a video of {seconds} seconds.' before the question.",
        default="off",
    )
    tpe_scale: float = option("Amplitude of the added encoding.", above=0.0, default=1.0)
    tpe_base: float = option("Longest wavelength of the added encoding, in 2 pi seconds.", above=1.0, default=10000.0)
    hooks: list[int] | None = option(
        "Indices into the teacher's feature list that are distilled; null: those its heads read.",
        minimum=0,
        default=None,
    )
    decoder: DecoderArguments = field(default_factory=DecoderArguments)
    loss: LossArguments = field(default_factory=LossArguments)
    regions: RegionArguments = field(default_factory=RegionArguments)
    logging: LoggingArguments = field(default_factory=LoggingArguments)

    @property
    def active(self) -> bool:
        """Whether a run with the block differs from one without."""
        return bool(self.loss.active) or self.tpe != "off"

    @property
    def encoding(self) -> TimestampEncoding | None:
        """The encoding that is added to the video tokens, if one is."""
        return TimestampEncoding(self.tpe_scale, self.tpe_base) if self.tpe == "add" else None


def parse_p4d(block: Any, recipe: Mapping[str, Any] | None = None, training: bool = True) -> P4DArguments:
    """Turns the `p4d:` block into typed arguments.

    Args:
        block: the mapping under `p4d:` (null: all defaults). Numbers may be strings, as some YAML readers give `1e-4`.
        recipe: the recipe's other keys, to refuse the ones that contradict the block.
        training: False: what only training needs, the teacher above all, may be missing.

    Raises:
        P4DConfigError: with every problem of the block, each naming its key, the value found and the remedy.
    """
    problems: list[str] = []
    if block is None:
        block = {}
    if not isinstance(block, Mapping):
        raise P4DConfigError.from_problems([f"p4d: expected a mapping, got {block!r}"])

    preset = block.get("preset", "release")
    known_presets = (*PRESETS, "none")
    defaults = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
    if preset not in known_presets:
        problems.append(f"p4d.preset: unknown preset {preset!r} (known: {', '.join(known_presets)})")
        block = {key: value for key, value in block.items() if key != "preset"}

    arguments = build(P4DArguments, block, defaults, "p4d", problems)
    if training:
        if arguments is not None:
            problems += _check_values(arguments)
        problems += _check_recipe(block, recipe or {})
    if problems:
        raise P4DConfigError.from_problems(problems)

    return arguments


def parse_region_options(block: Mapping[str, Any]) -> RegionArguments:
    """Turns what may stand under `p4d.regions` into typed arguments; raises P4DConfigError with every problem."""
    problems: list[str] = []
    options = build(RegionArguments, block, {}, "p4d.regions", problems)
    if problems:
        raise P4DConfigError.from_problems(problems)
    return options


def build(cls: type, block: Mapping[str, Any], defaults: Mapping[str, Any], path: str, problems: list[str]) -> Any:
    """Builds dataclass `cls` from `block` over `defaults`; on problems appends them and returns None."""
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}
    found_problems = len(problems)
    for key in block:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"
            problems.append(f"{path}.{key}: unknown key; {hint}")

    values: dict[str, Any] = {}
    for name, spec in known.items():
        kind, here = hints[name], f"{path}.{name}"
        if is_dataclass(kind):
            value = block.get(name)
            if value is None:
                value = {}
            if not isinstance(value, Mapping):
                problems.append(f"{here}: expected a mapping, got {value!r}")
                continue
            values[name] = build(kind, value, defaults.get(name, {}), here, problems)
        elif name in block or name in defaults:
            value = block[name] if name in block else defaults[name]
            try:
                values[name] = _coerce(value, kind)
                _check_range(values[name], spec.metadata)
            except (TypeError, ValueError) as err:
                problems.append(f"{here}: {err}")
        elif spec.default is MISSING:
            problems.append(f"{here}: missing")

    return cls(**values) if len(problems) == found_problems else None


def _coerce(value: Any, kind: Any) -> Any:
    """Converts `value` to the annotated type, or raises with what was expected and found."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in get_args(kind) if arg is not type(None))
        return None if value is None else _coerce(value, inner)
    if origin is Literal:
        if value is False and "off" in get_args(kind):
            return "off"  # YAML 1.1 reads a bare `off` as false
        if value not in get_args(kind):
            choices = ", ".join(repr(choice) for choice in get_args(kind))
            raise ValueError(f"expected one of {choices}, got {value!r}")
        return value
    if origin is list:
        if not isinstance(value, list) or not value:
            raise TypeError(f"expected a list of integers, got {value!r}")
        return [_coerce(item, get_args(kind)[0]) for item in value]
    if kind is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise TypeError(f"expected true or false, got {value!r}")
    if kind is int:
        number = _coerce(value, float)
        if number != int(number):
            raise ValueError(f"expected an integer, got {value!r}")
        return int(number)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError(f"expected a number, got {value!r}")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"expected a number, got {value!r}") from None
        if not math.isfinite(number):
            raise ValueError(f"expected a finite number, got {value!r}")
        return number
    if not isinstance(value, str) or not value:
        raise TypeError(f"expected text, got {value!r}")
    return value


def _check_range(value: Any, metadata: Mapping[str, Any]) -> None:
    for number in value if isinstance(value, list) else [value]:
        if number is None:
            continue
        if metadata.get("minimum") is not None and number < metadata["minimum"]:
            raise ValueError(f"expected a value >= {metadata['minimum']:g}, got {number!r}")
        if metadata.get("above") is not None and number <= metadata["above"]:
            raise ValueError(f"expected a value > {metadata['above']:g}, got {number!r}")


def _check_values(arguments: P4DArguments) -> list[str]:
    """Checks that need more than one value, or the file system."""
    problems = []
    teacher = arguments.teacher
    device = teacher.device
    if not (device in ("auto", "cpu", "cuda") or (device.startswith("cuda:") and device[5:].isdigit())):
        problems.append(f"p4d.teacher.device: expected 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}")
    if arguments.hooks is not None and len(set(arguments.hooks)) != len(arguments.hooks):
        problems.append(f"p4d.hooks: {arguments.hooks} names a hook twice")
    if arguments.loss.active:
        if teacher.checkpoint is None:
            problems.append(
                "p4d.teacher.checkpoint: missing, but loss terms have weights: give the path of the L4P weights "
                "(NVlabs/L4P), or set every weight of p4d.loss to 0"
            )
        elif not os.path.isfile(teacher.checkpoint):
            problems.append(f"p4d.teacher.checkpoint: no such file: {teacher.checkpoint}")
    return problems


def _check_recipe(block: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[str]:
    if block.get("frames") is None:
        return []
    return [
        f"p4d.frames: {block['frames']!r} and {key}: {recipe[key]!r} both choose the frames of a clip; remove one"
        for key in ("video_maxlen", "video_fps")
        if recipe.get(key) is not None
    ]
