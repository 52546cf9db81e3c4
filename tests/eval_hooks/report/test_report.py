# SPDX-License-Identifier: Apache-2.0
"""Reports: what they say, what they refuse to compare, and that nothing a model wrote is taken for markup."""

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.benchmarks.records import Published
from rgpt4d_plugin.eval_hooks.compare import NotComparable, compare, incomparable
from rgpt4d_plugin.eval_hooks.replies import Reply
from rgpt4d_plugin.eval_hooks.report import write_report
from rgpt4d_plugin.eval_hooks.report.charts import Series, bars, differences
from rgpt4d_plugin.eval_hooks.report.formatting import brackets, headline, signed
from rgpt4d_plugin.eval_hooks.report.formatting import incomparable as incomparable_with
from rgpt4d_plugin.eval_hooks.report.render import shortened, visible
from rgpt4d_plugin.eval_hooks.scoring import Result, ScoringError, score_replies
from rgpt4d_plugin.eval_hooks.stats import Agreement, Interval
from tests.benchmark_folders import put, video
from tests.toy_benchmark import Toy, toy_items, write_toy


pytestmark = pytest.mark.slow


EVIL = '<script>alert(1)</script> & "q" | `x` ```` ![i](http://x.y/z.png) [l](http://x.y) \x1b[31m \ud83d \u202e # B'


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "toy", "tests.toy_benchmark:Toy")


@pytest.fixture
def data(tmp_path):
    for i in range(4):
        put(tmp_path / "toy" / f"clip{i}.mp4", video(i))
    return write_toy(tmp_path / "toy", toy_items(12))


def toy_result(data, right: int, settings=None, **more) -> Result:
    """The first `right` items are answered rightly, the others wrongly."""
    replies = {}
    for i, item in enumerate(data.items):
        gold = Toy().gold(item) or "A"
        replies[f"toy/{i}"] = Reply(f"toy/{i}", gold if i < right else "ABCD"[("ABCD".index(gold) + 1) % 4])
    replies |= more.pop("replies", {})
    return score_replies(Toy(), data, replies, settings=settings, replicates=200, **more)


