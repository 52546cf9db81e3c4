# SPDX-License-Identifier: Apache-2.0
"""Reading what others wrote within bounds, and writing files whole."""

import errno
import os
import threading

import pytest
from PIL import EpsImagePlugin

from rgpt4d_plugin.files import ImageError, is_file, lock, only_writer, open_image, parse_json, replacing, write_whole
from tests.benchmark_folders import EPS, bomb, image, put


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, b"[" * 100_000])
def test_json_nested_without_end_is_no_json(content):
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(content)
    assert parse_json(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("as_file", [False, True])
def test_images_are_opened_in_plain_formats_and_sizes_only(tmp_path, monkeypatch, as_file):
    def source(content):
        return put(tmp_path / "image", content) if as_file else content

    def started(*_, **__):
        raise AssertionError("an external program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    where = str(tmp_path / "image") if as_file else "an image of"
    with open_image(source(image(1))) as opened:
        assert opened.size == (64, 64)
    for content, message in ((bomb(), "exceeds limit"), (EPS, "cannot identify"), (b"no image", "cannot identify")):
        with pytest.raises(ImageError, match=message) as caught:
            open_image(source(content))
        assert where in str(caught.value)


def test_a_name_that_is_too_long_is_no_file(tmp_path):
    assert not is_file(tmp_path / ("a" * 5000)) and not is_file(tmp_path)
    assert is_file(put(tmp_path / "a", b""))


@pytest.mark.parametrize("before", [None, "as it was"])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, before):
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write("half")
        file.flush()
        raise RuntimeError
    assert [p.read_text() for p in tmp_path.iterdir()] == [before] * (before is not None)
    write_whole(path, "né")
    assert {p.name: p.read_text(encoding="utf-8") for p in tmp_path.iterdir()} == {"file.txt": "né"}


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for mode in ("w", "wb"):
        with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/file'"):
            with replacing(tmp_path / "file", mode) as file:
                file.write("x" if mode == "w" else b"x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match=rf"No such file or directory: '{tmp_path}/gone/file'"):
        write_whole(tmp_path / "gone/file", "x")


def test_the_temporary_file_cannot_be_foreseen_and_follows_no_link(tmp_path, monkeypatch):
    names = []
    for _ in range(2):
        with replacing(tmp_path / "file") as file:
            names.append(file.name)
    assert names[0] != names[1]
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    (tmp_path / ".file.known.tmp").symlink_to(put(tmp_path / "precious", b"kept"))
    with pytest.raises(FileExistsError), replacing(tmp_path / "file"):
        pass
    assert (tmp_path / "precious").read_bytes() == b"kept"


def test_a_lock_is_held_by_one(tmp_path):
    with (tmp_path / "file").open("w") as first, (tmp_path / "file").open("w") as second:
        assert lock(first) and not lock(second)
    with (tmp_path / "file").open("w") as third:
        assert lock(third)


def test_a_folder_has_one_writer(tmp_path):
    with only_writer(tmp_path):
        with pytest.raises(ValueError, match=f"{tmp_path}: another process is writing there; wait for it"):
            with only_writer(tmp_path):
                pass
    entered = []

    def enter():
        with only_writer(tmp_path, wait=True):
            entered.append(True)

    with only_writer(tmp_path):
        waiting = threading.Thread(target=enter)
        waiting.start()
        assert not entered
    waiting.join()
    assert entered == [True]
