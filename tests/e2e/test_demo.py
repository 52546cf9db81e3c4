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


pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[2]


def test_demo_in_small(tmp_path):
    recipe = yaml.safe_load((ROOT / "recipes/demo_cpu.yaml").read_text())
    recipe |= {"max_steps": 2, "save_steps": 2, "logging_steps": 1, "per_device_train_batch_size": 1}
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(recipe))

    rgpt4d = str(Path(sys.executable).with_name("rgpt4d"))
    # The recipe's paths are relative: the whole demo stays in the folder it is started in.
    result = subprocess.run(
        [rgpt4d, "demo", "demo.yaml"], cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=500
    )
    shown = succeeded(result).stdout

    table = shown[shown.index("term ") :]
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        row = next(line.split() for line in table.splitlines() if line.startswith(key + " "))
        assert len(row) == 3 and all(float(value) > 0 for value in row[1:])
    # Video, and three rows each for depth, flow and motion.
    with Image.open(tmp_path / "demo/run/maps_held_out.png") as sheet:
        assert sheet.height > 1.3 * sheet.width > 1000
    assert (tmp_path / "demo/run/training_p4d_terms.png").exists()
