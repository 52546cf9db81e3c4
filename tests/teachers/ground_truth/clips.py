# SPDX-License-Identifier: Apache-2.0
"""One synthetic clip as a .npz file and as a folder of images, the same values in both."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from rgpt4d_plugin.synth4d.clips import ClipSettings, make_clip, save_ground_truth
from rgpt4d_plugin.synth4d.render import Clip4D


MILLIMETRES = 0.001


def clip_4d(frames: int = 6, height: int = 32, width: int = 48) -> Clip4D:
    """A rendered clip with a moving camera, at 2 frames per second."""
    settings = ClipSettings(count=1, frames=frames, height=height, width=width)
    seed = 0
    while True:
        clip = make_clip(np.random.default_rng(seed), settings)
        if clip.scene.camera.moves and clip.motion.any():
            return clip
        seed += 1


def write_npz(path: Path, clip: Clip4D, **changes: object) -> Path:
    """The file that `rgpt4d synth` writes, with other values for some arrays; None leaves one out."""
    save_ground_truth(path, clip)
    if changes:
        with np.load(path) as found:
            arrays = {**found, **changes}
        np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def write_folder(path: Path, clip: Clip4D, **changes: object) -> Path:
    """Depth in whole millimetres as 16-bit PNG, masks as 8-bit PNG, flow as one .npy a frame."""
    for name in ("depth", "flow", "motion"):
        (path / name).mkdir(parents=True)
    for index in range(len(clip.frames)):
        millimetres = np.round(clip.depth[index] / MILLIMETRES).astype(np.uint16)
        Image.fromarray(millimetres).save(path / f"depth/{index:06d}.png")
        Image.fromarray(clip.motion[index].astype(np.uint8) * 255).save(path / f"motion/{index:06d}.png")
        np.save(path / f"flow/{index:06d}.npy", clip.flow_2d_backward[index])
    record = {
        "fps": 2,
        "intrinsics": clip.intrinsics.tolist(),
        "poses": clip.poses.tolist(),
        "depth": {"files": "depth/*.png", "scale": MILLIMETRES},
        "flow_2d_backward": {"files": "flow/*.npy"},
        "motion": {"files": "motion/*.png"},
        **changes,
    }
    record = {name: value for name, value in record.items() if value is not None}
    (path / "clip.json").write_text(json.dumps(record))
    return path
