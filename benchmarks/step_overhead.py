# SPDX-License-Identifier: Apache-2.0
"""What distillation costs per training step: time, peak memory and host reads, beside plain fine-tuning in one run.

    python benchmarks/step_overhead.py                                   # tiny, CPU, seconds
    python benchmarks/step_overhead.py --size 7b --markdown RESULTS.md   # Qwen2.5-VL-7B and the released L4P, GPU

Needs torch and transformers (peft for LoRA), nothing else: weights and inputs are random, nothing is read from disk.

Arms, all on one copy of the student and on the same inputs:

- `sft`: the student's own loss.
- `p4d`: the plugin's path, `StudentTap` and `Distiller`, with the weights of the `release` preset.
- `p4d, latents only`: without the teacher's heads.
- `p4d, heads kept`: the heads' activations stay for the backward pass of the step, as plain autograd has it.
- `p4d, sampled`: one of the maps a step and a quarter of it (`p4d.loss.per_step: {maps: 1, crop: 0.25}`); its steps
  differ, so its time is their mean.
- `p4d, cached` and `p4d, cached, sampled`: the teacher's features and maps are on the device already; reading them
  from a disk is not in it.
- `p4d, all hidden`: `output_hidden_states=True` and its last entry, as the 4D-RGPT release does, instead of the tap.
  The hidden states stay until the loss is complete; the logits do not, so that nothing else differs.

In bfloat16 the model's outputs are raised to float32, as accelerate does in every Trainer without DeepSpeed: with all
hidden states returned, that is a copy of each of them. `--raw-outputs` leaves this out.

Time is forward, backward and optimiser step. Arms take turns step by step, so that drift hits all alike.

Memory is the most that torch had allocated at once during a step, less the weights and optimiser state of parts that
the arm does not use: decoder and teacher are there all the time, but only the arms that use them pay for them. On a
GPU it is the allocator's own peak. On the CPU a step outside the timing is profiled: the running sum of every
allocation and release of torch's CPU allocator, on top of the tensors that live between steps.

Syncs are the times the host waits for the device in one step. On a GPU they are torch's own warnings (sync debug
mode). A CPU has none, so calls are counted that would make it wait (`item`, `tolist`, `nonzero`, boolean masks, ...):
too many where a tensor would have been on the host anyway, too few where something would have been copied.
"""

import argparse
import gc
import itertools
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from unittest.mock import patch


# The repository's root, so that the script also runs where the package is not installed.
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig  # noqa: E402

from rgpt4d_plugin.arguments import PRESETS  # noqa: E402
from rgpt4d_plugin.distill import DistillBatch, Distiller, LatentDecoder, distiller, resample  # noqa: E402
from rgpt4d_plugin.distill.draw import Draw, draw  # noqa: E402
from rgpt4d_plugin.students import get_family, locate_clips  # noqa: E402
from rgpt4d_plugin.teachers import ClipKey  # noqa: E402
from rgpt4d_plugin.teachers.l4p import L4P, RELEASED, L4PConfig, L4PTeacher  # noqa: E402
from rgpt4d_plugin.terms import MAP_TERMS  # noqa: E402
from rgpt4d_plugin.trainers.tap import StudentTap  # noqa: E402


MIB = 2**20
PROMPT, ANSWER = 32, 64
"""Text tokens before the clip, and after it; the loss is on the latter."""

# Settings that follow from the size unless given.
DEFAULTS = {
    "tiny": {"device": "cpu", "dtype": "float32", "teacher": "tiny", "train": "full"},
    "7b": {"device": "cuda", "dtype": "bfloat16", "teacher": "released", "train": "lora"},
}
TOKEN_GRID = {"tiny": (4, 6), "7b": (16, 28)}
"""Rows and columns of video tokens per step, after merging."""


# Models and inputs


