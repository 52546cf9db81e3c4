# SPDX-License-Identifier: Apache-2.0
"""Which frames a part of a video has, and the sentence that says its length."""

import subprocess
import sys
from pathlib import Path

import pytest

from rgpt4d_plugin.video import VideoError
from rgpt4d_plugin.video.entries import Clip, span, with_time_sentences
from rgpt4d_plugin.video.frames import VideoInfo


INFO = VideoInfo("a.mp4", 100, 80, 25.0, 250, 10.0)
VIDEO = str(Path(__file__).parents[1] / "data" / "clips" / "4.mp4")  # 5 s
PLACEHOLDERS = ("<image>", "<video>")


def one_turn(content):
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize(
    "start, end, frames",
    [
        (None, None, (0, 249)),
        (2.0, 4.0, (50, 99)),
        (0.04, None, (1, 249)),
        (2.001, 2.04, (50, 50)),
        (None, 10.0, (0, 249)),
        (9.0, 10.03, (225, 249)),
        (2.0, 2.041, (50, 50)),
    ],
)
def test_a_part_is_cut_as_a_cutting_tool_does(start, end, frames):
    assert span(Clip("a.mp4", start, end), INFO)[:2] == frames


def test_parts_that_cannot_be_cut():
    with pytest.raises(VideoError, match=r"videos: start 11 s is past the end of a.mp4 \(10.00 s\)"):
        span(Clip("a.mp4", 11, None), INFO)
    with pytest.raises(VideoError, match="videos: end 12 s is past the end"):
        span(Clip("a.mp4", 0, 12), INFO)
    with pytest.raises(VideoError, match="no frame between"):
        span(Clip("a.mp4", 2.01, 2.02), INFO)


def test_the_time_sentence():
    sentence = "These images are uniformly sampled from a video of 5.0 seconds."
    (message,) = with_time_sentences(one_turn("<video>Is <obj_1> left of <obj_2>?"), [VIDEO], PLACEHOLDERS)
    assert message == {"role": "user", "content": f"<video>{sentence}\n\nIs <obj_1> left of <obj_2>?"}
    (message,) = with_time_sentences(one_turn("<video>?"), [Clip(VIDEO, 1.0, 3.5)], PLACEHOLDERS)
    assert message["content"].startswith("<video>These images are uniformly sampled from a video of 2.5 seconds.")
    (message,) = with_time_sentences(
        one_turn("<image><video><video>?"), [Clip(VIDEO), Clip(VIDEO).encode()], PLACEHOLDERS
    )
    assert message["content"].startswith("<image><video><video>The images of video 1 are uniformly sampled")
    assert "The images of video 2 are uniformly sampled" in message["content"]
    (message,) = with_time_sentences(one_turn("<video>What is a <video>?"), [VIDEO], PLACEHOLDERS)
    assert message["content"] == f"<video>{sentence}\n\nWhat is a <video>?"
    with pytest.raises(VideoError, match="which only a file has"):
        with_time_sentences(one_turn("<video>?"), [["a.png", "b.png"]], PLACEHOLDERS)


@pytest.mark.slow
def test_time_sentences_need_no_code_of_regions():
    """`p4d.tpe: text` on a dataset without regions."""
    code = (
        "import sys, rgpt4d_plugin.trainers.collator, rgpt4d_plugin.template.plugin_classes\n"
        "from rgpt4d_plugin.template.clip_reader import ClipReader, P4DSettings\n"
        "from rgpt4d_plugin.template.plugin_classes import reading_class\n"
        "class Host:\n"
        "    def process_messages(self, messages, *media):\n"
        "        return messages\n"
        "plugin = reading_class(Host)()\n"
        "plugin.settings = P4DSettings(sentences=True)\n"
        "messages = [dict(role='user', content='<video>?')]\n"
        f"print(plugin.process_messages(messages, [], [{VIDEO!r}], [], None))\n"
        "print([name for name in sys.modules if name.startswith('rgpt4d_plugin.regions')])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "video of 5.0 seconds" in run.stdout and run.stdout.endswith("\n[]\n"), run.stderr[-2000:]
