# SPDX-License-Identifier: Apache-2.0
"""Folders in every published layout, whole and broken.

PYTHONPATH=. python -m pytest tests/eval_hooks/benchmarks/test_folders.py
"""

import csv
import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, files, get, hub
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError
from rgpt4d_plugin.synth4d.clips import decode_mp4
from tests.benchmark_folders import FRAMES, HEIGHT, LAYOUTS, WIDTH, image, put, write_folder


def refused(name: str, folder: Path) -> str:
    with pytest.raises(BenchmarkDataError) as caught:
        get(name).load(folder)
    return str(caught.value)


@pytest.mark.parametrize("name, layout", LAYOUTS)
def test_published_layouts(tmp_path, name, layout):
    written = write_folder(name, tmp_path, items=12, layout=layout)
    benchmark = get(name)
    data = benchmark.load(tmp_path)
    copies = 2 if (name, layout) == ("sat", "published") else 1
    assert len(data.items) == copies * len(written) == copies * 12
    assert data.benchmark == name
    if benchmark.revisions:
        assert data.revision == "unknown (12 items)"
        assert "12 questions, which is no published number" in data.notes[-1]
    else:
        assert data.revision == "12 items"

    keys = {benchmark.key(item) for item in data.items}
    assert len(keys) == len(data.items)
    for item in data.items:
        assert benchmark.category(item) in benchmark.columns_of(item)
        assert isinstance(benchmark.prompt(item), str) and benchmark.gold(item)
        for medium in benchmark.media(item, data.folder):
            if medium.kind == "image":
                encoded = medium.data or medium.path.read_bytes()
                assert Image.open(io.BytesIO(encoded)).size == (WIDTH, HEIGHT)
            else:
                assert medium.path.is_file() and medium.data is None
    # Neighbours share a video (an image), which makes fewer groups than items.
    groups = {benchmark.group(item) for item in data.items}
    assert len(groups) == 12 if name in ("sat", "mmsi_bench") else len(groups) < 12

    # A loaded item is the published one: nothing is renamed, nothing is retyped.
    if copies == 1:
        for item, published in zip(data.items, written):
            assert {field: item[field] for field in published} == published


@pytest.mark.parametrize("name, layout", LAYOUTS)
def test_right_replies_score_100_and_none_score_what_upstream_gives(tmp_path, name, layout):
    write_folder(name, tmp_path, items=9, layout=layout)
    benchmark = get(name)
    data = benchmark.load(tmp_path)
    style = "none+direct" if name == "omnispatial" else None
    right = [benchmark.score(item, benchmark.gold(item), style) for item in data.items]
    first = benchmark.columns[-1] if name == "vlm4d" else benchmark.columns[0]
    assert benchmark.aggregate(data.items, right)[first] == pytest.approx(100, abs=1e-4)
    assert benchmark.aggregate(data.items, [score.strict for score in right])[first] == pytest.approx(100, abs=1e-4)
    silent = [benchmark.score(item, "", style) for item in data.items]
    assert all(score.strict == 0 and score.how == "empty" for score in silent)
    assert any(score.official for score in silent) == (name == "r4d_bench")


def test_the_videos_are_real(tmp_path):
    write_folder("r4d_bench", tmp_path, items=2)
    data = get("r4d_bench").load(tmp_path)
    marks, video = get("r4d_bench").media(data.items[0], data.folder)
    assert (marks.kind, video.kind) == ("image", "video")  # in this order
    assert decode_mp4(video.path).shape == (FRAMES, HEIGHT, WIDTH, 3)


# Each benchmark's own


