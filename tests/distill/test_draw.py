# SPDX-License-Identifier: Apache-2.0
"""Sampled terms and tiles: the expected loss and gradient are the full ones."""

import itertools
import math

import pytest
import torch

from rgpt4d_plugin.distill import Distiller
from rgpt4d_plugin.distill.batch import DistillBatch
from rgpt4d_plugin.distill.draw import TILINGS, Draw, draw
from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.teachers import ClipKey, Tile
from rgpt4d_plugin.teachers.l4p import L4PTeacher, load_l4p
from tests.tiny_models import write_random_teacher


HOOKS = (0, 1, 2)
WEIGHTS = {"latent": 0.3, "depth": 0.5, "flow": 0.7, "motion": 1.1, "camray": 1.3}
MAPS = tuple(WEIGHTS)[1:]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A distiller over a small random teacher, latents of one clip, and the clip."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    write_random_teacher(path)
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (16, 3, 64, 64), dtype=torch.uint8, generator=generator)
    nowhere = ClipTokens(torch.zeros(0, dtype=torch.int64), (0, 0, 0))
    batch = DistillBatch([nowhere], [ClipKey("clip.mp4", (0.0,) * 16)], [frames])
    latents = torch.randn(512, len(HOOKS), 16, generator=generator).requires_grad_()
    return Distiller(L4PTeacher(load_l4p(path, torch.float32)), WEIGHTS, "mse", HOOKS), latents, batch


def gradient_of(case, drawn=None):
    distiller, latents, batch = case
    return torch.autograd.grad(distiller(latents, batch, drawn).total, latents)[0]


@pytest.mark.slow
@pytest.mark.parametrize(("maps", "crop"), [(1, 1.0), (2, 0.5), (None, 0.25)])
def test_the_mean_over_all_draws_is_the_full_gradient(case, maps, crop):
    """Exactly, with every draw that may come up as often as it does."""
    kept = list(itertools.combinations(MAPS, maps or len(MAPS)))
    tiles = [
        [Tile(row, rows, column, columns) for row in range(rows) for column in range(columns)]
        for rows, columns in TILINGS[crop]
    ] or [[None]]
    total = torch.zeros(512, len(HOOKS), 16)
    for terms in kept:
        left_out, factor = frozenset(MAPS) - frozenset(terms), len(MAPS) / len(terms)
        for tiling in tiles:
            share = 1 / (len(kept) * len(tiles) * len(tiling))
            for tile in tiling:
                total += share * gradient_of(case, Draw(left_out, factor, tile))
    full = gradient_of(case)
    torch.testing.assert_close(total, full, rtol=0, atol=1e-5 * full.abs().max().item())


@pytest.mark.slow
def test_the_mean_over_steps_is_the_full_gradient_within_its_standard_error(case):
    """With the draws that steps make: along fixed directions, and that of the full gradient, over 200 steps."""
    generator = torch.Generator().manual_seed(1)
    full = gradient_of(case)
    directions = torch.stack([full, *torch.randn(20, *full.shape, generator=generator)]).flatten(1)
    found, drawn = {}, []
    for step in range(200):
        drawn.append(draw(MAPS, 1, 0.5, seed=3, step=step))
        if drawn[-1] not in found:
            found[drawn[-1]] = directions @ gradient_of(case, drawn[-1]).flatten()
    samples = torch.stack([found[one] for one in drawn])
    error = samples.std(0) / math.sqrt(len(drawn))
    z = (samples.mean(0) - directions @ full.flatten()) / error
    # 21 correlated values of a standard normal: beyond 4, one run in a thousand, and the seed is fixed.
    assert z.abs().max() < 4, z
    assert (error[0] / (full.norm() ** 2)) < 0.2  # the mean is known well enough for a wrong factor to show


