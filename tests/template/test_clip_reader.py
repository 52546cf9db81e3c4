# SPDX-License-Identifier: Apache-2.0
"""Invariant 4: the teacher sees the very frames that the student sees, before the student's own resizing."""

import math
import pickle
import shutil

import av
import dill
import numpy as np
import pytest
import torch
from datasets.fingerprint import Hasher
from llamafactory.data.mm_plugin import Qwen2VLPlugin, Qwen3VLPlugin
from llamafactory.data.template import TEMPLATES
from PIL import Image

from rgpt4d_plugin.template.clip_reader import ClipReader, ReadContext, read_context
from rgpt4d_plugin.template.plugin_classes import with_recorder
from rgpt4d_plugin.video import VideoError
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import build_tiny_student


REAL_CLIPS = [DATA / "clips/2.avi", DATA / "clips/4.mp4"]
SMALL = {"video_max_pixels": 48 * 48, "video_maxlen": 8}
"""A recipe under which the student's frames are far smaller than the files'."""


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def parts(request, assets, tmp_path_factory):
    """Host objects of a recipe with `SMALL`, for both of the host's Qwen plugins."""
    root = tmp_path_factory.mktemp(request.param)
    student, template = assets.student, "qwen2_vl"
    if request.param == "qwen3_vl":
        student = build_tiny_student(root / "student", "qwen3_vl", hidden=32, layers=2, vision_hidden=32)
        template = "qwen3_vl_nothink"
    return host_parts(assets.recipe(root / "out", model_name_or_path=str(student), template=template, **SMALL))


@pytest.fixture
def processor(parts, monkeypatch):
    """The processor, whose limits a test may set."""
    for name in ("video_maxlen", "video_fps", "video_max_pixels"):
        monkeypatch.setattr(parts.processor, name, getattr(parts.processor, name))
    return parts.processor


def record(template, processor, videos, images=()):
    """The clips recorded while the host prepares a batch, and what the host prepared."""
    seen = []
    plugin = template.mm_plugin
    with plugin.recording(seen.append):
        inputs = plugin.get_mm_inputs(
            list(images), list(videos), [], [len(images)], [len(videos)], [0], [[]], processor
        )
    return seen, inputs


def decode(path, indices):
    """Frames of a file by index, as pixels, and its frame rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return [frames[index] for index in indices], float(stream.average_rate)


def host_indices(path, maxlen, fps):
    """The host's rule: spread over the file, at most `maxlen`, at most `fps` a second."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        count = max(1, math.floor(float(stream.duration * stream.time_base) * fps))
        count = min(stream.frames, maxlen, count)
        return np.linspace(0, stream.frames - 1, count).astype(int).tolist()


def assert_clip(clip, frames, timestamps):
    """Bit-equal frames of the file's own size, and their times."""
    assert len(clip.frames) == len(frames)
    for found, expected in zip(clip.frames, frames):
        assert np.array_equal(np.asarray(found), np.asarray(expected))
    assert clip.timestamps == pytest.approx(timestamps, rel=1e-12)


def assert_same_tensors(found, expected):
    """The host's outputs, a video processor's metadata included, are the same in every bit."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype and torch.equal(found[key], value), key
        else:
            assert found[key] == value, key


# --- what is recorded ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("maxlen", [8, 5, 1])
@pytest.mark.parametrize("path", REAL_CLIPS, ids=lambda path: path.name)
def test_files(parts, processor, path, maxlen):
    """Also odd numbers of frames: the one that the host repeats is not recorded."""
    processor.video_maxlen = maxlen
    (clip,), inputs = record(parts.recording(), processor, [str(path)])

    indices = host_indices(path, maxlen, 2.0)
    frames, rate = decode(path, indices)
    assert len(frames) == maxlen
    assert clip.source == str(path)
    assert_clip(clip, frames, [index / rate for index in indices])
    # The student's own frames were resized: fewer patches of 8 x 8 pixels than the recorded frames have.
    steps, height, width = inputs["video_grid_thw"][0].tolist()
    assert steps == math.ceil(maxlen / 2)
    assert 64 * height * width <= 48 * 48 < frames[0].shape[0] * frames[0].shape[1]


def test_video_fps_limits_the_frames(parts, processor):
    processor.video_maxlen, processor.video_fps = 100, 1.0
    (clip,), _ = record(parts.recording(), processor, [str(REAL_CLIPS[1])])
    indices = host_indices(REAL_CLIPS[1], 100, 1.0)
    frames, rate = decode(REAL_CLIPS[1], indices)
    assert len(indices) == 5  # of five seconds
    assert_clip(clip, frames, [index / rate for index in indices])


@pytest.mark.slow
def test_several_videos_and_an_image(parts, processor):
    """In order, and the image is no frame of any of them."""
    image = Image.new("RGB", (64, 48), (9, 8, 7))
    seen, _ = record(parts.recording(), processor, [str(path) for path in REAL_CLIPS], [image])
    assert [clip.source for clip in seen] == [str(path) for path in REAL_CLIPS]
    for clip, path in zip(seen, REAL_CLIPS):
        indices = host_indices(path, 8, 2.0)
        frames, rate = decode(path, indices)
        assert_clip(clip, frames, [index / rate for index in indices])


@pytest.mark.parametrize("count", [4, 3])
@pytest.mark.parametrize("kind", ["images", "paths"])
def test_lists_of_frames(parts, processor, tmp_path, kind, count):
    """They lie `video_fps` apart, and the caller's list stays as it is."""
    processor.video_fps = 4.0
    pixels = np.random.default_rng(0).integers(0, 256, (count, 72, 96, 3), dtype=np.uint8)
    frames = [Image.fromarray(frame) for frame in pixels]
    if kind == "paths":
        for index, frame in enumerate(frames):
            frame.save(tmp_path / f"{index}.png")
        frames = [str(tmp_path / f"{index}.png") for index in range(count)]
    given = list(frames)

    (clip,), inputs = record(parts.recording(), processor, [given])

    assert given == frames
    assert_clip(clip, pixels, [index / 4 for index in range(count)])
    assert clip.source == f"list of {count} frames"
    assert inputs["video_grid_thw"][0, 0] == 2


