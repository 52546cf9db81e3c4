# SPDX-License-Identifier: Apache-2.0
"""What a killed run or a full disk leaves of a checkpoint is found before anything of it is loaded."""

import os

import pytest
import torch
from safetensors.torch import save_file

from rgpt4d_plugin.trainers.checkpoint_folder import DECODER_FILE, check_resumable


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
    check_resumable(write(3))


@pytest.mark.parametrize(
    "name, message", [("trainer_state.json", "while it was saving"), (DECODER_FILE, "without `p4d:`")]
)
def test_a_missing_file(write, name, message):
    folder = write(3)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"cannot resume: {folder / name} is missing.*{message}"):
        check_resumable(folder)


@pytest.mark.parametrize(
    "name", ["trainer_state.json", DECODER_FILE, "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]
)
@pytest.mark.parametrize("kept", [0, 10, -5])
def test_a_file_that_is_cut_off(write, name, kept):
    folder = write(3)
    size = (folder / name).stat().st_size
    os.truncate(folder / name, kept if kept >= 0 else size + kept)
    with pytest.raises(ValueError, match=f"cannot resume: {folder / name} is cut off or damaged"):
        check_resumable(folder)


def test_the_newest_complete_one_is_named(write, tmp_path):
    broken, complete = write(30), write(9)
    write(8), write(20).joinpath("trainer_state.json").unlink()
    (broken / "optimizer.pt").write_bytes(b"")
    (tmp_path / "checkpoint-old").mkdir()
    with pytest.raises(ValueError, match=f"optimizer.pt is .*; resume_from_checkpoint: {complete} is complete$"):
        check_resumable(broken)


def test_without_another_one(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="there is no folder .*checkpoint-3; no checkpoint beside it is complete"
    ):
        check_resumable(tmp_path / "checkpoint-3")
