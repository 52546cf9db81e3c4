# SPDX-License-Identifier: Apache-2.0
"""Journals: nothing that `append` has returned from is lost, whatever happens to the last line or the disk."""

import errno
import json
import os
import subprocess
import sys

import pytest

from rgpt4d_plugin.journal import Journal


def test_a_torn_line_is_as_if_it_never_was(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    assert list(journal) == []
    journal.append({"a": 1})
    with journal.path.open("ab") as file:
        file.write(b'{"b": ')
    assert list(journal) == [{"a": 1}]
    journal.append({"c": "ü\n"})
    assert list(journal) == [{"a": 1}, {"c": "ü\n"}]


def test_a_long_torn_line(tmp_path):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"a": 1})
    with journal.path.open("ab") as file:
        file.write(b"x" * 200_000)
    journal.append({"b": 2})
    assert list(journal) == [{"a": 1}, {"b": 2}]


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"a": 1}\n[2]\n')
    with pytest.raises(ValueError, match="j.jsonl, line 2: expected an object"):
        list(Journal(path))
    path.write_text('{"a": 1}\nnonsense\n')
    with pytest.raises(ValueError, match="j.jsonl, line 2: not JSON"):
        list(Journal(path))


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j.jsonl")
    journal.append({"a": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        journal.append({"b": 2})
    assert list(journal) == [{"a": 1}]


@pytest.mark.slow
def test_several_writers(tmp_path):
    path = tmp_path / "j.jsonl"
    code = (
        "import sys; from rgpt4d_plugin.journal import Journal\n"
        "for i in range(50): Journal(sys.argv[1]).append({'w': sys.argv[2], 'i': i, 'x': 'y' * 500})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for number in range(3):
        assert [line["i"] for line in lines if line["w"] == str(number)] == list(range(50))
