# SPDX-License-Identifier: Apache-2.0
"""Published networks put together: which terms they give, their conventions, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rgpt4d_plugin.arguments import P4DConfigError, parse_p4d
from rgpt4d_plugin.teachers import ClipKey, TeacherWindows
from rgpt4d_plugin.teachers.composite import CompositeTeacher
from rgpt4d_plugin.teachers.composite.networks import VJEPA2, DepthModel, NetworkError, Raft, depth_kind
from rgpt4d_plugin.teachers.depth_anything_3 import DepthAnything3Teacher
from rgpt4d_plugin.terms import MAP_TERMS
from tests.teachers.composite.networks import save_all, save_depth_model, save_raft
from tests.teachers.depth_anything_3 import seeded


CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("networks"))


def options(**given):
    return CompositeTeacher.Arguments(type="composite", dtype="float32", window=4, pixels=2, **given)


def load(chosen, terms):
    return CompositeTeacher.load(chosen, CPU, terms)


def windows(side, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, 4, 3, side, side), dtype=torch.uint8, generator=generator)
    return TeacherWindows(((ClipKey("clip.mp4", (0.0, 1.0, 2.0, 3.0)), 0),) * batch, frames)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("networks", "terms", "grid"),
    [
        (("raft",), ("flow",), (2, 16, 16)),
        (("depth_model",), ("depth",), (2, 16, 16)),
        (("vjepa2", "depth_model"), ("latent", "depth"), (2, 4, 4)),
        (("depth_anything_3",), ("latent", "depth", "camray", "pose"), (4, 4, 4)),
        (
            ("vjepa2", "depth_model", "raft", "depth_anything_3"),
            ("latent", "depth", "flow", "motion", "camray", "pose"),
            (2, 4, 4),
        ),
    ],
)
def test_networks_decide_which_terms_there_are(saved, networks, terms, grid):
    chosen = options(**{name: saved[name] for name in networks})
    spec = CompositeTeacher.read_spec(chosen)
    assert spec.terms == terms and spec.grid == grid and spec.trainable_heads
    teacher = load(chosen, tuple(spec.maps))
    given = windows(spec.input_size[0])
    with torch.no_grad():
        features = teacher.features(given, spec.hooks_of(tuple(spec.maps)))
        for feature in features.values():
            assert feature.shape == (2, spec.tokens, spec.width)
        for term in spec.maps:
            target = teacher.targets(given, features, term)
            assert target.shape == (2, *spec.maps[term].shape) and target.isfinite().all(), term


@pytest.mark.slow
def test_only_the_networks_that_the_terms_need_are_loaded(saved):
    teacher = load(options(**saved), ("depth",))
    assert teacher._vjepa2 is not None and teacher._depth_model is not None
    assert teacher._raft is None and teacher._anything is None
    assert load(options(**saved), ("motion",))._depth_model is None


@pytest.mark.slow
def test_what_terms_share_is_computed_once_for_the_same_windows(saved, monkeypatch):
    teacher = load(options(**saved), MAP_TERMS[:5])
    calls = []
    flow = Raft.backward_flow
    monkeypatch.setattr(Raft, "backward_flow", lambda self, frames: calls.append(1) or flow(self, frames))
    given = windows(32, seed=1)
    first = teacher.targets(given, {}, "flow")
    teacher.targets(given, {}, "motion")
    assert len(calls) == 1
    # The same clip's keys, other frames.
    other = teacher.targets(windows(32, seed=2), {}, "flow")
    assert len(calls) == 2 and not torch.equal(first, other)


def test_features_that_ran_ahead_serve_all_terms(saved, monkeypatch):
    """On a GPU the encoder runs ahead, on other slices of a batch than the terms are compared on."""
    teacher = load(options(depth_anything_3=saved["depth_anything_3"]), ("depth", "camray", "pose"))
    given, hooks = windows(28, seed=1), teacher.spec.hooks_of(("depth",))
    wanted = {term: teacher.targets(given, {}, term) for term in ("depth", "camray", "pose")}
    ahead = teacher.features(given[:], hooks)
    monkeypatch.setattr(CompositeTeacher, "_encode", None)
    for index in range(len(given)):
        part = slice(index, index + 1)
        features, window = {hook: ahead[hook][part] for hook in hooks}, given[part]
        for term, whole in wanted.items():
            torch.testing.assert_close(teacher.targets(window, features, term), whole[part])


def test_depth_anything_3_alone_gives_what_it_gives_as_a_teacher(saved):
    teacher = load(options(depth_anything_3=saved["depth_anything_3"]), ("depth", "camray", "pose"))
    alone = DepthAnything3Teacher(seeded.network())
    given = windows(56)
    hooks = seeded.CONFIG.hooks
    features = teacher.features(given, hooks)
    for hook, feature in alone.features(given, hooks).items():
        torch.testing.assert_close(features[hook], feature)
    depth = alone.targets(given, features, "depth")
    found = teacher.targets(given, features, "depth")
    small = torch.nn.functional.interpolate(depth.flatten(1, 2), (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(found.flatten(1, 2), small)
    first = teacher.targets(given, features, "pose")[:, :, 0, 0, 0]
    torch.testing.assert_close(first, torch.eye(7)[:1].expand(2, -1), atol=1e-5, rtol=0)


def test_relative_depth_grows_with_distance_and_knows_no_factor_or_offset(saved):
    model = DepthModel.load(saved["depth_model"], "inverse", torch.float32, CPU)
    frames = windows(32).frames.flatten(0, 1)
    found = model(frames)
    assert found.shape == (8, 1, 28, 28)
    torch.testing.assert_close(found.mean(dim=(2, 3)), torch.zeros(8, 1), atol=1e-5, rtol=0)
    raw = model.model(pixel_values=torch.zeros(1, 3, 28, 28)).predicted_depth

    class Known:
        dtype, config = torch.float32, model.model.config

        def __init__(self, factor, offset):
            self.factor, self.offset = factor, offset

        def __call__(self, pixel_values):
            inverse = torch.linspace(1, 0.1, 784).view(1, 28, 28).expand(len(pixel_values), -1, -1)  # near first
            return type("Output", (), {"predicted_depth": self.factor * inverse + self.offset})

    assert raw.shape == (1, 28, 28)
    one, other = (
        DepthModel(Known(*known), "inverse", (28, 28), (0,) * 3, (1,) * 3)(frames) for known in ((1, 0), (7, 3))
    )
    torch.testing.assert_close(one, other)
    assert (one.flatten(1).diff(dim=1) > 0).all()
    metric = DepthModel(Known(1, 0), "metric", (28, 28), (0,) * 3, (1,) * 3)(frames)
    torch.testing.assert_close(metric[0, 0, 0, 0], torch.tensor(0.0))


def test_a_metric_model_gives_the_scale(tmp_path):
    chosen = options(depth_model=save_depth_model(tmp_path / "metric", "metric"))
    assert CompositeTeacher.read_spec(chosen).terms == ("depth", "scale")
    teacher, given = load(chosen, ("depth", "scale")), windows(224)
    scale = teacher.targets(given, {}, "scale")
    log_metres = teacher._depth_model(given.frames.flatten(0, 1)).unflatten(0, (2, 4))
    torch.testing.assert_close(scale[:, 0, 2, 0, 0], log_metres.mean(dim=(1, 2, 3, 4)))


def test_flow_is_from_a_frame_to_the_one_before_in_pixels_of_the_input(saved):
    raft = Raft.load(saved["raft"], CPU)
    frames = windows(32).frames
    seen = []

    class Shifted:
        def __call__(self, image, before):
            seen.append((image, before))
            return [torch.ones(len(image), 2, *image.shape[-2:])]

    raft.model = Shifted()
    flow = raft.backward_flow(frames)
    ((image, before),) = seen
    assert image.shape == (6, 3, 128, 128)  # RAFT needs at least so much
    torch.testing.assert_close(image[0], before[1])  # the second frame, then as the one before the third
    assert not flow[:, :, 0].any()
    torch.testing.assert_close(flow[:, :, 1:], torch.full((2, 2, 3, 32, 32), 0.25))


def test_features_are_normed_tokens_after_the_blocks(saved):
    network = VJEPA2.load(saved["vjepa2"], torch.float32, CPU)
    frames = windows(32).frames
    found = network.features(frames, (1, 3))
    assert sorted(found) == [1, 3]
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    whole = network.model(pixel_values_videos=(frames / 255 - mean) / std, skip_predictor=True).last_hidden_state
    # The network's own last norm has weights 1 and 0 while it is untrained.
    torch.testing.assert_close(found[3], whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (
            {"raft": "none.pth"},
            "p4d.teacher.raft: no such file: none.pth; give a file, or one of raft_large, raft_small",
        ),
        ({"depth_anything_3": "none"}, "p4d.teacher.depth_anything_3: no such file: none"),
        ({"depth_kind": "relative"}, "p4d.teacher.depth_kind: expected one of 'metric', 'inverse', got 'relative'"),
        ({"motion_threshold": 0}, "p4d.teacher.motion_threshold: expected a value > 0, got 0"),
    ],
)
def test_options_that_cannot_work(given, complaint):
    with pytest.raises(P4DConfigError) as error:
        parse_p4d({"preset": "none", "teacher": {"type": "composite", **given}, "loss": {"depth": 1}})
    assert complaint in str(error.value)


def test_networks_that_cannot_be_used_are_named(saved, tmp_path):
    with pytest.raises(NetworkError, match=r"p4d\.teacher\.depth_model: .*nowhere has no configuration"):
        CompositeTeacher.read_spec(options(depth_model=str(tmp_path / "nowhere")))
    with pytest.raises(NetworkError, match=r"p4d\.teacher\.depth_model: .* is a vjepa2; expected a depth estimator"):
        depth_kind(saved["vjepa2"], None)
    with pytest.raises(NetworkError, match=r"p4d\.teacher\.vjepa2: .* is a depth_anything, expected a vjepa2"):
        CompositeTeacher.read_spec(options(vjepa2=saved["depth_model"]))
    with pytest.raises(ValueError, match=r"p4d\.teacher\.window: 3 is no multiple of the 2 frames of a token"):
        CompositeTeacher.read_spec(options(vjepa2=saved["vjepa2"]).model_copy(update={"window": 3}))
    folder = tmp_path / "other"
    save_depth_model(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "chmv2", "max_depth": 1.0}))
    with pytest.raises(NetworkError, match=r"p4d\.teacher\.depth_kind: missing; say whether .* \(chmv2\) gives"):
        depth_kind(str(folder), None)


def test_weights_that_are_missing_or_not_finite_are_refused(tmp_path):
    folder = tmp_path / "depth"
    save_depth_model(folder)
    weights = load_file(folder / "model.safetensors")
    broken = {**weights, "head.conv3.bias": torch.full_like(weights["head.conv3.bias"], float("nan"))}
    save_file(broken, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(NetworkError, match=r"head\.conv3\.bias has values that are not finite"):
        DepthModel.load(str(folder), "inverse", torch.float32, CPU)
    del broken["head.conv3.bias"]
    save_file(broken, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(NetworkError, match=r"lacks weights, or has them in other shapes: \['head\.conv3\.bias'\]"):
        DepthModel.load(str(folder), "inverse", torch.float32, CPU)
    raft = save_raft(tmp_path / "raft.pth")
    state = torch.load(raft, weights_only=True)
    state.pop(next(iter(state)))
    torch.save(state, raft)
    with pytest.raises(NetworkError, match=r"raft\.pth is no RAFT of torchvision"):
        Raft.load(raft, CPU)
    torch.save({"a": object}, raft)
    with pytest.raises(NetworkError, match=r"p4d\.teacher\.raft: .*raft\.pth cannot be read"):
        Raft.load(raft, CPU)
