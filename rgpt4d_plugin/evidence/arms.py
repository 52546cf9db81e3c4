# SPDX-License-Identifier: Apache-2.0
"""The arms of the experiment, its presets, and the recipe of a run.

All arms of a seed start from the same weights and see the same records in the same order for as many steps. They
differ in what stands under `p4d.loss`, or in the files that the teacher reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


REGIMES = {
    "one": "one question a clip",
    "many": "all questions of a clip",
    "long": "all questions of a clip and four times the steps",
    "strong": "all questions of a clip, from a model that fine-tuning on them has trained for four times the steps",
}
"""How many answers there are to learn from, for how long, and where training begins; the clips are the same."""


BASE_ARM = "sft"
"""What the others are compared with."""


ALL = "all"
"""Name of the mean over all questions, beside those of their kinds."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        title: In the report.
        weights: Of the terms; none is plain fine-tuning.
        targets: What the ground-truth files hold: "clip", the clip's own maps; "pixels", its colours in place of
            these; "other", the maps of another clip.
        per_step: `p4d.loss.per_step`.
        tpe: `p4d.tpe`.
        flow_moving: `p4d.loss.flow_moving`.
    """

    title: str
    weights: Mapping[str, float] = field(default_factory=dict)
    targets: str = "clip"
    per_step: Mapping[str, float] = field(default_factory=dict)
    tpe: str = "off"
    flow_moving: float = 20.0


_ALL = {"depth": 0.125, "flow": 0.01, "motion": 0.0125}

ARMS = {
    "sft": Arm("fine-tuning alone"),
    "explicit": Arm("+ depth, flow, motion", _ALL),
    "pixels": Arm("control: colours", _ALL, "pixels"),
    "other": Arm("control: another clip", _ALL, "other"),
    "uniform": Arm("+ depth, flow, motion, every pixel alike", _ALL, flow_moving=0.0),
    "depth": Arm("+ depth", {"depth": _ALL["depth"]}),
    "flow": Arm("+ flow", {"flow": _ALL["flow"], "motion": 1e-6}),  # which says what moves
    "motion": Arm("+ motion", {"motion": _ALL["motion"]}),
    "sampled": Arm("+ one of the three maps a step", _ALL, per_step={"maps": 1}),
    "tpe": Arm("timestamps alone", tpe="add"),
    "explicit_tpe": Arm("+ depth, flow, motion, timestamps", _ALL, tpe="add"),
    **{
        f"weights_{factor:g}": Arm(f"+ depth, flow, motion x {factor:g}", {t: w * factor for t, w in _ALL.items()})
        for factor in (0.1, 0.3, 3.0)
    },
}
MAIN = ("sft", "explicit", "pixels", "other")
"""What the conclusion is about, and what runs by default."""


KINDS = (
    "VG/half",
    "DM/apart",
    "SR/nearer",
    "R/sense",
    "T/heading",
    "T/approach",
    "FP/moving",
    "FP/heading",
    "SA/faster",
    "DP/back",
)
"""Kinds of questions that words answer; numbers would take a tiny model long to write. What the clips of a preset give
no reason for is not asked: nothing in preset tiny comes back, and it never has the three objects of a count."""


@dataclass(frozen=True)
class Preset:
    """Sizes of the experiment.

    Attributes:
        benchmark: Preset of `rgpt4d synth`.
        kinds: Of its questions, those that are asked.
        train: Clips that the arms train on.
        test: Held-out clips.
        asked: Questions of each kind about them, at most.
        student: Fields of `StudentSizes`.
        grid: Tokens along a side of a frame.
        map_size: Pixels of a map's side.
        width: Of the decoder's latents.
        decoder: `p4d.decoder`.
        steps: Optimizer steps.
        batch: Clips a step.
        rate: Highest learning rate.
        evaluations: How often, with equal distances, the last one at the end.
        save_every: Steps between two checkpoints from which a killed run goes on; None: it begins anew.
        host: Further keys of the recipes.
    """

    benchmark: str
    kinds: tuple[str, ...]
    train: int
    test: int
    asked: int
    student: Mapping[str, int | float]
    grid: int
    map_size: int
    width: int
    decoder: Mapping[str, Any]
    steps: int
    batch: int
    rate: float
    evaluations: int
    save_every: int | None = None
    host: Mapping[str, Any] = field(default_factory=dict)


_TINY = Preset(
    benchmark="simple",
    kinds=KINDS,
    train=2500,
    test=3000,
    asked=100,
    student={"patch": 8, "merge": 1},
    grid=6,
    map_size=24,
    width=64,
    decoder={"layers": 3, "hidden_size": 128},
    steps=700,
    batch=16,
    rate=1e-3,
    evaluations=2,
)

PRESETS = {
    # Half of the steps, and of the kinds those in which "tiny" shows a gain.
    "demo": replace(
        _TINY,
        kinds=("T/heading", "FP/moving", "FP/heading", "VG/half"),
        train=1500,
        test=400,
        steps=350,
        evaluations=1,
    ),
    "tiny": _TINY,
    # The kinds of two objects and of distance, alone, in five times the clips, as few clips give reason to ask them.
    "relations": replace(_TINY, kinds=("SR/nearer", "SA/faster", "DM/apart", "T/approach"), train=12_000),
    "gpu": Preset(
        benchmark="gpu",
        kinds=KINDS,
        train=8000,
        test=2000,
        asked=200,
        student={
            "hidden": 512,
            "layers": 12,
            "heads": 8,
            "vision_hidden": 384,
            "vision_layers": 8,
            "vision_heads": 6,
            "patch": 14,
            "merge": 2,
            "initializer_range": 0.04,
        },
        grid=8,
        map_size=64,
        width=256,
        decoder={"layers": 3, "hidden_size": 512},
        steps=1500,
        batch=16,
        rate=3e-4,
        evaluations=2,
        save_every=250,
        host={"bf16": True, "dataloader_num_workers": 14},
    ),
}


@dataclass(frozen=True)
class Run:
    """One training."""

    arm: str
    regime: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.regime}-{self.arm}-{self.seed}"

    @property
    def dataset(self) -> str:
        """Of its records: of a question a clip, each seed draws its own."""
        return f"train_one_{self.seed}" if self.regime == "one" else "train_many"

    def output(self, root: Path) -> Path:
        """Its `output_dir`, in the run's folder of the experiment `root`."""
        return root / "runs" / self.name / "train"

    @property
    def base(self) -> "Run | None":
        """The run from whose model this one starts, one for all seeds; None: from random weights."""
        return Run(BASE_ARM, "long", 1) if self.regime == "strong" else None

    def steps(self, preset: Preset) -> int:
        """Optimizer steps."""
        return preset.steps * (4 if self.regime == "long" else 1)


