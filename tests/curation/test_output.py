# SPDX-License-Identifier: Apache-2.0
"""Clips that are cut out, and what steps read from replies."""

import numpy as np
import pytest

from rgpt4d_plugin.curation.candidates import linked
from rgpt4d_plugin.curation.items import Case, Item
from rgpt4d_plugin.curation.output import cut, safe
from rgpt4d_plugin.curation.steps import Matching, Step, json_in
from rgpt4d_plugin.video.entries import Clip
from rgpt4d_plugin.video.frames import read_frames, read_info
from tests.harness import DATA


def test_a_part_of_a_video_is_cut_to_the_frame(tmp_path):
    source = str(DATA / "clips/4.mp4")  # 30 frames per second
    cut(Item("x", Clip(source, 1.0, 2.5), "4.mp4", "", ""), tmp_path / "part.mp4")
    info = read_info(str(tmp_path / "part.mp4"))
    assert (info.frames, info.rate, info.times) == (45, 30.0, None)
    for ours, theirs in zip(read_frames(info.path, [0, 20, 44]), read_frames(source, [30, 50, 74])):
        assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).mean() < 3
    assert [path.name for path in tmp_path.iterdir()] == ["part.mp4"]


def test_a_whole_video_is_copied(tmp_path):
    source = DATA / "clips/4.mp4"
    cut(Item("x", Clip(str(source)), "4.mp4", "", ""), tmp_path / "whole.mp4")
    assert (tmp_path / "whole.mp4").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("reply", "kind", "value"),
    [
        ('["a", "b"]', list, ["a", "b"]),
        ('Here:\n```json\n["a"]\n```', list, ["a"]),
        ('I see [2] things: ["a"]', list, ["a"]),
        ('{"regions": {"x": 1}, "question": "q"}', dict, {"regions": {"x": 1}, "question": "q"}),
        ("none", list, None),
        ('["cut', list, None),
        ("[" * 100_000, list, None),
        ("[]", list, []),
    ],
)
def test_json_in_replies(reply, kind, value):
    assert json_in(reply, kind) == value


def test_links():
    """One thing under two phrases is one candidate; on the next frame the nearest of the same phrase goes on."""

    def found(frame, phrase, x):
        return {"frame": frame, "phrase": phrase, "score": 1.0, "box": [x, 0, x + 10, 10]}

    chains = linked(
        [found(0, "car", 0), found(0, "red car", 0.5), found(0, "car", 50), found(5, "car", 55), found(5, "car", 3)]
    )
    assert [[each["box"][0] for each in chain] for chain in chains] == [[0, 3], [50, 55]]
    assert chains[0][0]["phrases"] == ["car", "red car"]


def test_names_of_files():
    assert safe("vlm4d/../12 ü") == "vlm4d_.._12_ü"
    assert safe("..") == "_"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ('{"regions": {"car": 2}, "question": "Is <obj_2> red?"}', {"question": "Is <obj_1> red?", "numbers": [2]}),
        ('{"regions": {"car": null}, "question": "Is the car red?"}', {"rejected": "no region matches"}),
        ('{"regions": {"car": 9}, "question": "Is <obj_9> red?"}', {"rejected": "question and regions differ"}),
        ('{"regions": {"car": 1}, "question": "Is <obj_2> red?"}', {"rejected": "question and regions differ"}),
        ('{"regions": {"car": [1]}, "question": "Is <obj_1> red?"}', {"rejected": "unreadable reply: matching"}),
        ('{"regions": [1], "question": "Is <obj_1> red?"}', {"rejected": "unreadable reply: matching"}),
        ("The car is region 1.", {"rejected": "unreadable reply: matching"}),
    ],
)
def test_replies_of_matching(reply, outcome):
    case = Case(Item("x", Clip("x.mp4"), "x.mp4", "Is the car red?", "yes"))
    case.found["tracking"] = {"key_frame": 0, "candidates": [{"number": 1}, {"number": 2}]}
    found = Matching(None, None).read(case, reply)
    assert outcome.items() <= found.items()


def test_every_step_says_what_it_depends_on():
    """A step without it would find outcomes of other questions."""
    with pytest.raises(NotImplementedError):
        Step(None, None).depends(None)
