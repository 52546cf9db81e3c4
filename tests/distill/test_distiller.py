# SPDX-License-Identifier: Apache-2.0
"""The distiller against a reference that keeps every window, map and mask at once and leaves gradients to autograd."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from rgpt4d_plugin.distill import DistillBatch, Distiller, LatentDecoder, resample
from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.teachers import ClipKey
from rgpt4d_plugin.teachers.l4p import L4P, L4PTeacher, load_l4p
from rgpt4d_plugin.teachers.l4p.teacher import TASK_OF_TERM
from tests.tiny_models import write_random_teacher


HOOKS = (0, 1, 2)
WEIGHTS = {"latent": 0.3, "depth": 0.5, "flow": 0.7, "motion": 1.1, "camray": 1.3}
WINDOW, STRIDE, TUBELET, STEP_TOKENS = 16, 8, 2, 64


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    path = tmp_path_factory.mktemp("expert") / "expert.safetensors"
    write_random_teacher(path)
    return path


@pytest.fixture(scope="module")
def teacher(expert):
    return L4PTeacher(load_l4p(expert, torch.float32))


def random_frames(count, seed=0):
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def random_latents(clips, seed=0):
    """Latents for all windows of the clips, of the size of the teacher's features, so that both branches of smooth L1
    are met."""
    rows = sum(STEP_TOKENS * WINDOW // TUBELET * len(window_firsts(len(frames))) for frames in clips)
    latents = 2 * torch.randn(rows, len(HOOKS), 16, generator=torch.Generator().manual_seed(seed))
    return latents.requires_grad_()


def keys_of(clips):
    return [ClipKey("clip.mp4", (0.0,) * len(frames)) for frames in clips]


def batch_of(*clips):
    """A batch whose token positions nobody reads: the latents are given."""
    nowhere = ClipTokens(torch.zeros(0, dtype=torch.int64), (0, 0, 0))
    return DistillBatch([nowhere] * len(clips), keys_of(clips), list(clips))


# --- the reference ---------------------------------------------------------------------------------------------------


def window_firsts(frames):
    """First frame of each window."""
    padded = max(WINDOW, math.ceil(frames / STRIDE) * STRIDE)
    return list(range(0, padded - WINDOW + 1, STRIDE))


def error(kind, prediction, target):
    difference = prediction - target
    if kind == "mse":
        return difference**2
    return torch.where(difference.abs() < 1, difference**2 / 2, difference.abs() - 0.5)


def reference_terms(teacher, kind, latents, frames):
    """Every term of one clip: the mean over all elements that some window owns, one frame or step at a time."""
    network = teacher.model
    firsts = window_firsts(len(frames))
    windows = latents.unflatten(0, (len(firsts), -1))
    elements = {term: [] for term in WEIGHTS}
    for first, latent in zip(firsts, windows):
        seen = [frames[min(frame, len(frames) - 1)] for frame in range(first, first + WINDOW)]
        with torch.no_grad():
            features = network.encode(network.normalise(torch.stack(seen)[None]))
            targets = network.decode(features, TASK_OF_TERM.values())
        student = {hook: latent[None, :, position] for position, hook in enumerate(HOOKS)}
        maps = network.decode(student, TASK_OF_TERM.values())

        for step in range(WINDOW // TUBELET):
            frame = first + step * TUBELET
            owner = max(start for start in firsts if start <= frame)
            if frame < len(frames) and owner == first:
                rows = slice(step * STEP_TOKENS, (step + 1) * STEP_TOKENS)
                for hook in HOOKS:
                    elements["latent"].append(error(kind, student[hook][0, rows], features[hook][0, rows]))

        for step in range(WINDOW):
            frame = first + step
            for term, task in TASK_OF_TERM.items():
                # The flow of a frame needs the frame before it in the same window.
                needed = frame - 1 if term == "flow" else frame
                owner = max((start for start in firsts if start <= needed), default=None)
                if frame < len(frames) and owner == first:
                    prediction, target = maps[task][0, :, step], targets[task][0, :, step]
                    if term == "depth":
                        prediction, target = torch.log(prediction + 1e-8), torch.log(target + 1e-8)
                    elements[term].append(error(kind, prediction, target))
    nothing = latents.sum() * 0
    return {
        term: torch.cat([part.flatten() for part in parts]).mean() if parts else nothing
        for term, parts in elements.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mse", "smooth_l1"])
@pytest.mark.parametrize("count", [16, 5, 1, 20])
def test_terms_and_gradients_equal_the_reference(teacher, kind, count):
    """One full window; a padded one; a single frame, which has no flow; two windows, the second padded."""
    frames = random_frames(count)
    latents = random_latents([frames])
    sums = Distiller(teacher, WEIGHTS, kind, HOOKS)(latents, batch_of(frames))
    (gradient,) = torch.autograd.grad(sums.total, latents)

    terms = reference_terms(teacher, kind, latents, frames)
    expected_total = sum(weight * terms[term] for term, weight in WEIGHTS.items())
    (expected_gradient,) = torch.autograd.grad(expected_total, latents)

    # float32: the two sum up to a million elements in another order.
    torch.testing.assert_close(sums.terms, torch.stack([terms[term].detach() for term in WEIGHTS]), rtol=1e-5, atol=0)
    torch.testing.assert_close(sums.total.detach(), expected_total.detach(), rtol=1e-5, atol=0)
    scale = expected_gradient.abs().max().item()
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5 * scale)
    assert sums.clips == 1 and not sums.terms.requires_grad
    assert (sums.terms[list(WEIGHTS).index("flow")] == 0) == (count == 1)


def test_moving_pixels_of_the_flow_count_more_often(teacher):
    frames = random_frames(16)
    latents = random_latents([frames])
    weights = {"flow": 0.7, "motion": 1.1}
    sums = Distiller(teacher, weights, "smooth_l1", HOOKS, flow_moving=20)(latents, batch_of(frames))

    network = teacher.model
    with torch.no_grad():
        features = network.encode(network.normalise(frames[None]))
        targets = network.decode(features, TASK_OF_TERM.values())
    student = {hook: latents[None, :, position] for position, hook in enumerate(HOOKS)}
    flow = error(
        "smooth_l1",
        network.decode(student, [TASK_OF_TERM["flow"]])[TASK_OF_TERM["flow"]],
        targets[TASK_OF_TERM["flow"]],
    )
    moving = targets[TASK_OF_TERM["motion"]] > 0
    expected = torch.where(moving, 21 * flow, flow)[:, :, 1:].mean()
    assert 0.01 < moving.float().mean() < 0.99
    torch.testing.assert_close(sums.terms[0], expected.detach(), rtol=1e-5, atol=0)


def test_what_moves_is_found_out_once(teacher, monkeypatch):
    made, targets = [], teacher.targets
    monkeypatch.setattr(teacher, "targets", lambda *given: made.append(given[2]) or targets(*given))
    frames = random_frames(16)
    Distiller(teacher, {"flow": 1.0, "motion": 1.0}, "smooth_l1", HOOKS, flow_moving=20)(
        random_latents([frames]), batch_of(frames)
    )
    assert sorted(made) == ["flow", "motion"]


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", WEIGHTS)
def test_each_term_alone_reaches_exactly_its_clips_tokens(teacher, term):
    """Through the decoder and the resampling, two clips in one row among text: no other hidden state is moved."""
    clips = [random_frames(5, seed=1), random_frames(4, seed=2)]
    length = 70
    tokens = [
        # Grid 3 x 2 x 3 with text between its steps, in row 1; grid 2 x 4 x 4 behind it.
        ClipTokens(length + torch.tensor([*range(2, 8), *range(10, 16), *range(18, 24)]), (3, 2, 3)),
        ClipTokens(length + torch.arange(30, 62), (2, 4, 4)),
    ]
    hidden = torch.randn(2, length, 24, generator=torch.Generator().manual_seed(0)).requires_grad_()
    decoder = LatentDecoder(24, 16, hooks=len(HOOKS), layers=2, hidden_size=32, seed=0)
    distiller = Distiller(teacher, {term: 1.0}, "mse", HOOKS)
    batch = DistillBatch(tokens, keys_of(clips), clips)

    latents = decoder(
        torch.cat([resample(hidden, place, len(frames), 2, teacher.spec) for place, frames in zip(tokens, clips)])
    )
    latents.retain_grad()
    distiller(latents, batch).total.backward()

    assert latents.grad.isfinite().all() and latents.grad.abs().sum() > 0
    strength = hidden.grad.flatten(0, 1).abs().sum(1)
    own = torch.cat([place.index for place in tokens])
    assert (strength[own] > 0).all()
    strength[own] = 0
    assert (strength == 0).all()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in decoder.parameters())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.model.parameters())


@pytest.mark.slow
def test_no_gradient_is_taken_where_none_is_wanted(teacher):
    frames = random_frames(5)
    latents = random_latents([frames])
    with_gradient = Distiller(teacher, WEIGHTS, "mse", HOOKS)(latents, batch_of(frames))
    with torch.no_grad():
        without = Distiller(teacher, WEIGHTS, "mse", HOOKS)(latents, batch_of(frames))
    assert not without.total.requires_grad
    assert torch.equal(without.terms, with_gradient.terms) and torch.equal(without.total, with_gradient.total.detach())


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "hooks", "blocks"),
    [
        ({"latent": 1.0}, (0, 1, 2), [1, 2]),
        ({"latent": 1.0}, (0, 1), [1]),
        ({"depth": 1.0}, (0, 1, 2), [1, 2]),
        ({"latent": 1.0, "flow": 1.0, "camray": 1.0}, (0, 1, 2), [1, 2]),
    ],
)
def test_only_what_a_weight_asks_for_runs(expert, weights, hooks, blocks):
    """Heads without a weight, and encoder blocks above the last hook, never run; the encoder runs once per clip."""
    config = replace(load_l4p(expert).config, blocks=4)
    network = L4P.from_config(config).freeze()
    ran = Counter()
    for index, block in enumerate(network.video_encoder.blocks, start=1):
        block.register_forward_hook(lambda *_, index=index: ran.update([index]))
    for task, head in network.task_heads.items():
        head.register_forward_hook(lambda *_, task=task: ran.update([task]))
    clips = [random_frames(20), random_frames(3)]

    latents = random_latents(clips)[:, : len(hooks)]
    Distiller(L4PTeacher(network), weights, "mse", hooks)(latents, batch_of(*clips)).total.backward()

    # Three windows in all, at once: each head once for the teacher's maps and once for the student's.
    heads = {TASK_OF_TERM[term]: 2 for term in weights if term != "latent"}
    assert ran == Counter(dict.fromkeys(blocks, 1) | heads)


# --- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_batch_is_the_sum_of_its_clips(teacher):
    """Invariant 2: neither neighbours nor their order count."""
    clips = [random_frames(count, seed=count) for count in (5, 20, 1)]
    latents = [random_latents([frames], seed=len(frames)) for frames in clips]
    distiller = Distiller(teacher, WEIGHTS, "smooth_l1", HOOKS)

    alone = [distiller(latent, batch_of(frames)) for latent, frames in zip(latents, clips)]
    gradients = [torch.autograd.grad(sums.total, latent)[0] for sums, latent in zip(alone, latents)]
    total, terms = sum(sums.total.detach() for sums in alone), sum(sums.terms for sums in alone)
    for order in [(0, 1, 2), (2, 0, 1)]:
        together = distiller(torch.cat([latents[i] for i in order]), batch_of(*(clips[i] for i in order)))
        found = torch.autograd.grad(together.total, latents)
        # float32: windows run together take other kernels, which sum in another order.
        torch.testing.assert_close(together.total.detach(), total, rtol=1e-5, atol=0)
        torch.testing.assert_close(together.terms, terms, rtol=1e-5, atol=0)
        for gradient, expected in zip(found, gradients):
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
        assert together.clips == 3


def test_an_empty_batch_is_a_connected_zero(teacher):
    latents = torch.randn(1, len(HOOKS), 16, requires_grad=True)  # what a rank without a video decodes
    sums = Distiller(teacher, WEIGHTS, "mse", HOOKS)(latents, DistillBatch())
    sums.total.backward()
    assert sums.total.item() == 0 and sums.total.dtype == torch.float32
    assert torch.equal(latents.grad, torch.zeros_like(latents))
    assert torch.equal(sums.terms, torch.zeros(len(WEIGHTS))) and sums.clips == 0


# --- padding ---------------------------------------------------------------------------------------------------------


def test_padded_steps_do_not_enter_the_latent_term(teacher):
    """Five frames are three of the window's eight steps."""
    frames = random_frames(5)
    latents = random_latents([frames])
    distiller = Distiller(teacher, {"latent": 1.0}, "mse", HOOKS)
    sums = distiller(latents, batch_of(frames))
    (gradient,) = torch.autograd.grad(sums.total, latents)

    changed = latents.detach().clone()
    changed[3 * STEP_TOKENS :] = torch.nan
    assert torch.equal(distiller(changed, batch_of(frames)).terms, sums.terms)
    changed = latents.detach().clone()
    changed[3 * STEP_TOKENS - 1] += 1
    assert not torch.equal(distiller(changed, batch_of(frames)).terms, sums.terms)
    strength = gradient.flatten(1).abs().sum(1)
    assert (strength[: 3 * STEP_TOKENS] > 0).all() and (strength[3 * STEP_TOKENS :] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 1])
