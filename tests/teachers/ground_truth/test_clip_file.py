# SPDX-License-Identifier: Apache-2.0
"""Folders of ground truth: images of every kind that is read, and what is said of those that cannot be."""

import json

import numpy as np
import pytest
from PIL import Image

from rgpt4d_plugin.teachers.ground_truth import ClipFileError, open_clip_file
from tests.teachers.ground_truth.clips import clip_4d, write_folder


@pytest.fixture(scope="module")
def clip():
    return clip_4d(frames=3, height=16, width=32)


def test_only_the_frames_that_are_asked_for_are_opened(clip, tmp_path):
    folder = write_folder(tmp_path / "clip", clip)
    (folder / "depth/000001.png").write_bytes(b"no image")
    file = open_clip_file(folder)
    assert file.read("depth", [0, 2], "").shape == (2, 16, 32)
    with pytest.raises(ClipFileError, match=r"depth/000001\.png: cannot identify image file"):
        file.read("depth", [1], "")


def test_floats_are_metres_and_whole_numbers_need_a_scale(clip, tmp_path):
    folder = write_folder(tmp_path / "clip", clip, depth={"files": "depth/*.tiff"})
    for index, depth in enumerate(clip.depth):
        Image.fromarray(depth).save(folder / f"depth/{index}.tiff")
    np.testing.assert_array_equal(open_clip_file(folder).read("depth", [0, 1, 2], ""), clip.depth)
    folder = write_folder(tmp_path / "whole", clip, depth={"files": "depth/*.png"})
    with pytest.raises(ClipFileError, match=r"holds whole numbers: give depth\.scale in clip\.json"):
        open_clip_file(folder).read("depth", [0], "")


def test_exr(clip, tmp_path):
    openexr = pytest.importorskip("OpenEXR")
    forms = {"depth": {"files": "depth/*.exr"}, "flow_2d_backward": {"files": "flow/*.exr", "channels": ["X", "Y"]}}
    folder = write_folder(tmp_path / "clip", clip, **forms)
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    for index in range(3):
        for name, channels in (
            ("depth", {"Z": clip.depth[index]}),
            ("flow", {"X": clip.flow_2d_backward[index, 0], "Y": clip.flow_2d_backward[index, 1]}),
        ):
            with openexr.File(header, channels) as file:
                file.write(str(folder / f"{name}/{index}.exr"))
    file = open_clip_file(folder)
    np.testing.assert_array_equal(file.read("depth", [2, 0], ""), clip.depth[[2, 0]])
    np.testing.assert_array_equal(file.read("flow_2d_backward", [0, 1], ""), clip.flow_2d_backward[:2])
    (folder / "flow/0.exr").rename(folder / "depth/0.exr")
    with pytest.raises(ClipFileError, match="has the channels X, Y: name those to be read under channels"):
        file.read("depth", [0], "")


def test_exr_without_its_library(clip, tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "clip", clip, depth={"files": "*.exr"})
    for index in range(3):
        (folder / f"{index}.exr").touch()
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    with pytest.raises(ClipFileError, match=r"EXR files need `pip install 'rgpt4d-plugin\[exr\]'`"):
        open_clip_file(folder).read("depth", [0], "")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"fps": None}, "give either timestamps, one per frame, or fps"),
        ({"timestamps": [0, 1, 2]}, "give either timestamps, one per frame, or fps"),
        ({"fps": None, "timestamps": [0, 1]}, "depth 3, .*timestamps 2"),
        ({"depth": {"files": "depth/*.png", "scal": 1}}, "depth.scal: unknown key; did you mean 'scale'?"),
        ({"dept": 1}, "dept: unknown key; did you mean 'depth'?"),
        ({"depth": {"files": "dept/*.png"}}, "found depth 0, "),
        ({"poses": [[[1, 0], [0]]] * 3}, "poses are not matrices of one size"),
        ({"depth": {"files": "depth/*.png", "scale": 0}}, "depth.scale: expected a value > 0, got 0"),
    ],
)
def test_a_description_that_cannot_work(clip, tmp_path, changes, complaint):
    folder = write_folder(tmp_path / "clip", clip, **changes)
    with pytest.raises(ClipFileError, match=complaint) as error:
        open_clip_file(folder)
    assert str(folder) in str(error.value)


def test_unknown_poses_are_null(clip, tmp_path):
    poses = clip.poses.tolist()
    poses[1] = [[None] * 4] * 4
    found = open_clip_file(write_folder(tmp_path / "clip", clip, poses=poses)).read("poses", [0, 1], "")
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_no_such_file_and_no_npz(tmp_path):
    with pytest.raises(ClipFileError, match="there is no .*none.npz"):
        open_clip_file(tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(ClipFileError, match=r"cut\.npz is not a readable \.npz file"):
        open_clip_file(tmp_path / "cut.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ClipFileError, match="is one array"):
        open_clip_file(tmp_path / "one.npy")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ClipFileError, match=r"has no clip\.json that can be read: No such file"):
        open_clip_file(tmp_path / "folder")
    (tmp_path / "folder/clip.json").write_text(json.dumps([]))
    with pytest.raises(ClipFileError, match="expected a mapping"):
        open_clip_file(tmp_path / "folder")
