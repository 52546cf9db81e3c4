# SPDX-License-Identifier: Apache-2.0
"""The real command lines, each in a process of its own, on real files."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ALL_LOG_KEYS, DATA, LOG_KEYS, logs, succeeded, train_cli


pytestmark = pytest.mark.slow


def test_real_clips_of_different_shape_and_length(assets, tmp_path):
    """An AVI of 320 x 240 and an mp4 of 224 x 224, alone and together, in padded batches, over several epochs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = assets.recipe(
        tmp_path / "out",
        dataset="real_clips",
        dataset_dir=str(DATA),
        media_dir=str(DATA),
        video_max_pixels=64 * 64,
        video_maxlen=None,
        disable_shuffling=None,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=2,
        save_strategy="steps",
        save_steps=2,
        plot_loss=True,
        report_to="tensorboard",
        logging_dir=str(tmp_path / "out/runs"),
        p4d=assets.p4d(frames=18),  # more than one window of the expert
    )
    result = succeeded(train_cli(recipe, "p4d.loss.depth=0.2"))

    lines = logs(tmp_path / "out")
    assert [line["current_steps"] for line in lines] == [1, 2]
    for line in lines:
        assert set(ALL_LOG_KEYS) <= line.keys()
    # The first step holds all three records: four clips in two micro-batches.
    assert lines[0]["p4d_videos"] == 2
    # The override reached the run.
    weights = dict.fromkeys(LOG_KEYS, 0.1) | {"depth": 0.2}
    expected = lines[0]["loss_sft"] + sum(weights[term] * lines[0][key] for term, key in LOG_KEYS.items())
    assert abs(lines[0]["loss"] / expected - 1) < 0.05  # accumulation weighs clips, not micro-batches
    assert "loss_depth" in result.stdout  # the progress bar's own line
    events = [path.parent for path in (tmp_path / "out").rglob("events.out.tfevents.*")]
    accumulator = EventAccumulator(str(events[0])).Reload()
    assert {f"train/{key}" for key in ALL_LOG_KEYS} <= set(accumulator.Tags()["scalars"])
    assert (tmp_path / "out/training_p4d_terms.png").exists()
    assert (tmp_path / "out/checkpoint-2/p4d_decoder.safetensors").exists()


def test_without_a_p4d_block_the_model_is_the_same_to_the_byte(assets, tmp_path):
    """With the plugin and with it switched off."""
    hashes = []
    for switch in ("0", "1"):
        output = tmp_path / f"disabled_{switch}"
        succeeded(train_cli(assets.recipe(output, p4d=None), RGPT4D_DISABLE=switch))
        hashes.append(hashlib.sha256((output / "model.safetensors").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]


def rgpt4d(*arguments):
    command = [str(Path(sys.executable).with_name("rgpt4d")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_rgpt4d_help_and_errors(tmp_path):
    shown = succeeded(rgpt4d("--help")).stdout
    assert "llamafactory-cli train" in shown and "demo" in shown and "synth" in shown
    failed = rgpt4d("demo", str(tmp_path / "none.yaml"))
    assert failed.returncode == 1
    assert "no such recipe" in failed.stderr and "Traceback" not in failed.stderr


def test_rgpt4d_synth(tmp_path):
    succeeded(rgpt4d("synth", "--out", str(tmp_path / "clips"), "--count", "2", "--size", "32", "48"))
    assert len(list((tmp_path / "clips/videos").glob("*.mp4"))) == 2
    assert (tmp_path / "clips/dataset_info.json").exists()
