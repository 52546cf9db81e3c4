# SPDX-License-Identifier: Apache-2.0
"""Ground truth behind the teacher interface: units, windows, validity, times, and where a clip's file is."""

import json

import numpy as np
import pytest
import torch

from rgpt4d_plugin.arguments import P4DConfigError, parse_p4d
from rgpt4d_plugin.synth4d.scene import camera_rays, intrinsics_for
from rgpt4d_plugin.teachers import ClipKey, teacher_class
from rgpt4d_plugin.teachers.geometry import pose_map, relative_to_first
from rgpt4d_plugin.teachers.ground_truth import ClipFileError, GroundTruthTeacher
from rgpt4d_plugin.teachers.ground_truth.maps import MOTION_LOGIT
from rgpt4d_plugin.teachers.ground_truth.teacher import clip_path
from rgpt4d_plugin.video import VideoError
from tests.teachers.ground_truth.clips import clip_4d, write_folder, write_npz


TERMS = GroundTruthTeacher.terms
TIMES = tuple(np.arange(6) / 2)


@pytest.fixture(scope="module")
def clip():
    return clip_4d()


@pytest.fixture
def video(tmp_path):
    return str(tmp_path / "clip.mp4")


def options(**given):
    return GroundTruthTeacher.Arguments(type="ground_truth", **{"window": 4, "grid": 4, "map_size": 16, **given})


def maps(video, *terms, times=TIMES, box=None, start=0.0, size=None, **given):
    chosen = options(**given)
    spec = GroundTruthTeacher.read_spec(chosen)
    key = ClipKey(video, times, box, start, (video,), size)
    return GroundTruthTeacher.read_maps(chosen, spec, key, terms or TERMS)


def at_pixels(array):
    """(..., 16, 16) of (..., 32, 48): the pixel under each center."""
    return torch.from_numpy(np.array(array, dtype=np.float32))[..., 1::2, 1::3]


def test_every_term_is_in_its_unit(clip, video, tmp_path):
    write_npz(tmp_path / "clip.npz", clip)
    found = maps(video)
    shapes = {term: tuple(found[term].values.shape) for term in TERMS}
    assert shapes == {
        "depth": (2, 1, 4, 16, 16),
        "flow": (2, 2, 4, 16, 16),
        "motion": (2, 1, 4, 16, 16),
        "camray": (2, 6, 4, 4, 4),
        "pose": (2, 7, 4, 1, 1),
        "scale": (2, 1, 4, 1, 1),
    }
    for term, value in found.items():
        assert value.values.dtype == torch.float32 and value.valid.dtype == torch.bool, term
        assert value.valid[0].all() and value.valid[1, :, :2].all() and not value.valid[1, :, 2:].any(), term

    def frames(term):  # the clip's six frames out of both windows
        return found[term].values.transpose(1, 2).flatten(0, 1)[:6]

    torch.testing.assert_close(frames("depth")[:, 0], at_pixels(clip.depth).log())
    # Flow is that of a frame stretched to 224 x 224.
    unit = torch.tensor([224 / 48, 224 / 32])[:, None, None]
    torch.testing.assert_close(frames("flow"), at_pixels(clip.flow_2d_backward) * unit)
    torch.testing.assert_close(frames("motion")[:, 0], (2 * at_pixels(clip.motion) - 1) * MOTION_LOGIT)
    poses = torch.from_numpy(clip.poses)
    for window, chosen in ((0, poses[:4]), (1, poses[4:])):
        expected = relative_to_first(chosen)
        torch.testing.assert_close(found["pose"].values[window, :, : len(chosen)], pose_map(expected).float())
        rays = camera_rays(expected.numpy(), intrinsics_for(32, 48), (32, 48), (4, 4)).swapaxes(0, 1)
        torch.testing.assert_close(found["camray"].values[window, :, : len(chosen)], torch.from_numpy(rays))
    log_depth = at_pixels(clip.depth).log()
    for window, mean in ((0, log_depth[:4].mean()), (1, log_depth[4:].mean())):
        real = found["scale"].valid[window]
        torch.testing.assert_close(found["scale"].values[window][real], mean.expand(int(real.sum())))


def test_units_of_the_window_do_not_depend_on_the_scale_of_the_scene(clip, video, tmp_path):
    write_npz(tmp_path / "clip.npz", clip)
    before = maps(video, units="window")
    larger = clip.poses.copy()
    larger[:, :3, 3] *= 3
    write_npz(tmp_path / "clip.npz", clip, depth=3 * clip.depth, poses=larger)
    after = maps(video, units="window")
    for term in ("depth", "camray", "pose"):
        torch.testing.assert_close(after[term].values, before[term].values, atol=1e-5, rtol=1e-5)
    difference = (after["scale"].values - before["scale"].values)[before["scale"].valid]
    torch.testing.assert_close(difference, torch.full_like(difference, np.log(3)))
    assert before["depth"].values[0].mean().abs() < 1e-5