class Tags(HTMLParser):
    """All tags and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "data", "srcset", "action")]


def report(result: Result, tmp_path, name: str = "mine") -> tuple[str, str]:
    result.write(tmp_path / name / "toy")
    markdown, html = write_report([tmp_path / name], tmp_path / "out")
    return markdown.read_text(), html.read_text()


def test_a_run_says_what_was_counted(data, tmp_path):
    missing = toy_result(data, 6)
    replies = {row.key: Reply(row.key, row.reply) for row in missing.rows if row.key != "toy/11"}
    result = score_replies(Toy(), data, replies, settings={"frames": 16, "engine": {"model": "tiny"}}, replicates=200)
    markdown, html = report(result, tmp_path)
    for text in (markdown, html):
        for word in (
            "Toy-Bench",
            "11 of 12 answered; 1 missing counts as wrong",
            "16 frames a video",
            "A toy.",
            "tiny",
        ):
            assert word in text, word
    estimate = result.columns["official"]["Overall"]
    assert f"**{estimate.value:.1f}** \\[{estimate.low:.1f}, {estimate.high:.1f}\\]" in markdown
    assert result.fingerprint in html


def test_a_page_needs_nothing_else(data, tmp_path):
    _, html = report(toy_result(data, 6), tmp_path)
    tags = Tags(html)
    assert {"img", "table"} <= set(tags.tags)
    assert not {"script", "link", "iframe", "object", "form"} & set(tags.tags)
    assert all(link.startswith(("data:image/", "#")) for link in tags.links)
    assert "url(" not in html and "@import" not in html


def test_nothing_that_a_model_wrote_is_markup(data, tmp_path):
    """Markup in a reply, in the question, in the options and in a setting."""
    replies = {f"toy/{i}": Reply(f"toy/{i}", EVIL) for i in range(12)}
    result = toy_result(data, 0, {"engine": {"model": EVIL}}, replies=replies)
    rows = [replace(row, options={"A": EVIL, "B": "x"}, question=EVIL) for row in result.rows]
    markdown, html = report(replace(result, rows=rows), tmp_path)
    tags = Tags(html)
    assert "script" not in tags.tags
    assert all(link.startswith(("data:image/", "#")) for link in tags.links)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "\x1b" not in html and "\u202e" not in html
    # Outside of fences every sign that could begin markup has a backslash before it.
    fenced = re.compile(r"^(`{3,})text\n.*?\n\1$", re.MULTILINE | re.DOTALL)
    assert len(fenced.findall(markdown)) > 2
    outside = fenced.sub("", markdown)
    assert "<script" not in outside.replace("\\<", "") and "](http" not in outside.replace("\\]", "")
    assert "alert" in outside


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(data, tmp_path):
    def bytes_of(out):
        return {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}

    toy_result(data, 6).write(tmp_path / "a" / "toy")
    toy_result(data, 7).write(tmp_path / "b" / "toy")
    for runs in (["a"], ["a", "b"]):
        for out in ("first", "second"):
            write_report([tmp_path / run for run in runs], tmp_path / out)
        assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")
        assert len(bytes_of(tmp_path / "first")) > 4


def test_examples_show_the_middle_frame_or_say_why_not(data, tmp_path):
    result = toy_result(data, 6)
    markdown, html = report(result, tmp_path)
    assert "data:image/jpeg" in html
    pictures = re.findall(r"\(pictures/(example_\w+\.jpg)\)", markdown)
    assert pictures and all((tmp_path / "out" / "pictures" / name).is_file() for name in pictures)

    for path in (tmp_path / "toy").glob("*.mp4"):
        path.write_bytes(b"no video")
    assert "is not a readable video" in report(result, tmp_path)[1]
    (tmp_path / "toy" / "items.json").unlink()
    assert "data cannot be read on this machine" in report(result, tmp_path)[1]


def test_examples_are_wrong_and_of_the_worst_category(data, tmp_path):
    """Right in all of "left", wrong in all of "right": three items of that kind, two are shown."""
    replies = {f"toy/{i}": Reply(f"toy/{i}", Toy().gold(item) or "A") for i, item in enumerate(data.items)}
    replies |= {f"toy/{i}": Reply(f"toy/{i}", "A") for i in (3, 7, 11)}
    result = score_replies(Toy(), data, replies, replicates=50)
    markdown, _ = report(result, tmp_path)
    assert "right: 0.0 strict, 3 items" in markdown
    shown = re.findall(r"\*\*toy/(\d+)\*\* · right", markdown)
    assert len(shown) == 2 and set(shown) < {"3", "7", "11"}


def test_a_comparison_tells_differences(data, tmp_path):
    a, b = toy_result(data, 4), toy_result(data, 9)
    a.write(tmp_path / "base" / "toy")
    b.write(tmp_path / "p4d" / "toy")
    markdown, html = (
        path.read_text() for path in write_report([tmp_path / "base", tmp_path / "p4d"], tmp_path / "out")
    )
    difference = compare(a, b).differences["strict"]["Overall"]
    # Items 4 to 8, but for item 6, which has no right answer.
    assert difference.value == pytest.approx(100 * 4 / 12, abs=0.011)
    assert signed(difference.value) == "+33.3"
    for text in (markdown, html):
        assert "p4d − base" in text.replace("\\", "")
        assert "+33.3" in text and "Won: wrong in base, right in p4d" in text
    assert "Lost" not in html
    assert compare(a, b).agreements["strict"] == Agreement(both=4, only_a=0, only_b=4, neither=4)


def test_a_run_compared_with_itself_does_not_differ(data):
    a = toy_result(data, 6)
    for differences_ in compare(a, a).differences.values():
        for found in differences_.values():
            assert (found.value, found.interval, found.p) == (0.0, Interval(0.0, 0.0), 1.0)


def test_columns_of_one_video_have_no_interval_in_a_comparison(tmp_path):
    items = [item | {"video": "same.mp4"} if item["kind"] == "right" else item for item in toy_items(12)]
    data = write_toy(tmp_path / "toy", items)
    found = compare(toy_result(data, 4), toy_result(data, 9)).differences["strict"]["right"]
    assert (found.interval, found.p) == (Interval(None, None), None)


def test_other_items_are_not_compared(data, tmp_path):
    whole = toy_result(data, 6)
    part = toy_result(data, 6, limit=4)
    other = toy_result(data, 6, limit=4, seed=1)
    old = replace(whole, revision="toy 13")
    changed = replace(whole, rows=[replace(row, gold="D") if row.key == "toy/0" else row for row in whole.rows])
    assert incomparable(whole, whole) == []
    assert "other denominators: all 12 items and a sample of 4 of 12 items with seed 0" in incomparable(whole, part)
    assert "other items" in incomparable(part, other)[0] and "seed 1" in incomparable(part, other)[0]
    assert incomparable(whole, old) == ["other revisions of the data: toy 12 and toy 13"]
    assert incomparable(whole, changed) == ["other right answers to 1 items, e.g. 'toy/0'"]
    with pytest.raises(NotComparable, match="other denominators"):
        compare(whole, part)

    whole.write(tmp_path / "whole" / "toy")
    part.write(tmp_path / "part" / "toy")
    _, html = write_report([tmp_path / "whole", tmp_path / "part"], tmp_path / "out")
    text = html.read_text()
    assert "part is not compared with whole: other denominators" in text
    assert "part − whole" not in text


def test_runs_that_were_asked_otherwise_are_compared_with_a_warning(data, tmp_path):
    toy_result(data, 6, {"frames": 16}).write(tmp_path / "a" / "toy")
    toy_result(data, 6, {"frames": 8}, style="polite").write(tmp_path / "b" / "toy")
    _, html = write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    text = html.read_text()
    assert "not asked in the same way: frames (a: 16, b: 8)" in text
    assert "not asked in the same way: prompt style (a: direct, b: polite)" in text
    assert "b − a" in text


def test_runs_with_other_benchmarks_are_reported(data, tmp_path):
    toy_result(data, 6).write(tmp_path / "a" / "toy")
    other = replace(toy_result(data, 6), benchmark="sat", title="SAT", folder=str(tmp_path / "nowhere"))
    other.write(tmp_path / "b" / "sat")
    _, html = write_report([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert "Without results on this benchmark: b" in html.read_text()


def test_folders_without_results_are_errors(data, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScoringError, match="no results"):
        write_report([tmp_path / "empty"], tmp_path / "out")
    toy_result(data, 6).write(tmp_path / "a" / "toy")
    with pytest.raises(ScoringError, match="twice"):
        write_report([tmp_path / "a", tmp_path / "a" / ".." / "a"], tmp_path / "out")


def test_results_of_an_unknown_benchmark_are_named(data, tmp_path):
    replace(toy_result(data, 6), benchmark="../x").write(tmp_path / "a" / "x")
    with pytest.raises(ScoringError, match=r"a/x/result.json: unknown benchmark '../x' .known: r4d_bench"):
        write_report([tmp_path / "a"], tmp_path / "out")


@pytest.mark.parametrize("kept", [True, False])
def test_a_page_is_in_place_whole_or_not_at_all(data, tmp_path, monkeypatch, kept):
    """The process ends while the page is written: what was there before stays as it was."""
    toy_result(data, 6).write(tmp_path / "a" / "toy")
    out = tmp_path / "out"
    if kept:
        write_report([tmp_path / "a"], out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    toy_result(data, 9).write(tmp_path / "a" / "toy")
    put_in_place = os.replace

    def killed(source, target):
        if Path(target).name == "report.html":
            raise KeyboardInterrupt
        put_in_place(source, target)

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_report([tmp_path / "a"], out)
    assert (out / "report.html").exists() == kept
    assert not kept or (out / "report.html").read_bytes() == before[out / "report.html"]
    assert not list(out.rglob("*.tmp"))


def test_runs_of_the_same_name_are_told_apart(data, tmp_path):
    for parent in ("x", "y"):
        toy_result(data, 6).write(tmp_path / parent / "run" / "toy")
    _, html = write_report([tmp_path / "x" / "run", tmp_path / "y" / "run"], tmp_path / "out")
    assert "y/run compared with x/run" in html.read_text()


ROW = Published("M", "somewhere", {"Overall": 50.0}, (12,), 16, "direct")


@pytest.mark.parametrize(
    ("row", "settings", "limit", "reasons"),
    [
        (ROW, {"frames": 16}, None, []),
        (ROW, {"frames": 32}, None, ["16 frames, not 32"]),
        (ROW, {}, None, ["16 frames; those of the run are not known"]),
        (ROW, {"frames": 16}, 4, ["the run answers a sample of 4 items"]),
        (replace(ROW, items=(13,)), {"frames": 16}, None, ["another revision: 13 items, not 12"]),
        (replace(ROW, style="cot"), {"frames": 16}, None, ['prompt style "cot", not "direct"']),
        (replace(ROW, frames="1 fps", conditions="a judge"), {"frames": 16}, None, ["1 fps", "a judge"]),
        (replace(ROW, frames=None), {}, None, []),
    ],
)
def test_why_a_published_row_is_not_comparable(data, row, settings, limit, reasons):
    assert incomparable_with(row, toy_result(data, 6, settings, limit=limit)) == reasons


def test_published_rows_name_columns_and_styles_that_exist():
    rows = {name: get(name).published for name in BENCHMARKS if name != "toy"}
    assert sum(map(len, rows.values())) > 30
    for name, own in rows.items():
        for row in own:
            assert set(row.columns) <= set(get(name).columns), (name, row.model)
            assert row.style in get(name).styles
            assert set(row.items) <= set(get(name).revisions), (name, row.model)
            assert all(0 <= value <= 100 for value in row.columns.values())


def test_published_averages_are_those_of_the_published_columns():
    """A slip in copying would show: VSTI-Bench's overall is the mean of its nine types, to rounding."""
    for row in get("vsti_bench").published[:2]:
        types = [value for name, value in row.columns.items() if name != "Overall"]
        assert len(types) == 9
        assert row.columns["Overall"] == pytest.approx(np.mean(types), abs=0.05)


