# SPDX-License-Identifier: Apache-2.0
"""One run with distillation: the arguments, the student's family and the teacher's description, checked together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers.integrations import is_deepspeed_zero3_enabled

from rgpt4d_plugin.arguments import (
    LossArguments,
    P4DArguments,
    P4DConfigError,
    PerStepArguments,
    TimestampEncoding,
)
from rgpt4d_plugin.distill import Distiller, LatentDecoder
from rgpt4d_plugin.modeling import encoding_of
from rgpt4d_plugin.students import StudentFamily, get_family
from rgpt4d_plugin.teachers import ClipKey, StoredMap, Teacher, TeacherSpec, teacher_class
from rgpt4d_plugin.teachers.base import teachers_of
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.video import SeenClip


if TYPE_CHECKING:
    from rgpt4d_plugin.distill.draw import Draw


LOG_KEYS = {name: term.log_key for name, term in TERMS.items()}
"""Logged name of each term. Besides: `loss_sft`, the host's own loss, and `p4d_videos`, clips per micro-batch."""

GRADIENT_KEYS = {name: f"p4d_grad_{name}" for name in TERMS}
"""Logged name of the length of each term's gradient, where a run asks for it."""

ALL_LOG_KEYS = ("loss_sft", *LOG_KEYS.values(), "p4d_videos")


