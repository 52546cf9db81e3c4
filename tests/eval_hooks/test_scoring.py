# SPDX-License-Identifier: Apache-2.0
"""Scoring: every item is in the denominator, both readings, and a sample that is the same everywhere."""

import json
import random
import re

import pytest

from rgpt4d_plugin.eval_hooks.replies import Reply, ReplyFile
from rgpt4d_plugin.eval_hooks.scoring import COUNTS, Result, ScoringError, fingerprint, sample, score_replies
from tests.toy_benchmark import Toy, toy_items, write_toy


# Items 0 to 11; right answers are A B C D in turn, item 6 has none, 3, 7 and 11 are of the kind "right".
TEXTS = {
    0: "A",  # right under both
    1: " B\n",  # right under both
    2: "It is C",  # right officially, unread strictly
    3: "d",  # no letter officially: a random one, a quarter; unread strictly
    4: "B",  # wrong under both
    5: "",  # empty; a quarter
    6: "C",  # no right answer
    7: "D",  # right, of the other kind
    8: "A",  # right, cut
    9: "B",  # the engine failed after it had written this: wrong
}
CUT, FAILED = {8}, {9}  # 10 and 11 are missing


def toy_replies() -> dict[str, Reply]:
    return {
        f"toy/{i}": Reply(f"toy/{i}", text, truncated=i in CUT, error="timed out" if i in FAILED else None)
        for i, text in TEXTS.items()
    }


@pytest.fixture
def data(tmp_path):
    return write_toy(tmp_path / "toy", toy_items(12))


@pytest.fixture
def result(data) -> Result:
    return score_replies(Toy(), data, toy_replies(), settings={"engine": {"model": "tiny"}}, replicates=200)


def test_scores_by_hand(result):
    official = [1, 1, 1, 0.25, 0, 0.25, 0, 1, 1, 0, 0, 0]
    strict = [1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0]
    assert result.scores("official") == official
    assert result.scores("strict") == strict
    assert result.scores("lenient") == [1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0]
    values = {reading: {name: e.value for name, e in columns.items()} for reading, columns in result.columns.items()}
    assert list(values) == ["official", "strict", "lenient"]
    assert values["official"] == pytest.approx(
        {
            "Overall": 45.83,  # 5.5 of 12, to two decimals
            "left": 100 * 4.25 / 9,
            "right": 100 * 1.25 / 3,
            "Mean of kinds": 100 * (4.25 / 9 + 1.25 / 3) / 2,
        }
    )
    assert values["strict"]["Overall"] == 33.33
    assert [estimate.items for estimate in result.columns["strict"].values()] == [12, 9, 3, 12]
    overall = result.columns["official"]["Overall"]
    assert overall.low < 45.83 < overall.high


def test_a_column_in_which_all_is_wrong_has_no_interval(data):
    """Its resamples are all 0, which would look like certainty."""
    result = score_replies(Toy(), data, {}, replicates=50)
    overall = result.columns["strict"]["Overall"]
    assert (overall.value, overall.low, overall.high) == (0.0, None, None)


def test_everything_is_counted(result):
    assert set(result.counts) == set(COUNTS)
    assert {name: n for name, n in result.counts.items() if n} == {
        "missing": 2,
        "error": 1,
        "truncated": 1,
        "empty": 1,
        "unread": 2,
        "fallback": 2,
        "no_gold": 1,
    }
    assert result.answered == "9 of 12 answered; 2 missing and 1 failed count as wrong"
    rows = {row.key: row for row in result.rows}
    assert (rows["toy/10"].how, rows["toy/10"].reply) == ("missing", None)
    assert (rows["toy/9"].how, rows["toy/9"].error) == ("error", "timed out")
    assert rows["toy/3"].fallback and rows["toy/3"].official_parsed is None


@pytest.mark.parametrize(
    ("left_out", "failed", "sentence"),
    [
        (0, 0, "12 of 12 answered"),
        (1, 0, "11 of 12 answered; 1 missing counts as wrong"),
        (3, 0, "9 of 12 answered; 3 missing count as wrong"),
        (0, 1, "11 of 12 answered; 1 failed counts as wrong"),
    ],
)
def test_the_denominator_is_told(data, left_out, failed, sentence):
    keys = [f"toy/{i}" for i in range(12 - left_out)]
    replies = {key: Reply(key, "A", error="broken" if i < failed else None) for i, key in enumerate(keys)}
    assert score_replies(Toy(), data, replies, replicates=10).answered == sentence


