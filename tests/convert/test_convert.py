# SPDX-License-Identifier: Apache-2.0
"""What all conversions share: what is written, left out, refused, and that the host's reader takes it.

PYTHONPATH=. python -m pytest tests/convert/test_convert.py
"""

import hashlib
import importlib
import json
import os
import pkgutil
import subprocess
import sys

import datasets
import pytest

from rgpt4d_plugin import cli
from rgpt4d_plugin import convert as convert_package
from rgpt4d_plugin.convert import SOURCES, TOOLS
from rgpt4d_plugin.convert.run import convert, report
from tests.source_folders import (
    VLM4D_REAL,
    r4d_folder,
    r4d_item,
    records,
    robofac_entry,
    sat_file,
    sat_row,
    summary,
    vlm4d_folder,
    vsti_folder,
    vsti_formatted,
    vsti_raw,
    write,
)


PUBLISHED = [name for name in SOURCES if name not in TOOLS]


def hashes(folder) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def all_sources(root):
    """All six in small, below one folder."""
    vlm4d_folder(root / "vlm4d")
    r4d_folder(root / "r4d_bench", [r4d_item(som_image=None), r4d_item()])
    vsti_folder(root / "vsti", [vsti_formatted(), vsti_raw()])
    write(root / "wolf/annotations/x.json", {"a.mp4": "A caption."})
    write(root / "wolf/a.mp4")
    write(root / "robofac/training_qa.json", [robofac_entry("T/a.mp4")])
    write(root / "robofac/simulation_data/T/a.mp4")
    sat_file(root / "sat/SAT_train.parquet", [sat_row(), sat_row([1])])
    return root


@pytest.mark.parametrize("source", PUBLISHED)
def test_the_same_bytes_again(tmp_path, source):
    src, out = all_sources(tmp_path) / source, tmp_path / "out"
    convert(source, src, out)
    before = hashes(out)
    source_before = hashes(src)
    convert(source, src, out)
    assert hashes(out) == before
    assert hashes(src) == source_before
    assert not list(out.rglob("*.tmp"))


