# SPDX-License-Identifier: Apache-2.0
"""L4P without its recorded outputs: configuration, strict loading, freezing, gradients, and stitching of windows."""

import json
import os
import pickle
import re
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rgpt4d_plugin.teachers.base import window_starts
from rgpt4d_plugin.teachers.l4p import (
    L4P,
    RELEASED,
    TASKS,
    L4PCheckpointError,
    L4PConfig,
    TaskConfig,
    load_l4p,
    read_l4p_config,
    save_l4p,
)


HOOKS = (0, 1, 1, 2)
PIXEL_SCALES = {
    "actpost_scale_factors": ((1, 2, 2), (1, 1, 1), (0, 0, 0), (-1, -1, -1)),
    "fusion_scale_factors": ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
    "hooks": HOOKS,
}
RAYS = TaskConfig(
    channels=6,
    actpost_scale_factors=((1, 0, 0), (1, 0, 0), (0, 0, 0), (-1, -1, -1)),
    fusion_scale_factors=((1, 1, 1), (1, 1, 1), (2, 1, 1), (2, 2, 2)),
    hooks=(0, 1, 2, 3),
    output_size=(16, 4, 6),
)
# Not square, so that rows and columns cannot be confused.
SMALL = L4PConfig(
    frames=16,
    height=32,
    width=48,
    patch=(2, 8, 8),
    dim=12,
    blocks=3,
    heads=2,
    mlp_hidden=20,
    eps=1e-6,
    feature_dim=8,
    last_dim=4,
    layer_dims=(8, 8, 12, 12),
    tasks={
        "depth": TaskConfig(channels=1, activation="exp", **PIXEL_SCALES),
        "flow_2d_backward": TaskConfig(channels=2, **PIXEL_SCALES),
        "dyn_mask": TaskConfig(channels=1, **PIXEL_SCALES),
        "camray": RAYS,
    },
)
DPT = "l4p_model.task_heads.depth.task_head.dpt."


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("l4p") / "small.safetensors"
    save_l4p(L4P.from_config(SMALL, seed=1), path)
    return path


@pytest.fixture
def tensors(path):
    return load_file(path)


@pytest.fixture(scope="module")
def model(path):
    return load_l4p(path)


def random_clip(frames, batch=2, seed=0):
    return torch.randn(batch, 3, frames, SMALL.height, SMALL.width, generator=torch.Generator().manual_seed(seed))


# --- configuration ---------------------------------------------------------------------------------------------------


def test_config_derives_the_grid():
    assert SMALL.grid == (8, 4, 6)
    assert SMALL.tokens == 192
    assert SMALL.hooks == (0, 1, 2, 3)
    assert SMALL.hooks_of(["depth"]) == (0, 1, 2)
    assert SMALL.map_shape("flow_2d_backward") == (2, 16, 32, 48)
    assert SMALL.map_shape("camray") == (6, 16, 4, 6)
    assert (RELEASED.grid, RELEASED.tokens, RELEASED.hooks) == ((8, 16, 16), 2048, (14, 21, 28, 36))
    assert RELEASED.map_shape("camray") == (6, 16, 16, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 30}, "multiples of the patch"),
        ({"heads": 5}, "multiple of heads"),
        ({"frames": 15, "patch": (1, 8, 8)}, "frames must be even"),
        ({"dim": 0}, "positive"),
        ({"feature_dim": 7}, "feature_dim must be even"),
        ({"blocks": 2}, r"hooks must be indices in 0\.\.2"),
        ({"width": 40}, "do not meet"),  # Five token columns: the original cannot run them either.
        ({"tasks": {"normals": RAYS}}, "Unknown task 'normals'"),
        ({"tasks": {"camray": replace(RAYS, output_size=(8, 4, 6))}}, r"output_size must be \(16"),
        ({"height": 4096, "width": 4096}, "tokens"),
    ],
)
def test_config_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_odd_grid_rows_are_cropped():
    config = replace(SMALL, height=40, tasks={"depth": SMALL.tasks["depth"]})
    model = L4P.from_config(config)
    features = {hook: torch.zeros(1, config.tokens, config.dim) for hook in config.hooks}
    assert model.decode(features, ["depth"])["depth"].shape == (1, 1, 16, 40, 48)


