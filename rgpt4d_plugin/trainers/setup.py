# SPDX-License-Identifier: Apache-2.0
"""One run with distillation: the arguments, the student's family and the teacher's configuration, checked together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from rgpt4d_plugin.arguments import P4DArguments, P4DConfigError, TimestampEncoding
from rgpt4d_plugin.distill import TERM_TASKS, Distiller, LatentDecoder
from rgpt4d_plugin.modeling import encoding_of
from rgpt4d_plugin.students import StudentFamily, get_family
from rgpt4d_plugin.teachers.l4p import L4PConfig, load_l4p, read_l4p_config
from rgpt4d_plugin.video import SeenClip


LOG_KEYS = {term: f"loss_{term}" for term in ("latent", *TERM_TASKS)}
"""Logged name of each term. Besides: `loss_sft`, the host's own loss, and `p4d_videos`, clips per micro-batch."""

ALL_LOG_KEYS = ("loss_sft", *LOG_KEYS.values(), "p4d_videos")


@dataclass(frozen=True)
class P4DSetup:
    """What the collator and the trainer need to know. Made before anything heavy is loaded.

    Without an active loss term there is no teacher, no hook and no task: a run for the timestamps alone.
    """

    arguments: P4DArguments
    family: StudentFamily
    teacher_config: L4PConfig | None
    hooks: tuple[int, ...]
    tasks: tuple[str, ...]
    encoding: TimestampEncoding | None
    """Of the student, by `p4d.tpe: add` or because it comes with it."""

    @classmethod
    def prepare(cls, arguments: P4DArguments, student_config: Any, distils: bool = True) -> "P4DSetup":
        """Checks student and teacher against the block.

        Args:
            arguments: the block.
            student_config: the base model's `PretrainedConfig`.
            distils: False: no loss term is computed, whatever the weights are.

        Raises:
            UnsupportedFamilyError: the base model is of no supported family.
            L4PCheckpointError: the teacher's file cannot be used.
            P4DConfigError: the teacher has no such hooks or no head for a term.
        """
        family = get_family(student_config.model_type)
        encoding = encoding_of(student_config)
        if not (distils and arguments.loss.active):
            return cls(arguments, family, None, (), (), encoding)
        config = read_l4p_config(arguments.teacher.checkpoint)
        tasks = tuple(TERM_TASKS[term] for term in arguments.loss.active if term != "latent")
        problems = [
            f"p4d.loss.{term}: the teacher {arguments.teacher.checkpoint} has no head {task!r}; "
            f"it has {', '.join(config.tasks)}"
            for term, task in TERM_TASKS.items()
            if task in tasks and task not in config.tasks
        ]
        if problems:
            raise P4DConfigError.from_problems(problems)

        needed = config.hooks_of(tasks or config.tasks)
        hooks = tuple(arguments.hooks) if arguments.hooks is not None else needed
        unknown = [hook for hook in hooks if hook > config.blocks]
        if unknown:
            problems.append(
                f"p4d.hooks: {unknown} do not exist in {arguments.teacher.checkpoint}: its feature list has the "
                f"indices 0 to {config.blocks}"
            )
        if tasks and not set(needed) <= set(hooks):
            problems.append(
                f"p4d.hooks: {list(hooks)}, but the teacher's heads read {list(needed)}; add these, leave p4d.hooks "
                "out, or set the weights of all maps to 0 to distil latents alone"
            )
        if problems:
            raise P4DConfigError.from_problems(problems)
        return cls(arguments, family, config, hooks, tasks, encoding)

    @property
    def distils(self) -> bool:
        """Whether a loss term is active."""
        return self.teacher_config is not None

    def build_decoder(self, student_config: Any, seed: int) -> LatentDecoder:
        """The decoder as it is when training starts."""
        decoder = self.arguments.decoder
        return LatentDecoder(
            student_width=self.family.hidden_size(student_config),
            teacher_width=self.teacher_config.dim,
            hooks=len(self.hooks),
            layers=decoder.layers,
            hidden_size=decoder.hidden_size,
            seed=seed,
        )

    def load_distiller(self, device: torch.device) -> Distiller:
        """The teacher, with the heads that the terms need, and the distiller on it.

        Args:
            device: of the student; `p4d.teacher.device` may name another for the teacher.
        """
        teacher, loss = self.arguments.teacher, self.arguments.loss
        if teacher.device != "auto":
            device = torch.device(teacher.device)
        model = load_l4p(teacher.checkpoint, getattr(torch, teacher.dtype), device, tasks=self.tasks)
        return Distiller(model, loss.active, loss.type, self.hooks)

    def teacher_frames(self, clip: SeenClip, processor: Any) -> torch.Tensor:
        """(T, 3, H, W) uint8 at the teacher's input size; both axes are stretched to it, as both token grids are.

        Args:
            clip: the frames that the host decoded for the student.
            processor: of the student. Where it cuts the middle out of a frame, the teacher sees the middle alone.
        """
        size = (self.teacher_config.width, self.teacher_config.height)
        frames = []
        for frame in clip.frames:
            view = self.family.visible_box(frame.width, frame.height, processor)
            frames.append(np.asarray(frame.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=view)))
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()

    def check_template(self, name: str, plugin: Any, tokenizer: Any) -> None:
        """Raises P4DConfigError if the recipe's template is not one for the model's family.

        Args:
            name: `template` of the recipe.
            plugin: its multimodal plugin, the host's own or a twin's.
            tokenizer: of the student.
        """
        family, token = self.family, self.family.clip_token
        own = getattr(plugin, "host_class", type(plugin)).__name__ in family.plugins
        # Where images and clips have a token of their own each, the template must name the model's.
        named = plugin.video_token == token if token != family.image_token else plugin.video_token is not None
        known = tokenizer.convert_tokens_to_ids(token) not in (None, tokenizer.unk_token_id)
        if not (own and named and known):
            raise P4DConfigError.from_problems(
                [
                    f"template: {name!r} has no video token that the model's tokenizer knows; for {family.name} "
                    f"use {' or '.join(family.templates)}"
                ]
            )
