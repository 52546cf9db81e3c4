# SPDX-License-Identifier: Apache-2.0
"""What a training step costs in arithmetic, with and without distillation: counted on the meta device, without a GPU.

    python benchmarks/flops.py                            # the table, about a minute
    python benchmarks/flops.py --frames 32 --train lora

A step is one clip: its video tokens in the student's grid and 96 of text. The student has the shape of Qwen2.5-VL-7B
(8.3 G parameters), the vision tower only runs forward. torch counts every matrix product, convolution and attention
(multiply-adds x 2, attention without the saving of a causal mask) of the product's own networks; nothing else counts.

Rows:

- the release's way: every term on every step, heads at full size, as code that does without sampling or a cache does;
  that it returns all hidden states costs memory, not arithmetic.
- a VGGT-sized teacher online (as GeoVR has it): 24 blocks per frame, 24 pairs of blocks per frame and over all frames,
  width 1024, at 518 pixels, and one dense head. What its student computes beside, is not in it.
- sampled: one map a step and a quarter of it, the mean over all draws; `half`: at half size besides.
- cached: the teacher's features and maps are read.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, partial
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from step_overhead import student_config  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from rgpt4d_plugin.distill.draw import TILINGS  # noqa: E402
from rgpt4d_plugin.teachers import MapView, Teacher, TeacherWindows, Tile  # noqa: E402
from rgpt4d_plugin.teachers.base import WHOLE_MAP  # noqa: E402
from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config  # noqa: E402
from rgpt4d_plugin.teachers.depth_anything_3.head import DualDPTHead  # noqa: E402
from rgpt4d_plugin.teachers.depth_anything_3.model import DepthAnything3  # noqa: E402
from rgpt4d_plugin.teachers.depth_anything_3.teacher import DepthAnything3Teacher  # noqa: E402
from rgpt4d_plugin.teachers.l4p import L4P, RELEASED, L4PTeacher  # noqa: E402
from rgpt4d_plugin.teachers.l4p.encoder import Block  # noqa: E402


TERA = 1e12
TEXT = 96
"""Text tokens of a clip's record."""

DA3_BASE = DepthAnything3Config(
    patch=14, dim=768, blocks=12, heads=12, mlp="gelu", mlp_hidden=3072, position_side=37, alternate_from=4,
    hooks=(5, 7, 9, 11), feature_dim=128, layer_dims=(96, 192, 384, 768),
)  # fmt: skip


def count(run: Callable[[], object]) -> float:
    """TFLOP of what a function does."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / TERA


@dataclass(frozen=True)
class StudentCost:
    """TFLOP of a plain fine-tuning step of one clip."""

    vision: float
    forward: float
    backward: float

    @property
    def step(self) -> float:
        """Without gradient checkpointing."""
        return self.vision + self.forward + self.backward

    @property
    def checkpointed(self) -> float:
        """With it, as the host trains by default: the language model's forward runs twice."""
        return self.step + self.forward


def student_cost(frames: int, side: int, train: str) -> StudentCost:
    """Of a clip of that many frames, side x side tokens for every two of them.

    Args:
        frames: Frames of the clip, even.
        side: Rows and columns of video tokens.
        train: "full", or "lora": no gradient of the language model's weights; that of the adapters is left out.
    """
    from transformers import AutoModelForImageTextToText

    config = student_config("7b")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    length = frames // 2 * side**2 + TEXT
    text, vision = model.model.language_model, model.model.visual
    model.requires_grad_(train == "full")
    embedded = torch.empty(1, length, config.text_config.hidden_size, dtype=torch.bfloat16, device="meta")
    embedded.requires_grad_()

    def forward() -> Tensor:
        places = torch.empty(3, 1, length, dtype=torch.int64, device="meta")
        hidden = text(inputs_embeds=embedded, position_ids=places, attention_mask=None, use_cache=False)
        return model.lm_head(hidden.last_hidden_state)

    with torch.no_grad():
        once = count(forward)
    both = count(lambda: forward().sum().backward())
    return StudentCost(_vision_cost(vision, frames, side), once, both - once)


