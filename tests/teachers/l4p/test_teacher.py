# SPDX-License-Identifier: Apache-2.0
"""L4P's own conventions behind the teacher interface."""

import torch

from rgpt4d_plugin.teachers.l4p.teacher import log_depth


def test_log_depth_is_the_releases_formula_without_its_overflow():
    raw = torch.linspace(-30, 80, 50, dtype=torch.float64).float()
    torch.testing.assert_close(log_depth(raw).double(), torch.log(raw.double().exp() + 1e-8), rtol=1e-5, atol=1e-5)
    assert log_depth(torch.tensor([1000.0])) == 1000  # exp would be inf
