# SPDX-License-Identifier: Apache-2.0
"""The small expert: its sizes, the clips it learns from, and how well it does on clips that it never saw."""

import math
from os import PathLike

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rgpt4d_plugin.synth4d.clips import ClipSettings, decode_mp4, encode_mp4, make_clip
from rgpt4d_plugin.teachers.l4p import L4P, L4PConfig, TaskConfig


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
"""Configuration of the shipped expert: 16 x 64 x 64 in, 8 x 8 x 8 tokens, about 1.2 M parameters."""

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
    from matplotlib import pyplot as plt  # a plotting library is not needed to train

    from rgpt4d_plugin.video.colours import flow_colours

    figure, axes = plt.subplots(clips, 7, figsize=(14, 2 * clips), squeeze=False)
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
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