def test_r4d_media(tmp_path):
    write_folder("r4d_bench", tmp_path, items=6)
    benchmark = get("r4d_bench")
    data = benchmark.load(tmp_path)
    assert [
        [medium.path.relative_to(tmp_path).as_posix() for medium in benchmark.media(i, tmp_path)] for i in data.items
    ] == [
        ["images/stibench/0.png", "videos/stibench/clip_0.mp4"],
        ["images/vlm4d/1.png", "clipped/vlm4d/clip_0_1.mp4"],
        ["images/vlm4d/2.png", "videos/vlm4d/clip_1.mp4"],
        ["images/stibench/3.png", "videos/stibench/clip_1.mp4"],  # the clip was not cut
        ["videos/vlm4d/clip_2.mp4"],
        ["images/vlm4d/5.png", "clipped/vlm4d/clip_2_5.mp4"],
    ]
    assert data.notes[0].startswith("1 of 6 items: no clip, asked on the full video")


def test_r4d_counts_what_upstream_tolerates(tmp_path):
    entries = write_folder("r4d_bench", tmp_path, items=6)
    entries[0]["answer"], entries[2]["answer"] = None, "sideways"
    put(tmp_path / "test.json", entries)
    (tmp_path / "images/vlm4d/5.png").unlink()
    data = get("r4d_bench").load(tmp_path)
    assert len(data.items) == 6
    notes = "\n".join(data.notes)
    assert "2 of 6 items: the answer is empty or not among the options; counts, and scores 0" in notes
    assert "1 of 6 items: the image with the marks is missing" in notes
    assert "set-of-mark" in get("r4d_bench").prompt(data.items[5])  # the words stay, as upstream


@pytest.mark.slow
def test_the_published_number_names_the_revision(tmp_path):
    entries = write_folder("vsti_bench", tmp_path, items=1)
    for count, revision in ((6042, "before the erratum"), (5736, "after the erratum")):
        put(tmp_path / "test.json", entries * count)
        data = get("vsti_bench").load(tmp_path)
        assert data.revision.startswith(f"{revision} of 2026-07-13") and len(data.notes) == 1
    entries = write_folder("r4d_bench", tmp_path, items=1)
    put(tmp_path / "test.json", [entries[0] | {"id": number} for number in range(1419)])
    assert get("r4d_bench").load(tmp_path).revision == "re-curated test set (1,419 items)"


def test_vsti_values_that_cannot_score(tmp_path):
    entries = write_folder("vsti_bench", tmp_path, items=2)
    gold = [0, "far", None, -1.5, "2.5", float("inf"), float("nan"), "1e999", "-inf"]
    put(tmp_path / "test.json", [entries[1] | {"ground_truth": value} for value in gold])
    notes = "\n".join(get("vsti_bench").load(tmp_path).notes)
    assert "1 of 9 items: the right value is 0" in notes
    assert "2 of 9 items: the right value is no number" in notes
    assert "1 of 9 items: the right value is negative" in notes
    assert "4 of 9 items: the right value is not finite; counts, and scores 0" in notes


@pytest.mark.parametrize("kept, folder", [("real", ""), ("synthetic", "data"), ("real", "QA")])
def test_vlm4d_of_one_split(tmp_path, kept, folder):
    write_folder("vlm4d", tmp_path, items=8)
    questions = (tmp_path / f"QA/{kept}_mc.json").read_bytes()
    shutil.rmtree(tmp_path / "QA")
    put(tmp_path / folder / f"{kept}_mc.json", questions)
    data = get("vlm4d").load(tmp_path)
    assert {get("vlm4d").key(item).split("/")[0] for item in data.items} == {f"{kept}_mc"}
    columns = get("vlm4d").aggregate(data.items, [1.0] * 4)
    assert columns["Overall"] == 100
    assert columns["Real"] + columns["Synthetic"] == 100  # the other one is 0


def test_sat_asks_every_order(tmp_path):
    write_folder("sat", tmp_path, items=3)
    benchmark = get("sat")
    data = benchmark.load(tmp_path)
    assert [benchmark.key(item) for item in data.items] == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]
    assert [benchmark.gold(item) for item in data.items] == ["B", "A", "A", "B", "A", "B"]
    assert "\nA. rotated right\nB. rotated left\n" in benchmark.prompt(data.items[1])
    # Copies are of one question, and resampled together.
    assert [benchmark.group(item) for item in data.items] == ["0", "0", "1", "1", "2", "2"]


