# SPDX-License-Identifier: Apache-2.0
"""`p4d.video.cache`: the same batches from the cache as from the file, without decoding it."""

import errno
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rgpt4d_plugin.arguments import VideoArguments
from rgpt4d_plugin.template import clip_reader
from rgpt4d_plugin.template.plugin_classes import with_recorder
from rgpt4d_plugin.video import frame_cache
from tests.awkward_files import KINDS
from tests.harness import DATA, train_here
from tests.host_parts import host_parts


pytest.importorskip("diskcache", reason="p4d.video.cache needs the extra video-cache")

CLIP = str(next(iter(sorted((DATA / "clips").glob("*.mp4")))))


@pytest.fixture(autouse=True)
def fresh():
    frame_cache.open_frame_cache.cache_clear()


@pytest.fixture(scope="module")
def parts(assets, tmp_path_factory):
    return host_parts(assets.recipe(tmp_path_factory.mktemp("parts") / "out", video_max_pixels=64 * 64))


def read(parts, folder, video=CLIP, frames=None, gigabytes=1.0):
    """The teacher's frames, the clip and the host's inputs of one video."""
    video_options = VideoArguments(cache=None if folder is None else str(folder), cache_gb=gigabytes)
    template, seen = with_recorder(parts.template, frames, None, video_options), []
    with template.mm_plugin.recording(seen.append):
        inputs = template.mm_plugin.get_mm_inputs([], [str(video)], [], [0], [1], [0], [[]], parts.processor)
    return parts.run.teacher_frames(seen[0], parts.processor), seen[0], inputs


def same(found, expected):
    teacher, clip, inputs = expected
    assert torch.equal(found[0], teacher)
    assert (found[1].timestamps, found[1].size, len(found[1].frames)) == (clip.timestamps, clip.size, len(clip.frames))
    assert found[2].keys() == inputs.keys()
    for key, value in inputs.items():
        assert torch.equal(found[2][key], value) if isinstance(value, torch.Tensor) else found[2][key] == value


@pytest.fixture
def no_decoding(monkeypatch):
    """Decoding fails from when it is called."""

    def forbid():
        def decode(*args, **kwargs):
            raise AssertionError("decoded")

        monkeypatch.setattr(clip_reader, "read_frames", decode)
        monkeypatch.setattr(frame_cache, "read_frames", decode)
        monkeypatch.setattr(clip_reader.ClipReader, "_p4d_unmarked", decode)

    return forbid


@pytest.mark.parametrize("frames", [None, 5])
def test_what_is_stored_is_the_same_to_the_bit(parts, tmp_path, no_decoding, frames):
    expected = read(parts, None, frames=frames)
    same(read(parts, tmp_path, frames=frames), expected)
    no_decoding()
    same(read(parts, tmp_path, frames=frames), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_awkward_files(parts, tmp_path, kind):
    path = KINDS[kind](tmp_path).path
    expected = read(parts, None, path)
    for _ in range(2):
        same(read(parts, tmp_path / "cache", path), expected)


def test_another_sampling_or_file_is_another_entry(parts, tmp_path):
    path = Path(shutil.copy(CLIP, tmp_path / "clip.mp4"))
    for frames in (4, 6):
        same(read(parts, tmp_path / "cache", path, frames), read(parts, None, path, frames))
    other = KINDS["plain"](tmp_path).path
    shutil.copy(other, path)
    same(read(parts, tmp_path / "cache", path, 4), read(parts, None, other, 4))


def test_frames_that_someone_looks_at_are_decoded(parts, tmp_path):
    expected = read(parts, None)[1].frames
    read(parts, tmp_path)
    found = read(parts, tmp_path)[1].frames
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(found, expected, strict=True))


def test_a_full_disk_and_a_damaged_entry_cost_only_time(parts, tmp_path, monkeypatch, caplog):
    expected = read(parts, None)
    with monkeypatch.context() as patch:

        def save(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(frame_cache, "save", save)
        same(read(parts, tmp_path), expected)
        same(read(parts, tmp_path), expected)
    assert caplog.text.count("cannot be written ([Errno 28] No space left on device); clips are decoded") == 1
    frame_cache.open_frame_cache.cache_clear()
    read(parts, tmp_path)
    for entry in tmp_path.rglob("*.val"):
        entry.write_bytes(entry.read_bytes()[:100])
    same(read(parts, tmp_path), expected)
    assert "an entry cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_is_said_at_the_start(assets, tmp_path):
    (tmp_path / "file").touch()
    recipe = assets.recipe(tmp_path / "out", p4d=assets.p4d(video={"cache": str(tmp_path / "file")}))
    with pytest.raises(ValueError, match="p4d.video.cache: .*file cannot hold the cache .*name a folder on a disk"):
        train_here(recipe)
    assert not (tmp_path / "out").exists()


def test_the_folder_does_not_outgrow_its_bound(tmp_path):
    cache = frame_cache.FrameCache(str(tmp_path), 0.002)
    for number in range(30):
        cache.put(str(number), {"pixels": np.full(200_000, number, np.uint8)}, {})
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.val")) < 2.5e6
    assert cache.get("0") is None and cache.get("29")[0]["pixels"][0] == 29


def test_a_pickle_is_not_loaded(tmp_path):
    import diskcache

    diskcache.Cache(str(tmp_path)).set("key", {"an": "object"})
    assert frame_cache.FrameCache(str(tmp_path), 1.0).get("key") is None


def _write(folder, start):
    cache = frame_cache.FrameCache(folder, 1.0)
    for number in range(start, start + 40):
        cache.put(str(number), {"pixels": np.full(50_000, number, np.uint8)}, {"number": number})


def test_several_processes_write_at_once(tmp_path):
    processes = [multiprocessing.Process(target=_write, args=(str(tmp_path), start)) for start in (0, 20, 40)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    cache = frame_cache.FrameCache(str(tmp_path), 1.0)
    assert all(cache.get(str(number))[1] == {"number": number} for number in range(80))
