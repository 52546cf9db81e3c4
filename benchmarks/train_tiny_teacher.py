# SPDX-License-Identifier: Apache-2.0
"""Trains the small L4P teacher that ships with the package, on rendered clips and their exact ground truth.

    python benchmarks/train_tiny_teacher.py --out l4p_tiny.safetensors --minutes 20 --preview preview.png

It has the architecture of the released teacher at about a thousandth of its size, so that examples and tests can run
the whole distillation offline on a CPU. It knows this package's balls and nothing else.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Callable
from os import PathLike

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rgpt4d_plugin.synth4d.clips import ClipSettings, decode_mp4, encode_mp4, make_clip
from rgpt4d_plugin.teachers.l4p import L4P, L4PConfig, TaskConfig, load_l4p, save_l4p
from rgpt4d_plugin.video.colours import flow_colours


logger = logging.getLogger(__name__)

_HOOKS = (2, 3, 4, 5)
# The two shallow pyramid levels stop at half the official resolution, which makes a CPU step twice as fast; the
# head's final resize brings the maps to the full frame, as it does in the released model.
_PIXEL_MAPS = {
    "actpost_scale_factors": ((1, 1, 1), (1, 0, 0), (0, 0, 0), (-1, -1, -1)),
    "fusion_scale_factors": ((1, 2, 2), (1, 2, 2), (2, 1, 1), (2, 2, 2)),
    "hooks": _HOOKS,
}

TINY = L4PConfig(
    frames=16,
    height=64,
    width=64,
    patch=(2, 8, 8),
    dim=96,
    blocks=6,
    heads=4,
    mlp_hidden=192,
    eps=1e-6,
    feature_dim=16,
    last_dim=8,
    layer_dims=(16, 16, 24, 24),
    tasks={
        "depth": TaskConfig(channels=1, activation="exp", **_PIXEL_MAPS),
        "flow_2d_backward": TaskConfig(channels=2, **_PIXEL_MAPS),
        "dyn_mask": TaskConfig(channels=1, **_PIXEL_MAPS),
        "camray": TaskConfig(
            channels=6,
            actpost_scale_factors=((1, 0, 0), (1, 0, 0), (0, 0, 0), (-1, -1, -1)),
            fusion_scale_factors=((1, 1, 1), (1, 1, 1), (2, 1, 1), (2, 2, 2)),
            hooks=_HOOKS,
            output_size=(16, 8, 8),
        ),
    },
)
"""Configuration of the shipped teacher: 16 x 64 x 64 in, 8 x 8 x 8 tokens, about 1.2 M parameters."""

_CLIPS = ClipSettings(frames=TINY.frames, height=TINY.height, width=TINY.width)
_HELD_OUT_SEED = 2**31  # training clips are drawn from (seed, index) with a small seed


def make_sample(seed: tuple[int, ...], crf: int | None = None) -> dict[str, Tensor]:
    """One clip with targets; frames have been through the video codec, as the student's have.

    Args:
        seed: Seed of the clip.
        crf: Codec quality, or None to draw one from 8 to 22.

    Returns:
        frames uint8 (T, 3, H, W) and, in float32 and the layout of L4P's maps without the batch axis, depth in metres,
        flow_2d_backward in pixels, dyn_mask in {0, 1}, camray.
    """
    rng = np.random.default_rng(seed)
    clip = make_clip(rng, _CLIPS)
    crf = int(rng.integers(8, 23)) if crf is None else crf
    frames = decode_mp4(encode_mp4(clip.frames, _CLIPS.fps, crf))
    return {
        "frames": torch.from_numpy(frames).permute(0, 3, 1, 2),
        "depth": torch.from_numpy(clip.depth)[None],
        "flow_2d_backward": torch.from_numpy(clip.flow_2d_backward).transpose(0, 1),
        "dyn_mask": torch.from_numpy(clip.motion)[None].float(),
        "camray": torch.from_numpy(clip.camray).transpose(0, 1),
    }


@torch.no_grad()
def evaluate(model: L4P, clips: int = 32) -> dict[str, float]:
    """Mean errors over clips that were never trained on, beside what a trivial answer scores.

    Returns:
        log_depth_error and its value on ball pixels alone, flow_epe_moving (pixels) beside that of zero flow,
        mask_iou of the moving pixels, ray_degrees and moment_error (metres).
    """
    scores: dict[str, list[float]] = {}
    for index in range(clips):
        maps, target = predict(model, index)
        for name, value in _errors(maps, target).items():
            scores.setdefault(name, []).append(value)
    # A clip without a moving ball has no score for some of them.
    return {name: round(float(np.nanmean(values)), 4) for name, values in scores.items()}


@torch.no_grad()
def predict(model: L4P, index: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Maps and targets (1, C, T, H, W) of one held-out clip."""
    sample = make_sample((_HELD_OUT_SEED, index), crf=_CLIPS.crf)
    target = {name: value[None] for name, value in sample.items()}
    return model(model.normalise(target["frames"]), TINY.tasks), target


