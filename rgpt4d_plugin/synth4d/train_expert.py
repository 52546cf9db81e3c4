# SPDX-License-Identifier: Apache-2.0
"""Trains the small L4P expert that ships with this package, on rendered clips and their exact ground truth.

    python -m rgpt4d_plugin.synth4d.train_expert --out l4p_tiny.safetensors --minutes 20 --preview preview.png

It has the architecture of the released expert at about a thousandth of its size, so that examples and tests can run
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
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rgpt4d_plugin.synth4d.tiny_expert import TINY, evaluate, make_sample, save_preview
from rgpt4d_plugin.teachers.l4p import L4P, load_l4p, save_l4p


logger = logging.getLogger(__name__)


def expert_losses(maps: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
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
    """A trainable expert which starts at constant maps and with half of its patch channels tuned to change."""
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
        return expert_losses(model.decode(features, TINY.tasks), batch)

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


def save_expert(model: L4P, path: str | PathLike, metrics: dict[str, float]) -> None:
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
    save_expert(model, arguments.out, metrics)
    if arguments.preview:
        # Drawn from the file, so that the picture also shows what float16 storage does.
        save_preview(load_l4p(arguments.out), arguments.preview)


if __name__ == "__main__":
    main()
