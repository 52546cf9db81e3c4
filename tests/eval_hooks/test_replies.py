# SPDX-License-Identifier: Apache-2.0
"""Files of replies: what is written is read back, and a run killed at any byte goes on."""

import errno
import io
import json
import logging
import multiprocessing
import subprocess
import sys
import time

import pytest

from rgpt4d_plugin.eval_hooks.replies import Reply, ReplyFile, ReplyFileError


SETTINGS = {"model": {"name": "tiny", "dtype": "float32"}, "sizes": (16, 8)}
REPLIES = [
    Reply("a", " (B)\n"),
    Reply("b", "half a pair \ud83d, a line\u2028break, „Größe“ 左", truncated=True),
    Reply("c", "", error="timed out"),
    Reply("d", "<b>C</b>"),
]


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "run" / "replies.jsonl"
    file = ReplyFile.open(path, SETTINGS)
    for reply in REPLIES:
        file.append(reply)
    file.close()

    for again in (file, ReplyFile.open(path, SETTINGS), ReplyFile.read(path)):
        assert list(again.replies.values()) == REPLIES
        assert again.done == {"a", "b", "d"}, "a failure is asked again"
        assert again.replies["c"].error == "timed out"
    assert json.loads(path.read_text().splitlines()[0]) == {"settings": json.loads(json.dumps(SETTINGS))}


def test_the_last_line_of_a_key_wins(tmp_path):
    file = ReplyFile.open(tmp_path / "replies.jsonl", {})
    file.append(Reply("a", "", error="no connection"), Reply("b", "B"))
    file.append(Reply("a", "A"))
    assert file.replies == ReplyFile.read(file.path).replies == {"b": Reply("b", "B"), "a": Reply("a", "A")}
    assert file.done == {"a", "b"}


def test_a_run_killed_at_any_byte_goes_on(tmp_path, caplog):
    """Whatever a kill leaves, resuming and asking what is not done gives the file of a run that was not killed."""
    whole = ReplyFile.open(tmp_path / "whole.jsonl", SETTINGS)
    whole.append(*REPLIES)
    content = whole.path.read_bytes()
    path = tmp_path / "killed.jsonl"
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        with ReplyFile.open(path, SETTINGS) as resumed:
            finished = content[:size].count(b"\n")
            assert list(resumed.replies) == [reply.key for reply in REPLIES[: max(finished - 1, 0)]]
            resumed.append(*(reply for reply in REPLIES if reply.key not in resumed.done))
        again = ReplyFile.read(path)
        assert again.replies == whole.replies and again.settings == whole.settings, size
    assert "was not finished (1 bytes)" in caplog.text


def test_other_settings_are_refused_and_named(tmp_path):
    path = tmp_path / "replies.jsonl"
    ReplyFile.open(path, SETTINGS).append(*REPLIES)
    before = path.read_bytes()
    with pytest.raises(ReplyFileError) as raised:
        ReplyFile.open(path, {"model": {"name": "other", "dtype": "float32"}, "seed": 1})
    message = str(raised.value)
    assert "model.name: 'tiny' before, 'other' now" in message
    assert "sizes: [16, 8] before, absent now" in message and "seed: absent before, 1 now" in message
    assert "dtype" not in message and str(path) in message
    assert path.read_bytes() == before


def test_reading_leaves_an_unfinished_line_alone(tmp_path, caplog):
    path = tmp_path / "replies.jsonl"
    ReplyFile.open(path, {}).append(Reply("a", "A"))
    content = path.read_bytes() + b'{"key": "b", "te'
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert list(ReplyFile.read(path).replies) == ["a"]
    assert "not finished (16 bytes)" in caplog.text
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"key": "a", "text": "A"}\n', "the first line must be"),
        ("[1]\n", "line 1: expected an object"),
        ('{"settings": {}}\n{"key": \n', "line 2: not JSON"),
        ('{"settings": {}}\n{"key": "a"}\n', "line 2: text: missing"),
        (
            '{"settings": {}}\n\n{"key": 3, "text": "A", "answer": "B"}\n',
            "line 3: answer: unknown key; .*; key: expected a value of type str, got 3",
        ),
        ("", "the first line must be"),
    ],
)
def test_what_is_no_file_of_replies_is_an_error(tmp_path, content, message):
    path = tmp_path / "replies.jsonl"
    path.write_text(content)
    with pytest.raises(ReplyFileError, match=message):
        ReplyFile.read(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ReplyFileError, match="no such file"):
        ReplyFile.read(tmp_path / "replies.jsonl")


@pytest.mark.parametrize("content", ['[{"id": 1}]', '{"settings": {"seed": 2}}\n{"key"', '{"set me": 1'])
def test_a_file_that_is_refused_stays_as_it_is(tmp_path, content):
    path = tmp_path / "replies.jsonl"
    path.write_text(content)
    with pytest.raises(ReplyFileError):
        ReplyFile.open(path, {"seed": 1})
    assert path.read_text() == content


def test_two_runs_cannot_write_to_one_file(tmp_path):
    path = tmp_path / "replies.jsonl"
    with ReplyFile.open(path, {}) as file:
        file.append(Reply("a", "A"))
        code = "import sys; from rgpt4d_plugin.eval_hooks.replies import ReplyFile; ReplyFile.open(sys.argv[1], {})"
        other = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        assert f"{path}: another run is writing to it" in other.stderr
        assert ReplyFile.read(path).replies == file.replies
    with pytest.raises(ValueError, match="closed"):
        file.append(Reply("b", "B"))
    with ReplyFile.open(path, {}) as file:
        file.append(Reply("b", "B"))


def test_a_worker_that_outlives_a_run_does_not_keep_the_file(tmp_path):
    path = tmp_path / "replies.jsonl"
    file = ReplyFile.open(path, {})
    forking = multiprocessing.get_context("fork")
    started = forking.Event()
    process = forking.Process(target=lambda: (started.set(), time.sleep(60)), daemon=True)
    process.start()
    assert started.wait(30)
    file.close()
    try:
        ReplyFile.open(path, {}).close()
    finally:
        process.kill()
        process.join()


class Nearly(io.FileIO):
    """A file on a disk that takes `room` more bytes, no more than seven at once."""

    room = 10**6

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        size = super().write(bytes(data[: min(7, self.room)]))
        self.room -= size
        return size


def test_a_line_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "replies.jsonl"
    file = ReplyFile.open(path, {})
    file._file = disk = Nearly(path, "ab")
    file.append(*REPLIES)  # in many short writes
    before = path.read_bytes()
    disk.room = 20
    with pytest.raises(OSError, match="No space left"):
        file.append(Reply("e", "a reply that does not fit"))
    assert path.read_bytes() == before
    disk.room = 10**6
    file.append(Reply("f", "F"))
    assert list(ReplyFile.read(path).replies.values()) == [*REPLIES, Reply("f", "F")]


def test_a_line_nested_without_end_is_an_error(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text('{"settings": {}}\n{"key": ' + "[" * 100_000 + "\n")
    with pytest.raises(ReplyFileError, match="line 2: not JSON .nested too deeply"):
        ReplyFile.read(path)