def test_read_config(path, tmp_path, tensors):
    assert read_l4p_config(path) == SMALL
    plain = tmp_path / "plain.safetensors"
    save_file(tensors, plain, metadata={"format": "pt"})
    assert read_l4p_config(plain) == RELEASED
    lightning = tmp_path / "l4p.ckpt"
    torch.save({"state_dict": tensors}, lightning)
    assert read_l4p_config(lightning) == RELEASED
    assert read_l4p_config(tensors) == RELEASED


def _dumps(value):
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value)
    finally:
        sys.set_int_max_str_digits(limit)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("encoder", "{not json", "encoder is not JSON"),
        ("encoder", None, "needs the sections"),
        ("encoder", {"depth": 2.5}, "encoder.depth: expected a valid integer, got 2.5"),
        ("encoder", {"num_head": 4}, "encoder.num_head: unknown key; did you mean 'num_heads'"),
        ("encoder", {"init_values": 0.1}, "encoder.init_values: expected one of 0, got 0.1"),
        ("encoder", {"img_size": 224}, r"encoder.img_size must be \[32, 48\]"),
        ("dpt", {"head_type": "dpt_v2"}, "dpt.head_type: expected one of 'regression', got 'dpt_v2'"),
        ("dpt", {"hooks_idx": [1, 2]}, r"dpt.hooks_idx\[2\]: missing"),
        ("img_info", "[16, 32]", r"img_info\[2\]: missing"),
        ("depth", {"activation": "relu"}, "depth.activation: expected one of 'linear', 'exp', got 'relu'"),
        ("encoder", {"depth": 10**9}, "encoder.depth: expected a value <= 512, got 1000000000"),
        ("encoder", {"embed_dim": 10**9}, "encoder.embed_dim: expected a value <= 16384"),
        ("encoder", {"mlp_ratio": float("inf")}, "encoder.mlp_ratio: expected a finite number, got inf"),
        ("encoder", {"mlp_ratio": float("nan")}, "encoder.mlp_ratio: expected a finite number, got nan"),
        ("encoder", {"img_size": 10**5000}, "encoder is not JSON: Exceeds the limit"),
        ("encoder", "[" * 100_000, "encoder is not JSON: maximum recursion depth"),
        ("dpt", {"layer_dims": [10**9, 8, 8, 8]}, r"dpt.layer_dims\[0\]: expected a value <= 16384"),
        ("img_info", "[1000000000, 32, 48]", r"img_info\[0\]: expected a value <= 512"),
        ("depth", {"actpost_scale_factors": [[40, 2, 2]] * 4}, "expected a value <= 4, got 40"),
        ("depth", {"fusion_scale_factors": 2}, "depth.fusion_scale_factors: expected a valid tuple, got 2"),
    ],
)
def test_read_config_refuses(path, tmp_path, section, change, message):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    if isinstance(change, dict):
        metadata[section] = _dumps({**json.loads(metadata[section]), **change})
    elif change is None:
        del metadata[section]
    else:
        metadata[section] = change
    broken = tmp_path / "broken.safetensors"
    save_file({"x": torch.zeros(1)}, broken, metadata=metadata)
    with pytest.raises(L4PCheckpointError, match=message) as error:
        read_l4p_config(broken)
    assert str(broken) in str(error.value)


# --- names and sizes of the released checkpoint ----------------------------------------------------------------------


