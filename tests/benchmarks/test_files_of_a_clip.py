# SPDX-License-Identifier: Apache-2.0
"""A clip's way through the product stays short enough to read."""

import subprocess
import sys
from pathlib import Path

import pytest


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "files_of_a_clip.py"


@pytest.mark.slow
def test_a_clip_runs_through_few_files():
    result = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "plain: " in result.stdout and "regions: " in result.stdout