def test_what_is_not_known_is_not_compared(clip, video, tmp_path):
    depth, flow, poses = clip.depth.copy(), clip.flow_2d_backward.copy(), clip.poses.copy()
    depth[1, 1, 1], depth[1, 1, 4], depth[1, 1, 7], depth[1, 1, 10] = 0, np.nan, np.inf, -1
    flow[1, 0, 1, 1] = np.nan
    poses[2] = np.nan
    valid = np.ones(depth.shape, dtype=bool)
    valid[3] = False
    write_npz(tmp_path / "clip.npz", clip, depth=depth, flow_2d_backward=flow, poses=poses, valid=valid)
    found = maps(video)
    assert all(value.values.isfinite().all() for value in found.values())
    assert found["depth"].valid[0, 0, 1, 0].tolist() == [False] * 4 + [True] * 12
    assert found["flow"].valid[0, 0, 1, 0].tolist() == [False] + [True] * 15
    assert not any(found[term].valid[0, 0, 3].any() for term in ("depth", "flow", "motion"))
    assert found["pose"].valid[0].flatten().tolist() == [True, True, False, True]
    assert found["camray"].valid[0, 0, :, 0, 0].tolist() == [True, True, False, True]
    # A window whose first camera is lost has nothing to measure the others from.
    poses[4] = np.nan
    write_npz(tmp_path / "clip.npz", clip, poses=poses)
    assert not maps(video, "pose")["pose"].valid[1].any()


def test_the_middle_of_a_frame_is_what_the_student_sees(clip, video, tmp_path):
    write_npz(tmp_path / "clip.npz", clip)
    # The video is twice as large as the arrays; the student sees its middle square.
    found = maps(video, "depth", "flow", "camray", box=(16, 0, 80, 64), size=(96, 64))
    torch.testing.assert_close(found["depth"].values[0, 0], torch.from_numpy(clip.depth[:4, 1::2, 9:40:2]).log())
    torch.testing.assert_close(
        found["flow"].values[0], torch.from_numpy(clip.flow_2d_backward[:4, :, 1::2, 9:40:2] * 7).transpose(0, 1)
    )
    whole = camera_rays(clip.poses[:1], intrinsics_for(32, 48), (32, 48), (4, 6))[0]
    torch.testing.assert_close(found["camray"].values[0, :, 0], torch.from_numpy(whole[..., 1:5]))


def test_a_folder_of_images_gives_the_same_maps(clip, tmp_path):
    write_npz(tmp_path / "file.npz", clip)
    write_folder(tmp_path / "images", clip)
    from_file, from_folder = maps(str(tmp_path / "file.mp4")), maps("x.mp4", files=str(tmp_path / "images"))
    for term in TERMS:
        # Depth is in whole millimetres there.
        tolerance = 1e-3 if term in ("depth", "scale") else 1e-6
        torch.testing.assert_close(from_folder[term].values, from_file[term].values, atol=tolerance, rtol=0)
        assert torch.equal(from_folder[term].valid, from_file[term].valid)


def test_rays_stand_in_for_intrinsics(clip, video, tmp_path):
    write_npz(tmp_path / "clip.npz", clip)
    pinhole = maps(video, "camray")["camray"]
    own = camera_rays(np.eye(4)[None], intrinsics_for(32, 48), (32, 48), (4, 4))[0, :3]
    write_npz(tmp_path / "clip.npz", clip, intrinsics=None, rays=own)
    torch.testing.assert_close(maps(video, "camray")["camray"].values, pinhole.values)


def test_times_are_matched_to_the_nearest_entry(clip, video, tmp_path):
    write_npz(tmp_path / "clip.npz", clip)
    found = maps(video, "depth", times=(0.51, 1.99), window=2)["depth"].values[0, 0]
    torch.testing.assert_close(found, at_pixels(clip.depth[[1, 4]]).log())
    # A part of the video, whose frames are timed from where it starts.
    part = maps(video, "depth", times=(0.01, 1.49), start=0.5, window=2)["depth"].values[0, 0]
    torch.testing.assert_close(part, found)
    with pytest.raises(
        VideoError, match=r"frame of the video at 0\.700 s .* nearest is at 0\.500 s, its 6 frames are"
    ) as error:
        maps(video, "depth", times=(0.5, 0.7))
    assert error.value.entry == video and str(tmp_path / "clip.npz") in str(error.value)
    assert maps(video, "depth", times=(0.5, 0.7), tolerance=0.25)["depth"].valid.any()


def test_flow_is_between_neighboring_entries(clip, video, tmp_path):
    write_npz(tmp_path / "clip.npz", clip)
    with pytest.raises(VideoError, match=r"clip's frame at 2\.000 s and the frame before it are 3 entries apart"):
        maps(video, "flow", times=(0.0, 0.5, 2.0))
    maps(video, "depth", "motion", "pose", times=(0.0, 0.5, 2.0))