def _errors(maps: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, float]:
    log_depth = target["depth"].log()
    error = (maps["depth"].log() - log_depth).abs()
    ball = target["depth"] < 7.0  # the wall is never nearer
    flow, moving = target["flow_2d_backward"][:, :, 1:], target["dyn_mask"][:, 0, 1:] > 0
    epe = (maps["flow_2d_backward"][:, :, 1:] - flow).norm(dim=1)
    found, mask = maps["dyn_mask"] > 0, target["dyn_mask"] > 0
    cosine = F.cosine_similarity(maps["camray"][:, :3], target["camray"][:, :3], dim=1)
    return {
        "log_depth_error": error.mean().item(),
        "log_depth_error_constant": (log_depth - log_depth.median()).abs().mean().item(),
        "log_depth_error_balls": error[ball].mean().item(),
        "log_depth_error_balls_constant": (log_depth - log_depth.median()).abs()[ball].mean().item(),
        "flow_epe_moving": epe[moving].mean().item(),
        "flow_epe_moving_zero": flow.norm(dim=1)[moving].mean().item(),
        "mask_iou": ((found & mask).sum() / (found | mask).sum()).item() if mask.any() else math.nan,
        "ray_degrees": torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).mean().item(),
        "moment_error": (maps["camray"][:, 3:] - target["camray"][:, 3:]).norm(dim=1).mean().item(),
    }


def save_preview(model: L4P, path: str | PathLike, clips: int = 5, frame: int = 8) -> None:
    """PNG with one held-out clip a row: the frame, then depth, flow and motion mask, truth left of prediction."""
    figure = Figure(figsize=(14, 2 * clips), layout="tight")
    axes = figure.subplots(clips, 7, squeeze=False)
    for row, index in zip(axes, range(clips)):
        maps, target = predict(model, index)
        row[0].imshow(target["frames"][0, frame].permute(1, 2, 0))
        for offset, name, source in ((1, "truth", target), (2, "predicted", maps)):
            row[offset].imshow(source["depth"][0, 0, frame], vmin=1.5, vmax=9, cmap="viridis_r")
            row[offset + 2].imshow(flow_colours(source["flow_2d_backward"][0, :, frame].numpy(), longest=2.0))
            mask = source["dyn_mask"][0, 0, frame]
            row[offset + 4].imshow(mask.sigmoid() if source is maps else mask, vmin=0, vmax=1, cmap="gray")
            for kind, column in (("depth", offset), ("flow", offset + 2), ("motion", offset + 4)):
                row[column].set_title(f"{kind}, {name}", fontsize=8)
        for axis in row:
            axis.axis("off")
    figure.savefig(path, dpi=80)


