# SPDX-License-Identifier: Apache-2.0
"""Trainable heads: which token gives which pixels, where gradients go, and what the terms compare."""

import pytest
import torch

from rgpt4d_plugin.distill import DistillBatch, Distiller
from rgpt4d_plugin.distill.heads import DecoderWithHeads, MapHead
from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.teachers import ClipKey, MapSpec, StoredMap, Teacher, TeacherSpec


SPEC = TeacherSpec(
    name="stored",
    input_size=(8, 8),
    window=4,
    stride=4,
    tubelet=2,
    grid=(2, 2, 3),
    width=5,
    features=(0, 1),
    maps={"depth": MapSpec((1, 4, 4, 6), (0, 1)), "pose": MapSpec((7, 4, 1, 1), (1,))},
    has_features=False,
    trainable_heads=True,
)


class StoredTeacher(Teacher):
    spec, device, dtype = SPEC, torch.device("cpu"), torch.float32

    @classmethod
    def read_spec(cls, options):
        return SPEC

    @classmethod
    def load(cls, options, device, terms):
        return cls()

    def features(self, windows, hooks):
        return {}

    def targets(self, windows, features, term):
        return windows.stored[term].values


def decoder(terms=("depth", "pose")):
    sizes = {"student_width": 6, "teacher_width": 5, "hooks": 2, "layers": 2, "hidden_size": 8}
    return DecoderWithHeads(teacher=SPEC, at=(0, 1), terms=terms, seed=0, **sizes)


def stored(windows, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = {}
    for term, (channels, *size) in (("depth", SPEC.maps["depth"].shape), ("pose", SPEC.maps["pose"].shape)):
        values = torch.randn(windows, channels, *size, generator=generator)
        maps[term] = StoredMap(values, torch.rand(windows, 1, *size, generator=generator) < 0.6)
    return maps


def batch_of(frames):
    nowhere = ClipTokens(torch.zeros(0, dtype=torch.int64), (0, 0, 0))
    keys = [ClipKey("clip.mp4", (0.0,) * count) for count in frames]
    maps = [stored(-(-count // 4), seed) for seed, count in enumerate(frames)]
    return DistillBatch([nowhere] * len(frames), keys, None, maps)


@pytest.mark.parametrize("token", [0, 4, 11])
def test_a_token_gives_its_patch_of_the_map(token):
    head = MapHead((1, 4, 4, 6), SPEC.grid, 5, torch.Generator().manual_seed(0))
    tokens = torch.randn(1, 12, 5)
    other = tokens.clone()
    other[0, token] += torch.randn(5)
    changed = (head(tokens) != head(other))[0, 0]
    step, row, column = token // 6, token % 6 // 3, token % 3
    expected = torch.zeros(4, 4, 6, dtype=torch.bool)
    expected[2 * step : 2 * step + 2, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
    assert torch.equal(changed, expected)


def test_a_pose_is_that_of_a_step_beside_the_first():
    head = MapHead((7, 4, 1, 1), SPEC.grid, 5, torch.Generator().manual_seed(0))
    tokens = torch.randn(1, 12, 5)
    for token, frames in ((0, [True] * 4), (6, [False, False, True, True])):
        other = tokens.clone()
        other[0, token] += torch.randn(5)
        changed = (head(tokens) != head(other)).any(dim=1).flatten()
        assert changed.tolist() == frames


def test_a_map_must_have_whole_patches():
    with pytest.raises(ValueError, match="no whole patch"):
        MapHead((1, 4, 5, 6), SPEC.grid, 5, torch.Generator())


def test_terms_are_means_over_what_is_known_and_gradients_are_autograds():
    """Two clips, of one window and of two, against a reference that keeps everything at once."""
    frames, weights = (3, 7), {"depth": 0.5, "pose": 0.7}
    module, batch = decoder(), batch_of((3, 7))
    hidden = torch.randn(3 * SPEC.tokens, 6)
    latents, maps = module(hidden)
    sums = Distiller(StoredTeacher(), weights, "mse", (0, 1))(latents, batch, maps=maps)
    sums.total.backward()
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}

    module.zero_grad()
    _, maps = module(hidden)
    terms = {"depth": torch.zeros(()), "pose": torch.zeros(())}
    for clip, (count, windows) in enumerate(zip(frames, ((0,), (1, 2)))):
        for term in terms:
            errors = []
            for number, window in enumerate(windows):
                for frame in range(4):
                    # Frames beyond the clip, and poses of a window's first frame, are not compared.
                    if number * 4 + frame >= count or (term == "pose" and frame == 0):
                        continue
                    target = batch.stored[clip][term]
                    known = target.valid[number, :, frame].expand_as(target.values[number, :, frame])
                    errors.append((maps[term][window, :, frame] - target.values[number, :, frame])[known] ** 2)
            terms[term] = terms[term] + torch.cat(errors).mean()
    torch.testing.assert_close(sums.terms, torch.stack(list(terms.values())).detach())
    sum(weights[term] * value for term, value in terms.items()).backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)


def test_nothing_known_is_zero_and_a_batch_without_clips_still_reaches_every_weight():
    module, batch = decoder(), batch_of((4,))
    for maps in batch.stored:
        for term, found in maps.items():
            maps[term] = StoredMap(found.values, torch.zeros_like(found.valid))
    for clips in (batch, DistillBatch()):
        module.zero_grad()
        latents, maps = module(torch.randn(SPEC.tokens, 6))
        sums = Distiller(StoredTeacher(), {"depth": 1.0, "pose": 1.0}, "mse", (0, 1))(latents, clips, maps=maps)
        sums.total.backward()
        assert sums.total == 0
        assert all(parameter.grad is not None and not parameter.grad.any() for parameter in module.parameters())


def test_weights_are_the_same_in_every_run():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    one, two = decoder(), decoder()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