def test_padded_frames_do_not_enter_the_maps(teacher, monkeypatch, count):
    """Both sides' maps may hold anything there, and so may the first frame's flow."""
    frames = random_frames(count)
    latents = random_latents([frames])
    distiller = Distiller(teacher, WEIGHTS, "mse", HOOKS)
    sums = distiller(latents, batch_of(frames))
    (gradient,) = torch.autograd.grad(sums.total, latents)
    decode, encode = teacher.model.decode, teacher.model.encode

    def spoilt_maps(*args, **kwargs):
        maps = decode(*args, **kwargs)
        for task, values in maps.items():
            spoilt = torch.full_like(values, torch.nan)
            first = 1 if task == "flow_2d_backward" else 0
            spoilt[:, :, first:count] = values[:, :, first:count]
            maps[task] = spoilt
        return maps

    monkeypatch.setattr(teacher.model, "decode", spoilt_maps)
    again = distiller(latents, batch_of(frames))
    assert torch.equal(again.terms, sums.terms)
    assert torch.equal(torch.autograd.grad(again.total, latents)[0], gradient)

    def spoilt_features(*args, **kwargs):
        features = encode(*args, **kwargs)
        for feature in features.values():
            feature[:, math.ceil(count / TUBELET) * STEP_TOKENS :] = torch.nan
        return features

    monkeypatch.setattr(teacher.model, "encode", spoilt_features)
    latent_only = Distiller(teacher, {"latent": 1.0}, "mse", HOOKS)
    assert torch.equal(latent_only(latents, batch_of(frames)).terms, sums.terms[:1])


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_bfloat16_teacher_is_close(expert, teacher):
    frames = random_frames(5)
    latents = random_latents([frames])
    exact = Distiller(teacher, WEIGHTS, "mse", HOOKS)(latents, batch_of(frames))
    (exact_gradient,) = torch.autograd.grad(exact.total, latents)
    rounded = Distiller(L4PTeacher(load_l4p(expert, torch.bfloat16)), WEIGHTS, "mse", HOOKS)(latents, batch_of(frames))
    (gradient,) = torch.autograd.grad(rounded.total, latents)

    assert rounded.terms.dtype == rounded.total.dtype == gradient.dtype == torch.float32
    # bfloat16 has 8 bits: 0.4 % per rounding, over some tens of layers; terms average over many elements.
    torch.testing.assert_close(rounded.terms, exact.terms, rtol=0.02, atol=0)
    # A gradient element averages over few, and is cut off where rounding turns a ReLU's input negative.
    difference = (gradient - exact_gradient).norm() / exact_gradient.norm()
    assert difference.item() < 0.15


