# SPDX-License-Identifier: Apache-2.0
"""What a killed run or a full disk leaves of a checkpoint is found before anything of it is loaded."""

import os
import resource
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from rgpt4d_plugin.files import only_writer
from rgpt4d_plugin.trainers.checkpoint_folder import DECODER_FILE, check_resumable, write_decoder
from tests.harness import train_here


@pytest.fixture
def write(tmp_path):
    """Writes a complete checkpoint of so many steps and returns its folder."""

    def write_checkpoint(steps):
        folder = tmp_path / f"checkpoint-{steps}"
        folder.mkdir()
        for name in (DECODER_FILE, "model.safetensors"):
            save_file({"weight": torch.zeros(64)}, folder / name)
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch.save({"step": steps}, folder / name)
        for name in ("config.json", "trainer_state.json"):
            (folder / name).write_text('{"global_step": 1}')
        return folder

    return write_checkpoint


def test_a_complete_one_passes(write):
    assert check_resumable(write(3), {}) == []


@pytest.mark.parametrize(
    "name, message",
    [
        ("trainer_state.json", "while it was saving"),
        (DECODER_FILE, "without `p4d:`"),
        ("model.safetensors", "the student's weights"),
        ("optimizer.pt", "the optimizer's state"),
        ("config.json", "the student's configuration"),
    ],
)
def test_a_missing_file(write, name, message):
    folder = write(3)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"cannot resume: {folder}/.* is missing.*{message}"):
        check_resumable(folder, {})


@pytest.mark.parametrize(
    "name", ["trainer_state.json", DECODER_FILE, "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
)
@pytest.mark.parametrize("kept", [0, 10, -5])
def test_a_file_that_is_cut_off(write, name, kept):
    folder = write(3)
    size = (folder / name).stat().st_size
    os.truncate(folder / name, kept if kept >= 0 else size + kept)
    with pytest.raises(ValueError, match=f"cannot resume: {folder / name} is cut off or damaged"):
        check_resumable(folder, {})


def test_other_settings_are_said_or_refused(write):
    folder, before = write(3), {"p4d.tpe": "off", "p4d.loss.depth": 0.1, "p4d.frames": None}
    write_decoder(folder, {"weight": torch.zeros(64)}, before)
    assert check_resumable(folder, before | {"p4d.new": 1}) == []
    assert check_resumable(folder, before | {"p4d.loss.depth": 0.2}) == ["p4d.loss.depth: 0.1 before, 0.2 now"]
    with pytest.raises(ValueError, match="cannot resume: .* other settings: p4d.tpe: 'off' before, 'text' now. Set"):
        check_resumable(folder, before | {"p4d.tpe": "text", "p4d.frames": 8})


def test_the_newest_complete_one_is_named(write, tmp_path):
    broken, complete = write(30), write(9)
    write(8), write(20).joinpath("trainer_state.json").unlink()
    (broken / "optimizer.pt").write_bytes(b"")
    (tmp_path / "checkpoint-old").mkdir()
    with pytest.raises(ValueError, match=f"optimizer.pt is .*; resume_from_checkpoint: {complete} is complete$"):
        check_resumable(broken, {})


def test_without_another_one(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="there is no folder .*checkpoint-3; no checkpoint beside it is complete"
    ):
        check_resumable(tmp_path / "checkpoint-3", {})


def test_one_training_at_a_time(assets, tmp_path):
    recipe = assets.recipe(tmp_path / "out", max_steps=1)
    (tmp_path / "out").mkdir()
    with (
        only_writer(tmp_path / "out"),
        pytest.raises(ValueError, match="out: another process is writing there"),
    ):
        train_here(recipe)
    assert not list((tmp_path / "out").glob("*.safetensors"))
    with only_writer(tmp_path / "out"):
        pass


@pytest.mark.slow
def test_a_killed_training_frees_its_folder(tmp_path):
    held = f"""
import os, signal
from pathlib import Path
from rgpt4d_plugin.files import only_writer
with only_writer(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", held]).returncode == -signal.SIGKILL
    with only_writer(tmp_path):
        pass


def test_a_decoder_that_the_disk_has_no_room_for_leaves_the_old_one(tmp_path):
    old, larger = {"weight": torch.ones(8)}, {"weight": torch.zeros(10_000)}
    write_decoder(tmp_path / "checkpoint-1", old, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: .*checkpoint-1/{DECODER_FILE}"):
            write_decoder(tmp_path / "checkpoint-1", larger, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (left,) = (tmp_path / "checkpoint-1").iterdir()
    assert torch.equal(load_file(left)["weight"], old["weight"])