def test_one_recipe_can_mix_all(tmp_path):
    """One dataset_dir, one media_dir; the reader that the host uses finds the same types from the first line on."""
    data, out = all_sources(tmp_path / "data"), tmp_path / "data/converted"
    for source in PUBLISHED:
        *_, line = report(convert(source, data / source, out, media_root=data))
    assert line == f"in the recipe: eval_dataset: vlm4d_real,vlm4d_synthetic; dataset_dir: {out}; media_dir: {data}"

    info = json.loads((out / "dataset_info.json").read_text())
    training = {"robofac", "sat_train", "vsti_train", "wolf"}
    assert info.keys() == training | {"r4d_bench", "vlm4d_real", "vlm4d_synthetic"}
    for name, entry in info.items():
        cache = str(tmp_path / "cache")
        loaded = datasets.load_dataset("json", data_files=str(out / entry["file_name"]), cache_dir=cache)["train"]
        assert loaded.to_list() == records(out, name)
        columns = [column for key, column in entry["columns"].items() if key != "messages"]
        for record in loaded:
            text = "".join(message["content"] for message in record["messages"])
            for column in columns:
                assert text.count(f"<{column[:-1]}>") == len(record[column])
                assert all((data / path).is_file() for path in record[column])
    assert info["wolf"] == {
        "file_name": "wolf.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "videos": "videos"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    assert info["sat_train"]["columns"] == {"messages": "messages", "images": "images"}
    assert info["r4d_bench"]["columns"] == {"messages": "messages", "images": "images", "videos": "videos"}


def test_media_root(tmp_path):
    data, out = all_sources(tmp_path / "data"), tmp_path / "out"
    convert("wolf", data / "wolf", out)
    assert records(out, "wolf")[0]["videos"] == ["a.mp4"]
    lines = list(report(convert("vsti", data / "vsti", out)))
    assert lines[0] == "vsti_train: 2 records from 2 entries"
    assert f"wolf has another media_dir ({data / 'wolf'}): to mix the two, convert both with the same" in lines[-2]
    assert lines[-1] == f"in the recipe: dataset: vsti_train; dataset_dir: {out}; media_dir: {data / 'vsti'}"

    convert("wolf", data / "wolf", out, media_root=data)
    assert records(out, "wolf")[0]["videos"] == ["wolf/a.mp4"]
    with pytest.raises(ValueError, match=f"The media are in {data}/wolf, which is not below --media-root {out}."):
        convert("wolf", data / "wolf", out, media_root=out)


def test_linked_folders_keep_their_path(tmp_path):
    all_sources(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wolf").symlink_to(tmp_path / "elsewhere/wolf")
    convert("wolf", tmp_path / "data/wolf", tmp_path / "out", media_root=tmp_path / "data")
    assert records(tmp_path / "out", "wolf")[0]["videos"] == ["wolf/a.mp4"]


def test_other_entries_are_kept(tmp_path):
    src, out = all_sources(tmp_path) / "wolf", tmp_path / "out"
    write(out / "dataset_info.json", {"mine": {"file_name": "mine.json"}, "wolf": {"file_name": "old.json"}})
    convert("wolf", src, out)
    info = json.loads((out / "dataset_info.json").read_text())
    assert info["mine"] == {"file_name": "mine.json"} and info["wolf"]["file_name"] == "wolf.jsonl"

    (out / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match="dataset_info.json is not readable JSON .*: mend it, or give another folder"):
        convert("wolf", src, out)


def test_skip_bad(tmp_path):
    """The number holds for the whole command; what is left out is listed."""
    src, out = vlm4d_folder(tmp_path / "src", "."), tmp_path / "out"
    (src / "videos_real/davis/baseball.mp4").unlink()  # records 0 and 1
    (src / "videos_synthetic/synth_002.mp4").unlink()
    write(src / "synthetic_mc.json", [*json.loads((src / "synthetic_mc.json").read_text()), VLM4D_REAL[3]])

    with pytest.raises(ValueError, match="real_mc.json, record 1 .* 1 broken before it were left out"):
        convert("vlm4d", src, out, skip_bad=1)
    with pytest.raises(ValueError, match="synthetic_mc.json, record 0 "):
        convert("vlm4d", src, out, skip_bad=2)
    lines = list(report(convert("vlm4d", src, out, skip_bad=3)))
    assert lines[:2] == ["vlm4d_real: 2 records from 4 entries", "  left out, missing media file: 2"]
    found = summary(out, "vlm4d_real")
    assert found["left_out"] == {"missing media file": 2}
    assert found["left_out_entries"][1] == {
        "file": "real_mc.json",
        "record": 1,
        "field": "video",
        "reason": "missing media file",
        "problem": f"no file videos_real/davis/baseball.mp4 below {src}",
    }
    assert (found["entries"], found["records"], found["settings"]["skip_bad"]) == (4, 2, 3)
    with pytest.raises(ValueError, match="--skip-bad must be 0 or more, found -1"):
        convert("vlm4d", src, out, skip_bad=-1)


def test_nothing_left_is_an_error(tmp_path):
    write(tmp_path / "src/x.json", {"a.mp4": "A.", "b.mp4": "B."})
    with pytest.raises(ValueError, match="wolf: not one of 2 entries could be used"):
        convert("wolf", tmp_path / "src", tmp_path / "out", skip_bad=9)
    assert not list((tmp_path / "out").iterdir())


def test_an_interrupted_run_changes_nothing(tmp_path, monkeypatch):
    src, out = all_sources(tmp_path) / "vsti", tmp_path / "out"
    convert("vsti", src, out)
    before = hashes(out)

    write(src / "vstibench_train/qa_0.json", [vsti_raw(), vsti_formatted()])
    monkeypatch.setattr("rgpt4d_plugin.convert.vsti.answer", lambda entry: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        convert("vsti", src, out)
    assert hashes(out) == before

    monkeypatch.undo()
    monkeypatch.setattr(os, "replace", lambda old, new: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        convert("vsti", src, out)
    assert hashes(out) == before


@pytest.mark.parametrize(
    "source, looked_for",
    [
        ("robofac", "training_qa.json, test*.json, test_qa_sim/*.json, test_qa_realworld/*.json"),
        ("sat", "SAT_train.parquet, SAT_static.parquet, SAT_val.parquet, SAT_test.parquet"),
        ("vsti", "vstibench_train/*.json, *.json"),
        ("wolf", "annotations/*.json, *.json"),
        ("r4d", "test.json"),
        ("vlm4d", "real_mc.json, synthetic_mc.json, QA/real_mc.json, QA/synthetic_mc.json, data/real_mc.json"),
    ],
)
def test_a_wrong_folder_says_what_was_looked_for(tmp_path, source, looked_for):
    write(tmp_path / "src/README.md")
    with pytest.raises(ValueError) as caught:
        convert(source, tmp_path / "src", tmp_path / "out")
    message = str(caught.value)
    assert f"looked for {looked_for}" in message and "found README.md. Give the downloaded folder as --src" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "source, file, text, expected",
    [
        ("r4d", "test.json", "[", "is not readable JSON"),
        ("r4d", "test.json", "{}", "expected a JSON list of records, found {}"),
        ("wolf", "x.json", "[]", r"expected a JSON object with one entry per video, found \[\]"),
        ("wolf", "x.json", "\udcff", "is not readable JSON"),
    ],
)
def test_files_of_another_form(tmp_path, source, file, text, expected):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=f"{file}.* {expected}"):
        convert(source, tmp_path / "src", tmp_path / "out")


def test_command_line(tmp_path, capsys):
    src, out = all_sources(tmp_path) / "wolf", tmp_path / "out"
    command = ["convert", "wolf", "--src", str(src), "--out", str(out)]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "wolf: 1 records from 1 entries"
    assert shown[-1] == f"in the recipe: dataset: wolf; dataset_dir: {out}; media_dir: {src}"

    (src / "a.mp4").unlink()
    write(src / "b.mp4")
    write(src / "annotations/y.json", {"b.mp4": "Another."})
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith("rgpt4d convert: ") and "x.json, record 0 " in error and "Traceback" not in error
    assert cli.main([*command, "--skip-bad", "1"]) == 0
    assert cli.main(["convert", "wolf", "--src", str(tmp_path / "none"), "--out", str(out)]) == 1
    assert "--src: no such folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        cli.main(["convert", "kinetics", "--src", str(src), "--out", str(out)])
    assert caught.value.code == 2


def test_text_that_no_file_can_hold_names_its_record(tmp_path):
    src = all_sources(tmp_path) / "wolf"
    (src / "annotations/x.json").write_text('{"a.mp4": "half a pair \\ud800"}')
    with pytest.raises(ValueError, match=r"x.json, record 0 .*field `messages`: a text has half a character"):
        convert("wolf", src, tmp_path / "out")


def test_deep_annotations_and_pipes_are_errors_at_once(tmp_path):
    src = all_sources(tmp_path) / "wolf"
    (src / "annotations/x.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"x.json is not readable JSON \(nested too deeply\): download it again"):
        convert("wolf", src, tmp_path / "out")
    (src / "annotations/x.json").unlink()
    os.mkfifo(src / "annotations/x.json")
    with pytest.raises(ValueError, match=r"x.json is not a regular file"):
        convert("wolf", src, tmp_path / "out")


@pytest.mark.parametrize("summary", ["", "[]", "{}", '{"settings": 1}', "[" * 100_000])
def test_a_damaged_summary_of_another_dataset_is_named(summary, tmp_path):
    sources, out = all_sources(tmp_path), tmp_path / "out"
    convert("robofac", sources / "robofac", out)
    (out / "robofac.summary.json").write_text(summary)
    lines = list(report(convert("wolf", sources / "wolf", out)))
    assert any("robofac.summary.json is no summary of a conversion" in line for line in lines)
    assert lines[-1].startswith("in the recipe: dataset: wolf")


def test_every_module_of_the_folder_that_finds_datasets_is_a_source():
    """And nothing is imported before it is used: the command line lists them in its help."""
    modules = {
        f"{convert_package.__name__}.{module.name}" for module in pkgutil.iter_modules(convert_package.__path__)
    }
    assert set(SOURCES.values()) == {name for name in modules if hasattr(importlib.import_module(name), "datasets")}
    code = "import sys, rgpt4d_plugin.cli; print([n for n in sys.modules if 'convert.' in n or n == 'torch'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
