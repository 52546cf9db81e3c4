# SPDX-License-Identifier: Apache-2.0
"""On awkward files every way to a frame shows the same ones: those that a player shows, at the times it shows them."""

import functools
import http.server
import json
import socket
import threading

import av
import numpy as np
import pytest
import yaml
from llamafactory.data.template import TEMPLATES
from PIL import Image

from rgpt4d_plugin import RegionPrompt
from rgpt4d_plugin.arguments import RegionArguments
from rgpt4d_plugin.cli import main
from rgpt4d_plugin.eval_hooks.benchmarks.records import Medium
from rgpt4d_plugin.eval_hooks.engines.chat_message import frames_of
from rgpt4d_plugin.preview import command
from rgpt4d_plugin.trainers import mixin
from rgpt4d_plugin.trainers.setup import P4DSetup
from rgpt4d_plugin.trainers.trl_records import show_record
from rgpt4d_plugin.video import VideoError, check_video
from rgpt4d_plugin.video.entries import Clip
from rgpt4d_plugin.video.frames import read_frames, read_info
from rgpt4d_plugin.video.sampling import Sampling
from tests.awkward_files import KINDS, clock, even, read_clock, write
from tests.harness import train_here
from tests.host_parts import host_parts


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every kind of file, made when it is asked for."""
    folder = tmp_path_factory.mktemp("awkward")
    return functools.cache(lambda kind: KINDS[kind](folder))


@pytest.fixture(params=KINDS)
def file(files, request):
    return files(request.param)


@pytest.fixture(scope="module")
def parts(assets, tmp_path_factory):
    """The host's objects of a recipe on the template that reads regions."""
    out = tmp_path_factory.mktemp("parts") / "out"
    return host_parts(assets.recipe(out, template="rgpt4d_qwen2_vl", video_maxlen=6, video_max_pixels=192 * 128))


def numbers(pictures):
    return [read_clock(picture) for picture in pictures]


def recorded(parts, frames, video):
    """The clip that training hands to the teacher, and the frames that it promised when it counted tokens."""
    template, seen = parts.recording(frames), []
    feature = parts.encode(template, "<video>What?", videos=[video])
    with template.mm_plugin.recording(seen.append):
        inputs = template.mm_plugin.get_mm_inputs([], [video], [], [0], [1], [0], [[]], parts.processor)
    token = parts.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    (clip,) = seen
    assert feature["input_ids"].count(token) == inputs["video_grid_thw"].prod() // 4
    return clip


def test_the_frames_are_those_that_a_player_shows(file):
    info = read_info(str(file.path))
    assert info.frames == len(file.numbers)
    assert [info.time_of(index) for index in range(info.frames)] == pytest.approx(file.times, abs=1e-9)
    assert (info.width, info.height) == (192, 128)
    assert info.duration == pytest.approx(file.times[-1] + 0.1, abs=0.1)
    # All in a row, and each on its own: a seek lands where it may.
    every = list(range(info.frames))
    assert numbers(read_frames(str(file.path), every)) == file.numbers
    assert [numbers(read_frames(str(file.path), [index]))[0] for index in every] == file.numbers


def test_every_way_shows_the_same_frames(parts, file):
    path = str(file.path)
    prompt = RegionPrompt(path, "What?", frames=6, max_pixels=192 * 128).clip
    record = {"messages": [{"role": "user", "content": "<video>What?"}], "videos": [path]}
    trl = show_record(record, Sampling(frames=6, max_pixels=192 * 128), RegionArguments()).clips[0]
    training = recorded(parts, 6, path)
    asked = frames_of(Medium("video", path), 6)

    shown = numbers(prompt.frames)
    assert len(shown) == 6 and shown[0] == file.numbers[0] and shown[-1] == file.numbers[-1]
    assert numbers(training.frames) == numbers(trl.frames) == numbers(asked) == shown
    times = [file.times[file.numbers.index(number)] for number in shown]
    assert prompt.seconds == pytest.approx(times)
    assert training.timestamps == pytest.approx(times) and trl.seconds == pytest.approx(times)


