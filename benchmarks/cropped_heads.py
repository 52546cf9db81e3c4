# SPDX-License-Identifier: Apache-2.0
"""May a head run on a window of the token grid? How far its map is from that window of the whole map.

    python benchmarks/cropped_heads.py             # the trained small L4P on clips that it never saw: a minute
    python benchmarks/cropped_heads.py --released  # random weights of the released shape, random features: an hour

For windows at the frame's corner and a margin of tokens around them, the head runs on the features of window and
margin alone. Printed are, per map: the root mean square of the difference from the whole map inside the window, in
standard deviations of the whole map there; and the cosine and length, against the gradient of the whole mean square
error, of the mean gradient over the four windows that tile the frame.

Below, for `p4d.loss.map_size`: the root mean square of the difference between a smaller map and the native one resized
to it, in standard deviations of the latter, and the cosine of the gradients at the latents.
"""

import argparse
import copy
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from rgpt4d_plugin.synth4d import TINY_TEACHER  # noqa: E402
from rgpt4d_plugin.teachers.base import MapSize, MapView  # noqa: E402
from rgpt4d_plugin.teachers.l4p import L4P, RELEASED, load_l4p  # noqa: E402
from rgpt4d_plugin.teachers.l4p.dpt import DPTHead  # noqa: E402