def student_config(size: str) -> Qwen2_5_VLConfig:
    """A Qwen2.5-VL of a few 100k parameters, or of the shape of Qwen2.5-VL-7B."""
    if size == "tiny":
        text = {"vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6}
        text |= {"num_attention_heads": 4, "num_key_value_heads": 2}
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
        vision |= {"fullatt_block_indexes": [1], "window_size": 56}
        sections, special = [4, 2, 2], 1000
    else:
        text = {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
        text |= {"num_attention_heads": 28, "num_key_value_heads": 4}
        vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
        vision |= {"out_hidden_size": 3584, "fullatt_block_indexes": [7, 15, 23, 31], "window_size": 112}
        sections, special = [16, 24, 24], 151652
    rope = {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": sections}
    names = ("vision_start_token_id", "vision_end_token_id", "vision_token_id", "image_token_id", "video_token_id")
    return Qwen2_5_VLConfig(
        text_config=text | {"rope_parameters": rope, "bos_token_id": None, "eos_token_id": None},
        vision_config=vision | {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        tie_word_embeddings=False,
        **{name: special + index for index, name in enumerate(names)},
    )


def make_student(args: argparse.Namespace) -> nn.Module:
    """The student on its device, vision tower frozen, the rest trained in full or by LoRA."""
    with torch.device(args.device):
        model = AutoModelForImageTextToText.from_config(
            student_config(args.size), dtype=getattr(torch, args.dtype), attn_implementation="sdpa"
        )
    model.config.use_cache = model.config.text_config.use_cache = False
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.model.visual.requires_grad_(False)
    if args.train == "lora":
        from peft import LoraConfig, get_peft_model

        names = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=names))
    if args.float32_outputs:
        compute = model.forward
        model.forward = lambda *inputs, **options: _float32(compute(*inputs, **options))
    return model.train()


def _float32(output):
    """A model's output with every floating-point tensor in it raised to float32, as accelerate does."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        return tuple(_float32(part) for part in output)
    for name in list(output):
        output[name] = _float32(output[name])
    return output


def teacher_config(name: str) -> L4PConfig:
    """The released L4P, or one with the same heads on 16 x 16 x 16 values."""
    if name == "released":
        return RELEASED
    tasks = {task: replace(head, hooks=(1, 2, 3, 4)) for task, head in RELEASED.tasks.items()}
    tasks["camray"] = replace(tasks["camray"], output_size=(16, 2, 2))
    sizes = {"height": 16, "width": 16, "patch": (2, 8, 8), "dim": 32, "blocks": 4, "heads": 2, "mlp_hidden": 64}
    return replace(RELEASED, **sizes, feature_dim=8, last_dim=4, layer_dims=(8, 8, 16, 16), tasks=tasks)


@torch.no_grad()
def make_teacher(config: L4PConfig, device: str, dtype: torch.dtype) -> L4P:
    """A frozen teacher with random weights that are drawn on the device itself; its maps stay finite, no more."""
    with torch.device("meta"):
        teacher = L4P(config).to(dtype)
    teacher.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in teacher.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        else:
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return teacher.freeze()


def make_inputs(config: Qwen2_5_VLConfig, args: argparse.Namespace) -> tuple[dict[str, Tensor], list]:
    """The student's inputs, one clip per row, and where the clips' tokens stand."""
    vision = config.vision_config
    height, width = TOKEN_GRID[args.size]
    grid = (args.frames // vision.temporal_patch_size, height, width)
    count, merge = grid[0] * height * width, vision.spatial_merge_size
    length = PROMPT + count + ANSWER
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vision_start_token_id, (args.batch, length), generator=generator)  # text alone
    ids[:, PROMPT - 1], ids[:, PROMPT + count] = config.vision_start_token_id, config.vision_end_token_id
    ids[:, PROMPT : PROMPT + count] = config.video_token_id
    labels = torch.full_like(ids, -100)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    patch_values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
        "mm_token_type_ids": (ids == config.video_token_id).int() * 2,  # 2 is video; without it rope is 1D
        "pixel_values_videos": torch.randn(args.batch * count * merge**2, patch_values, generator=generator),
        "video_grid_thw": torch.tensor([[grid[0], height * merge, width * merge]] * args.batch),
    }
    return inputs, locate_clips(ids == config.video_token_id, [1] * args.batch, [grid] * args.batch)


@dataclass
class Bench:
    """Everything the arms share."""

    model: nn.Module
    tap: StudentTap
    distiller: Distiller
    latent_distiller: Distiller
    cached_distiller: Distiller
    frames_per_step: int
    inputs: dict[str, Tensor]
    batch: DistillBatch
    optimizer: torch.optim.Optimizer
    autocast: bool
    draws: Iterator[Draw]
    """What the sampled arms compare, step by step."""

    @property
    def device(self) -> torch.device:
        return self.inputs["input_ids"].device


def build(args: argparse.Namespace) -> Bench:
    """Models, inputs and optimiser as the options say."""
    torch.manual_seed(0)
    model = make_student(args)
    config = teacher_config(args.teacher)
    preset = PRESETS["release"]
    family = get_family(model.config.model_type)
    # As in the plugin's trainer: the decoder is float32, and autocast decides what it computes in.
    decoder = LatentDecoder(
        family.hidden_size(model.config), config.dim, len(config.hooks), args.decoder_layers, hidden_size=2560, seed=0
    ).to(args.device)
    teacher = L4PTeacher(make_teacher(config, args.device, getattr(torch, args.dtype)))
    per_step = model.config.vision_config.temporal_patch_size
    tap = StudentTap(model, family, decoder, teacher.spec, per_step)
    loss = dict(preset["loss"])
    kind = loss.pop("type")
    inputs, tokens = make_inputs(model.config, args)
    size = (args.frames, 3, config.height, config.width)
    clips = [torch.randint(256, size, dtype=torch.uint8) for _ in range(args.batch)]
    return Bench(
        model=model,
        tap=tap,
        distiller=Distiller(teacher, loss, kind, config.hooks),
        frames_per_step=per_step,
        latent_distiller=Distiller(teacher, {"latent": loss["latent"]}, kind, config.hooks),
        inputs={name: tensor.to(args.device) for name, tensor in inputs.items()},
        batch=DistillBatch(tokens, [ClipKey("random", (0.0,) * args.frames)] * args.batch, clips).to(args.device),
        # Fused, the Trainer's default. Parameters without a gradient, such as the decoder's in `sft`, are skipped.
        optimizer=torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True),
        autocast=args.dtype == "bfloat16",
        cached_distiller=Distiller(CachedTeacher(teacher), loss, kind, config.hooks),
        draws=(draw(MAP_TERMS, 1, 0.25, 0, step) for step in itertools.count()),
    )


# Arms


def sft_loss(bench: Bench) -> Tensor:
    return bench.model(**bench.inputs).loss


def p4d_loss(bench: Bench) -> Tensor:
    return _tapped_loss(bench, bench.distiller)


def latent_loss(bench: Bench) -> Tensor:
    return _tapped_loss(bench, bench.latent_distiller)


def _tapped_loss(bench: Bench, distiller: Distiller, drawn: Draw | None = None) -> Tensor:
    """As in the plugin's trainer; the model's output is dropped before the distiller runs."""
    ahead = distiller.start(bench.batch)
    with bench.tap.listen(bench.batch) as tap:
        loss = sft_loss(bench)
        latents = tap.latents()
    return loss + distiller(latents, bench.batch, drawn, ahead).total


def sampled_loss(bench: Bench) -> Tensor:
    return _tapped_loss(bench, bench.distiller, next(bench.draws))


def cached_loss(bench: Bench) -> Tensor:
    return _tapped_loss(bench, bench.cached_distiller)


def cached_sampled_loss(bench: Bench) -> Tensor:
    return _tapped_loss(bench, bench.cached_distiller, next(bench.draws))


class CachedTeacher(L4PTeacher):
    """Computes features and whole maps once, and gives them out from then on."""

    def __init__(self, teacher: L4PTeacher) -> None:
        super().__init__(teacher.model)
        self.kept: dict[tuple, Tensor | dict[int, Tensor]] = {}

    def features(self, windows, hooks):
        key = tuple(start for _, start in windows.keys)
        if key not in self.kept:
            self.kept[key] = super().features(windows, hooks)
            for term in self.spec.maps:
                self.kept[(*key, term)] = super().targets(windows, self.kept[key], term)
        return self.kept[key]

    def targets(self, windows, features, term):
        return self.kept[(*(start for _, start in windows.keys), term)]

    def target_part(self, windows, features, term, view):
        whole = self.targets(windows, features, term)
        rows, columns = view.tile.slices(*whole.shape[3:])
        return whole[..., rows, columns]


def all_hidden_loss(bench: Bench) -> Tensor:
    output = bench.model(**bench.inputs, output_hidden_states=True)
    loss, hidden_states = output.loss, output.hidden_states
    del output  # and with it the logits
    tokens = [
        resample(hidden_states[-1], clip, len(key), bench.frames_per_step, bench.distiller.teacher.spec)
        for clip, key in zip(bench.batch.tokens, bench.batch.keys, strict=True)
    ]
    latents = bench.tap.decoder(torch.cat(tokens))
    return loss + bench.distiller(latents, bench.batch).total


def heads_kept_loss(bench: Bench) -> Tensor:
    with patch.object(distiller, "_TermsWithGradient", _HeadsKept):
        return p4d_loss(bench)


class _HeadsKept:
    """Stands in for the distiller's autograd function: the same terms, left to plain autograd."""

    @staticmethod
    def apply(distiller, side, names, latents):
        assert not names, "the benchmark's teacher has heads of its own"
        terms = torch.stack([distiller.term(term, latents, side) for term in distiller.weights])
        weights = torch.tensor(list(distiller.weights.values()), device=terms.device)
        return (weights * terms).sum(), terms.detach(), None


@dataclass
class Arm:
    """One row of the table: how it computes its loss, which parts it needs, and what was measured."""

    name: str
    loss: Callable[[Bench], Tensor]
    decoder: bool = True
    heads: bool = True
    encoder: bool = True
    sampled: bool = False
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    """Bytes."""
    syncs: Counter = field(default_factory=Counter)
    """How often the host waits, by place in the code."""

    @property
    def typical(self) -> float:
        """Seconds of a step."""
        return (statistics.mean if self.sampled else statistics.median)(self.seconds)

    def parked(self, bench: Bench) -> int:
        """Bytes of the parts that are there but that this arm does not use."""
        teacher = bench.distiller.teacher.model
        tensors: list[Tensor] = []
        if not self.decoder:
            tensors += bench.batch.frames
            tensors += [clip.index for clip in bench.batch.tokens]
            for parameter in bench.tap.decoder.parameters():
                tensors += [parameter, *bench.optimizer.state[parameter].values()]
        if not self.encoder:
            tensors += teacher.video_encoder.parameters()
        if not self.heads:
            tensors += teacher.task_heads.parameters()
        return tensor_bytes(tensors)


def make_arms() -> list[Arm]:
    return [
        Arm("sft", sft_loss, decoder=False, heads=False, encoder=False),
        Arm("p4d", p4d_loss),
        Arm("p4d, latents only", latent_loss, heads=False),
        Arm("p4d, sampled", sampled_loss, sampled=True),
        Arm("p4d, cached", cached_loss, encoder=False),
        Arm("p4d, cached, sampled", cached_sampled_loss, encoder=False, sampled=True),
        Arm("p4d, heads kept", heads_kept_loss),
        Arm("p4d, all hidden", all_hidden_loss),
    ]


# Measuring


def train_step(bench: Bench, arm: Arm) -> None:
    with torch.autocast(bench.device.type, torch.bfloat16, enabled=bench.autocast):
        loss = arm.loss(bench)
    # The function, not the method, inside which a TorchFunctionMode would see nothing.
    torch.autograd.backward(loss)
    bench.optimizer.step()
    bench.optimizer.zero_grad(set_to_none=True)


def measure(bench: Bench, arms: list[Arm], warmup: int, steps: int) -> None:
    """Fills in the arms. Syncs, and memory on the CPU, come from steps of their own: watching them takes time."""
    cuda = bench.device.type == "cuda"
    for step in range(warmup + steps):
        for arm in arms:
            gc.collect()  # what one arm leaves in reference cycles is not the next one's memory
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            train_step(bench, arm)
            if cuda:
                torch.cuda.synchronize()
            if step >= warmup:
                arm.seconds.append(time.perf_counter() - start)
                if cuda:
                    arm.peak = max(arm.peak, torch.cuda.max_memory_allocated() - arm.parked(bench))
    for arm in arms:
        if not cuda:
            arm.peak = cpu_peak(bench, arm) - arm.parked(bench)
        with watch_cuda_syncs() if cuda else watch_host_reads() as arm.syncs:
            train_step(bench, arm)


def cpu_peak(bench: Bench, arm: Arm) -> int:
    """Most bytes allocated at once in a step on the CPU."""
    gc.collect()
    resident = tensor_bytes(resident_tensors(bench))
    with torch.autograd.profiler.profile(profile_memory=True) as profiler:
        train_step(bench, arm)
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return resident + peak


def resident_tensors(bench: Bench) -> Iterator[Tensor]:
    """What lives between steps: weights, optimiser state and inputs."""
    for module in (bench.model, bench.distiller.teacher.model):  # the decoder is a part of the model
        yield from module.parameters()
        yield from module.buffers()
    for state in bench.optimizer.state.values():
        yield from state.values()
    yield from bench.inputs.values()
    yield from bench.batch.frames
    yield from (clip.index for clip in bench.batch.tokens)


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' storages, each counted once."""
    storages = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storages.values())


@contextmanager
def watch_cuda_syncs() -> Iterator[Counter]:
    """Counts torch's warnings about waiting for the device, by the line of Python that caused it."""
    places: Counter = Counter()
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode(before)
    places.update(
        _place(warning.filename, warning.lineno)
        for warning in caught
        if "called a synchronizing" in str(warning.message)
    )


@contextmanager
def watch_host_reads() -> Iterator[Counter]:
    """Counts calls that would make the host wait if their tensor were on a device."""
    with _HostReads() as reads:
        yield reads.places


class _HostReads(TorchFunctionMode):
    # A dispatch mode would not see `tolist` of a CPU tensor, and a boolean mask only as an ordinary index.
    READS = {torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.__bool__, torch.Tensor.__int__}
    READS |= {torch.Tensor.__float__, torch.Tensor.__index__, torch.Tensor.nonzero, torch.nonzero, torch.equal}
    READS |= {torch.Tensor.equal, torch.masked_select, torch.Tensor.masked_select, torch.Tensor.unique}
    INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter = Counter()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in self.READS or (func in self.INDEXING and self._has_mask(args[1])):
            frame = sys._getframe(1)
            while frame.f_back and f"{Path('torch')}/" in frame.f_code.co_filename:
                frame = frame.f_back
            self.places[_place(frame.f_code.co_filename, frame.f_lineno)] += 1
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _has_mask(index) -> bool:
        parts = index if isinstance(index, tuple) else (index,)
        return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


def _place(filename: str, line: int) -> str:
    """File and line, without what comes before the package."""
    name = filename.split("site-packages/")[-1].removeprefix(f"{ROOT}/")
    return f"{name}:{line}"


# Report


def report(args: argparse.Namespace, bench: Bench, arms: list[Arm]) -> str:
    """Settings, table and added syncs, in Markdown."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU, 1 thread"
    modules = {"student": bench.model, "decoder": bench.tap.decoder, "teacher": bench.distiller.teacher.model}
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}
    counts["student"] -= counts["decoder"]  # a part of the model while it trains
    sizes = ", ".join(f"{name} {count / 1e6:,.2f} M" for name, count in counts.items())
    batch, length = bench.inputs["input_ids"].shape
    checkpointing = "on" if args.gradient_checkpointing else "off"
    outputs = "float32" if args.float32_outputs else "as computed"
    lines = [
        f"### Step overhead, {args.size} student, {args.teacher} teacher, {date.today()}",
        "",
        f"- {device}; torch {torch.__version__}, transformers {transformers.__version__}",
        f"- parameters: {sizes}; decoder of {args.decoder_layers} layer(s)",
        f"- {args.train} fine-tuning, {args.dtype}, outputs {outputs}, gradient checkpointing {checkpointing}",
        f"- per step: {batch} x {length} tokens, {args.frames} frames per clip, tokens {bench.batch.tokens[0].grid}",
        f"- {args.steps} steps per arm in turns after {args.warmup} of warm-up",
        "",
        "| arm | step ms, typical | min..max | x sft | peak MiB | x sft | syncs |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    base = arms[0]
    for arm in arms:
        median = arm.typical
        lines.append(
            f"| {arm.name} | {1e3 * median:.1f} | {1e3 * min(arm.seconds):.1f}..{1e3 * max(arm.seconds):.1f} "
            f"| {median / base.typical:.2f} | {arm.peak / MIB:,.2f} | {arm.peak / base.peak:.2f} "
            f"| {arm.syncs.total()} |"
        )
    lines.append("")
    for arm in arms[1:]:
        added = ", ".join(f"{place} ({count})" for place, count in (arm.syncs - base.syncs).items())
        lines.append(f"- syncs that `{arm.name}` adds: {added or 'none'}")
    return "\n".join(lines) + "\n"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=list(DEFAULTS), default="tiny", help="shape of the student")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cpu for tiny, cuda for 7b")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: float32 for tiny, else bfloat16")
    parser.add_argument("--teacher", choices=["tiny", "released"], help="shape of the L4P; default: as the student")
    train = parser.add_mutually_exclusive_group()
    train.add_argument("--lora", dest="train", action="store_const", const="lora", help="r=16; the default for 7b")
    train.add_argument("--full", dest="train", action="store_const", const="full", help="weights in --dtype")
    parser.add_argument("--no-gradient-checkpointing", dest="gradient_checkpointing", action="store_false")
    parser.add_argument(
        "--raw-outputs", dest="float32_outputs", action="store_false", help="no float32 copies, as under DeepSpeed"
    )
    parser.add_argument("--decoder-layers", type=int, default=1, help="1: the release's linear map; 3: the paper's")
    parser.add_argument("--frames", type=int, default=16, help="per clip, even")
    parser.add_argument("--batch", type=int, default=1, help="rows, one clip each")
    parser.add_argument(
        "--arms", type=lambda text: text.split("+"), help="names of arms, with + between; default: all"
    )
    parser.add_argument("--steps", type=int, default=10, help="timed steps per arm")
    parser.add_argument("--warmup", type=int, default=3, help="steps per arm before timing, at least 1")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="append the table to this file")
    args = parser.parse_args(argv)
    for name, value in DEFAULTS[args.size].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    args.float32_outputs &= args.dtype == "bfloat16"
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda (the default for --size 7b): torch finds no GPU here")
    if args.frames < 2 or args.frames % 2:
        parser.error(f"--frames must be even and at least 2, found {args.frames}")
    unknown = set(args.arms or ()) - {arm.name for arm in make_arms()}
    if unknown:
        parser.error(f"--arms: {sorted(unknown)} are none; known: {[arm.name for arm in make_arms()]}")
    if min(args.batch, args.steps, args.warmup, args.decoder_layers) < 1:
        parser.error("--batch, --steps, --warmup and --decoder-layers must be at least 1")
    return args


def main(argv: list[str] | None = None) -> str:
    args = parse_args(argv)
    if args.device == "cpu":
        torch.set_num_threads(1)  # the tiny networks are slower with more, and noisier
    bench = build(args)
    arms = [arm for arm in make_arms() if args.arms is None or arm.name in args.arms]
    measure(bench, arms, args.warmup, args.steps)
    table = report(args, bench, arms)
    print(table)
    if args.markdown:
        with open(args.markdown, "a", encoding="utf-8") as file:
            file.write(f"\n{table}")
    return table


if __name__ == "__main__":
    main()