@torch.no_grad()
def _vision_cost(vision: nn.Module, frames: int, side: int) -> float:
    """The tower forward; of its blocks, one that attends within windows and one within frames, times their number."""
    config = vision.config
    per_step = (side * config.spatial_merge_size) ** 2
    patches = frames // config.temporal_patch_size * per_step
    pixels = config.in_channels * config.temporal_patch_size * config.patch_size**2
    x = vision.patch_embed(torch.empty(patches, pixels, dtype=torch.bfloat16, device="meta"))
    angle = torch.empty(patches, config.hidden_size // config.num_heads, device="meta")
    total = count(lambda: vision.patch_embed(torch.empty(patches, pixels, dtype=torch.bfloat16, device="meta")))
    window = (config.window_size // config.patch_size) ** 2
    whole = len(config.fullatt_block_indexes)
    for group, times in ((per_step, whole), (window, config.depth - whole)):
        # Where the groups of tokens that see one another end: on the host, since their lengths are read.
        ends = torch.arange(0, patches + 1, group, dtype=torch.int32)
        block = partial(vision.blocks[0], x, cu_seqlens=ends, position_embeddings=(angle, angle))
        total += times * count(block)
    return total + count(lambda: vision.merger(x))


@dataclass(frozen=True)
class TeacherCost:
    """TFLOP of a teacher over a clip, for `Distiller`'s uses of it."""

    encoder: float
    decoder: float
    """The student's latents, forward and backward."""
    maps: dict[str, dict[str, tuple[float, float]]]
    """By term and kind of view ("whole", "tile", "half", "half tile"): a head forward, and forward with backward to
    the latents; of tiles, the mean over those that a quarter may be."""

    def distillation(self, kind: str, share: float, cached: bool = False) -> float:
        """What a step adds to the student's.

        Args:
            kind: Of view; a map without it is computed whole.
            share: Of the map terms that a step computes.
            cached: The teacher's side is read.
        """
        costs = [views.get(kind, views["whole"]) for views in self.maps.values()]
        heads = share * sum(both + (0 if cached else forward) for forward, both in costs)
        return self.decoder + heads + (0 if cached else self.encoder)


def teacher_cost(teacher: Teacher, frames: int, student_width: int) -> TeacherCost:
    """Counts a teacher on the meta device over a clip of that many frames."""
    spec = teacher.spec
    windows = len(spec.window_starts(frames)[1])
    hooks = spec.hooks_of(tuple(spec.maps))
    shape = (1, spec.window, 3, *spec.input_size)
    seen = TeacherWindows((), torch.empty(shape, dtype=torch.uint8, device="meta"))
    with torch.no_grad():
        encoder = count(lambda: teacher.features(seen, hooks))

    def predict(term: str, view: MapView, gradient: bool) -> Tensor:
        shape = (1, spec.tokens, spec.width)
        latents = {
            hook: torch.empty(shape, dtype=teacher.dtype, device="meta", requires_grad=gradient) for hook in hooks
        }
        found = teacher.predict(latents, term) if view == WHOLE_MAP else teacher.predict_part(latents, term, view)
        if gradient:
            found.sum().backward()
        return found

    def head(term: str, view: MapView) -> tuple[float, float]:
        forward, both = (count(lambda: predict(term, view, gradient)) for gradient in (False, True))  # noqa: B023
        return windows * forward, windows * both

    maps = {}
    for term, found in spec.maps.items():
        views = {"whole": WHOLE_MAP} | ({"half": MapView("half")} if found.sizes else {})
        maps[term] = {name: head(term, view) for name, view in views.items()}
        if found.tiles:
            for name, view in views.items():
                tiled = [head(term, replace(view, tile=tile)) for tile in quarters()]
                mean = tuple(sum(costs) / len(tiled) for costs in zip(*tiled))
                maps[term]["tile" if name == "whole" else "half tile"] = mean
    with torch.device("meta"):
        decoder = nn.Linear(student_width, len(hooks) * spec.width)
        hidden = torch.empty(windows * spec.tokens, student_width, requires_grad=True)
    return TeacherCost(windows * encoder, count(lambda: decoder(hidden).sum().backward()), maps)


def quarters() -> list[Tile]:
    ((rows, columns),) = TILINGS[0.25]
    return [Tile(row, rows, column, columns) for row in range(rows) for column in range(columns)]


@torch.no_grad()
def vggt_cost(frames: int, side: int = 37) -> float:
    """TFLOP of a VGGT-sized network over a clip, one window: 24 + 2 x 24 blocks and one dense head."""
    config = replace(RELEASED, dim=1024, heads=16, mlp_hidden=4096, tasks={})
    tokens = side**2 + 5
    with torch.device("meta"):
        block = Block(config)
        within = torch.empty(frames, tokens, 1024)
        levels = [torch.empty(frames, side**2, 2048) for _ in range(4)]
        sizes = {
            "dim": 1024,
            "heads": 16,
            "mlp_hidden": 4096,
            "feature_dim": 256,
            "layer_dims": (256, 512, 1024, 1024),
        }
        head = DualDPTHead(replace(DA3_BASE, **sizes))
    per_frame, over_all = count(lambda: block(within)), count(lambda: block(within.view(1, -1, 1024)))
    return 48 * per_frame + 24 * over_all + count(lambda: head(levels, (side, side), rays=False))


@cache
def meta_teacher(name: str) -> Teacher:
    """A teacher without weights."""
    with torch.device("meta"):
        if name == "l4p":
            return L4PTeacher(L4P(RELEASED).freeze())
        return DepthAnything3Teacher(DepthAnything3(DA3_BASE).requires_grad_(False))


def table(frames: int, side: int, train: str) -> str:
    """The comparison in Markdown."""
    student = student_cost(frames, side, train)
    width = student_config("7b").text_config.hidden_size
    rows = [("plain fine-tuning", 0.0)]
    for name, title in (("l4p", "L4P"), ("depth_anything_3", "Depth Anything 3 BASE")):
        teacher = meta_teacher(name)
        cost, terms = teacher_cost(teacher, frames, width), len(teacher.spec.maps)
        if name == "l4p":
            rows += [
                ("L4P, the release's way", cost.distillation("whole", 1)),
                ("VGGT-sized, online", vggt_cost(frames)),
            ]
        rows += [
            (f"{title}, online", cost.distillation("whole", 1)),
            (f"{title}, online, sampled", cost.distillation("tile", 1 / terms)),
            (f"{title}, online, sampled, half", cost.distillation("half tile", 1 / terms)),
            (f"{title}, cached", cost.distillation("whole", 1, cached=True)),
            (f"{title}, cached, sampled", cost.distillation("tile", 1 / terms, cached=True)),
            (f"{title}, cached, sampled, half", cost.distillation("half tile", 1 / terms, cached=True)),
        ]
        if name != "l4p":  # no tiles, one size
            rows = [
                row
                for row in rows
                if row[0] not in (f"{title}, online, sampled, half", f"{title}, cached, sampled, half")
            ]
        rows.append((f"{title}: encoder alone", cost.encoder))
    lines = [
        f"### TFLOP of a step, {frames} frames, {side} x {side} tokens for every two, {train}, {date.today()}",
        "",
        f"- student: vision tower {student.vision:.1f}, language model forward {student.forward:.1f}, backward "
        f"{student.backward:.1f}; torch {torch.__version__}",
        "",
        "| step | TFLOP | added | % of the step | % with gradient checkpointing |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, added in rows:
        lines.append(
            f"| {name} | {student.checkpointed + added:.1f} | {added:.2f} | {100 * added / student.step:+.1f} "
            f"| {100 * added / student.checkpointed:+.1f} |"
        )
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=16, help="per clip, even")
    parser.add_argument(
        "--side", type=int, default=16, help="rows and columns of video tokens; 16 is 448 x 448 pixels"
    )
    parser.add_argument("--train", choices=["full", "lora"], default="full")
    args = parser.parse_args(argv)
    if args.frames < 2 or args.frames % 2 or args.side < 4 or args.side % 4:
        parser.error("--frames must be even and --side a multiple of 4")
    found = table(args.frames, args.side, args.train)
    print(found)
    return found


if __name__ == "__main__":
    main()
