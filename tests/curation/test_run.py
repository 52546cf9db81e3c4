# SPDX-License-Identifier: Apache-2.0
"""A whole curation against a scripted server that knows the truth: right regions, counted rejections, resuming."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.curation.recipe import read_curation
from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.synth4d.clips import write_clips
from tests.curation.oracle import Oracle, overlaps, serving
from tests.harness import train_here


def synthetic(folder, count, questions):
    """Clips, the oracle, and a file of the first questions, each with options as a benchmark has them."""
    write_clips(folder, count=count, held_out=0.0, frames=8, height=48, width=48)
    records = json.loads((folder / "synth4d.json").read_text())[:questions]
    answers = sorted({record["messages"][1]["content"] for record in records})
    for record in records:
        answer = record["messages"][1]["content"]
        record["options"] = [answer, next(other for other in answers if other != answer)]
    (folder / "questions.json").write_text(json.dumps(records))
    return Oracle(folder)


def recipe(folder, out, url, **keys):
    """The path of a recipe."""
    values = {
        "source": str(folder / "questions.json"),
        "out": str(out),
        "frames": 4,
        "vlm": {"server": url, "model": "oracle", "licence": "none", "concurrency": 4},
        "grounding": {"by": "vlm", "frames": 4},
    }
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(values | keys))
    return str(path)


def content(out):
    """Every file of a curation; outcomes may stand in any order."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: sorted(data.splitlines()) if "steps" in name else data for name, data in files.items()}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return folder, synthetic(folder, 2, 10)