def released_names():
    """The names in the official checkpoint, written out from its description."""
    names = [f"video_encoder.{name}" for name in ("patch_embed.proj.weight", "patch_embed.proj.bias")]
    names += ["video_encoder.norm.weight", "video_encoder.norm.bias"]
    for block in range(40):
        names += [f"video_encoder.blocks.{block}.attn.{name}" for name in ("qkv.weight", "q_bias", "v_bias")]
        for name in ("norm1", "norm2", "attn.proj", "mlp.fc1", "mlp.fc2"):
            names += [f"video_encoder.blocks.{block}.{name}.{kind}" for kind in ("weight", "bias")]
    for task in TASKS:
        convolutions = ["head1.0", "head2.0", "head2.2", "act_postprocess.2.0"]
        convolutions += [f"act_postprocess.{k}.{layer}" for k in (0, 1, 3) for layer in (0, 1)]
        for k in (1, 2, 3, 4):
            convolutions.append(f"scratch.refinenet{k}.out_conv")
            convolutions += [f"scratch.refinenet{k}.resConfUnit{u}.conv{c}" for u in (1, 2) for c in (1, 2)]
        head = [f"{name}.{kind}" for name in convolutions for kind in ("weight", "bias")]
        head += [f"scratch.layer{k}_rn.weight" for k in (1, 2, 3, 4)]
        head += [f"scratch.layer_rn.{k}.weight" for k in (0, 1, 2, 3)]
        names += [f"task_heads.{task}.task_head.dpt.{name}" for name in head]
    return {f"l4p_model.{name}" for name in names}


@pytest.fixture(scope="module")
def released():
    with torch.device("meta"):
        return L4P(RELEASED)


def test_released_names():
    """An empty mapping lacks exactly the released names."""
    with pytest.raises(L4PCheckpointError) as error:
        load_l4p({})
    assert f"missing ({len(released_names())})" in str(error.value)
    listed = {line.strip() for line in str(error.value).splitlines() if line.startswith("    l4p_model.")}
    assert listed == set(sorted(released_names())[:20])


def test_released_parameter_counts(released):
    def millions(module):
        return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1)

    assert millions(released.video_encoder) == 1011.6
    counts = {task: millions(head) for task, head in released.task_heads.items()}
    assert counts == {"depth": 85.8, "flow_2d_backward": 85.8, "dyn_mask": 85.8, "camray": 82.3}


@pytest.mark.slow
def test_released_shapes(released):
    clip = torch.empty(1, 3, 16, 224, 224, device="meta")
    features = released.encode(clip, only=RELEASED.hooks)
    assert {tuple(feature.shape) for feature in features.values()} == {(1, 2048, 1408)}
    for task, result in released.decode(features, TASKS).items():
        assert tuple(result.shape) == (1, *RELEASED.map_shape(task))


# --- loading ---------------------------------------------------------------------------------------------------------


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_save_and_load(path, model):
    trainable = L4P.from_config(SMALL, seed=1)
    assert all(parameter.requires_grad for parameter in trainable.parameters())
    assert same_weights(trainable, model)
    assert not same_weights(L4P.from_config(SMALL, seed=2), model)
    assert model.config == SMALL
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
    assert f"{DPT}scratch.layer_rn.0.weight" in names
    assert f"{DPT}scratch.refinenet4.resConfUnit1.conv1.weight" in names
    with pytest.raises(ValueError, match="safetensors"):
        save_l4p(trainable, path.with_suffix(".pt"))


def test_save_and_load_of_some_tasks(path, tmp_path):
    part = load_l4p(path, tasks=["camray"], dtype=torch.bfloat16)
    assert list(part.config.tasks) == ["camray"]
    save_l4p(part, tmp_path / "part.safetensors")
    again = load_l4p(tmp_path / "part.safetensors", dtype=torch.bfloat16)
    assert again.config == part.config
    assert same_weights(part, again)
    with pytest.raises(ValueError, match=r"no head for \['depth'\]"):
        load_l4p(tmp_path / "part.safetensors", tasks=["depth"])


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth"])
def test_load_lightning_file(path, tensors, model, tmp_path, suffix):
    target = tmp_path / f"l4p{suffix}"
    torch.save({"state_dict": tensors, "epoch": 3}, target)
    assert same_weights(load_l4p(target, config=SMALL), model)