def test_a_result_is_read_back(result, tmp_path):
    folder = result.write(tmp_path / "run" / "toy")
    again = Result.read(folder)
    assert again == result
    lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    fields = "key category group official strict parsed how official_parsed fallback columns truncated error".split()
    assert set(fields) <= set(lines[0])
    assert json.loads((folder / "result.json").read_text())["columns"]["official"]["Overall"]["value"] == 45.83


def test_intervals_survive_reading_back(result, tmp_path):
    """What a comparison resamples from the files is what was resampled from the benchmark."""
    again = Result.read(result.write(tmp_path))
    import numpy as np

    scores = np.array([result.scores("official")]).T
    np.testing.assert_array_equal(
        again.bootstrap().replicates(scores, 100), result.bootstrap().replicates(scores, 100)
    )


@pytest.mark.parametrize("broken", ["result.json", "scores.jsonl"])
def test_broken_results_are_errors(result, tmp_path, broken):
    folder = result.write(tmp_path)
    whole = (folder / broken).read_bytes()
    (folder / broken).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ScoringError, match="broken|rows in"):
        Result.read(folder)
    (folder / broken).unlink()
    with pytest.raises(ScoringError, match=rf"{broken} is missing.*rgpt4d eval score"):
        Result.read(folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("counts", {"missing": 1}, "`counts` lacks error, truncated"),
        ("counts", dict.fromkeys(COUNTS, "0"), "counts.missing: "),
        ("counts", 3, "counts: "),
        ("counts", dict.fromkeys(COUNTS, 0) | {"missing": 10**400}, "`counts` of 12 items is {'missing': 1000"),
        ("counts", dict.fromkeys(COUNTS, 0) | {"error": -1}, "`counts` of 12 items is {'error': -1}"),
        ("settings", 3, "settings: "),
        ("settings", None, "settings: "),
        ("columns", {"official": {}}, "`columns` lacks strict"),
        ("columns", {"official": {}, "strict": {}}, "`columns.official` has other columns than `rules`"),
        ("items", "12", "items: "),
        ("items", True, "items: "),
        ("items", 0, "`items` is 0"),
        ("notes", [3], "notes[0]: "),
        ("columns", {"official": 3}, "columns.official: "),
        ("unheard_of", 1, "unheard_of: unknown key"),
    ],
)
def test_results_with_fields_of_other_types_name_the_file_and_the_field(result, tmp_path, field, value, message):
    folder = result.write(tmp_path)
    record = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(record | {field: value}))
    with pytest.raises(ScoringError, match=re.escape(f"{folder / 'result.json'} is broken ({message}")):
        Result.read(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("official", float("nan")),
        ("official", 10**400),
        ("strict", float("inf")),
        ("columns", {"lenient": "1"}),
        ("options", {"A": 3}),
        ("truncated", 1),
        ("reply", ["A"]),
    ],
)
def test_scores_with_fields_of_other_types_name_the_line_and_the_field(result, tmp_path, field, value):
    folder = result.write(tmp_path)
    first, second, *others = (folder / "scores.jsonl").read_text().splitlines()
    second = json.dumps(json.loads(second) | {field: value})
    (folder / "scores.jsonl").write_text("\n".join([first, second, *others]) + "\n")
    with pytest.raises(ScoringError, match=rf"scores.jsonl, line 2 is broken .{field}.*: expected "):
        Result.read(folder)


@pytest.mark.parametrize("name", ["result.json", "scores.jsonl"])
def test_results_nested_without_end_are_broken(result, tmp_path, name):
    folder = result.write(tmp_path)
    (folder / name).write_text('{"settings": ' + "[" * 100_000)
    with pytest.raises(ScoringError, match=rf"{name}.* is broken \(nested too deeply\)"):
        Result.read(folder)


