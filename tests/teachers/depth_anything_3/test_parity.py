# SPDX-License-Identifier: Apache-2.0
"""Our Depth Anything 3 returns what the published package returns, on seeded weights.

make_fixture.py ran depth-anything-3 0.1.1 (float32 on a CPU, eval mode, no autocast, PyTorch 2.11.0) and stored its
numbers alone.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.teachers.depth_anything_3 import seeded


OUTPUTS = load_file(Path(__file__).with_name("outputs.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("name", seeded.CASES)
def test_outputs_are_those_of_the_package(name):
    case = seeded.CASES[name]
    config = replace(seeded.CONFIG, **case.changes)
    model, views = seeded.network(config), seeded.views_of(case)
    count, (height, width) = views.shape[1], (size // config.patch for size in views.shape[-2:])
    with torch.no_grad():
        features = model.encode(views, config.hooks, case.reference)
        geometry = model.decode(features, (height, width))
    found = {
        **{f"feature {hook}": feature.unflatten(1, (count, -1)) for hook, feature in features.items()},
        "depth": geometry.log_depth.exp(),
        "depth_conf": geometry.depth_confidence,
        "ray": geometry.rays.movedim(2, -1),  # the package has channels last
        "ray_conf": geometry.ray_confidence,
    }
    assert geometry.rays.shape[-2:] == (8 * height, 8 * width)
    for key, value in seeded.thinned(found).items():
        torch.testing.assert_close(value, OUTPUTS[f"{name}/{key}"], rtol=1e-4, atol=1e-4, msg=f"{key}")
