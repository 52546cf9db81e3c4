# SPDX-License-Identifier: Apache-2.0
"""The marker of adapters trained with TPE: what is written is read, and nothing else is taken for it."""

import re

import pytest

from rgpt4d_plugin.modeling import TimestampEncoding
from rgpt4d_plugin.modeling.marker import MARKER_FILE, read_marker, write_marker


def test_what_is_written_is_read(tmp_path):
    assert read_marker(str(tmp_path)) is None
    write_marker(tmp_path, TimestampEncoding(0.5, 10000.0))
    assert read_marker(str(tmp_path)) == TimestampEncoding(0.5, 10000.0)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER_FILE]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not readable JSON"),
        (b'{"scale": 1.0, "base"', "is not readable JSON"),
        (b"[" * 100_000, "is not readable JSON (nested too deeply)"),
        ('{"scale": "\xe4"}'.encode("latin-1"), "is not readable JSON"),
        (b"[1.0, 10000.0]", "expected positive numbers base and scale, found [1.0, 10000.0]"),
        (b'{"scale": 1.0}', 'found {"scale": 1.0}'),
        (b'{"scale": 1.0, "base": 1e4, "x": 1}', "expected positive numbers"),
        (b'{"scale": NaN, "base": 1e4}', 'found {"scale": NaN'),
        (b'{"scale": 1.0, "base": 1e999}', "expected positive numbers"),
        (b'{"scale": true, "base": 1e4}', "expected positive numbers"),
        (b'{"scale": "1", "base": 1e4}', "expected positive numbers"),
        (b'{"scale": 1' + b"0" * 400 + b', "base": 1e4}', "expected positive numbers"),
    ],
)
def test_a_damaged_marker_is_named(content, message, tmp_path):
    (tmp_path / MARKER_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=f"{MARKER_FILE}.*{re.escape(message)}.*: copy the file"):
        read_marker(str(tmp_path))