def test_omnispatial_archive_with_a_folder_of_its_own(tmp_path):
    write_folder("omnispatial", tmp_path / "OmniSpatial-test", items=4)
    data = get("omnispatial").load(tmp_path)
    assert data.folder == tmp_path / "OmniSpatial-test"
    (medium,) = get("omnispatial").media(data.items[0], data.folder)
    assert medium.path.is_file()


def test_sti_videos_beside_the_questions(tmp_path):
    write_folder("sti_bench", tmp_path, items=4)
    for path in (tmp_path / "video").iterdir():
        path.rename(tmp_path / path.name)
    assert get("sti_bench").media(get("sti_bench").load(tmp_path).items[0], tmp_path)[0].path.parent == tmp_path


def test_encoded_images_stay_in_their_file_until_asked_for(tmp_path, monkeypatch):
    written = write_folder("mmsi_bench", tmp_path, items=12)
    reads = []
    read = files._column.__wrapped__
    monkeypatch.setattr(files, "_column", lambda *where: reads.append(where[1:]) or read(*where))
    data = get("mmsi_bench").load(tmp_path)
    prompts = [get("mmsi_bench").prompt(item) for item in data.items]
    assert len(prompts) == 12 and not reads
    assert [medium.data for medium in get("mmsi_bench").media(data.items[5], tmp_path)] == written[5]["images"]
    assert reads == [(1, "images")]  # the row group alone
    assert dict(data.items[5]) == written[5] and "images" in data.items[5] and "missing" not in data.items[5]


def test_item_needs_no_folder():
    item = {
        "image_bytes": [image(1)],
        "question": "?",
        "answers": ["x", "y"],
        "correct_answer": "y",
        "question_type": "t",
    }
    assert get("sat").key(item) == get("sat").key(dict(item)) != get("sat").key(item | {"image_bytes": [image(2)]})
    assert get("sat").media(item, Path("nowhere"))[0].data == image(1)


# Broken folders


def change(name: str, folder: Path, **fields) -> None:
    """Changes the second item of a file of JSON, or of JSON lines."""
    path = next(folder.glob("*.json*"), folder / "QA/real_mc.json")
    if path.suffix == ".jsonl":
        first, second, *rest = path.read_text().splitlines()
        put(path, "\n".join([first, json.dumps(json.loads(second) | fields), *rest]).encode())
        return
    entries = json.loads(path.read_text())
    entries[1] |= fields
    put(path, [{k: v for k, v in entry.items() if v != "DELETED"} for entry in entries])