def run(head: DPTHead, features: list[Tensor], rows: slice, columns: slice) -> Tensor:
    """The raw map of a window of the token grid, from the features of that window alone."""
    t, h, w = head.grid
    part = copy.copy(head)  # shares the weights
    part.grid = (t, rows.stop - rows.start, columns.stop - columns.start)
    part.size = (head.size[0], head.size[1] * part.grid[1] // h, head.size[2] * part.grid[2] // w)
    cropped = [f.unflatten(1, head.grid)[:, :, rows, columns].flatten(1, 3) for f in features]
    return part(cropped, raw=True)


def windows(size: int, margin: int) -> list[tuple[slice, slice]]:
    """The halves of an axis: window, and window with margin."""
    half = size // 2
    return [(slice(0, half), slice(0, half + margin)), (slice(half, size), slice(half - margin, size))]


def compare(head: DPTHead, features: list[Tensor], others: list[Tensor], margin: int) -> tuple[float, float, float]:
    """Deviation of the map, cosine and relative length of the mean gradient; `others` are the student's latents."""
    t, h, w = head.grid
    scale_h, scale_w = head.size[1] // h, head.size[2] // w
    everything = slice(0, h), slice(0, w)
    with torch.no_grad():
        whole = run(head, features, *everything)
    leaves = [other.clone().requires_grad_() for other in others]
    full = torch.autograd.grad((run(head, leaves, *everything) - whole).square().sum(), leaves)
    summed = [torch.zeros_like(gradient) for gradient in full]
    deviation = spread = 0.0
    for rows, rows_read in windows(h, margin):
        for columns, columns_read in windows(w, margin):
            inside = (
                slice((rows.start - rows_read.start) * scale_h, (rows.stop - rows_read.start) * scale_h),
                slice((columns.start - columns_read.start) * scale_w, (columns.stop - columns_read.start) * scale_w),
            )
            with torch.no_grad():
                part = run(head, features, rows_read, columns_read)[..., inside[0], inside[1]]
            place = (
                slice(rows.start * scale_h, rows.stop * scale_h),
                slice(columns.start * scale_w, columns.stop * scale_w),
            )
            expected = whole[..., place[0], place[1]]
            deviation += (part - expected).square().sum().item()
            spread += (expected - expected.mean((2, 3, 4), keepdim=True)).square().sum().item()
            prediction = run(head, leaves, rows_read, columns_read)[..., inside[0], inside[1]]
            gradients = torch.autograd.grad((prediction - part).square().sum(), leaves)
            summed = [total + gradient for total, gradient in zip(summed, gradients)]
    one, two = (torch.cat([part.flatten() for part in parts]) for parts in (full, summed))
    return (
        (deviation / spread) ** 0.5,
        torch.cosine_similarity(one, two, dim=0).item(),
        (two.norm() / one.norm()).item(),
    )


def compare_size(head: DPTHead, features: list[Tensor], others: list[Tensor], size: MapSize) -> tuple[float, float]:
    """Deviation of a smaller map from the native one, and cosine of the gradients of the mean square errors."""
    gradients, maps = [], []
    for view in (MapView(), MapView(size)):
        with torch.no_grad():
            target = head(features, raw=True, view=view)
        leaves = [other.clone().requires_grad_() for other in others]
        found = torch.autograd.grad((head(leaves, raw=True, view=view) - target).square().mean(), leaves)
        gradients.append(torch.cat([part.flatten() for part in found]))
        maps.append(target)
    native = F.interpolate(maps[0], maps[1].shape[2:], mode="trilinear", align_corners=True)
    spread = (native - native.mean((2, 3, 4), keepdim=True)).square().mean()
    deviation = ((maps[1] - native).square().mean() / spread).sqrt().item()
    return deviation, torch.cosine_similarity(*gradients, dim=0).item()


def small_features(clips: int) -> tuple[L4P, dict[int, Tensor], dict[int, Tensor]]:
    """The trained small network, its features of held-out clips, and the same with noise for the student's latents."""
    from train_tiny_teacher import make_sample

    model = load_l4p(TINY_TEACHER, torch.float32)
    frames = torch.stack([make_sample((7, index))["frames"] for index in range(clips)])
    with torch.no_grad():
        features = model.encode(model.normalise(frames), only=model.config.hooks)
    return model, features, noisy(features)


def random_features(width: int) -> tuple[L4P, dict[int, Tensor], dict[int, Tensor]]:
    from dataclasses import replace

    sizes = {"dim": 1408 * width // 256, "blocks": 36, "heads": 1, "mlp_hidden": 1, "feature_dim": width}
    dims = tuple(width * by for by in (1, 2, 4, 4))
    tasks = {task: RELEASED.tasks[task] for task in ("depth", "camray")}
    config = replace(RELEASED, **sizes, last_dim=width // 2, layer_dims=dims, tasks=tasks)
    model = L4P.from_config(config).freeze()
    generator = torch.Generator().manual_seed(0)
    features = {hook: torch.randn(1, config.tokens, config.dim, generator=generator) for hook in config.hooks}
    return model, features, noisy(features)


def noisy(features: dict[int, Tensor]) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(1)
    noise = {hook: torch.randn(value.shape, generator=generator) for hook, value in features.items()}
    return {hook: value + 0.5 * value.std() * noise[hook] for hook, value in features.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--released", action="store_true")
    parser.add_argument("--width", type=int, default=256, help="channels of the pyramid of --released")
    args = parser.parse_args()
    model, features, others = random_features(args.width) if args.released else small_features(args.clips)
    print("| map | window | margin | map, rms / std | gradient, cosine | length |\n|---|---|---:|---:|---:|---:|")
    for task, head in model.task_heads.items():
        hooks = model.config.tasks[task].hooks
        for margin in (0, 2, 4) if args.released else (0, 2):  # an odd window does not fit the pyramid
            found = compare(head, [features[hook] for hook in hooks], [others[hook] for hook in hooks], margin)
            print(f"| {task} | a quarter | {margin} | {found[0]:.3f} | {found[1]:.3f} | {found[2]:.3f} |", flush=True)

    print("\n| map | size | map, rms / std | gradient, cosine |\n|---|---|---:|---:|")
    for task, head in model.task_heads.items():
        given = [[kind[hook] for hook in model.config.tasks[task].hooks] for kind in (features, others)]
        for size in model.config.map_sizes(task):
            deviation, cosine = compare_size(head, *given, size)
            print(f"| {task} | {size} | {deviation:.3f} | {cosine:.3f} |", flush=True)


if __name__ == "__main__":
    main()
