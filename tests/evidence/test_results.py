# SPDX-License-Identifier: Apache-2.0
"""Means, intervals, paired differences and the sentences that follow from them."""

import math

import pytest

from rgpt4d_plugin.evidence.arms import ALL
from rgpt4d_plugin.evidence.results import Estimate, Results, conclusions, overview, summary
from rgpt4d_plugin.files import write_json


def _run(arm: str, seed: int, first: float, second: float, regime: str = "one") -> dict:
    accuracy = {"T/heading": first, "FP/moving": second}
    point = {"step": 10, "accuracy": accuracy, "questions": {"T/heading": 3, "FP/moving": 1}}
    return {"arm": arm, "regime": regime, "seed": seed, "seconds": 1.0, "curve": [point], "losses": []}


def _results(*runs: dict) -> Results:
    return Results({(run["regime"], run["arm"], run["seed"]): run for run in runs})


def test_interval_is_students():
    estimate = Estimate.of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert estimate.value == 3.0
    # scipy.stats.t.interval(0.95, 4, 3, sqrt(2.5 / 5))
    assert estimate.half == pytest.approx(1.9632432, abs=1e-3)
    assert Estimate.of([7.0]).half is None


def test_differences_are_paired_by_seed():
    """Seeds differ by 40 points, arms by 2: only seed by seed is there a difference at all."""
    results = _results(
        *(_run("sft", seed, base, 50) for seed, base in ((1, 20), (2, 40), (3, 60))),
        *(
            _run("explicit", seed, base + 2 + wiggle, 50)
            for seed, base, wiggle in ((1, 20, 0), (2, 40, 0.1), (3, 60, -0.1))
        ),
    )
    lead = results.difference("one", "explicit", "T/heading")
    assert lead.value == pytest.approx(2.0)
    assert lead.low > 0
    assert results.estimate("one", "explicit", "T/heading").half > 40


def test_difference_takes_seeds_that_both_have():
    results = _results(
        _run("sft", 1, 20, 50), _run("sft", 2, 90, 50), _run("explicit", 1, 30, 50), _run("explicit", 3, 0, 0)
    )
    assert results.difference("one", "explicit", "T/heading").value == pytest.approx(10)
    assert results.difference("many", "explicit") is None


def test_all_questions_count_alike():
    results = _results(_run("sft", 1, 20, 60))
    assert results.value("one", "sft", 1, ALL) == pytest.approx((3 * 20 + 60) / 4)


@pytest.mark.parametrize(
    ("leads", "said"),
    [((5, 6, 7), "above zero"), ((-5, -6, -7), "below zero"), ((5, -6, 0), "holds zero"), ((5,), "nothing follows")],
)
def test_conclusion_follows_from_the_interval(leads, said):
    runs = []
    for seed, lead in enumerate(leads):
        runs += [_run("sft", seed, 50, 50), _run("pixels", seed, 50 + lead, 50 + lead)]
    (line,) = conclusions(_results(*runs))
    assert said in line


def test_conclusion_names_categories_that_got_worse():
    runs = []
    for seed, wiggle in enumerate((0, 0.5, -0.5)):
        runs += [_run("sft", seed, 50, 50), _run("explicit", seed, 60 + wiggle, 45 + wiggle)]
    lines = conclusions(_results(*runs))
    assert "better in T/heading +10.0" in lines[1]
    assert "worse in FP/moving -5.0" in lines[1]


def test_results_are_read_from_files(tmp_path):
    for arm in ("sft", "explicit"):
        write_json_in(tmp_path / "runs" / f"one-{arm}-1", _run(arm, 1, 20, 60))
    results = Results.read(tmp_path)
    assert results.arms("one") == ["sft", "explicit"]
    assert results.regimes == ["one"]
    assert summary(results)["one"]["explicit"]["lead"] == {"value": 0.0, "half": None, "seeds": 1}
    assert not math.isnan(summary(results)["one"]["sft"]["accuracy"]["value"])


def write_json_in(folder, value):
    folder.mkdir(parents=True)
    write_json(folder / "result.json", value)


def test_a_terminal_is_told_of_a_single_seed():
    runs = [_run(arm, seed, 20 * seed, 50) for seed in (1, 2) for arm in ("sft", "explicit")]
    told = overview(_results(*runs[:2])).splitlines()
    assert told[-3].split() == ["+", "depth,", "flow,", "motion", "1", "27.5", "+0.0"]
    assert told[-1].startswith("One seed says nothing of others")
    assert "One seed" not in overview(_results(*runs))
