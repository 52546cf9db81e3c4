# SPDX-License-Identifier: Apache-2.0
"""Element losses against five-line references, their gradients, and what an empty mask gives."""

import pytest
import torch

from rgpt4d_plugin.distill.losses import ELEMENT_LOSSES, masked_sum


def _reference(kind, difference):
    if kind == "mse":
        return difference**2
    if kind == "l1":
        return difference.abs()
    return torch.where(difference.abs() < 1, 0.5 * difference**2, difference.abs() - 0.5)


@pytest.mark.parametrize("kind", ELEMENT_LOSSES)
def test_masked_sum_and_gradient(kind):
    torch.manual_seed(0)
    prediction = (3 * torch.randn(2, 5, 4)).requires_grad_()
    target = torch.randn(2, 5, 4)

    total, count = masked_sum(prediction, target, slice(1, 4), 1, kind)
    total.backward()

    expected = _reference(kind, (prediction - target)[:, 1:4]).sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert count == 2 * 3 * 4
    assert prediction.grad[:, [0, 4]].abs().sum() == 0
    (expected_gradient,) = torch.autograd.grad(_reference(kind, (prediction - target)[:, 1:4]).sum(), prediction)
    torch.testing.assert_close(prediction.grad, expected_gradient)


@pytest.mark.parametrize("kind", ELEMENT_LOSSES)
def test_weights_say_how_often_an_element_counts(kind):
    torch.manual_seed(0)
    prediction = (3 * torch.randn(2, 5, 4)).requires_grad_()
    target, weight = torch.randn(2, 5, 4), torch.randint(0, 3, (1, 5, 4)).float()
    known = torch.rand(2, 5, 4) > 0.3

    total, count = masked_sum(prediction, target, slice(1, 4), 1, kind, known, weight)
    total.backward()

    expected = (_reference(kind, prediction - target) * weight * known)[:, 1:4].sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert count == 2 * 3 * 4
    (expected_gradient,) = torch.autograd.grad(expected, prediction)
    torch.testing.assert_close(prediction.grad, expected_gradient)


def test_nothing_valid_is_a_connected_zero():
    prediction = torch.randn(1, 4, requires_grad=True)
    total, count = masked_sum(prediction, torch.randn(1, 4), slice(1, 1), 1, "mse")
    total.backward()
    assert total == 0 and count == 0
    assert torch.equal(prediction.grad, torch.zeros(1, 4))


def test_bfloat16_maps_are_compared_in_float32():
    prediction = torch.full((1, 300), 1.0, dtype=torch.bfloat16)
    total, _ = masked_sum(prediction, torch.zeros(1, 300), slice(0, 300), 1, "mse")
    assert total.dtype == torch.float32
    assert total == 300  # bfloat16 would stop counting at 256


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(1, 4\), target \(1, 5\)"):
        masked_sum(torch.zeros(1, 4), torch.zeros(1, 5), slice(0, 4), 1, "mse")