def test_frames_are_spread_over_time(files):
    file = files("variable rate in matroska")
    shown = numbers(RegionPrompt(str(file.path), "What?", frames=4).clip.frames)
    assert shown == [0, 3, 6, 11]  # shown at 0, 1.5, 3 and 4.5 s
    assert numbers(RegionPrompt(str(files("plain").path), "What?", frames=4).clip.frames) == [0, 13, 26, 39]


def test_the_hosts_own_choice_keeps_its_true_times(parts, file):
    clip = recorded(parts, None, str(file.path))
    shown = numbers(clip.frames)
    assert shown == sorted(set(shown)) and shown[0] == file.numbers[0]
    assert clip.timestamps == pytest.approx([file.times[file.numbers.index(number)] for number in shown])


@pytest.mark.parametrize("frames", [None, 6])
def test_a_region_is_marked_on_the_frame_nearest_to_its_time(parts, file, frames):
    """In training and outside of the host alike, in coordinates of the upright picture."""
    time = file.times[len(file.times) * 2 // 3]
    region = {"id": "obj_1", "video": 0, "time": time, "box": [100, 4, 150, 28]}
    prompt = RegionPrompt(str(file.path), "Where is <obj_1>?", [region], frames=6, max_pixels=192 * 128)
    ((position, labels),) = prompt.clip.marked.items()
    assert labels == ["<obj_1>"]
    apart = [abs(second - time) for second in prompt.clip.seconds]
    assert apart[position] == pytest.approx(min(apart))

    clip = recorded(parts, frames, prompt.styled.videos[0])
    ((position, labels),) = clip.marked.items()
    apart = [abs(second - time) for second in clip.timestamps]
    assert labels == ["<obj_1>"] and apart[position] == pytest.approx(min(apart))
    template = parts.recording(frames)
    images = template.mm_plugin._regularize_videos(
        [prompt.styled.videos[0]], video_fps=2.0, video_maxlen=6, image_max_pixels=192 * 128, image_min_pixels=256
    )["videos"][0]
    changed = [
        int(np.abs(np.asarray(a, int) - np.asarray(b.resize(a.size), int)).max()) > 64
        for a, b in zip(images, clip.frames, strict=False)
    ]
    assert [at for at, is_changed in enumerate(changed) if is_changed] == [position]


@pytest.mark.parametrize("kind", ["transport stream", "variable rate", "sound is longer", "edit list", "no duration"])
def test_a_part_of_a_file(parts, files, kind):
    file = files(kind)
    start = file.times[len(file.times) // 3]
    inside = [number for number, time in zip(file.numbers, file.times, strict=True) if time >= start]
    clip = recorded(parts, 4, Clip(str(file.path), start).encode())
    assert numbers(clip.frames) == numbers(RegionPrompt(str(file.path), "?", start=start, frames=4).clip.frames)
    shown = numbers(clip.frames)
    assert shown[0] == inside[0] and shown[-1] == inside[-1]
    times = [file.times[file.numbers.index(number)] - start for number in shown]
    assert clip.timestamps == pytest.approx(times)


@pytest.fixture
def dataset_of_all(assets, files, tmp_path):
    """Every kind of file, and the keys of a recipe whose dataset has a record for each."""
    made = [files(kind) for kind in KINDS]
    records = [
        {
            "messages": [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "yes"}],
            "videos": [str(file.path)],
        }
        for file in made
    ]
    (tmp_path / "mine.json").write_text(json.dumps(records))
    info = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {**info, "file_name": "mine.json"}}))
    return made, {"dataset": "mine", "dataset_dir": str(tmp_path)}