def records_of(out):
    return [json.loads(line) for line in (out / "curated.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_right_regions_and_counted_rejections(clips, tmp_path, capsys):
    folder, oracle = clips
    with serving(oracle) as url:
        assert main(["curate", recipe(folder, tmp_path / "out", url)]) == 0
        first, asked = content(tmp_path / "out"), oracle.requests
        assert main(["curate", recipe(folder, tmp_path / "out", url)]) == 0
        assert content(tmp_path / "out") == first
        assert oracle.requests == asked  # nothing is asked twice
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    records = records_of(tmp_path / "out")
    assert summary["questions"] == 10 == len(records) + sum(summary["rejected"].values())
    assert summary["rejected"]["no phrase to mark"] >= 2  # how many balls; does the camera move
    assert records and np.mean(np.array(overlaps(records, oracle)) >= 0.9) == 1.0
    assert all("<obj_1>" in record["messages"][0]["content"] for record in records)
    assert len(list((tmp_path / "out/sheets").rglob("*.png"))) == 10
    assert "vlm: oracle (none)" in capsys.readouterr().out

    benchmark = get("r4d_bench")
    data = benchmark.load(write_tasks(tmp_path / "out/r4d"))
    assert len(data.items) == len(records)
    item = data.items[0]
    assert [medium.kind for medium in benchmark.media(item, data.folder)] == ["image", "video"]
    assert benchmark.score(item, benchmark.gold(item)).official == 1.0


@pytest.mark.slow
def test_what_is_left_trains_at_once(clips, assets, tmp_path):
    folder, oracle = clips
    with serving(oracle) as url:
        assert main(["curate", recipe(folder, tmp_path / "out", url)]) == 0
    places = {"dataset": "curated", "dataset_dir": str(tmp_path / "out"), "media_dir": str(folder)}
    train_here(assets.recipe(tmp_path / "run", template="rgpt4d_qwen2_vl", **places))
    assert json.loads((tmp_path / "run/trainer_state.json").read_text())["global_step"] == 2


def write_tasks(folder):
    """The folder, its tasks renamed to the benchmark's: the synthetic ones have no column there."""
    path = folder / "test.json"
    path.write_text(json.dumps([item | {"task": "Translational"} for item in json.loads(path.read_text())]))
    return folder


@pytest.mark.slow
def test_a_server_that_is_gone_half_way(clips, tmp_path, capsys):
    folder, oracle = clips
    whole = Oracle(folder)
    with serving(whole) as url:
        assert main(["curate", recipe(folder, tmp_path / "whole", url)]) == 0
    broken = Oracle(folder, gone_after=whole.requests // 2)
    with serving(broken) as url:
        assert main(["curate", recipe(folder, tmp_path / "out", url)]) == 1
        assert "Check that the server runs" in capsys.readouterr().err
        served, broken.gone_after = broken.requests, None
        answered = len(broken.prompts)
        assert main(["curate", recipe(folder, tmp_path / "out", url)]) == 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert broken.requests - served < whole.requests  # what was answered stayed answered
    assert answered


@pytest.mark.slow
def test_killed_at_each_step(clips, tmp_path):
    """kill -9 as soon as a step's file has a line; the end is the same as of a run that was left alone."""
    folder, _ = clips
    with serving(Oracle(folder)) as url:
        assert main(["curate", recipe(folder, tmp_path / "whole", url)]) == 0
        path = recipe(folder, tmp_path / "out", url)
        for step in ("1_keywords", "2_grounding", "4_matching"):
            process = subprocess.Popen(
                [sys.executable, "-c", "from rgpt4d_plugin.cli import main; main()", "curate", path],
                stdout=subprocess.DEVNULL,
            )
            file = Path(tmp_path, "out/steps", f"{step}.jsonl")
            while process.poll() is None and not (file.exists() and file.stat().st_size):
                time.sleep(0.01)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        with (tmp_path / "out/steps/1_keywords.jsonl").open("ab") as file:
            file.write(b'{"key": "torn')  # as a power failure leaves it
        assert main(["curate", path]) == 0
    ours, theirs = content(tmp_path / "out"), content(tmp_path / "whole")
    torn = "steps/1_keywords.jsonl"
    assert [line for line in ours.pop(torn) if b"torn" not in line] == theirs.pop(torn)
    assert ours == theirs


@pytest.mark.slow
def test_a_changed_prompt_asks_only_what_it_touches(clips, tmp_path):
    folder, oracle = clips
    prompt = tmp_path / "blind.txt"
    prompt.write_text("Guess: $question $options")
    with serving(oracle) as url:
        assert main(["curate", recipe(folder, tmp_path / "out", url)]) == 0
        before = oracle.requests
        assert main(["curate", recipe(folder, tmp_path / "out", url, prompts={"blind": str(prompt)})]) == 0
    asked = oracle.prompts[before:]
    assert asked and all(text.startswith("Guess: ") for text in asked)


@pytest.mark.slow
def test_filters_and_bad_videos(clips, tmp_path):
    folder, oracle = clips
    records = json.loads((folder / "questions.json").read_text())
    (folder / "broken.mp4").write_bytes(b"no video")
    about = {"videos": ["broken.mp4"]}
    (folder / "more.json").write_text(json.dumps(records + [records[2] | about, records[3] | {"videos": ["no.mp4"]}]))
    with serving(oracle) as url:
        keys = {"source": str(folder / "more.json"), "filters": {"min_area": 0.9, "blind": False}}
        assert main(["curate", recipe(folder, tmp_path / "out", url, **keys)]) == 0
    rejected = json.loads((tmp_path / "out/summary.json").read_text())["rejected"]
    assert rejected["the video cannot be read"] == 2
    assert rejected.keys() == {"the video cannot be read", "no phrase to mark", "tiny region"}


@pytest.mark.slow
def test_two_hundred_questions(tmp_path):
    """At least 95 % of the boxes overlap the truth by 0.9, those between grounded frames included."""
    oracle = synthetic(tmp_path, 26, 200)
    with serving(oracle) as url:
        path = recipe(tmp_path, tmp_path / "out", url, frames=8, grounding={"by": "vlm", "frames": 8})
        assert main(["curate", path]) == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    records = records_of(tmp_path / "out")
    assert summary["questions"] == 200 == len(records) + sum(summary["rejected"].values())
    assert len(records) > 100
    assert np.mean(np.array(overlaps(records, oracle)) >= 0.9) >= 0.95


def test_a_recipe_says_all_that_is_wrong(tmp_path):
    path = tmp_path / "r.yaml"
    values = {"source": "x.json", "out": "o", "vlm": {"model": "m", "licence": "l"}, "grounding": {"by": "model"}}
    path.write_text(yaml.safe_dump(values | {"prompts": {"blind": "none.txt"}}))
    with pytest.raises(ValueError) as caught:
        read_curation(str(path))
    for words in ("vlm: give either", "grounding.model: name one", "prompts.blind: no such file"):
        assert words in str(caught.value)
    path.write_text(yaml.safe_dump(values | {"grounding": {"by": "guess"}, "frames": 0, "colour": "red"}))
    with pytest.raises(ValueError, match=r"colour: unknown key(.|\n)*frames: expected"):
        read_curation(str(path))