def test_draws_are_a_function_of_seed_and_step():
    first = [draw(MAPS, 1, 0.25, 5, step) for step in range(400)]
    assert first == [draw(MAPS, 1, 0.25, 5, step) for step in range(400)]
    assert first != [draw(MAPS, 1, 0.25, 6, step) for step in range(400)]
    for term in MAPS:
        kept = sum(term not in one.left_out for one in first)
        assert 100 - 4 * 9 < kept < 100 + 4 * 9  # a quarter of 400, standard deviation 8.7
    assert {one.factor for one in first} == {4.0} and all(len(one.left_out) == 3 for one in first)
    assert len({one.tile for one in first}) == 4


def test_more_maps_than_there_are_is_all_of_them():
    assert draw(MAPS, 9, 1.0, 0, 0) == draw(MAPS, None, 1.0, 0, 0) == Draw()
    assert draw((), 1, 1.0, 0, 0) == Draw()


@pytest.mark.slow
def test_a_term_that_is_left_out_does_not_run_and_is_told(case, monkeypatch):
    distiller, latents, batch = case
    ran = []
    targets = L4PTeacher.targets
    monkeypatch.setattr(L4PTeacher, "targets", lambda self, *args: ran.append(args[-1]) or targets(self, *args))
    full = distiller(latents, batch)
    assert ran == list(MAPS) and not full.left_out
    ran.clear()
    sums = distiller(latents, batch, Draw(frozenset({"flow", "motion"}), 2.0))
    assert ran == ["depth", "camray"] and sums.left_out == {"flow", "motion"}
    kept = torch.tensor([True, True, False, False, True])
    assert torch.equal(sums.terms[kept], full.terms[kept]) and (sums.terms[~kept] == 0).all()
    expected = sum(
        weight * (2 if term != "latent" else 1) * value
        for (term, weight), value in zip(WEIGHTS.items(), sums.terms.tolist())
    )
    assert sums.total.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["half", "quarter"])
def test_smaller_maps_are_compared_in_full(case, size):
    """The mean is over the smaller map's elements; rays, which have no smaller size, are compared as they are."""
    whole, latents, batch = case
    small = Distiller(whole.teacher, WEIGHTS, "mse", HOOKS, map_size=size)
    view = small.teacher.spec.maps["depth"].view(size, None)
    with torch.no_grad():
        found = dict(zip(WEIGHTS, small(latents, batch).terms))
        windows = small._windows(batch)
        features = small.teacher.features(windows, HOOKS)
        target = small.teacher.target_part(windows, features, "depth", view)
        prediction = small.teacher.predict_part(dict(zip(HOOKS, latents[None].unbind(2))), "depth", view)
        full = dict(zip(WEIGHTS, whole(latents, batch).terms))
    assert prediction.shape[3:] == small.teacher.spec.maps["depth"].plane(size) != (64, 64)
    torch.testing.assert_close(found["depth"], (prediction - target).square().mean(), rtol=1e-5, atol=0)
    assert found["camray"] == full["camray"] and found["latent"] == full["latent"]


@pytest.mark.slow
def test_lengths_of_gradients(case):
    """Of the weighted terms, each alone."""
    distiller, latents, batch = case
    measuring = Distiller(distiller.teacher, WEIGHTS, "mse", HOOKS, measure_gradients=True)
    sums = measuring(latents, batch)
    for (term, weight), squared in zip(WEIGHTS.items(), sums.gradients):
        alone = Distiller(distiller.teacher, {term: weight}, "mse", HOOKS)
        assert squared.item() == pytest.approx(gradient_of((alone, latents, batch)).square().sum().item(), rel=1e-4)
    assert distiller(latents, batch).gradients is None
    assert measuring(latents.detach(), batch).gradients is None
    drawn = measuring(latents, batch, Draw(frozenset({"flow"}), 4 / 3))
    kept = torch.tensor([term != "flow" for term in WEIGHTS])
    assert torch.equal(drawn.gradients[kept], sums.gradients[kept]) and (drawn.gradients[~kept] == 0).all()