@pytest.mark.parametrize(
    "name, fields, expected",
    [
        ("r4d_bench", {"options": ["x"]}, "wrong numbers of options (1): vlm4d/1: 1"),
        ("r4d_bench", {"options": "DELETED", "task": 3}, "item 1: `task` is 3, `options` is missing"),
        ("r4d_bench", {"task": "Cooking"}, "unknown tasks (1): vlm4d/1: 'Cooking' (known: 3D Video Grounding,"),
        ("r4d_bench", {"question": None, "question_raw": ""}, "empty questions (1)"),
        ("r4d_bench", {"answer": [1]}, "item 1: `answer` is [1]"),
        ("r4d_bench", {"video": "../x.mp4"}, "`video`: expected a path below the folder, found '../x.mp4'"),
        ("r4d_bench", {"video": "no.mp4", "source": "none.mp4"}, "missing media files (1): none.mp4"),
        ("r4d_bench", {"id": "q0", "benchmark": "stibench"}, "items 0 and 1 are both stibench/q0"),
        ("vlm4d", {"answer": 7}, "answers that are no option (1): real_mc/validation_2: 7 is not among [1, 2, 0, "),
        ("vlm4d", {"answer": True}, "item 1: `answer` is True"),
        ("vlm4d", {"choices": {"B": 1, "A": 2}}, "expected the letters from A on in order, found ['B', 'A']"),
        ("vlm4d", {"video": "https://x/y.mp4"}, "item 1: `video`: expected videos_real/ or videos_synthetic/ in"),
        ("vlm4d", {"id": "validation_1"}, "items 0 and 1 are both real_mc/validation_1"),
        ("vsti_bench", {"question_type": "object_counting"}, "`question_type`: 'object_counting' is none of"),
        (
            "vsti_bench",
            {"question_type": "camera_obj_rel_dist_v1", "mc_answer": "E"},
            "answers that are no option (1): 1: 'E' is not among ['A', 'B', 'C', 'D']",
        ),
        ("vsti_bench", {"question_type": "camera_obj_rel_dist_v1", "options": ["chair"]}, "texts such as 'A. chair'"),
        ("vsi_bench", {"question_type": "route"}, "`question_type`: 'route' is none of"),
        ("vsi_bench", {"id": 10}, "items 0 and 1 are both 10"),
        ("vsi_bench", {"scene_name": "../x"}, "`dataset, scene_name`: expected a path below the folder"),
        ("vsi_bench", {"ground_truth": "D"}, "answers that are no option (1): 11: 'D' is not among ['A', 'B']"),
        ("omnispatial", {"answer": 3}, "answers that are no option (1): Dynamic_Reasoning/0_1: 3 of ['left',"),
        ("omnispatial", {"answer": "B"}, "`answer`: expected an index from 0 on, found 'B'"),
        ("omnispatial", {"sub_task_type": "Egocentric"}, "unknown task types (1)"),
        ("omnispatial", {"id": "9_0"}, "missing media files (1): Dynamic_Reasoning/9.png"),
    ],
)
def test_broken_items(tmp_path, name, fields, expected):
    write_folder(name, tmp_path, items=6)
    change(name, tmp_path, **fields)
    message = refused(name, tmp_path)
    assert expected in message and str(tmp_path) in message


@pytest.mark.parametrize(
    "name, fields, expected",
    [
        ("sti_bench", {"Answer": "F"}, "answers that are no option (1): scene0000_00.mp4/1: 'F'"),
        ("sti_bench", {"Candidates": '{"A": "x", "C": "y"}'}, "expected letters from A to E, found A, C"),
        ("sti_bench", {"Candidates": "A: x"}, "`Candidates`: 'A: x' is not JSON"),
        ("sti_bench", {"ID": 0}, "items 0 and 1 are both scene0000_00.mp4/0"),
        ("sti_bench", {"Video": "gone.mp4"}, "missing media files (1): video/gone.mp4"),
        ("sat", {"correct_answer": "flew"}, "answers that are no option (2): 1/0: 'flew' is not among"),
        ("sat", {"answers": ["rotated right"]}, "expected two or more texts, found ['rotated right']"),
        ("mmsi_bench", {"answer": "E"}, "answers that are no letter from A to D (1): 1: 'E'"),
        ("mmsi_bench", {"question_type": "Motion"}, "unknown question types (1): 1: 'Motion'"),
    ],
)
def test_broken_rows(tmp_path, name, fields, expected):
    write_folder(name, tmp_path, items=6)
    (path,) = tmp_path.glob("*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1] |= fields
    pq.write_table(type(table).from_pylist(rows, table.schema), path)
    assert expected in refused(name, tmp_path)


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"options": '["more", "less"]'}, "wrong options (1): 1: expected 2 to 4 that begin with their letters"),
        ({"options": "more, less"}, "item 1: `options` is no list"),
        ({"options": '["A. more", 2]'}, "item 1: `options`: expected a list of texts"),
        ({"answer": "E"}, "answers that are no option (1): 1: 'E' is not among ['A', 'B', 'C', 'D']"),
        ({"task_type": "abs_x"}, "unknown question types (1): 1: 'abs_x'"),
        ({"video": "../x.mp4"}, "`video`: expected a path below the folder"),
        ({"index": "0"}, "items 0 and 1 are both 0"),
    ],
)
def test_broken_lines_of_a_table(tmp_path, fields, expected):
    write_folder("dsr_bench", tmp_path, items=6)
    path = tmp_path / "DSRBench.tsv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    rows[1] |= fields
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    assert expected in refused("dsr_bench", tmp_path)