def test_load_mapping_copies(tensors, model):
    weights = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    loaded = load_l4p(weights, config=SMALL)
    with torch.no_grad():
        for tensor in weights.values():
            tensor.zero_()
    assert same_weights(loaded, model)


def test_load_casts(path):
    assert {parameter.dtype for parameter in load_l4p(path, torch.bfloat16).parameters()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="dtype"):
        load_l4p(path, torch.int8)


def test_global_random_state_is_untouched(path):
    before = torch.get_rng_state()
    L4P.from_config(SMALL, seed=3)
    load_l4p(path).forward(random_clip(17, batch=1), ["camray"])
    assert torch.equal(torch.get_rng_state(), before)


def test_loaded_model_is_frozen(model):
    parent = torch.nn.Sequential(model).train()
    assert parent.training
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_known_extras_are_skipped(tensors, model):
    extras = {
        "l4p_model.task_heads.track_2d.task_head.point.weight": torch.zeros(1),
        "l4p_model.task_heads.depth.shift_aligner.weight": torch.zeros(1),
        "io.clip": torch.zeros(1),
    }
    assert same_weights(load_l4p({**tensors, **extras}, config=SMALL), model)


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["l4p_model.video_encoder.norm.bias", f"{DPT}scratch.layer_rn.2.weight"])
def test_weights_that_are_not_finite_are_refused(tensors, name, value):
    twin = name.replace("layer_rn.2", "layer3_rn")
    for official in {name, twin}:
        tensors[official].view(-1)[3] = value
    with pytest.raises(L4PCheckpointError, match=f"{re.escape(twin)} holds NaN or infinity as torch.float32"):
        load_l4p(tensors, config=SMALL)


def break_names(tensors):
    del tensors["l4p_model.video_encoder.norm.bias"]
    tensors["l4p_model.video_encoder.cls_token"] = torch.zeros(1)


def break_shape(tensors):
    tensors["l4p_model.video_encoder.norm.bias"] = torch.zeros(13)


def break_twin(tensors):
    tensors[f"{DPT}scratch.layer_rn.2.weight"] = tensors[f"{DPT}scratch.layer_rn.2.weight"] + 1


def break_other_task(tensors):
    tensors["l4p_model.task_heads.normals.weight"] = torch.zeros(1)


def break_type(tensors):
    tensors["l4p_model.video_encoder.norm.bias"] = torch.zeros(12, dtype=torch.int8)


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (
            break_names,
            [
                "missing (1):\n    l4p_model.video_encoder.norm.bias",
                "unexpected (1):\n    l4p_model.video_encoder.cls",
            ],
        ),
        (break_shape, ["wrong shape (1):\n    l4p_model.video_encoder.norm.bias: expected (12,), found (13,)"]),
        (break_twin, [f"{DPT}scratch.layer3_rn.weight and {DPT}scratch.layer_rn.2.weight"]),
        (break_other_task, ["unexpected (1):\n    l4p_model.task_heads.normals.weight"]),
        (break_type, ["norm.bias must be floating point, found torch.int8"]),
    ],
)
def test_load_refuses_wrong_tensors(path, tensors, tmp_path, damage, messages):
    damage(tensors)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    broken = tmp_path / "broken.safetensors"
    save_file(tensors, broken, metadata=metadata)
    with pytest.raises(L4PCheckpointError) as error:
        load_l4p(broken)
    assert str(broken) in str(error.value)
    for message in messages:
        assert message in str(error.value)


def test_wrong_size_lists_some_and_counts_all(tensors):
    with pytest.raises(L4PCheckpointError) as error:
        load_l4p(tensors)
    assert "pass its config" in str(error.value)
    assert "non-commercial" in str(error.value)
    assert len(str(error.value).splitlines()) < 60