def test_autocast_changes_nothing_but_the_decoder(teacher):
    """bfloat16 latents come out of the decoder; teacher and terms keep their own precision."""
    frames = random_frames(5)
    place = ClipTokens(torch.arange(18), (3, 2, 3))
    hidden = torch.randn(1, 20, 24, generator=torch.Generator().manual_seed(0)).requires_grad_()
    decoder = LatentDecoder(24, 16, hooks=len(HOOKS), layers=3, hidden_size=32, seed=0)
    distiller = Distiller(teacher, WEIGHTS, "mse", HOOKS)
    with torch.autocast("cpu", torch.bfloat16):
        latents = decoder(resample(hidden, place, 5, 2, teacher.spec))
        sums = distiller(latents, batch_of(frames))
    sums.total.backward()

    assert latents.dtype == torch.bfloat16
    assert sums.terms.dtype == sums.total.dtype == torch.float32
    outside = distiller(latents.detach().float(), batch_of(frames))
    assert torch.equal(sums.terms, outside.terms) and torch.equal(sums.total.detach(), outside.total)
    assert hidden.grad.isfinite().all() and hidden.grad.abs().sum() > 0


# --- the decoder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 3])
def test_decoder_draws_from_its_own_generator(layers):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (LatentDecoder(24, 16, 3, layers, hidden_size=32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert all(not torch.equal(a.weight, b.weight) for a, b in zip(one.layers, other.layers))


def test_one_layer_starts_as_the_releases():
    decoder = LatentDecoder(400, 50, 4, layers=1, hidden_size=7, seed=0)
    (layer,) = decoder.layers
    assert layer.weight.shape == (200, 400) and torch.equal(layer.bias, torch.zeros(200))
    # 80 000 draws: the standard error of their deviation is 0.1 / sqrt(160 000) = 0.00025, of their mean 0.00035.
    assert layer.weight.std().item() == pytest.approx(0.1, abs=0.001)
    assert layer.weight.mean().item() == pytest.approx(0, abs=0.0015)
    assert (layer.weight.abs() > 0.1).float().mean().item() == pytest.approx(0.3173, abs=0.01)  # normal, not uniform


def test_more_layers_start_as_the_papers():
    decoder = LatentDecoder(60, 50, 4, layers=3, hidden_size=90, seed=0)
    assert [tuple(layer.weight.shape) for layer in decoder.layers] == [(90, 60), (90, 90), (200, 90)]
    for layer in decoder.layers:
        bound = math.sqrt(6 / sum(layer.weight.shape))
        assert layer.weight.abs().max().item() <= bound
        # Thousands of uniform draws come close to the bound.
        assert layer.weight.abs().max().item() > 0.99 * bound
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert torch.equal(layer.bias, torch.zeros_like(layer.bias))


def test_decoder_forward():
    decoder = LatentDecoder(24, 16, 3, layers=2, hidden_size=32, seed=0)
    hidden = torch.randn(7, 24)
    first, second = decoder.layers
    x = hidden @ first.weight.T + first.bias
    x = x * 0.5 * (1 + torch.erf(x / 2**0.5))
    expected = (x @ second.weight.T + second.bias).view(7, 3, 16)
    torch.testing.assert_close(decoder(hidden), expected)
    assert decoder(hidden.bfloat16()).dtype == torch.float32  # the decoder's own precision, not the student's


@pytest.mark.slow
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_never_leaves(teacher, monkeypatch, bad):
    """One window at a time, as on a GPU: the windows of the other clip keep their gradient."""
    frames = [random_frames(5), random_frames(4, seed=1)]
    latents = random_latents(frames)
    distiller = Distiller(teacher, WEIGHTS, "mse", HOOKS)
    distiller.windows_at_once = 1
    (expected,) = torch.autograd.grad(distiller(latents, batch_of(*frames)).total, latents)
    targets, calls = teacher.targets, Counter()

    def first_spoilt(windows, features, term):
        calls[term] += 1
        found = targets(windows, features, term)
        return found * bad if term == "depth" and calls[term] == 1 else found

    monkeypatch.setattr(teacher, "targets", first_spoilt)
    sums = distiller(latents, batch_of(*frames))
    (gradient,) = torch.autograd.grad(sums.total, latents)

    assert sums.terms.isfinite().tolist() == [term != "depth" for term in WEIGHTS]
    half = len(latents) // 2
    assert (gradient[:half] == 0).all() and torch.equal(gradient[half:], expected[half:])
