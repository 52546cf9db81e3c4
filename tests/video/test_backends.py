# SPDX-License-Identifier: Apache-2.0
"""`p4d.video.backend`: other decoders show the same frames, of every awkward file."""

import sys

import pytest

from rgpt4d_plugin.arguments import VideoArguments
from rgpt4d_plugin.template.plugin_classes import with_recorder
from rgpt4d_plugin.video.backends import check_backend
from rgpt4d_plugin.video.frames import read_frames
from tests.awkward_files import KINDS, read_clock
from tests.host_parts import host_parts


@pytest.fixture(params=["decord", "torchcodec"])
def backend(request):
    try:
        check_backend(request.param)
    except ImportError as err:
        pytest.skip(str(err))
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_frames_of_awkward_files(tmp_path, backend, kind):
    file = KINDS[kind](tmp_path)
    every = range(len(file.numbers))
    assert [read_clock(frame) for frame in read_frames(str(file.path), list(every), backend)] == file.numbers
    for index in every:
        assert read_clock(read_frames(str(file.path), [index], backend)[0]) == file.numbers[index]


def test_the_reader_shows_and_times_the_same_frames(assets, tmp_path, backend):
    parts = host_parts(assets.recipe(tmp_path / "out", video_max_pixels=192 * 128))
    path = str(KINDS["plain"](tmp_path).path)
    seen = []
    for name in ("pyav", backend):
        plugin = with_recorder(parts.template, None, None, VideoArguments(backend=name)).mm_plugin
        with plugin.recording(seen.append):
            plugin.get_mm_inputs([], [path], [], [0], [1], [0], [[]], parts.processor)
    ours, theirs = seen
    assert [read_clock(frame) for frame in theirs.frames] == [read_clock(frame) for frame in ours.frames]
    assert theirs.timestamps == ours.timestamps


def test_a_back_end_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(ImportError, match=r"decord cannot be used: .*pip install 'rgpt4d-plugin\[decord\]'"):
        read_frames(str(KINDS["plain"](tmp_path).path), [0], "decord")
