# SPDX-License-Identifier: Apache-2.0
"""The `p4d:` block of a recipe: one model per part, parsed and validated once, all errors reported together."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from rgpt4d_plugin.modeling import TimestampEncoding
from rgpt4d_plugin.teachers import TeacherArguments, TeacherSpec, teacher_class
from rgpt4d_plugin.teachers.base import MapSize
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.validation import Checked, Integer, Number, Switch, Text, check, shown


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


def _off(value: Any) -> Any:
    """YAML 1.1 reads a bare `off` as false."""
    return "off" if value is False else value


Weight = Annotated[Number, Field(ge=0, le=1e6)]


class DecoderArguments(Checked):
    """The 4D perception decoder: student hidden states to teacher latents, training only (paper: D_4DP)."""

    layers: Integer = Field(
        3,
        ge=1,
        le=32,
        description="Linear layers. 1: the release's linear map (normal init, std 0.1); 2 or more: the paper's MLP "
        "(GELU between layers, Xavier init).",
    )
    hidden_size: Integer = Field(2560, ge=1, le=16384, description="Width between the layers of the MLP.")
    learning_rate: Number | None = Field(
        None, gt=0, le=100, description="Own learning rate of the decoder; null: the recipe's `learning_rate`."
    )


class PerStepArguments(Checked):
    """What of the maps one optimizer step compares; drawn anew for each, with weights that keep the expected loss."""

    maps: Integer | None = Field(
        None, ge=1, le=100, description="How many of the map terms that have weights; null: all."
    )
    crop: Number = Field(
        1.0,
        description="Share of a map that is compared: 1, 0.5 (one half) or 0.25 (one quarter), for a teacher that can "
        "compute parts of its maps.",
    )

    @field_validator("crop")
    @classmethod
    def _is_a_tiling(cls, crop: float) -> float:
        if crop not in (1, 0.5, 0.25):
            raise ValueError(f"expected 1, 0.5 or 0.25, got {crop:g}")
        return crop


class LossArguments(Checked):
    """Element loss and one weight per term. A term with weight 0 is not computed."""

    type: Literal["mse", "smooth_l1", "l1"] = Field("mse", description="Element loss of every term.")
    latent: Weight = Field(0.0, description="Teacher features at the hooks (L_LD).")
    depth: Weight = Field(0.0, description="Log depth map.")
    flow: Weight = Field(0.0, description="Backward 2D flow map, pixels of the teacher's input.")
    motion: Weight = Field(0.0, description="Logit of the motion (dynamic object) mask.")
    camray: Weight = Field(0.0, description="Raw camera-ray map (direction and moment).")
    pose: Weight = Field(0.0, description="Camera of each frame relative to its window's first: quaternion, position.")
    scale: Weight = Field(0.0, description="Logarithm of a window's mean depth in metres.")
    flow_moving: Number = Field(
        0.0,
        ge=0,
        le=1000,
        description="How many more times pixels that move, by the teacher's motion map, count in the flow term; needs "
        "a weight for `motion`.",
    )
    per_step: PerStepArguments = PerStepArguments()
    map_size: MapSize = Field(
        "native",
        description="Size that maps are compared at, for a teacher whose heads can stop early; a map without smaller "
        "sizes keeps its own.",
    )

    @model_validator(mode="after")
    def _knows_what_moves(self) -> Self:
        if self.flow_moving and not (self.flow and self.motion):
            raise ValueError(f"flow_moving: {self.flow_moving:g} needs weights for flow and motion")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weight per term, in the order of `TERMS`, zeros included."""
        return {term: getattr(self, term) for term in TERMS}

    @property
    def active(self) -> dict[str, float]:
        """Weight per term that has one."""
        return {term: weight for term, weight in self.weights.items() if weight > 0}

    @property
    def maps(self) -> tuple[str, ...]:
        """Terms that have a weight and compare maps."""
        return tuple(term for term in self.active if TERMS[term].compares == "map")

    @property
    def summary(self) -> str:
        """The active terms with their weights."""
        moving = f", moving pixels of the flow {1 + self.flow_moving:g} times" if self.flow_moving else ""
        return f"{self.type} of {', '.join(f'{term} x {weight:g}' for term, weight in self.active.items())}{moving}"


class VideoArguments(Checked):
    """Settings of how the frames of videos are decoded, and whether they are kept."""

    backend: Literal["pyav", "torchcodec", "decord"] = Field(
        "pyav", description="Decoder; a file in which another one finds other frames than PyAV is read by PyAV."
    )
    cache: Text | None = Field(
        None, description="Folder on a disk of this machine that keeps sampled frames, so that a clip is decoded once."
    )
    cache_gb: Number = Field(100.0, gt=0, le=1e6, description="Size of that folder, in GB; older clips make room.")


class LoggingArguments(Checked):
    """Settings of what the trainer logs beside the host's own keys."""

    weighted: Switch = Field(False, description="Log each term times its weight instead of the term itself.")
    gradients: Switch = Field(
        False,
        description="Also log p4d_grad_<term>: the length of the weighted term's gradient for a clip's latents, or "
        "for its map where heads that train made it.",
    )


class RegionArguments(Checked):
    """Settings of how records of `formatting: rgpt4d` show their regions."""

    style: Literal["som", "som_image", "text", "none"] = Field(
        "som",
        description="'som': numbered outlines on the frames that carry the regions; 'som_image': the marked key frame "
        "as an image before the video, with the release's preamble; 'text': coordinates and times in words; 'none': "
        "only <obj_N>.",
    )
    missing_frame: Literal["error", "insert"] = Field(
        "error",
        description="When no sampled frame is within half a sampling step of a region's: refuse the record, or insert "
        "its frame.",
    )


