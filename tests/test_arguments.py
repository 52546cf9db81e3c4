# SPDX-License-Identifier: Apache-2.0
"""The `p4d:` block: coercion, presets, and errors that name key, value and remedy, all at once."""

import pytest

from rgpt4d_plugin.arguments import PRESETS, TERMS, P4DConfigError, parse_p4d


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "l4p.safetensors"
    path.touch()
    return str(path)


def test_release_preset_is_the_default_and_overridable(checkpoint):
    arguments = parse_p4d({"teacher": {"checkpoint": checkpoint}, "loss": {"depth": 0.2}})

    released = PRESETS["release"]["loss"]
    assert arguments.loss.weights == {term: 0.2 if term == "depth" else released.get(term, 0.0) for term in TERMS}
    assert arguments.loss.type == "mse"
    assert arguments.decoder.layers == 1
    assert arguments.decoder.hidden_size == 2560
    assert arguments.teacher.dtype == "bfloat16"


def test_preset_none_has_no_weights_and_needs_no_teacher():
    arguments = parse_p4d({"preset": "none"})

    assert arguments.loss.active == {}
    assert arguments.decoder.layers == 3


def test_numbers_may_be_strings(checkpoint):
    # PyYAML reads `1e-4` (no dot) as a string.
    arguments = parse_p4d(
        {
            "teacher": {"checkpoint": checkpoint},
            "frames": "16",
            "hooks": ["2", 3, 4, "6"],
            "loss": {"latent": "1e-4"},
            "decoder": {"learning_rate": "2e-5", "layers": "3"},
            "logging": {"weighted": "true"},
        }
    )

    assert arguments.loss.latent == 1e-4
    assert arguments.frames == 16
    assert arguments.hooks == [2, 3, 4, 6]
    assert arguments.decoder.learning_rate == 2e-5
    assert arguments.decoder.layers == 3
    assert arguments.logging.weighted is True


def test_every_problem_is_reported_at_once(tmp_path):
    missing = str(tmp_path / "nothing.ckpt")
    with pytest.raises(P4DConfigError) as caught:
        parse_p4d(
            {
                "teachr": {},
                "teacher": {"checkpoint": missing, "dtype": "int8"},
                "frames": "sixteen",
                "loss": {"depht": 0.1, "flow": -1, "latent": float("nan"), "motion": True, "type": "huber"},
                "decoder": {"layers": 1.5, "learning_rate": 0},
                "hooks": 14,
            }
        )

    message = str(caught.value)
    for expected in (
        "p4d.teachr: unknown key; did you mean 'teacher'?",
        "p4d.teacher.dtype: expected one of 'float32', 'bfloat16', got 'int8'",
        "p4d.frames: expected a number, got 'sixteen'",
        "p4d.loss.depht: unknown key; did you mean 'depth'?",
        "p4d.loss.flow: expected a value >= 0, got -1",
        "p4d.loss.latent: expected a finite number, got nan",
        "p4d.loss.motion: expected a number, got True",
        "p4d.loss.type: expected one of 'mse', 'smooth_l1', 'l1', got 'huber'",
        "p4d.decoder.layers: expected an integer, got 1.5",
        "p4d.decoder.learning_rate: expected a value > 0, got 0",
        "p4d.hooks: expected a list, got 14",
        "11 problem(s)",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ([], "p4d: expected a mapping, got []"),
        ({}, "p4d.teacher.checkpoint: missing"),
        (None, "p4d.teacher.checkpoint: missing"),
        (
            {"teacher": {"checkpoint": "/no/such.ckpt"}},
            "p4d.teacher.checkpoint: no such file: /no/such.ckpt. The official weights come from https://",
        ),
        ({"preset": "paper"}, "p4d.preset: expected one of 'release', 'reproduction', 'none', got 'paper'"),
        ({"teacher": "l4p.ckpt"}, "p4d.teacher: expected a mapping, got 'l4p.ckpt'"),
        ({"teacher": {"type": ":"}}, "p4d.teacher.type: ':' cannot be imported: Empty module name"),
        ({"frames": 1e30}, "p4d.frames: expected an integer of at most 64 bits, got 1e+30"),
        ({"teacher": {"type": "vggt"}}, "p4d.teacher.type: unknown teacher 'vggt'; known: l4p, depth_anything_3"),
        (
            {"teacher": {"type": "depth_anything_3"}},
            "p4d.teacher.checkpoint: missing, but loss terms have weights: give the path",
        ),
        (
            {"teacher": {"type": "depth_anything_3", "checkpoint": "/no/da3.safetensors"}},
            "no such file: /no/da3.safetensors. The weights are model.safetensors of depth-anything/DA3-SMALL",
        ),
        ({"teacher": {"device": "gpu0"}}, "p4d.teacher.device: expected 'auto', 'cpu', 'cuda' or 'cuda:N'"),
        ({"hooks": [14, 14]}, "names a hook twice"),
        ({"decoder": {"hidden_size": 10**9}}, "p4d.decoder.hidden_size: expected a value <= 16384, got 1000000000"),
        ({"decoder": {"layers": "1e9"}}, "p4d.decoder.layers: expected a value <= 32"),
        ({"loss": {"depth": 1e300}}, "p4d.loss.depth: expected a value <= 1e+06, got 1e+300"),
        ({"loss": {"depth": 10**400}}, "p4d.loss.depth: expected a finite number"),
        ({"loss": {"depth": 10**5000}}, "p4d.loss.depth: expected a finite number"),
        ({"frames": "1e400"}, "p4d.frames: expected a finite number, got"),
        ({"hooks": [10**400]}, "p4d.hooks[0]: expected a finite number"),
        ({"tpe_scale": 1e38}, "p4d.tpe_scale: expected a value <= 1000, got 1e+38"),
        ({1: 2}, "p4d.1: unknown key; known keys: preset"),
        ({"frames": 0}, "p4d.frames: expected a value >= 1, got 0"),
    ],
)
def test_refused_blocks(block, expected):
    with pytest.raises(P4DConfigError) as caught:
        parse_p4d(block)
    assert expected in str(caught.value)


def test_frames_and_the_hosts_own_sampling_keys_exclude_each_other():
    with pytest.raises(P4DConfigError, match="p4d.frames: 16 and video_maxlen: 8 both choose the frames"):
        parse_p4d({"preset": "none", "frames": 16}, {"video_maxlen": 8})