@pytest.mark.slow
def test_pictures_and_pages_do_not_grow_with_the_run(tmp_path):
    """A run of R4D-Bench's size shows as many examples as one of 100; `benchmarks/eval_scoring.py` takes the times."""
    sizes = {}
    for count in (100, 1419):
        folder, run = tmp_path / f"toy{count}", tmp_path / f"run{count}"
        for i in range(4):
            put(folder / f"clip{i}.mp4", video(i))
        data = write_toy(folder, [item | {"video": f"clip{item['id'] % 4}.mp4"} for item in toy_items(count)])
        replies = {f"toy/{i}": Reply(f"toy/{i}", "ABCD"[i * i % 4]) for i in range(count)}
        score_replies(Toy(), data, replies).write(run / "toy")
        write_report([run], run)
        sizes[count] = len(list((run / "pictures").iterdir())), (run / "report.md").stat().st_size
    assert sizes[1419][0] == sizes[100][0]
    assert sizes[1419][1] < 1.1 * sizes[100][1]


def test_small_things():
    assert [signed(value) for value in (1.26, -1.26, 0.04, -0.04)] == ["+1.3", "−1.3", "0.0", "0.0"]
    assert brackets(Interval(-1.25, 0.04)) == "[−1.2, 0.0]" and brackets(Interval(None, None)) == ""
    assert visible("a\x00\x1b\x7f\n\ud800\u202eé漢😀") == "a␀␛␡\n\\ud800\\u202eé漢😀"
    assert shortened("abc", 3) == "abc" and shortened("abcd" * 500, 3) == "abc [... 2,000 characters in all]"


def test_the_headline_is_the_column_of_all_items(data):
    assert headline(toy_result(data, 6)) == "Overall"


def test_pictures_are_drawn_of_anything():
    """One column, a hundred series, no interval, no number at all."""
    one = Series("a", [50.0], [None], [None])
    nothing = Series("b", [None], [None], [None])
    whole = Series("c", [0.0, 100.0, 3.0], [0.0, 90.0, None], [10.0, 100.0, None])
    for picture in (
        bars(["x"], [one, nothing]),
        bars(["x"], [nothing]),
        bars(["a very long name of a column, with a comma"] * 3, [whole] * 7, title="All"),
        differences(["x"] * 3, [Series("d", [-1.0, None, 2.0], [-3.0, None, None], [1.0, None, None])], "B − A"),
    ):
        assert picture.startswith(b"<?xml") and b"<svg" in picture