@dataclass(frozen=True)
class P4DSetup:
    """The parts that collator and trainer share, checked before anything heavy is loaded.

    Without an active loss term there is no teacher and no hook: a run for the timestamps alone.
    """

    arguments: P4DArguments
    family: StudentFamily
    teacher: TeacherSpec | None
    hooks: tuple[int, ...]
    encoding: TimestampEncoding | None
    """The student's, by `p4d.tpe: add` or because it comes with it."""
    datasets: tuple[str, ...] = ()
    """Names of the training data, for the model card."""

    @classmethod
    def prepare(cls, arguments: P4DArguments, student_config: Any, distils: bool = True) -> "P4DSetup":
        """Checks student and teacher against the block. With `distils` false no loss term is computed, whatever its
        weight.

        Raises:
            UnsupportedFamilyError: the base model is of no supported family.
            ValueError: The teacher's file cannot be used.
            P4DConfigError: The teacher has no such hooks or no map for a term, or ZeRO-3 would not load the student.
        """
        family = get_family(student_config.model_type)
        if not family.loads_under_zero3 and is_deepspeed_zero3_enabled():
            raise P4DConfigError.from_problems(
                [
                    f"deepspeed: under ZeRO-3 transformers {transformers.__version__} loads none of the language "
                    f"model of {family.name}, which stays random; use ZeRO-2 or FSDP"
                ]
            )
        encoding = encoding_of(student_config)
        if not (distils and arguments.loss.active):
            return cls(arguments, family, None, (), encoding)
        spec = teacher_class(arguments.teacher.type).read_spec(arguments.teacher)
        maps = arguments.loss.maps
        own = teacher_class(arguments.teacher.type).options_of
        problems = [_not_given(term, spec, own) for term in arguments.loss.active if term not in spec.terms]
        named = [spec.maps[term] for term in maps if term in spec.maps]
        if named and arguments.loss.per_step.crop != 1 and not any(found.tiles for found in named):
            problems.append(
                f"p4d.loss.per_step.crop: {arguments.loss.per_step.crop:g}, but {spec.name} computes the maps of "
                f"{', '.join(maps)} as a whole; remove it"
            )
        if named and arguments.loss.map_size != "native" and not any(found.sizes for found in named):
            problems.append(
                f"p4d.loss.map_size: {arguments.loss.map_size!r}, but {spec.name} gives {', '.join(maps)} in one "
                "size; remove it"
            )
        if problems:
            raise P4DConfigError.from_problems(problems)

        needed = spec.hooks_of(maps or tuple(spec.maps))
        hooks = arguments.hooks_in(spec)
        unknown = [hook for hook in hooks if hook not in spec.features]
        if unknown:
            problems.append(
                f"p4d.hooks: {unknown} do not exist in {spec.name}: its feature list has the indices "
                f"{_ranges(spec.features)}"
            )
        if maps and not set(needed) <= set(hooks):
            problems.append(
                f"p4d.hooks: {list(hooks)}, but the teacher's maps are made from {list(needed)}; add these, leave "
                "p4d.hooks out, or set the weights of all maps to 0 to distil latents alone"
            )
        if not problems and arguments.teacher.cache is not None:
            from rgpt4d_plugin.teachers.cached.teacher import cache_problems

            compared = hooks if "latent" in arguments.loss.active else ()
            problems += cache_problems(arguments.teacher, spec, compared, maps)
        if problems:
            raise P4DConfigError.from_problems(problems)
        return cls(arguments, family, spec, hooks, encoding)

    @property
    def distils(self) -> bool:
        """Whether a loss term is active."""
        return self.teacher is not None

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint's weights depend on, by keys of the recipe, as JSON has it."""
        given, encoding = self.arguments, self.encoding
        tpe = f"add (scale {encoding.scale:g}, base {encoding.base:g})" if encoding is not None else given.tpe
        one = {"p4d.tpe": tpe, "p4d.teacher.type": given.teacher.type, "p4d.frames": given.frames}
        one["p4d.hooks"] = list(self.hooks)
        parts = {"decoder": given.decoder, "loss": given.loss, "regions": given.regions}
        linear = ("decoder", "hidden_size") if given.decoder.layers == 1 else None  # which has no width
        return one | {
            f"p4d.{part}.{key}": value
            for part, arguments in parts.items()
            for key, value in arguments.model_dump(mode="json").items()
            if (part, key) != linear
        }

    @property
    def summary(self) -> str:
        """One line for the log of a run that distils."""
        given, decoder = self.arguments, self.arguments.decoder
        frames = "chosen by the host" if given.frames is None else f"{given.frames} a clip"
        shape = "linear" if decoder.layers == 1 else f"{decoder.layers} layers of width {decoder.hidden_size}"
        return (
            f"P4D is on: student family {self.family.name}; teacher {self.teacher.name} "
            f"({', '.join(f'{name} {value}' for name, value in given.teacher if name != 'type')}); "
            f"{given.loss.summary}{_sampled(given.loss)}; frames {frames}; "
            f"tpe {given.tpe}; decoder {shape}, at hooks {list(self.hooks)}."
        )

    def build_decoder(self, student_config: Any, seed: int) -> LatentDecoder:
        """The decoder as it is when training starts, with the heads that train with it if the teacher has none."""
        decoder = self.arguments.decoder
        sizes = {
            "student_width": self.family.hidden_size(student_config),
            "teacher_width": self.teacher.width,
            "hooks": len(self.hooks),
            "layers": decoder.layers,
            "hidden_size": decoder.hidden_size,
            "seed": seed,
        }
        if not self.teacher.trainable_heads:
            return LatentDecoder(**sizes)
        from rgpt4d_plugin.distill.heads import DecoderWithHeads

        return DecoderWithHeads(**sizes, teacher=self.teacher, at=self.hooks, terms=self.arguments.loss.maps)

    def load_distiller(self, device: torch.device) -> Distiller:
        """The teacher, for the maps that the terms need, and the distiller on it.

        `device` is the student's; `p4d.teacher.device` may name another for the teacher.
        """
        options, loss = self.arguments.teacher, self.arguments.loss
        if options.device != "auto":
            device = torch.device(options.device)
        if options.cache is not None:
            from rgpt4d_plugin.teachers.cached.teacher import CachedTeacher

            teacher: Teacher = CachedTeacher.load(options, device, loss.maps)
        else:
            teacher = teacher_class(options.type).load(options, device, loss.maps)
        measure = self.arguments.logging.gradients
        return Distiller(teacher, loss.active, loss.type, self.hooks, loss.map_size, measure, loss.flow_moving)

    def draw(self, seed: int, step: int) -> "Draw | None":
        """What the step behind so many others compares of the maps; None for everything."""
        loss = self.arguments.loss
        if loss.per_step == PerStepArguments():
            return None
        from rgpt4d_plugin.distill.draw import draw  # read only by runs that sample

        return draw(list(loss.maps), loss.per_step.maps, loss.per_step.crop, seed, step)

    def clip_key(self, clip: SeenClip, processor: Any) -> ClipKey:
        """The key by which the teacher's windows over a clip can be looked up."""
        width, height = clip.size
        box = tuple(self.family.visible_box(width, height, processor))
        times = tuple(clip.timestamps)
        if box == (0, 0, width, height):
            return ClipKey(clip.source, times, None, clip.start, clip.files)
        return ClipKey(clip.source, times, box, clip.start, clip.files, (width, height))

    def keys(self, clips: Sequence[SeenClip], processor: Any) -> list[ClipKey]:
        """The keys of a batch's clips.

        Raises:
            TeacherCacheError: `p4d.teacher.cache` lacks one, and the recipe does not say that it be computed.
        """
        keys = [self.clip_key(clip, processor) for clip in clips]
        if self.arguments.teacher.cache is not None:
            from rgpt4d_plugin.teachers.cached.teacher import check_stored

            for key in keys:
                check_stored(self.arguments.teacher, key)
        return keys

    def stored_maps(self, key: ClipKey) -> dict[str, StoredMap]:
        """What the teacher has in files for a clip; see `Teacher.read_maps`."""
        options = self.arguments.teacher
        return teacher_class(options.type).read_maps(options, self.teacher, key, self.arguments.loss.maps)

    @property
    def needs_frames(self) -> bool:
        """Whether the teacher looks at the clip's frames."""
        options = self.arguments.teacher
        reads_them = options.cache is None or options.cache_missing == "compute"
        return reads_them and teacher_class(options.type).needs_frames

    def teacher_frames(self, clip: SeenClip, processor: Any) -> torch.Tensor:
        """(T, 3, H, W) uint8 at the teacher's input size; both axes are stretched to it, as both token grids are.

        The teacher sees the middle of a frame alone if the student's processor cuts it out.
        """
        height, width = self.teacher.input_size

        def resized() -> np.ndarray:
            frames = []
            for frame in clip.frames:
                view = self.family.visible_box(frame.width, frame.height, processor)
                small = frame.convert("RGB").resize((width, height), Image.Resampling.BILINEAR, box=view)
                frames.append(np.asarray(small).transpose(2, 0, 1))
            return np.ascontiguousarray(np.stack(frames))

        if clip.stored is None:
            return torch.from_numpy(resized())
        view = self.family.visible_box(*clip.size, processor)
        return torch.from_numpy(clip.stored.view(f"teacher {width}x{height} {view}", resized))

    def check_template(self, name: str, plugin: Any, tokenizer: Any) -> None:
        """Raises P4DConfigError if the recipe's template, `name`, is not one for the model's family.

        `plugin` is its multimodal plugin, the host's own or a derived template's.
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


def _not_given(term: str, spec: TeacherSpec, options: Mapping[str, str]) -> str:
    """What to say of a term that a teacher has nothing for."""
    given = ", ".join(spec.terms) or "nothing"
    found = f"p4d.loss.{term}: the teacher {spec.name} gives no {term}; it gives {given}. "
    if term in options:
        return f"{found}Under p4d.teacher, {options[term]} would give it"
    others = teachers_of(term)
    return found + (f"It is given by p4d.teacher.type: {', '.join(others)}" if others else "No known teacher gives it")


def _sampled(loss: LossArguments) -> str:
    """What a step compares of the maps, where that is not all."""
    parts = []
    if loss.per_step.maps is not None:
        parts.append(f"{loss.per_step.maps} map(s)")
    if loss.per_step.crop != 1:
        parts.append(f"{loss.per_step.crop:g} of each map")
    if loss.map_size != "native":
        parts.append(f"{loss.map_size} size")
    return f" ({', '.join(parts)} a step)" if parts else ""


def _ranges(indices: tuple[int, ...]) -> str:
    """Ascending indices as "0 to 40", or one by one where some between are missing."""
    whole = indices == tuple(range(indices[0], indices[-1] + 1)) if indices else False
    return f"{indices[0]} to {indices[-1]}" if whole else ", ".join(map(str, indices)) or "none"