def test_all_problems_at_once(tmp_path):
    entries = write_folder("r4d_bench", tmp_path, items=30)
    shutil.rmtree(tmp_path / "videos")
    shutil.rmtree(tmp_path / "clipped")
    entries[3]["options"] = ["x"]
    put(tmp_path / "test.json", [*entries, "text", {"id": 1}])
    message = refused("r4d_bench", tmp_path)
    assert "R4D-Bench in" in message and "(32 items)" in message
    assert "- missing media files (25): videos/stibench/clip_0.mp4; " in message and "; and 20 more" in message
    assert "- wrong numbers of options (1): stibench/3: 1" in message
    assert "- items that are no objects (1): item 30 is 'text'" in message
    assert "- missing or ill-typed fields (1): item 31: `task` is missing, `video` is missing" in message
    assert message.endswith("Download nvidia/R4D-Bench again, or complete the folder.")
    with zipfile.ZipFile(tmp_path / "videos.zip", "w"):
        pass
    assert refused("r4d_bench", tmp_path).endswith("Unpack videos.zip in this folder.")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_not_the_benchmark(tmp_path, name):
    assert "there is no folder" in refused(name, tmp_path / "nowhere")
    put(tmp_path / "other.txt", b"")
    message = refused(name, tmp_path)
    assert f"does not look like {get(name).title}: looked for" in message and "found other.txt" in message


def test_unreadable_files(tmp_path):
    put(tmp_path / "test.json", b"[{")
    assert "test.json is not readable JSON" in refused("r4d_bench", tmp_path)
    put(tmp_path / "test.json", {"a": 1})
    assert "expected a JSON list of items" in refused("r4d_bench", tmp_path)
    put(tmp_path / "test.json", [])
    assert "has no items: download nvidia/R4D-Bench again" in refused("r4d_bench", tmp_path)
    put(tmp_path / "test.jsonl", b"{}\n[")
    assert "test.jsonl is not readable JSON lines" in refused("vsi_bench", tmp_path)
    put(tmp_path / "qa.parquet", b"PAR1")
    assert "qa.parquet is not a readable parquet file" in refused("sti_bench", tmp_path)
    write_folder("mmsi_bench", tmp_path / "other", items=1)
    shutil.copy(tmp_path / "other/MMSI_Bench.parquet", tmp_path / "qa.parquet")
    assert "qa.parquet has no column Video, ID" in refused("sti_bench", tmp_path)


DEEP = "[" * 100_000


def test_files_nested_without_end_are_errors_that_name_them(tmp_path):
    put(tmp_path / "test.json", DEEP.encode())
    assert "test.json is not readable JSON (nested too deeply)" in refused("r4d_bench", tmp_path)
    write_folder("sti_bench", tmp_path, items=2)
    table = pq.read_table(tmp_path / "qa.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([row | {"Candidates": DEEP} for row in table]), tmp_path / "qa.parquet")
    assert "`Candidates`: '[[[" in refused("sti_bench", tmp_path)
    with pytest.raises(BenchmarkDataError, match="MMSI-Bench, item 5: `image` is no JSON list .* .nested too deeply"):
        get("mmsi_bench").media({"index": 5, "image": DEEP}, tmp_path)


@pytest.mark.parametrize("question", [3, True, ["A"], {"A": 1}])
def test_questions_that_are_no_text(tmp_path, question):
    entries = write_folder("r4d_bench", tmp_path, items=1)
    put(tmp_path / "test.json", [entries[0] | {"question": question}])
    assert "questions that are no text (1): " in refused("r4d_bench", tmp_path)


@pytest.mark.parametrize("answers", [3, True, {"A": 1}])
def test_options_that_are_no_list(tmp_path, answers):
    write_folder("sat", tmp_path, items=1)
    table = pq.read_table(tmp_path / "SAT_test.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([row | {"answers": answers} for row in table]), tmp_path / "SAT_test.parquet")
    assert "item 0: `answers` is " in refused("sat", tmp_path)


@pytest.mark.parametrize("name", ["r4d_bench", "vlm4d", "vsti_bench"])
def test_names_that_no_file_system_takes_are_missing_files(tmp_path, name):
    entries = write_folder(name, tmp_path, items=1)
    field = "video_path" if name == "vsti_bench" else "video"
    where = next(path for path in tmp_path.rglob("*.json") if "synthetic" not in path.name)
    put(where, [entry | {field: f"videos_real/{'a' * 5000}.mp4", "source": "b" * 5000} for entry in entries[:1]])
    assert "missing media files (1): " in refused(name, tmp_path)


def test_archives_that_grow_without_end_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "small.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small.txt", b"0" * 100_000)
    hub.unpack(tmp_path / "small.zip")
    assert (tmp_path / "small.txt").stat().st_size == 100_000
    (tmp_path / "small.txt").unlink()
    monkeypatch.setattr(hub, "_ANY_SIZE", 1000)
    with pytest.raises(ValueError, match=r"small.zip: \d+ bytes would become 100,000; it is not the pub"):
        hub.unpack(tmp_path / "small.zip")
    monkeypatch.setattr(hub, "_ANY_SIZE", 10**9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=99_999))
    with pytest.raises(ValueError, match="needs 100,000 bytes to unpack, and 99,999 are free"):
        hub.unpack(tmp_path / "small.zip")
    assert not (tmp_path / "small.txt").exists()


