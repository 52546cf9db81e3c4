# SPDX-License-Identifier: Apache-2.0
"""The count of arithmetic: against closed form and known sizes, and against what docs/speed.md states."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import nn


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
IN_THE_DOCS = {
    "L4P, every term on every step, as released": "L4P, the release's way",
    "L4P, `maps: 1, crop: 0.25`": "L4P, online, sampled",
    "L4P, features and maps cached": "L4P, cached",
    "L4P, cached, `maps: 1, crop: 0.25`": "L4P, cached, sampled",
    "L4P, cached, `maps: 1, crop: 0.25`, `map_size: half`": "L4P, cached, sampled, half",
    "Depth Anything 3 BASE, every term": "Depth Anything 3 BASE, online",
    "Depth Anything 3 BASE, `maps: 1`": "Depth Anything 3 BASE, online, sampled",
    "a VGGT-sized teacher at 518 pixels, online": "VGGT-sized, online",
}
"""Rows of the table in docs/speed.md, by the script's names."""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("flops", ROOT / "benchmarks" / "flops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(script) -> dict[str, list[str]]:
    """Cells behind each row's name."""
    return cells(script.main([]))


def cells(text: str) -> dict[str, list[str]]:
    lines = (re.split(r"\s*\|\s*", line.strip("| ")) for line in text.splitlines() if line.startswith("| "))
    return {name: rest for name, *rest in lines}


def test_a_matrix_product_is_two_operations_per_multiply_add(script):
    linear = nn.Linear(30, 50, device="meta")
    tokens = torch.empty(7, 30, device="meta", requires_grad=True)
    forward = 2 * 7 * 30 * 50 / 1e12
    assert script.count(lambda: linear(tokens)) == pytest.approx(forward)
    assert script.count(lambda: linear(tokens).sum().backward()) == pytest.approx(3 * forward)


def test_the_released_l4p_has_its_known_cost(script):
    cost = script.teacher_cost(script.meta_teacher("l4p"), 16, 3584)
    # TFLOP of 16 frames at 224 x 224, counted by hand from the layers: 40 blocks are 5.09, and 36 of them are run.
    assert cost.encoder == pytest.approx(5.09 * 36 / 40, rel=0.01)
    assert cost.maps["depth"]["whole"][0] == pytest.approx(2.84, rel=0.01)
    assert cost.maps["camray"]["whole"][0] == pytest.approx(0.27, rel=0.02)


def test_shares_of_the_step(rows):
    """Of a step with gradient checkpointing, the host's default."""
    share = {name: float(row[-1]) for name, row in rows.items() if name not in ("step", "---")}
    assert share["L4P, the release's way"] >= 20
    assert share["L4P, online, sampled"] <= 6
    assert share["L4P, cached, sampled, half"] <= 1.5 < share["L4P, cached, sampled"] <= 1.6


def test_the_documented_table_is_the_counted_one(rows):
    documented = cells((ROOT / "docs/speed.md").read_text())
    for name, counted in IN_THE_DOCS.items():
        for stated, exact in zip(documented[name], (rows[counted][1], rows[counted][3]), strict=True):
            stated = stated.strip("+ %")
            assert stated == f"{float(exact):.{len(stated.partition('.')[2])}f}", name