def recipe_of(preset: Preset, root: Path, run: Run) -> dict[str, Any]:
    """The recipe of a run.

    Args:
        preset: Sizes.
        root: The experiment's folder, as `data.prepare` fills it.
        run: What is trained.
    """
    arm, steps, frames = ARMS[run.arm], run.steps(preset), frames_of(preset)
    warmup, decay = max(1, steps // 20), max(1, steps // 5)
    files = "{folder}/{stem}.npz" if arm.targets == "clip" else f"{root}/targets/{arm.targets}/{{stem}}.npz"
    loss: dict[str, Any] = {"type": "mse", **arm.weights}
    if "flow" in arm.weights:
        loss["flow_moving"] = arm.flow_moving
    if arm.per_step:
        loss["per_step"] = dict(arm.per_step)
    return {
        "model_name_or_path": str(run.base.output(root) if run.base else root / "student"),
        "flash_attn": "sdpa",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        "disable_gradient_checkpointing": True,
        "dataset": run.dataset,
        "dataset_dir": str(root / "data"),
        "tokenized_path": str(root / "tokenized" / run.dataset),
        "template": "qwen2_vl",
        "cutoff_len": 1024,
        "output_dir": str(run.output(root)),
        "logging_steps": max(1, steps // 40),
        "save_strategy": "steps",
        "save_steps": preset.save_every or steps,
        "save_total_limit": 1,
        "report_to": "none",
        "per_device_train_batch_size": preset.batch,
        "learning_rate": preset.rate,
        "lr_scheduler_type": "warmup_stable_decay",
        # Without the second number the host's rate is 0 before the end.
        "lr_scheduler_kwargs": {"num_decay_steps": decay, "num_stable_steps": steps - warmup - decay},
        "warmup_steps": warmup,
        "adam_beta2": 0.98,
        "max_steps": steps,
        "seed": run.seed,
        "data_seed": run.seed,
        "dataloader_num_workers": 0,
        **preset.host,
        "p4d": {
            "preset": "none",
            "frames": frames,
            "tpe": arm.tpe,
            "teacher": {
                "type": "ground_truth",
                "files": files,
                "window": frames,
                "grid": preset.grid,
                "map_size": preset.map_size,
                "width": preset.width,
            },
            "decoder": dict(preset.decoder),
            "loss": loss,
            "video": {"cache": str(root / "frames")},
        },
        "p4d_eval": {
            "benchmarks": {"synth4d": str(root / "data" / "asked")},
            "every": preset.steps // preset.evaluations,
            "frames": frames,
            "max_new_tokens": 16,
            "batch_size": 64,
            "workers": 0,
        },
    }


def frames_of(preset: Preset) -> int:
    """Frames of a clip."""
    from rgpt4d_plugin.synth4d.benchmark import PRESETS as BENCHMARKS

    return BENCHMARKS[preset.benchmark].frames