def teacher_losses(maps: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weighted terms (scalars) of the supervised loss; both sides are (B, C, T, H, W).

    Most pixels are a still wall, so that its depth and zero flow are hard optima to leave. Moving pixels therefore
    weigh 1 + 20 x mask in the flow, and errors count quadratically up to about one standard deviation of the target
    (0.35 in log-depth, 1 pixel in flow): an absolute error would ask for the median, which is the wall.
    """
    moving = target["dyn_mask"]
    weight = 1 + 20 * moving[:, :, 1:]
    flow = F.smooth_l1_loss(maps["flow_2d_backward"][:, :, 1:], target["flow_2d_backward"][:, :, 1:], reduction="none")
    return {
        "depth": F.smooth_l1_loss(maps["depth"].log() / 0.35, target["depth"].log() / 0.35),
        "flow": 3 * (weight * flow).sum() / (2 * weight.sum()),
        "mask": F.binary_cross_entropy_with_logits(maps["dyn_mask"], moving),
        "camray": F.mse_loss(maps["camray"], target["camray"]),
    }


def turned(sample: dict[str, Tensor]) -> dict[str, Tensor]:
    """The clip as seen by a camera held upside down: everything turned by 180 degrees about the optical axis."""
    # x and y change sign, z does not; a turn, unlike a mirror image, keeps a moment the cross product it is.
    signs = {"flow_2d_backward": [-1, -1], "camray": [-1, -1, 1, -1, -1, 1]}
    flipped = {name: value.flip(-1, -2) for name, value in sample.items()}
    return flipped | {name: flipped[name] * torch.tensor(sign).view(-1, 1, 1, 1) for name, sign in signs.items()}


def initialise(seed: int) -> L4P:
    """A trainable teacher which starts at constant maps and with half of its patch channels tuned to change."""
    # channels_last halves the time of small 3D convolutions on a CPU.
    model = L4P.from_config(TINY, seed).to(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        for head in model.task_heads.values():
            # At full size the first rays are ten times too large, and their gradient hides those of depth and flow
            # from the shared encoder for hundreds of steps.
            head.head2[2].weight.mul_(0.05)
        model.task_heads["depth"].head2[2].bias.fill_(math.log(7.0))  # metres, near the wall
        # Motion of a pixel a frame is a few percent of a patch's energy; kernels that subtract the two frames of a
        # patch start with it in plain sight.
        patches = model.video_encoder.patch_embed.proj.weight
        change = patches[: TINY.dim // 2]
        change[:, :, 1] = -change[:, :, 0]
        change.mul_(2)
    return model


def token_losses(values: Tensor, target: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same loss on patch means: what a linear readout (B, N, 8) of the tokens says of their two frames each.

    Channels are log-depth, flow u and v averaged over the moving pixels, and the moving share, for both frames.
    """
    t, h, w = TINY.patch
    mask = target["dyn_mask"]
    weight = mask + 1e-3  # a patch without moving pixels has their mean, the background's flow
    means = [
        F.avg_pool3d(value, (1, h, w))
        for value in (target["depth"].log(), target["flow_2d_backward"] * weight, weight, mask)
    ]
    means[1:3] = [means[1] / means[2]]
    truth = torch.cat(means, dim=1).unflatten(2, (-1, t)).permute(0, 2, 4, 5, 1, 3).flatten(1, 3)  # (B, N, 4, t)
    values = values.unflatten(-1, (4, t))
    moving = truth[:, :, 3:]
    weight = moving + 0.02
    flow = F.smooth_l1_loss(values[:, :, 1:3], truth[:, :, 1:3], reduction="none")
    return {
        "depth": F.smooth_l1_loss(values[:, :, :1] / 0.35, (truth[:, :, :1] - math.log(7.0)) / 0.35),
        "flow": 3 * (weight * flow).sum() / (2 * weight.sum()),
        "mask": F.binary_cross_entropy_with_logits(values[:, :, 3:], moving),
    }


class ClipStream:
    """Batches of one new clip, replayed ones, and each of them turned.

    With the turned copies the mean flow of a batch is zero, so that no step is wasted on the direction in which its
    few balls happen to fly.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.clips = [make_sample((seed, index)) for index in range(32)]

    def draw(self, count: int) -> dict[str, Tensor]:
        """Samples (2 * count, ...) of the new clip and of `count` - 1 earlier ones."""
        replayed = self.rng.choice(len(self.clips), count - 1, replace=False)
        self.clips.append(make_sample((self.seed, len(self.clips))))
        samples = [self.clips[-1]] + [self.clips[index] for index in replayed]
        samples += [turned(sample) for sample in samples]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def train(seed: int, minutes: float) -> L4P:
    """Train from scratch for a time budget, on a slow machine with fewer steps.

    The first 45 % of the time goes to the encoder alone, with a linear readout that is thrown away: a clip costs a
    fifth there of what the dense heads cost, and motion takes many clips to learn. Then everything is trained.
    """
    model, stream = initialise(seed), ClipStream(seed)
    last = TINY.hooks[-1]
    readout = nn.Linear(TINY.dim, 4 * TINY.patch[0])
    nn.init.zeros_(readout.weight)
    nn.init.zeros_(readout.bias)

    def token_step() -> dict[str, Tensor]:
        batch = stream.draw(4)
        return token_losses(readout(model.encode(model.normalise(batch["frames"]), only=[last])[last]), batch)

    def map_step() -> dict[str, Tensor]:
        batch = stream.draw(2)
        features = model.encode(model.normalise(batch["frames"]), only=TINY.hooks)
        return teacher_losses(model.decode(features, TINY.tasks), batch)

    _fit("tokens", [*model.video_encoder.parameters(), *readout.parameters()], token_step, 0.45 * minutes)
    _fit("maps", list(model.parameters()), map_step, 0.55 * minutes)
    return model


def _fit(
    stage: str,
    parameters: list[nn.Parameter],
    step_losses: Callable[[], dict[str, Tensor]],
    minutes: float,
    lr: float = 1e-3,
) -> None:
    """AdamW with a warm-up of 50 steps and a cosine over the clock; terms are logged as means of 25 steps."""
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    start, step = time.monotonic(), 0
    sums: dict[str, float] = {}
    while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 50) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        terms = step_losses()
        optimizer.zero_grad()
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        step += 1
        sums = {name: sums.get(name, 0.0) + value.item() for name, value in terms.items()}
        if step % 25 == 0:  # one batch says little: clips differ much in how far their balls move
            shown = ", ".join(f"{name} {value / 25:.4f}" for name, value in sums.items())
            logger.info("%s, step %d, %.1f min: %s", stage, step, (time.monotonic() - start) / 60, shown)
            sums = {}


def save_teacher(model: L4P, path: str | PathLike, metrics: dict[str, float]) -> None:
    """Write the model in float16 (`load_l4p` casts to what is asked for) with its held-out metrics as metadata."""
    save_l4p(model.half(), path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata=metadata | {"held_out": json.dumps(metrics)})


def main(argv: list[str] | None = None) -> None:
    """Command line: train, evaluate, save, and draw a preview if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="checkpoint to write, ending in .safetensors")
    parser.add_argument("--minutes", type=float, default=20.0, help="training time in minutes (default 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--preview", help="PNG of held-out predictions beside the truth")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)

    model = train(arguments.seed, arguments.minutes)
    metrics = evaluate(model.eval())
    for name, value in metrics.items():
        logger.info("%s %.4f", name, value)
    save_teacher(model, arguments.out, metrics)
    if arguments.preview:
        # Drawn from the file, so that the picture also shows what float16 storage does.
        save_preview(load_l4p(arguments.out), arguments.preview)


if __name__ == "__main__":
    main()