def test_results_are_in_place_whole_or_not_at_all(result, tmp_path, monkeypatch):
    """The disk fills up while the second result is written: the first stays, and nothing is left beside it."""
    folder = result.write(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        result.write(tmp_path / "run")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_keys_may_hold_halves_of_surrogate_pairs(tmp_path):
    class Odd(Toy):
        def key(self, item):
            return f"\ud800{item['id']}"

    data = write_toy(tmp_path / "toy", toy_items(12))
    result = score_replies(Odd(), data, {"\ud8000": Reply("\ud8000", "A")}, limit=12, replicates=50)
    assert Result.read(result.write(tmp_path / "run")).rows == result.rows


def test_replies_to_other_items_are_an_error(data):
    replies = toy_replies() | {"toy/99": Reply("toy/99", "A"), "sat/1": Reply("sat/1", "A")}
    with pytest.raises(ScoringError, match=r"2 of 12 replies.*'sat/1', 'toy/99'.*keys look like 'toy/0'"):
        score_replies(Toy(), data, replies)


def test_unknown_styles_and_limits_are_errors(data):
    with pytest.raises(ValueError, match="no prompt style 'rude'"):
        score_replies(Toy(), data, {}, style="rude")
    with pytest.raises(ScoringError, match="limit is 13, but Toy-Bench has 12"):
        score_replies(Toy(), data, {}, limit=13)
    with pytest.raises(ScoringError, match="limit is 0"):
        score_replies(Toy(), data, {}, limit=0)


def test_a_sample_is_the_same_in_any_order_and_samples_are_nested():
    items = toy_items(200)
    shuffled = random.Random(1).sample(items, len(items))
    keys = [item["id"] for item in sample(Toy(), items, 50, seed=3)]
    assert keys == sorted(keys), "in the published order"
    assert len(keys) == 50
    assert {item["id"] for item in sample(Toy(), shuffled, 50, seed=3)} == set(keys)
    assert set(keys) < {item["id"] for item in sample(Toy(), items, 80, seed=3)}
    assert {item["id"] for item in sample(Toy(), items, 50, seed=4)} != set(keys)
    assert sample(Toy(), items) == items


def test_a_sample_is_what_its_description_says():
    """As `printf 0:toy/0 | sha256sum` and its like say: a change here would make every earlier sample another."""
    assert [item["id"] for item in sample(Toy(), toy_items(12), 4)] == [1, 4, 5, 9]
    assert fingerprint(["b", "a"]) == fingerprint(["a", "b"]) == "7e18f737311b2dc3"


def test_a_sample_is_its_own_denominator(data):
    whole = score_replies(Toy(), data, toy_replies(), replicates=50)
    part = score_replies(Toy(), data, toy_replies(), limit=4, replicates=50)
    assert (part.items, part.available, part.limit) == (4, 12, 4)
    assert part.fingerprint != whole.fingerprint
    chosen = {row.key for row in part.rows}
    assert [row for row in whole.rows if row.key in chosen] == list(part.rows)
    assert part.columns["official"]["Overall"].value == pytest.approx(100 * sum(part.scores("official")) / 4)


@pytest.mark.slow
def test_a_killed_and_resumed_run_gives_the_same_result(tmp_path):
    """At every byte at which the file of replies can end."""
    data = write_toy(tmp_path / "toy", toy_items(4))
    replies = [Reply("toy/0", "A"), Reply("toy/2", "It is C", truncated=True), Reply("toy/3", "", error="timed out")]
    whole = ReplyFile.open(tmp_path / "whole.jsonl", {"seed": 0})
    whole.append(*replies)

    def written(file: ReplyFile, folder) -> list[bytes]:
        score_replies(Toy(), data, file.replies, settings=file.settings, replicates=5).write(folder)
        return [(folder / name).read_bytes() for name in ("result.json", "scores.jsonl")]

    expected = written(whole, tmp_path / "whole")
    content = whole.path.read_bytes()
    path = tmp_path / "killed.jsonl"
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        with ReplyFile.open(path, {"seed": 0}) as resumed:
            resumed.append(*(reply for reply in replies if reply.key not in resumed.done))
        assert written(ReplyFile.read(path), tmp_path / "killed") == expected, size
