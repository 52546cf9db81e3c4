# SPDX-License-Identifier: Apache-2.0
"""The demo from assets to pictures, with a few steps instead of all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.harness import LOG_KEYS, succeeded


pytestmark = [pytest.mark.slow, pytest.mark.further]


ROOT = Path(__file__).parents[2]


def demo(folder: Path, **teacher: str) -> dict[str, list[float]]:
    """Runs the demo in two steps, and returns its table: term -> values of both."""
    recipe = yaml.safe_load((ROOT / "recipes/demo_cpu.yaml").read_text())
    recipe |= {"max_steps": 2, "save_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 1}
    recipe["p4d"]["teacher"] |= teacher
    (folder / "demo.yaml").write_text(yaml.safe_dump(recipe))

    rgpt4d = str(Path(sys.executable).with_name("rgpt4d"))
    # The recipe's paths are relative: the whole demo stays in the folder it is started in.
    result = subprocess.run(
        [rgpt4d, "demo", "demo.yaml"], cwd=folder, env=os.environ, capture_output=True, text=True, timeout=500
    )
    shown = succeeded(result).stdout
    rows = [line.split() for line in shown[shown.index("term ") :].splitlines()[1:]]
    return {row[0]: [float(value) for value in row[1:]] for row in rows if row and row[0].startswith("loss")}


def test_demo_in_small(tmp_path):
    table = demo(tmp_path)
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        assert len(table[key]) == 2 and all(value > 0 for value in table[key])
    # Video, and three rows each for depth, flow and motion.
    with Image.open(tmp_path / "demo/run/maps_held_out.png") as sheet:
        assert sheet.height > 1.3 * sheet.width > 1000
    pictures = [tmp_path / "demo/run" / name for name in ("training_p4d_terms.png", "maps_held_out.png")]
    assert all(picture.exists() for picture in pictures)
    for picture in pictures:
        picture.unlink()

    # With a cache in the recipe the same comes out, within what bfloat16 latents keep. It does not have the held-out
    # clip whose maps are drawn.
    cached = demo(tmp_path, cache="demo/cache")
    assert (tmp_path / "demo/cache/summary.json").exists() and all(picture.exists() for picture in pictures)
    for key, values in table.items():
        assert cached[key] == pytest.approx(values, rel=2e-3, abs=1e-4), key