@pytest.mark.slow
@pytest.mark.parametrize("frames", [None, 6])
def test_a_training_run_takes_them_all(assets, dataset_of_all, tmp_path, monkeypatch, frames):
    made, keys = dataset_of_all
    seen, times = {}, []
    teacher_frames, compute_loss = P4DSetup.teacher_frames, mixin.P4DTrainerMixin.compute_loss

    def look(self, clip, *args):
        seen[clip.source] = numbers(clip.frames)
        return teacher_frames(self, clip, *args)

    def listen(self, model, inputs, *args, **kwargs):
        times.append(inputs[mixin.BATCH_KEY].timestamps[0])
        return compute_loss(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(P4DSetup, "teacher_frames", look)
    monkeypatch.setattr(mixin.P4DTrainerMixin, "compute_loss", listen)
    recipe = assets.recipe(tmp_path / "out", **keys, max_steps=len(made), p4d=assets.p4d(frames=frames))
    if frames:
        recipe.pop("video_maxlen")
    train_here(recipe)
    for file, found in zip(made, times, strict=True):
        shown = seen[str(file.path)]
        assert len(shown) == frames or frames is None
        assert found == pytest.approx([file.times[file.numbers.index(number)] for number in shown])


def test_the_preview_shows_the_same_frames(assets, dataset_of_all, tmp_path, monkeypatch):
    made, keys = dataset_of_all
    sheets = []
    monkeypatch.setattr(command, "save_sheet", lambda sheet, path: sheets.append(sheet))
    recipe = assets.recipe(tmp_path / "out", **keys, p4d=assets.p4d(frames=6), video_max_pixels=192 * 128)
    del recipe["video_maxlen"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["preview", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "sheets"), "--n", "99"]) == 0
    for file, sheet in zip(made, sheets, strict=True):
        (clip,) = sheet.clips
        prompt = RegionPrompt(str(file.path), "What?", frames=6, max_pixels=192 * 128).clip
        assert numbers(map(Image.fromarray, clip.frames)) == numbers(prompt.frames)
        assert clip.timestamps == pytest.approx(prompt.seconds)


def test_a_file_whose_sound_goes_on_is_whole(files):
    for kind in ("sound is longer", "sound is far longer"):
        check_video(files(kind).path)


def test_a_video_of_a_server(parts, files):
    """FFmpeg reads it, as it does for the host."""
    folder = files("plain").path.parent
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        clip = recorded(parts, 4, f"{address}/plain.mp4")
        assert numbers(clip.frames) == [0, 13, 26, 39]
        with pytest.raises(VideoError, match=f"{address}/gone.mp4 is not a readable video"):
            check_video(f"{address}/gone.mp4")
        server.shutdown()


def test_a_server_that_says_nothing_ends_the_wait(monkeypatch):
    monkeypatch.setattr("rgpt4d_plugin.video.clip.PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.mp4"
        with pytest.raises(VideoError, match=f"{address} is not a readable video: no header came within 0.3 s"):
            check_video(address)


@pytest.mark.parametrize("path", ["ftp://host/a.mp4", "file:///a.mp4", "s3://bucket/a.mp4"])
def test_other_addresses_are_no_videos(path):
    with pytest.raises(VideoError, match=f"no such video: {path}; a video is a file, or an address that begins with"):
        check_video(path)


def test_a_gif_is_a_clip_where_it_moves(files, tmp_path):
    Image.fromarray(clock(0)).save(tmp_path / "still.gif")
    assert RegionPrompt(str(tmp_path / "still.gif"), "What?").clip is None
    region = {"id": "obj_1", "time": 0.5, "box": [100, 4, 150, 28]}
    prompt = RegionPrompt(str(files("gif").path), "Where is <obj_1>?", [region], frames=4)
    assert numbers(prompt.clip.raw) == [0, 6, 12, 19] and list(prompt.clip.marked) == [1]


def test_sound_alone_is_refused_in_words(parts, tmp_path):
    """Where the host's chat engine would wait for ever."""
    write(tmp_path / "both.mp4", even(10), sound=("aac", 1.0))
    with av.open(str(tmp_path / "both.mp4")) as given, av.open(str(tmp_path / "sound.mp4"), "w") as made:
        copy = made.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux(given.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = copy
                made.mux(packet)
    plugin = TEMPLATES["rgpt4d_qwen2_vl"].mm_plugin
    with pytest.raises(VideoError, match=r"sound.mp4 has no video stream"):
        messages = [{"role": "user", "content": "<video>What?"}]
        plugin.process_messages(messages, [], [str(tmp_path / "sound.mp4")], [], parts.processor)
