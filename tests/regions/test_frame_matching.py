# SPDX-License-Identifier: Apache-2.0
"""Which sampled frame carries a region's mark."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgpt4d_plugin.regions.frame_matching import place
from rgpt4d_plugin.regions.region import RegionError, parse_regions
from rgpt4d_plugin.video.entries import Clip
from rgpt4d_plugin.video.frames import VideoInfo


INFO = VideoInfo("a.mp4", 100, 80, 25.0, 250, 10.0)
BOX = [10, 20, 30, 40]


def clip(*regions, start=None, end=None, insert=False):
    regions = [{"id": f"obj_{n}", "video": 0, "box": BOX} | region for n, region in enumerate(regions, start=1)]
    regions = [{key: value for key, value in region.items() if value is not None} for region in regions]
    return Clip("a.mp4", start, end, tuple(parse_regions(regions, 1, 0)), insert)


def where(placed):
    """Frame number -> numbers of the marks on it."""
    return {placed.indices[at]: [mark.number for mark in marks] for at, marks in placed.marks.items()}


def test_a_region_goes_to_the_nearest_sampled_frame():
    indices = [0, 50, 100, 150, 200]
    placed = place(clip({"frame": 70}, {"time": 3.2}, {"frame": 0}), INFO, indices)
    assert placed.indices == indices
    assert where(placed) == {0: [3], 50: [1], 100: [2]}


@given(st.integers(1, 249), st.integers(0, 249), st.integers(2, 40))
def test_inside_a_clip_some_sampled_frame_is_always_near_enough(first, frame, count):
    indices = np.linspace(0, first, count).astype(np.int32).tolist()
    if frame <= first:
        placed = place(clip({"frame": frame}), INFO, indices)
        ((at, _),) = placed.marks.items()
        assert abs(placed.indices[at] - frame) == min(abs(index - frame) for index in indices)


def test_a_frame_far_from_every_sampled_one_is_refused_or_inserted():
    indices = [100, 110, 120]
    with pytest.raises(RegionError, match=r"regions\[0\]: obj_1 is seen at frame 90 .*missing_frame: insert"):
        place(clip({"frame": 90}), INFO, indices)
    placed = place(clip({"frame": 90}, {"frame": 111}, insert=True), INFO, indices)
    assert placed.indices == [90, 100, 110, 120]
    assert where(placed) == {90: [1], 110: [2]}


def test_a_single_sampled_frame_stands_for_half_of_the_clip():
    assert where(place(clip({"frame": 125}), INFO, [0])) == {0: [1]}
    with pytest.raises(RegionError, match="half a sampling step"):
        place(clip({"frame": 200}), INFO, [0])


def test_a_track_marks_every_frame_it_is_seen_at_and_the_nearest_sighting_wins():
    track = [{"frame": frame, "box": [frame / 10, 0, 50, 50]} for frame in (0, 8, 52, 58, 200, 240)]
    placed = place(clip({"track": track, "box": None}), INFO, [0, 50, 100])
    assert {placed.indices[at]: marks[0].shape.x1 for at, marks in placed.marks.items()} == {0: 0.0, 50: 5.2}
    with pytest.raises(RegionError, match=r"regions\[0\].track\[0\]: obj_1 is seen at frame 200"):
        place(clip({"track": track[4:], "box": None}), INFO, [0, 50, 100])


def test_past_the_end():
    with pytest.raises(RegionError, match=r"regions\[0\].frame: frame 250 is past the end of a.mp4 \(250 frames"):
        place(clip({"frame": 250}), INFO, [0, 249])
    with pytest.raises(RegionError, match=r"regions\[0\].time: 10.1 s is past the end of a.mp4"):
        place(clip({"time": 10.1}), INFO, [0, 249])
    assert where(place(clip({"time": 10.0}), INFO, [0, 249])) == {249: [1]}
