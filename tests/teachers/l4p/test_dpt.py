# SPDX-License-Identifier: Apache-2.0
"""Parts of a map, and smaller maps, from a head of the released geometry with few channels."""

import copy
from dataclasses import replace

import pytest
import torch

from rgpt4d_plugin.teachers import MapView, Tile
from rgpt4d_plugin.teachers.l4p import L4P, RELEASED
from rgpt4d_plugin.teachers.l4p.teacher import l4p_spec


CONFIG = replace(
    RELEASED,
    dim=8,
    heads=1,
    feature_dim=4,
    last_dim=4,
    layer_dims=(4, 4, 4, 4),
    tasks={task: RELEASED.tasks[task] for task in ("depth", "flow_2d_backward", "camray")},
)


@pytest.fixture(scope="module")
def model():
    return L4P.from_config(CONFIG).freeze()


@pytest.fixture(scope="module")
def features():
    generator = torch.Generator().manual_seed(0)
    return {hook: torch.randn(1, CONFIG.tokens, CONFIG.dim, generator=generator) for hook in CONFIG.hooks}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "rows", "columns"), [("native", 2, 1), ("native", 3, 3), ("half", 2, 2), ("quarter", 2, 2)]
)
def test_tiles_are_those_of_the_whole_map(model, features, size, rows, columns):
    """Nothing of the convolutions' padding is in them; their gradients add up to that of the whole."""
    # In float64: in float32, torch's resize and ours disagree by 1e-5 about where between two entries they read.
    model = copy.deepcopy(model).double()
    leaves = {hook: value.clone().requires_grad_() for hook, value in features.items()}

    def decode(tile):
        return model.decode(leaves, ("flow_2d_backward",), raw=True, view=MapView(size, tile))["flow_2d_backward"]

    whole = decode(None)
    gradients = []
    for row in range(rows):
        for column in range(columns):
            tile = Tile(row, rows, column, columns)
            height, width = tile.slices(*whole.shape[3:])
            part = decode(tile)
            torch.testing.assert_close(part, whole[..., height, width], rtol=0, atol=1e-5 * whole.abs().max().item())
            gradients.append(torch.autograd.grad(part.square().sum(), tuple(leaves.values())))
    expected = torch.autograd.grad(whole.square().sum(), tuple(leaves.values()))
    for parts, gradient in zip(zip(*gradients), expected):
        torch.testing.assert_close(sum(parts), gradient, rtol=0, atol=1e-5 * gradient.abs().max().item())


@pytest.mark.slow
def test_sizes_are_those_that_the_description_names(model, features):
    maps = l4p_spec(CONFIG, "L4P").maps
    assert maps["depth"].sizes == {"half": (128, 128), "quarter": (64, 64)} and maps["depth"].tiles
    assert not maps["camray"].sizes and not maps["camray"].tiles
    assert maps["depth"].view("half", Tile(0, 2, 0, 1)) == MapView("half", Tile(0, 2, 0, 1))
    assert maps["camray"].view("half", Tile(0, 2, 0, 1)) == MapView()
    for size in ("native", "half", "quarter"):
        found = model.decode(features, ("depth",), view=MapView(size))["depth"]
        assert found.shape == (1, 1, 16, *maps["depth"].plane(size))


def test_tiles_meet_without_gap_or_overlap():
    rows = [Tile(row, 3, 0, 1).slices(7, 4) for row in range(3)]
    assert [part.indices(7) for part, _ in rows] == [(0, 2, 1), (2, 4, 1), (4, 7, 1)]
    assert all(columns == slice(0, 4) for _, columns in rows)
