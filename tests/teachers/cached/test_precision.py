# SPDX-License-Identifier: Apache-2.0
"""How latents and maps are kept: errors against closed bounds, sizes, and the sums that measure them."""

import math

import pytest
import torch

from rgpt4d_plugin.teachers.cached.precision import Error, decode_latents, decode_map, encode_latents, encode_map


def latents():
    """(W, N, C) with channels of very different size, one of them 0."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 50, 6, generator=generator) * torch.tensor([1e-3, 1.0, 300.0, 0.0, 5.0, 0.1])
    return values


@pytest.mark.parametrize(
    ("kind", "bound"),
    [("bf16", lambda x: x.abs() * 2**-8), ("int8", lambda x: x.abs().amax(1, keepdim=True) / 254 * 1.001)],
)
def test_latents_are_as_near_as_their_form_allows(kind, bound):
    values = latents()
    found = decode_latents(encode_latents(values, kind), torch.float32)
    assert bool(((found - values).abs() <= bound(values) + 1e-30).all())


def test_eight_bits_keep_every_channel():
    """Half a step of three bits of mantissa, and of the channel's own largest value where it is small beside that."""
    values = latents()
    found = decode_latents(encode_latents(values, "fp8"), torch.float32)
    bound = values.abs() / 16 + values.abs().amax(1, keepdim=True) * 2**-10 / 448 * 1.01
    assert bool(((found - values).abs() <= bound).all())
    assert torch.equal(found[..., 3], torch.zeros(2, 50))


def test_bytes():
    values = latents()
    assert sum(tensor.nbytes for tensor in encode_latents(values, "bf16").values()) == 2 * values.numel()
    assert sum(tensor.nbytes for tensor in encode_latents(values, "int8").values()) == values.numel() + 2 * 6 * 4


@pytest.mark.parametrize(("kind", "side"), [("native", 8), ("half", 4), ("quarter", 2)])
def test_maps_of_a_plane_come_back(kind, side):
    """Averaging and interpolation keep a constant, and inside a plane's slope."""
    ramp = torch.arange(8.0).expand(1, 2, 3, 8, 8)
    stored = encode_map(ramp, kind)
    assert stored[""].shape == (1, 2, 3, side, side) and stored[""].dtype == torch.float16
    found = decode_map(stored, (8, 8))
    edge = 8 // side // 2
    assert torch.allclose(found[..., edge : 8 - edge], ramp[..., edge : 8 - edge])
    assert torch.equal(decode_map(encode_map(torch.full_like(ramp, 3.0), kind), (8, 8)), torch.full_like(ramp, 3.0))


def test_sides_that_a_cell_does_not_divide():
    assert encode_map(torch.zeros(1, 1, 2, 7, 5), "half")[""].shape == (1, 1, 2, 4, 3)


def test_errors_add_up():
    computed, stored = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([3.0, 3.0, 2.0])
    whole = Error.between(computed, stored)
    parts = Error.between(computed[:1], stored[:1]) + Error.between(computed[1:], stored[1:])
    assert whole == parts
    assert whole.rms == pytest.approx(math.sqrt(5 / 3)) and whole.largest == 2
    assert whole.relative == pytest.approx(math.sqrt(5 / 25))