class _WritesFile:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_is_not_run(tensors, tmp_path, zipped):
    target, path = tmp_path / "made", tmp_path / "l4p.ckpt"
    content = {"state_dict": tensors, "hyper_parameters": _WritesFile(target)}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(L4PCheckpointError) as error:
        load_l4p(path, config=SMALL)
    assert not target.exists()
    assert str(path) in str(error.value)
    if zipped:
        assert "mkdir" in str(error.value)
        assert "safetensors.torch.save_file" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.ckpt", None, "does not exist"),
        ("folder.ckpt", "folder", "is a directory"),
        ("text.ckpt", b"<html>not found</html>", "not a checkpoint in PyTorch's zip format"),
        ("text.safetensors", b"<html>not found</html>", "not a readable safetensors file"),
        ("weights.bin", b"", "not a known kind of checkpoint"),
        ("bare.pt", {"weights": torch.zeros(1)}, "no dictionary 'state_dict', found \\['weights'\\]"),
        ("list.pt", [torch.zeros(1)], "no dictionary 'state_dict', found list"),
        ("numbers.pt", {"state_dict": {"a": 1}}, "must hold tensors only"),
    ],
)
def test_load_refuses_what_is_no_checkpoint(tmp_path, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(L4PCheckpointError, match=message) as error:
        load_l4p(path)
    assert str(path) in str(error.value)
    assert "NVlabs/L4P" in str(error.value)


# --- one window ------------------------------------------------------------------------------------------------------


def test_normalise(model):
    frames = torch.zeros(1, 3, 3, 32, 48, dtype=torch.uint8)
    frames[:, 1, 0] = 255
    clip = model.normalise(frames)
    assert clip.shape == (1, 3, 3, 32, 48)
    assert clip[0, 0, 1, 5, 7].item() == pytest.approx((1 - 0.485) / 0.229)
    assert clip[0, 2, 0, 5, 7].item() == pytest.approx(-0.406 / 0.225)
    torch.testing.assert_close(model.normalise(frames.double() / 255), clip)
    for wrong, message in [
        (frames.float(), "must lie in"),
        (frames.long(), "uint8 or floating point"),
        (frames.transpose(3, 4), "Expected frames"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.normalise(wrong)


def test_features_of_an_independent_encoder():
    """Positions, biases, the order of q, k, v and heads, and the last norm, with plain loops."""
    model = L4P.from_config(SMALL).freeze()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.video_encoder.parameters():
        if parameter.dim() == 1:  # New biases are zero and new norms one, which would hide mistakes.
            parameter.copy_(1 + torch.randn(parameter.shape, generator=generator))
    weights = {name: tensor.double() for name, tensor in model.video_encoder.state_dict().items()}
    clip = random_clip(16, batch=1)
    expected = []
    x = torch.empty(SMALL.tokens, SMALL.dim, dtype=torch.float64)
    kernel = weights["patch_embed.proj.weight"]
    for index in range(SMALL.tokens):
        t, h, w = index // 24, index // 6 % 4, index % 6
        cube = clip[0, :, 2 * t : 2 * t + 2, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8].double()
        for j in range(SMALL.dim):
            angle = torch.tensor(index / 10000 ** (2 * (j // 2) / SMALL.dim), dtype=torch.float64)
            position = angle.cos() if j % 2 else angle.sin()
            x[index, j] = (cube * kernel[j]).sum() + weights["patch_embed.proj.bias"][j] + position
    expected.append(x)

    def norm(x, name):
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + SMALL.eps).sqrt()
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for block in range(SMALL.blocks):
        name = f"blocks.{block}"
        y = norm(x, f"{name}.norm1")
        query, key, value = (y @ part.T for part in weights[f"{name}.attn.qkv.weight"].chunk(3))
        query, value = query + weights[f"{name}.attn.q_bias"], value + weights[f"{name}.attn.v_bias"]
        heads = []
        for q, k, v in zip(query.chunk(2, 1), key.chunk(2, 1), value.chunk(2, 1)):
            heads.append((q @ k.T / 6**0.5).softmax(1) @ v)
        x = x + torch.cat(heads, 1) @ weights[f"{name}.attn.proj.weight"].T + weights[f"{name}.attn.proj.bias"]
        y = norm(x, f"{name}.norm2") @ weights[f"{name}.mlp.fc1.weight"].T + weights[f"{name}.mlp.fc1.bias"]
        y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
        x = x + y @ weights[f"{name}.mlp.fc2.weight"].T + weights[f"{name}.mlp.fc2.bias"]
        expected.append(x)
    expected[-1] = norm(x, "norm")
    for found, wanted in zip(model.encode(clip), expected, strict=True):
        torch.testing.assert_close(found[0].double(), wanted, rtol=1e-5, atol=1e-5)  # float32 rounding


def test_encode_stops_after_the_last_wanted_block(model):
    ran = []
    handles = [
        block.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, block in enumerate(model.video_encoder.blocks, start=1)
    ]
    try:
        assert list(model.encode(random_clip(16), only=[2])) == [2]
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [1, 2]


def test_only_requested_heads_run(model):
    ran = []
    handles = [
        head.register_forward_hook(lambda *_, task=task: ran.append(task)) for task, head in model.task_heads.items()
    ]
    try:
        maps = model.decode(model.encode(random_clip(16, batch=1)), ["dyn_mask"])
    finally:
        for handle in handles:
            handle.remove()
    assert ran == ["dyn_mask"]
    assert list(maps) == ["dyn_mask"]


def test_gradient_reaches_features_but_no_weight(model):
    features = {
        hook: feature.requires_grad_()
        for hook, feature in model.encode(random_clip(16), SMALL.hooks_of(TASKS)).items()
    }
    maps = model.decode(features, TASKS)
    sum(result.square().mean() for result in maps.values()).backward()
    assert all(feature.grad.isfinite().all() and feature.grad.abs().sum() > 0 for feature in features.values())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
def test_trainable_model_learns():
    model = L4P.from_config(SMALL, seed=1).train()
    assert model.training
    model.forward(random_clip(24, batch=1), TASKS)["depth"].log().square().mean().backward()
    for name, parameter in model.named_parameters():
        used = name.startswith(("video_encoder.", "task_heads.depth.")) and "refinenet4.resConfUnit1" not in name
        # The last norm is only read by the rays here.
        used = used and not name.startswith(("video_encoder.norm", "video_encoder.blocks.2"))
        assert (parameter.grad is not None and parameter.grad.isfinite().all().item()) == used, name


def test_mapping_and_list_decode_the_same(model):
    features = model.encode(random_clip(16, batch=1))
    part = {hook: features[hook] for hook in (0, 1, 2)}
    assert torch.equal(model.decode(part, ["depth"])["depth"], model.decode(features, ["depth"])["depth"])


def test_half_precision_features_are_accepted(model):
    features = {
        hook: feature.bfloat16() for hook, feature in model.encode(random_clip(16, batch=1), (0, 1, 2)).items()
    }
    assert model.decode(features, ["depth"])["depth"].dtype == torch.float32


def test_wrong_inputs_are_named(model):
    features = model.encode(random_clip(16, batch=1))
    for call, message in [
        (lambda: model.decode(features, ["normals"]), r"no head for \['normals'\]; its tasks are \['depth'"),
        (lambda: model.decode(features[:3], ["depth"]), "has 4 entries, found 3"),
        (lambda: model.decode({0: features[0]}, ["depth"]), r"read feature 1, found only \[0\]"),
        (lambda: model.decode([feature[:, 1:] for feature in features], ["depth"]), r"must be \(B, 192, 12\)"),
        (lambda: model.encode(random_clip(15)), "A window has 16 frames, found 15"),
        (lambda: model.encode(random_clip(16), only=[4]), r"indices in 0\.\.3"),
        (lambda: model.encode(random_clip(16)[..., :40]), "Expected a clip"),
        (lambda: model.forward(random_clip(16), ["normals"]), "no head"),
        (lambda: model.forward(random_clip(0), ["depth"]), "at least one frame"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


# --- many windows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (1, (16, (0,))),
        (16, (16, (0,))),
        (17, (24, (0, 8))),
        (24, (24, (0, 8))),
        (33, (40, (0, 8, 16, 24))),
    ],
)
def test_window_starts(frames, expected):
    assert window_starts(frames, 16, 8) == expected


def test_window_starts_of_other_windows():
    assert window_starts(7, 4, 2) == (8, (0, 2, 4))
    assert window_starts(5, 4, 4) == (8, (0, 4))  # without an overlap


def inverse(depth):
    """1/depth, 0 where it is not positive; unlike depth it is smooth where an aligned window crosses infinity."""
    return torch.where(depth > 0, 1 / depth, 0)


def stitch_by_the_book(model, clip):
    """Windows into one buffer, frame by frame, with a generic least-squares solver in float64."""
    frames = clip.shape[2]
    padded = {24: 24, 20: 24, 5: 16, 33: 40}[frames]
    clip = torch.stack([clip[:, :, min(frame, frames - 1)] for frame in range(padded)], dim=2)
    buffer = {}
    for start in range(0, padded - 15, 8):
        maps = model.decode(model.encode(clip[:, :, start : start + 16]), TASKS)
        for task, new in maps.items():
            if task not in buffer:
                buffer[task] = torch.full((*new.shape[:2], padded, *new.shape[3:]), torch.nan)
            if task == "depth" and start:
                for item in range(len(new)):
                    x = inverse(new[item, :, :8]).double().flatten()
                    y = inverse(buffer[task][item, :, start : start + 8]).double().flatten()
                    design = torch.stack((x, torch.ones_like(x)), dim=1)
                    a, b = torch.linalg.lstsq(design, y[:, None]).solution[:, 0].float()
                    new[item] = inverse(a * inverse(new[item]) + b)
            for frame in range(16):
                if task != "flow_2d_backward" or start == 0 or frame > 0:
                    buffer[task][:, :, start + frame] = new[:, :, frame]
    return {task: result[:, :, :frames] for task, result in buffer.items()}


@pytest.mark.slow
@pytest.mark.parametrize("frames", [24, 20, 5, 33])
def test_forward_stitches_windows(model, frames):
    clip = random_clip(frames)
    expected = stitch_by_the_book(model, clip)
    found = model.forward(clip, TASKS)
    assert list(found) == list(TASKS)
    for task, result in found.items():
        assert result.shape == (2, *expected[task].shape[1:])
        if task == "depth":
            # float32 sums against a float64 solver, chained over up to four windows.
            torch.testing.assert_close(inverse(result), inverse(expected[task]), rtol=1e-4, atol=1e-5)
        else:
            torch.testing.assert_close(result, expected[task], rtol=0, atol=1e-6)


def test_alignment_recovers_scale_and_shift(model, monkeypatch):
    """If the second window is an affine image of the first in inverse depth, the seam disappears."""
    truth = torch.linspace(1, 3, 24)[None, None, :, None, None] + torch.rand(
        1, 1, 24, 4, 4, generator=torch.Generator().manual_seed(0)
    )
    windows = iter([truth[:, :, :16], 1 / ((1 / truth[:, :, 8:] - 0.05) / 2.5)])
    monkeypatch.setattr(model, "decode", lambda *_: {"depth": next(windows)})
    found = model.forward(random_clip(24, batch=1), ["depth"])["depth"]
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


def test_constant_depth_keeps_the_scale(model, monkeypatch):
    windows = iter([torch.full((1, 1, 16, 2, 2), 2.0), torch.full((1, 1, 16, 2, 2), 4.0)])
    monkeypatch.setattr(model, "decode", lambda *_: {"depth": next(windows)})
    found = model.forward(random_clip(24, batch=1), ["depth"])["depth"]
    torch.testing.assert_close(found, torch.full((1, 1, 24, 2, 2), 2.0))