class P4DArguments(Checked):
    """The whole `p4d:` block."""

    preset: Literal["release", "reproduction", "none"] = Field(
        "release", description="Defaults for `loss` and `decoder.layers`; 'none': every weight is 0 unless given."
    )
    teacher: TeacherArguments = Field(default_factory=lambda: teacher_class("l4p").Arguments())
    frames: Integer | None = Field(
        None,
        ge=1,
        le=10000,
        description="Frames per clip, spread uniformly over the whole clip (a shorter file gives all it has), in "
        "place of the host's `video_fps` / `video_maxlen` rule; null: the host's rule.",
    )
    tpe: Annotated[Literal["off", "add", "text"], BeforeValidator(_off)] = Field(
        "off",
        description="Timestamp positional encoding. 'add': added to the video tokens, the model becomes an "
        "rgpt4d_<base>; 'text': the sentence 'These images are uniformly sampled from a video of {seconds} seconds.' "
        "before the question.",
    )
    tpe_scale: Number = Field(1.0, gt=0, le=1000, description="Amplitude of the added encoding.")
    tpe_base: Number = Field(
        10000.0, gt=1, le=1e12, description="Longest wavelength of the added encoding, in 2 pi seconds."
    )
    hooks: list[Annotated[Integer, Field(ge=0, le=1000)]] | None = Field(
        None,
        min_length=1,
        description="Indices into the teacher's feature list that are distilled; null: those its heads read.",
    )
    decoder: DecoderArguments = DecoderArguments()
    loss: LossArguments = LossArguments()
    regions: RegionArguments = RegionArguments()
    video: VideoArguments = VideoArguments()
    logging: LoggingArguments = LoggingArguments()

    @field_validator("hooks")
    @classmethod
    def _names_each_hook_once(cls, hooks: list[int] | None) -> list[int] | None:
        if hooks and len(set(hooks)) != len(hooks):
            raise ValueError(f"{hooks} names a hook twice")
        return hooks

    @property
    def active(self) -> bool:
        """Whether a run with the block differs from one without."""
        samples = self.frames is not None or self.video.cache is not None or self.video.backend != "pyav"
        return bool(self.loss.active) or self.tpe != "off" or samples

    @property
    def encoding(self) -> TimestampEncoding | None:
        """The encoding that is added to the video tokens, if one is."""
        return TimestampEncoding(self.tpe_scale, self.tpe_base) if self.tpe == "add" else None

    def hooks_in(self, teacher: TeacherSpec) -> tuple[int, ...]:
        """The features that the student's latents stand for: `hooks`, or those that the teacher's maps are made of."""
        if self.hooks is not None:
            return tuple(self.hooks)
        return teacher.hooks_of(self.loss.maps or tuple(teacher.maps))


def parse_p4d(block: Any, recipe: Mapping[str, Any] | None = None, training: bool = True) -> P4DArguments:
    """Turns the `p4d:` block into typed arguments.

    Args:
        block: The mapping under `p4d:` (null: all defaults). Numbers may be strings, as some YAML readers give `1e-4`.
        recipe: The recipe's other keys, to refuse the ones that contradict the block.
        training: False: keys that only training needs, the teacher above all, may be missing.

    Raises:
        P4DConfigError: With every problem of the block, each naming its key, the value found and the remedy.
    """
    problems: list[str] = []
    values = dict(block) if isinstance(block, Mapping) else {} if block is None else block
    if isinstance(values, dict) and isinstance(preset := values.get("preset", "release"), str):
        for part, defaults in PRESETS.get(preset, {}).items():
            if isinstance(given := values.get(part) or {}, Mapping):
                values[part] = {**defaults, **given}
    if isinstance(values, dict) and "teacher" in values:
        teacher = _parse_teacher(values.pop("teacher"), problems)
        values |= {} if teacher is None else {"teacher": teacher}
    arguments = check(P4DArguments, values, "p4d", problems)
    if training:
        if arguments is not None and not problems and arguments.loss.active:
            problems += teacher_class(arguments.teacher.type).problems(arguments.teacher)
        problems += _check_recipe(values, recipe or {})
    if arguments is None or problems:
        raise P4DConfigError.from_problems(problems)
    return arguments


def parse_region_options(block: Mapping[str, Any]) -> RegionArguments:
    """Turns the mapping under `p4d.regions` into typed arguments; raises P4DConfigError with every problem."""
    problems: list[str] = []
    options = check(RegionArguments, block, "p4d.regions", problems)
    if options is None:
        raise P4DConfigError.from_problems(problems)
    return options


def _parse_teacher(block: Any, problems: list[str]) -> TeacherArguments | None:
    """Returns the mapping under `p4d.teacher` as the options of the teacher that its `type` names."""
    if not isinstance(block, Mapping | None):
        problems.append(f"p4d.teacher: expected a mapping, got {shown(block)}")
        return None
    block = block or {}
    name = block.get("type", "l4p")
    try:
        teacher = teacher_class(name if isinstance(name, str) else "l4p")  # whose options complain of it
    except ValueError as err:
        problems.append(str(err))
        return None
    return check(teacher.Arguments, block, "p4d.teacher", problems)


def _check_recipe(block: Any, recipe: Mapping[str, Any]) -> list[str]:
    if not isinstance(block, Mapping) or block.get("frames") is None:
        return []
    return [
        f"p4d.frames: {block['frames']!r} and {key}: {recipe[key]!r} both choose the frames of a clip; remove one"
        for key in ("video_maxlen", "video_fps")
        if recipe.get(key) is not None
    ]
