# SPDX-License-Identifier: Apache-2.0
"""The benchmark's folder: the same whoever writes it, read by the host, the ground-truth teacher and `rgpt4d eval`.

python -m pytest tests/synth4d/test_benchmark.py
"""

import json
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.r4d_bench import question_text
from rgpt4d_plugin.regions.prompt import RegionPrompt
from rgpt4d_plugin.synth4d import benchmark
from rgpt4d_plugin.synth4d.benchmark import PRESETS, write_benchmark
from rgpt4d_plugin.synth4d.clips import decode_mp4
from rgpt4d_plugin.teachers.ground_truth.clip_file import open_clip_file


pytestmark = pytest.mark.slow


SMALL = replace(PRESETS["small"], train=6, test=30, frames=4, sizes=((32, 32), (32, 48)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of marks and letters, and of colours and words, in small."""
    root = tmp_path_factory.mktemp("synth4d")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", SMALL)
        marks = write_benchmark(root / "marks", "small", workers=1)
        words = write_benchmark(root / "words", "small", workers=1, refer="colour", style="word")
    return {"marks": marks, "words": words}


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", ["marks", "words"])
def test_files(folders, name):
    folder = folders[name]
    info = read(folder / "dataset_info.json")
    assert set(info) == {f"synth4d_{split}_{number}" for split in ("train", "test") for number in ("many", "one")}
    for dataset, entry in info.items():
        assert entry["formatting"] == ("rgpt4d" if name == "marks" else "sharegpt")
        records = read(folder / entry["file_name"])
        assert records
        for record in records:
            assert (folder / record["videos"][0]).is_file()
            asked, replied = record["messages"][::2], record["messages"][1::2]
            assert len(asked) == len(replied) and (len(asked) == 1 or dataset.endswith("many"))
            assert {turn["role"] for turn in asked} == {"user"} and {turn["role"] for turn in replied} == {"assistant"}
            assert asked[0]["content"].startswith("<video>") and "<video>" not in "".join(
                turn["content"] for turn in asked[1:]
            )
            assert ("regions" in record) == (name == "marks")
    # Held-out clips are other scenes.
    train, test = (read(folder / part / "scenes.json") for part in ("", "test"))
    assert len(train) == 6 and len(test) == 30
    assert not {str(scene["objects"]) for scene in train} & {str(scene["objects"]) for scene in test}


def test_one_question_of_a_clip_is_one_of_its_many(folders):
    for folder in folders.values():
        many, one = (read(folder / f"synth4d_train_{number}.json") for number in ("many", "one"))
        for all_of_them, chosen in zip(many, one, strict=True):
            turns = [turn["content"].removeprefix("<video>") for turn in all_of_them["messages"]]
            place = turns.index(chosen["messages"][0]["content"].removeprefix("<video>"))
            assert place % 2 == 0 and turns[place + 1] == chosen["messages"][1]["content"]


def test_ground_truth_is_read_by_the_teacher_and_belongs_to_the_video(folders):
    path = folders["marks"] / "test/clips/00000"
    file = open_clip_file(path.with_suffix(".npz"))
    with np.load(path.with_suffix(".npz")) as arrays:
        frames = decode_mp4(path.with_suffix(".mp4"))
        assert arrays["depth"].shape == arrays["motion"].shape == arrays["instance"].shape == frames.shape[:3]
        assert arrays["flow_2d_forward"].shape == arrays["flow_2d_backward"].shape
        queries, tracks, visible = (arrays[name] for name in ("track_queries", "tracks", "track_visible"))
        assert tracks.shape == (64, 4, 2) and visible.shape == (64, 4)
        each = np.arange(64), queries[:, 0]
        np.testing.assert_allclose(tracks[each], queries[:, :0:-1], atol=1e-3)
        assert (arrays["instance"][tuple(queries[:32].T)] >= 0).all()
        for step, flow in ((-1, arrays["flow_2d_backward"]), (1, arrays["flow_2d_forward"])):
            t, y, x = queries[(queries[:, 0] + step >= 0) & (queries[:, 0] + step < 4)].T
            there = tracks[(queries[:, 0] + step >= 0) & (queries[:, 0] + step < 4), t + step]
            np.testing.assert_allclose(there, np.stack([x, y], 1) + flow[t, :, y, x], atol=1e-3)
    assert {"depth", "flow_2d_backward", "motion", "poses", "intrinsics"} <= set(file.names)
    scene = read(folders["marks"] / "test/scenes.json")[0]
    np.testing.assert_allclose(np.diff(file.timestamps), scene["interval"])


@pytest.mark.parametrize("name", ["marks", "words"])
def test_answers_are_balanced_and_every_category_is_there(folders, name):
    items = read(folders[name] / "test/questions.json")
    counts = defaultdict(Counter)
    for item in items:
        counts[item["kind"], item["interval"]][item["right"]] += 1
        assert item["answer"] in item["alternatives"] and item["answer"] in item["options"]
        if name == "words":
            assert item["reply"] == item["answer"] and item["prompt"] == item["question"]
        else:
            assert item["options"]["ABCDEF".index(item["reply"])] == item["answer"]
    for (kind, _), by_answer in counts.items():
        assert len(set(by_answer.values())) == 1, kind
        assert len(by_answer) == len(next(item for item in items if item["kind"] == kind)["options"])
    assert {item["category"] for item in items} >= {"VG", "R", "T", "FP", "SA", "DP"}


def test_prompts_are_those_of_r4d_bench_and_of_training(folders):
    synth4d = get("synth4d")
    data = synth4d.load(folders["marks"] / "test")
    for item in data.items:
        assert synth4d.prompt(item) == question_text(item["question"], item["options"], marked=True)
        assert synth4d.score(item, item["reply"]).official == 1
    records = {record["videos"][0]: record for record in read(folders["marks"] / "synth4d_test_many.json")}
    item = next(item for item in data.items if item["objects"])
    record = records[f"test/{item['video']}"]
    path = str(data.folder / item["video"])
    trained = RegionPrompt(path, item["prompt"], record["regions"], style="som_image")
    (content,) = (message["content"] for message in trained.styled.messages)
    assert content == f"<image><video>{synth4d.prompt(item)}"
    # The marked frame is the one that is drawn in training.
    np.testing.assert_array_equal(Image.open(data.folder / item["marks"]), trained.images[0])


def test_words_are_scored_and_options_follow_no_letter(folders):
    synth4d = get("synth4d")
    data = synth4d.load(folders["words"] / "test")
    assert all(synth4d.score(item, item["answer"]).official == 1 for item in data.items)
    assert not any("<obj_" in synth4d.prompt(item) or item.get("marks") for item in data.items)
    assert all(len(synth4d.media(item, data.folder)) == 1 for item in data.items)


def test_the_number_of_workers_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", replace(SMALL, train=2, test=3, refer="colour"))
    one, two = (write_benchmark(tmp_path / str(workers), "small", workers=workers) for workers in (1, 2))
    paths = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert len(paths) > 15 and all((one / path).read_bytes() == (two / path).read_bytes() for path in paths)


def test_a_clip_depends_on_its_number_and_the_seed_only(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", replace(SMALL, refer="colour"))
    few, more, other = (
        write_benchmark(tmp_path / str(number), "small", train=train, test=1, seed=seed, workers=1) / "clips"
        for number, (train, seed) in enumerate(((2, 0), (3, 0), (2, 1)))
    )
    for name in ("00000.mp4", "00000.npz", "00001.mp4", "00001.npz"):
        assert (few / name).read_bytes() == (more / name).read_bytes() != (other / name).read_bytes()


def test_a_folder_that_is_there_is_left_alone_and_others_datasets_stay(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", replace(SMALL, train=1, test=1))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    write_benchmark(tmp_path, "small", workers=1)
    assert "mine" in read(tmp_path / "dataset_info.json")
    monkeypatch.setattr(benchmark, "_write_split", lambda *_: pytest.fail("written again"))
    write_benchmark(tmp_path, "small", workers=1)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], frames=2, sizes=((16, 16),)))
    counts = ["--train", "1", "--test", "2", "--workers", "1", "--refer", "mark", "--style", "letter"]
    assert main(["synth", "--preset", "tiny", "--out", str(tmp_path / "data"), *counts]) == 0
    assert str(tmp_path / "data") in capsys.readouterr().out
    assert read(tmp_path / "data/settings.json") == {
        "preset": "tiny",
        "train": 1,
        "test": 2,
        "seed": 0,
        "refer": "mark",
        "style": "letter",
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--train", "3"], "--train is for a benchmark: give --preset too"),
        (["--preset", "tiny", "--fps", "4"], "--fps does not go with --preset"),
    ],
)
def test_options_that_would_be_ignored(options, complaint, tmp_path, capsys):
    assert main(["synth", "--out", str(tmp_path / "data"), *options]) == 1
    assert complaint in capsys.readouterr().err and not (tmp_path / "data").exists()


def test_without_a_preset_the_command_writes_clips(tmp_path, capsys):
    options = ["--count", "1", "--frames", "2", "--size", "16", "32"]
    assert main(["synth", "--out", str(tmp_path / "data"), *options]) == 0
    assert decode_mp4(tmp_path / "data/videos/clip_00000.mp4").shape == (2, 16, 32, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "huge"}, "preset must be one of tiny, simple, small, gpu, found 'huge'"),
        ({"train": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_what_cannot_be_written(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_benchmark(tmp_path / "a", **{"preset": "tiny"} | changes)
    assert not (tmp_path / "a").exists()
