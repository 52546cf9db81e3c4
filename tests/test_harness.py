# SPDX-License-Identifier: Apache-2.0
"""The one repetition of a run: for several processes, after an abort at exit, and seen in the report."""

import subprocess

import pytest

from tests import harness


MESSAGE = "terminate called without an active exception"
ABORTED = (1, f"{MESSAGE}\n  exitcode  : -6 (pid: 4711)\n")
FINE = (0, "")


@pytest.fixture
def ends(monkeypatch):
    """Lets the next runs end with these exit codes and errors; returns the list of those still to come."""
    coming = []

    def run(command, **kwargs):
        code, stderr = coming.pop(0)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(harness.subprocess, "run", run)
    return coming


def train(tmp_path, processes=2):
    return harness.train_cli({"output_dir": str(tmp_path / "out")}, processes=processes)


@pytest.mark.parametrize("second", [FINE, ABORTED])
def test_an_abort_at_exit_is_repeated_once_with_a_warning(ends, tmp_path, second):
    ends += [ABORTED, second, FINE]
    with pytest.warns(UserWarning, match="out.yaml: a process aborted .* repeated once"):
        assert train(tmp_path).returncode == second[0]
    assert ends == [FINE]


@pytest.mark.parametrize(
    "processes, end",
    [
        (None, ABORTED),
        (2, (1, "ValueError: wrong")),
        (2, (1, f"{MESSAGE}\n  exitcode  : 1 (pid: 4711)\n")),
        (2, (1, "Check failed\n  exitcode  : -6 (pid: 4711)\n")),
        (2, (0, MESSAGE)),
    ],
)
def test_nothing_else_is_repeated(ends, tmp_path, recwarn, processes, end):
    ends += [end, FINE]
    assert train(tmp_path, processes).returncode == end[0]
    assert ends == [FINE] and not recwarn.list