@pytest.mark.parametrize("pattern", ["abb", "aabc", "aa"])
def test_a_frame_that_is_listed_twice_counts_twice(parts, processor, pattern):
    images = {name: Image.new("RGB", (64, 48), (80 * index,) * 3) for index, name in enumerate("abc")}
    frames = [images[name] for name in pattern]
    (clip,), _ = record(parts.recording(), processor, [frames])
    assert_clip(clip, frames, [index / 2 for index in range(len(pattern))])


@pytest.mark.parametrize("frames", [2, 7, 16])
def test_p4d_frames_spreads_over_the_whole_clip(parts, processor, frames):
    """In place of the host's rule, also where that rule would take fewer; token counts follow it."""
    template = parts.recording(frames)
    (clip,), inputs = record(template, processor, [str(REAL_CLIPS[1])])
    indices = [index * 149 // (frames - 1) for index in range(frames)]
    expected, rate = decode(REAL_CLIPS[1], indices)
    assert_clip(clip, expected, [index / rate for index in indices])
    promised = template.mm_plugin._get_video_token_metadata([str(REAL_CLIPS[1])], processor)
    assert promised["video_grid_thw"].tolist() == inputs["video_grid_thw"].tolist()


def test_p4d_frames_of_a_shorter_file(parts, processor, assets):
    path = assets.root / "wide/videos/clip_00000.mp4"
    (clip,), _ = record(parts.recording(20), processor, [str(path)])
    frames, rate = decode(path, range(7))
    assert_clip(clip, frames, [index / rate for index in range(7)])


def test_a_file_that_lost_frames_is_refused(parts, processor, tmp_path):
    """Rather than distilled with fewer frames than the record's tokens stand for."""
    cut = tmp_path / "cut.avi"
    with av.open(str(REAL_CLIPS[0])) as container:
        half = [packet.pos for packet in container.demux(video=0) if packet.size][135]
    cut.write_bytes(REAL_CLIPS[0].read_bytes()[: half - 8])  # before the header of a packet, which breaks no other
    with pytest.raises(VideoError, match=r"cut.avi is cut off: only 13\d of the 270 frames"):
        record(parts.recording(), processor, [str(cut)])


# --- what is not touched ---------------------------------------------------------------------------------------------


def test_nothing_is_recorded_when_it_is_off(parts, processor):
    template = parts.recording()
    seen, _ = record(template, processor, [str(REAL_CLIPS[1])])
    plugin = template.mm_plugin
    plugin.get_mm_inputs([], [str(REAL_CLIPS[1])], [], [0], [1], [0], [[]], processor)
    assert len(seen) == 1
    assert read_context() == ReadContext()
    with pytest.raises(RuntimeError, match="stop"), plugin.recording(seen.append):
        raise RuntimeError("stop")
    assert read_context() == ReadContext()


@pytest.mark.slow
def test_the_hosts_outputs_are_the_same(parts, processor, assets):
    """Pixels, grids and token ids, of files and of frame lists, with and without the recorder."""
    frames = [Image.new("RGB", (64, 48), (60 * index,) * 3) for index in range(3)]
    image = Image.new("RGB", (64, 48), (1, 2, 3))
    cases = [([str(path)], "<video>What?") for path in [*REAL_CLIPS, assets.root / "wide/videos/clip_00000.mp4"]]
    cases += [([frames], "<video>What?"), ([str(REAL_CLIPS[1])] * 2, "<video><video>Which?")]
    recording = parts.recording()
    for videos, prompt in cases:

        def copies(videos=videos):
            return [list(video) if isinstance(video, list) else video for video in videos]

        plain = parts.template.mm_plugin.get_mm_inputs([image], copies(), [], [1], [len(videos)], [0], [[]], processor)
        _, found = record(recording, processor, copies(), [image])
        assert_same_tensors(found, plain)
        tokens = [parts.encode(t, prompt + "<image>", [image], copies()) for t in (parts.template, recording)]
        assert tokens[0]["input_ids"] == tokens[1]["input_ids"] and tokens[0]["labels"] == tokens[1]["labels"]


def test_the_hosts_template_is_untouched(parts):
    own = TEMPLATES[parts.data_args.template]
    state, plugin = dict(own.__dict__), own.mm_plugin
    recording = parts.recording(5)

    assert TEMPLATES[parts.data_args.template] is own is parts.template
    assert own.mm_plugin is plugin and own.__dict__ == state
    assert type(plugin) in (Qwen2VLPlugin, Qwen3VLPlugin) and not isinstance(plugin, ClipReader)
    assert not any(name.startswith("_p4d") for name in dir(plugin))
    assert isinstance(recording.mm_plugin, ClipReader) and isinstance(recording.mm_plugin, type(plugin))
    assert {**recording.__dict__, "mm_plugin": None} == {**own.__dict__, "mm_plugin": None}


# --- worker processes and caches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", [pickle, dill], ids=lambda library: library.__name__)
def test_it_survives_pickling(parts, processor, library):
    """Preprocessing workers get a copy, made anywhere, even while a clip is recorded."""
    template = parts.recording(3)
    seen = []
    with template.mm_plugin.recording(lambda clip: seen.append(clip)):
        copied = library.loads(library.dumps(template))
    assert type(copied.mm_plugin) is type(template.mm_plugin)
    (clip,), inputs = record(copied, processor, [str(REAL_CLIPS[1])])
    (expected,), expected_inputs = record(template, processor, [str(REAL_CLIPS[1])])
    assert seen == [] and len(clip.frames) == 3
    assert_clip(clip, expected.frames, expected.timestamps)
    assert_same_tensors(inputs, expected_inputs)


def test_the_dataset_cache_is_found_again(parts, processor):
    """The datasets library hashes the template: the same for the same settings, before and after use."""
    one, two = parts.recording(), parts.recording()
    fingerprint = Hasher.hash(one)
    assert Hasher.hash(two) == fingerprint
    record(one, processor, [str(REAL_CLIPS[1])])
    assert Hasher.hash(one) == fingerprint
    with two.mm_plugin.recording(lambda clip: None):
        assert Hasher.hash(two) == fingerprint
    # Other frames are other tokens.
    assert len({fingerprint, *(Hasher.hash(parts.recording(frames)) for frames in (4, 5))}) == 3


# --- the collator ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_each_video_is_decoded_once(parts, assets, monkeypatch, tmp_path):
    """One collator call opens each file once, and draws from it the student's and the teacher's frames."""
    template = parts.recording()
    copied = shutil.copy(REAL_CLIPS[1], tmp_path / "copy.mp4")
    features = [
        parts.encode(template, "<video>What?", videos=[str(REAL_CLIPS[0])]),
        parts.encode(template, "Hello?"),
        parts.encode(template, "<video><video>Which?", videos=[str(REAL_CLIPS[1]), str(copied)]),
    ]
    collator = parts.collator(template)
    opened = []
    av_open = av.open
    monkeypatch.setattr(
        av, "open", lambda path, *args, **kwargs: opened.append(path) or av_open(path, *args, **kwargs)
    )

    batch = collator(features)["p4d"]

    assert opened == [str(REAL_CLIPS[0]), str(REAL_CLIPS[1]), str(copied)]
    assert len(batch) == 3 and batch.left_out == 0
    for path, frames, timestamps in zip(opened, batch.frames, batch.timestamps):
        indices = host_indices(path, 8, 2.0)
        expected, rate = decode(path, indices)
        expected = [
            np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BILINEAR)) for frame in expected
        ]
        assert frames.dtype == torch.uint8 and frames.shape == (8, 3, 32, 32)
        assert np.array_equal(frames.permute(0, 2, 3, 1), np.stack(expected))
        assert timestamps == pytest.approx([index / rate for index in indices], rel=1e-12)


def test_a_recorder_needs_the_hosts_names(parts):
    """A host that lost one is refused when the template is made, not when a clip is read."""

    class Plugin:
        pass

    template = type("Template", (), {})()
    template.mm_plugin = Plugin()
    with pytest.raises(RuntimeError, match="has no .*_regularize_videos"):
        with_recorder(template, None)