def test_missing_images_are_said_when_asked_for(tmp_path):
    with pytest.raises(BenchmarkDataError, match="SAT, item 3/0: no images"):
        get("sat").media({"row": 3, "order": [0, 1], "image_bytes": []}, tmp_path)
    with pytest.raises(BenchmarkDataError, match="MMSI-Bench, item 5: `image` is no JSON list of images in base64"):
        get("mmsi_bench").media({"index": 5, "image": "!"}, tmp_path)
    with pytest.raises(BenchmarkDataError, match="item Complex_Logic/0_0: expected the bytes of an image, found None"):
        get("omnispatial").media({"task_type": "Complex_Logic", "id": "0_0", "image": None}, tmp_path)


def test_get_names_what_there_is():
    with pytest.raises(ValueError, match="unknown benchmark 'mmlu' .known: r4d_bench, sti_bench, vlm4d, vsti_bench"):
        get("mmlu")


# The Hub


def test_fetch_downloads_and_unpacks(tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    write_folder("sti_bench", hub, items=8)
    asked = []

    def snapshot_download(repo_id, repo_type, revision, allow_patterns, local_dir):
        asked.append((repo_id, repo_type, revision, allow_patterns))
        local = Path(local_dir)
        local.mkdir(parents=True, exist_ok=True)
        shutil.copy(hub / "qa.parquet", local)
        with zipfile.ZipFile(local / "video.zip", "w") as archive:
            for path in sorted((hub / "video").iterdir()):
                archive.write(path, path.relative_to(hub))
        return local_dir

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    folder = get("sti_bench").fetch(tmp_path / "data", revision="v1")
    assert asked == [("MINT-SJTU/STI-Bench", "dataset", "v1", ["qa.parquet", "video.zip"])]
    assert len(get("sti_bench").load(folder).items) == 8

    # A second call mends what is missing or was cut off, and leaves the rest alone.
    videos = sorted((folder / "video").iterdir())
    videos[0].unlink()
    videos[1].write_bytes(b"cut")
    before = videos[2].stat().st_mtime_ns
    get("sti_bench").fetch(folder)
    assert [path.read_bytes() for path in videos] == [path.read_bytes() for path in sorted((hub / "video").iterdir())]
    assert videos[2].stat().st_mtime_ns == before


def test_scoring_needs_no_heavy_imports():
    code = (
        "import sys; from rgpt4d_plugin.eval_hooks.benchmarks import get; "
        "get('r4d_bench').score({'options': [1, 2], 'answer': 1}, 'A'); "
        "print([name for name in ('torch', 'numpy', 'pyarrow', 'huggingface_hub') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