@pytest.mark.parametrize(
    ("changes", "terms", "complaint"),
    [
        ({"depth": None}, ("depth",), "has no depth, which p4d.loss.depth"),
        ({"poses": None}, ("pose",), "has no poses, which p4d.loss.pose"),
        ({"intrinsics": None}, ("camray",), "has no intrinsics, which p4d.loss.camray needs; it has depth,"),
        ({"timestamps": None}, ("depth",), "has no timestamps; it has bodies, depth,"),
        ({"timestamps": np.zeros(6)}, ("depth",), "timestamps do not increase"),
        ({"timestamps": np.arange(7) / 2}, ("depth",), "depth has 6 frames, timestamps 7"),
        ({"depth": np.zeros((6, 4, 4))}, ("depth",), "knows no depth at any of the clip's frames"),
        ({"depth": np.zeros((6, 1, 4, 4))}, ("depth",), "expected numbers in 3 dimensions"),
        ({"flow_2d_backward": np.zeros((6, 4, 4, 2))}, ("flow",), r"flow_2d_backward is \(4, 4, 2\) for a frame"),
        ({"poses": np.tile(2 * np.eye(4), (6, 1, 1))}, ("pose",), r"pose at 0\.000 s is no rotation and translation"),
        ({"depth": np.array([None] * 6)}, ("depth",), "depth cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(clip, video, tmp_path, changes, terms, complaint):
    write_npz(tmp_path / "clip.npz", clip, **changes)
    with pytest.raises(VideoError, match=complaint) as error:
        maps(video, *terms)
    assert f"ground truth of {video}: {tmp_path}/clip.npz" in str(error.value)


def test_where_a_clips_file_is(tmp_path):
    video = "/data/videos/clip_7.mp4"
    assert str(clip_path(options(), video)) == "/data/videos/clip_7.npz"
    assert str(clip_path(options(files="{folder}/../gt/{name}"), video)) == "/data/videos/../gt/clip_7.mp4"
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"videos/clip_7.mp4": "a/seven.npz", "clip_8.mp4": "/b/eight.npz"}))
    assert clip_path(options(index=str(index)), video) == tmp_path / "a/seven.npz"
    assert str(clip_path(options(index=str(index)), "/elsewhere/clip_8.mp4")) == "/b/eight.npz"
    with pytest.raises(ClipFileError, match=r"index\.json does not name it"):
        clip_path(options(index=str(index)), "clip_9.mp4")
    with pytest.raises(ClipFileError, match="name its file in p4d.teacher.index"):
        clip_path(options(), "https://example.org/clip.mp4")
    with pytest.raises(
        VideoError, match="ground truth of /data/videos/clip_7.mp4: there is no /data/videos/clip_7.npz"
    ):
        maps(video, "depth")


def test_a_clip_of_single_frames_has_no_file():
    key = ClipKey("list of 2 frames", (0.0, 0.5), files=("0.png", "1.png"))
    with pytest.raises(VideoError, match="list of 2 frames: .* this clip is given as frames"):
        GroundTruthTeacher.read_maps(options(), GroundTruthTeacher.read_spec(options()), key, ("depth",))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"files": "{clip}.npz"}, "p4d.teacher.files: '{clip}.npz' may hold {folder}, {stem}, {name} in braces"),
        ({"window": 15}, "window: 15 is no multiple of tubelet: 2"),
        ({"map_size": 100}, "map_size: 100 is no multiple of grid: 16"),
        ({"units": "feet"}, "p4d.teacher.units: expected one of 'metric', 'window', got 'feet'"),
        ({"index": "/none.json"}, "p4d.teacher.index: /none.json cannot be read: No such file or directory"),
        ({"checkpoint": "l4p.ckpt"}, "p4d.teacher.checkpoint: unknown key"),
    ],
)
def test_options_that_cannot_work(given, complaint):
    with pytest.raises(P4DConfigError) as error:
        parse_p4d({"preset": "none", "teacher": {"type": "ground_truth", **given}, "loss": {"depth": 1}})
    assert complaint in str(error.value)


def test_maps_to_look_at_are_the_windows_one_behind_the_other(clip, video, tmp_path):
    depth = clip.depth.copy()
    depth[0, 1, 1] = 0
    write_npz(tmp_path / "clip.npz", clip, depth=depth)
    teacher = teacher_class("ground_truth").load(options(), torch.device("cpu"), ("depth",))
    found = teacher.maps(torch.zeros(6, 3, 224, 224), ClipKey(video, TIMES, files=(video,)), "depth", (0,))
    expected = at_pixels(clip.depth).log()
    assert found[0, 0, 0, 0] == expected.max()  # not known: as far as anything
    torch.testing.assert_close(found[0, 1:], expected[1:])
