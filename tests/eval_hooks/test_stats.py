# SPDX-License-Identifier: Apache-2.0
"""Intervals and paired tests, against distributions that can be written down."""

from itertools import product
from math import comb

import numpy as np
import pytest

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.stats import (
    Agreement,
    Bootstrap,
    Column,
    Interval,
    agreement,
    columns_of,
    difference,
    interval,
)
from tests.benchmark_folders import write_folder
from tests.toy_benchmark import Toy, toy_items


def all_items(n: int, rule: str | None = "items") -> list[Column]:
    return [Column("Overall", np.ones(n, dtype=bool), rule)]


def half_right(n: int) -> np.ndarray:
    return np.repeat([0.0, 1.0], n // 2)[:, None]


def binomial_quantile(n: int, q: float) -> int:
    below = 0.0
    for k in range(n + 1):
        below += comb(n, k) / 2**n
        if below >= q:
            return k
    return n


def test_single_items_give_the_binomial_interval():
    """Resampling n right-or-wrong items is drawing from Binomial(n, p); for n = 100, p = 1/2 that is 40 to 60."""
    assert (binomial_quantile(100, 0.025), binomial_quantile(100, 0.975)) == (40, 60)
    bootstrap = Bootstrap(all_items(100), ["x"] * 100, [str(i) for i in range(100)])
    values = bootstrap.replicates(half_right(100))[:, 0, 0]
    assert interval(values) == Interval(40.0, 60.0)
    assert values.std() == pytest.approx(5.0, rel=0.03)  # 100 sqrt(p (1 - p) / n); the error of 10,000 draws is 0.7 %


def test_questions_about_one_video_are_drawn_together():
    """Ten questions of one answer on each of ten videos are worth ten questions: Binomial(10, 1/2), 2 to 8 of 10."""
    assert (binomial_quantile(10, 0.025), binomial_quantile(10, 0.975)) == (2, 8)
    bootstrap = Bootstrap(all_items(100), ["x"] * 100, [str(i // 10) for i in range(100)])
    assert interval(bootstrap.replicates(half_right(100))[:, 0, 0]) == Interval(20.0, 80.0)


def test_replicates_are_the_27_resamples_of_three_videos():
    """Videos of 1, 2 and 3 questions: every outcome comes up as often as it should, for both rules."""
    groups = ["a", "b", "b", "c", "c", "c"]
    categories = ["x", "x", "y", "y", "x", "y"]
    scores = np.array([1.0, 0.25, 0.0, 1.0, 0.0, 1.0])
    columns = [*all_items(6), *all_items(6, "categories"), Column("y", np.array(categories) == "y", "items")]
    drawn = Bootstrap(columns, categories, groups).replicates(scores[:, None])[:, 0]

    expected: dict[tuple[float, ...], int] = {}
    for resample in product("abc", repeat=3):
        chosen = [i for video in resample for i in range(6) if groups[i] == video]
        of = {kind: [scores[i] for i in chosen if categories[i] == kind] for kind in "xy"}
        means = [np.mean(own) for own in of.values() if own]
        outcome = (np.mean(scores[chosen]), np.mean(means), np.mean(of["y"]) if of["y"] else -1)
        key = tuple(np.round(np.multiply(outcome, 100), 6))
        expected[key] = expected.get(key, 0) + 1
    keys, counts = np.unique(np.round(np.where(np.isnan(drawn), -100, drawn), 6), axis=0, return_counts=True)
    found = dict(zip(map(tuple, keys), counts))
    assert found.keys() == expected.keys()
    for key, times in expected.items():
        # Four standard deviations of a count at the largest of these probabilities: 4 * sqrt(0.25 / 10,000).
        assert found[key] / 10_000 == pytest.approx(times / 27, abs=0.02)


def test_the_same_seed_draws_the_same_and_readings_share_a_draw():
    bootstrap = Bootstrap(all_items(20), ["x"] * 20, [str(i) for i in range(20)])
    scores = np.random.default_rng(3).random((20, 1))
    twice = bootstrap.replicates(np.hstack([scores, scores]), 2500, seed=5)
    assert twice.shape == (2500, 2, 1)
    np.testing.assert_array_equal(twice[:, 0], twice[:, 1])
    np.testing.assert_array_equal(twice, bootstrap.replicates(np.hstack([scores, scores]), 2500, seed=5))
    # Another width of the product may sum in another order.
    np.testing.assert_allclose(twice[:, :1], bootstrap.replicates(scores, 2500, seed=5), rtol=1e-12)
    assert not np.allclose(twice[:, :1], bootstrap.replicates(scores, 2500, seed=6))


def test_resamples_without_an_item_of_a_column_do_not_count():
    """Two of three videos hold the column's items, which are right: (1/3)^3 of the draws lack them."""
    columns = [Column("rare", np.array([True, True, False]), "items"), Column("none", np.zeros(3, bool), "items")]
    drawn = Bootstrap(columns, ["x", "x", "y"], ["a", "b", "c"]).replicates(np.array([[1.0], [1.0], [0.0]]))[:, 0]
    assert np.isnan(drawn[:, 0]).mean() == pytest.approx(1 / 27, abs=0.01)
    assert interval(drawn[:, 0]) == Interval(100.0, 100.0)
    assert interval(drawn[:, 1]) == Interval(None, None)


def test_a_column_of_one_video_has_no_interval():
    """Every resample would be the same, and the interval a point."""
    columns = [*all_items(4), Column("one", np.array([True, True, False, False]), "items")]
    drawn = Bootstrap(columns, ["x"] * 4, ["a", "a", "b", "b"]).replicates(half_right(4))[:, 0]
    assert interval(drawn[:, 0]) == Interval(0.0, 100.0)
    assert interval(drawn[:, 1]) == Interval(None, None)


def test_a_difference_is_taken_within_a_draw():
    """B is right wherever A is, and on one item in ten besides: the interval is that of the ten per cent alone."""
    n = 200
    a = half_right(n)[:, 0]
    b = a.copy()
    b[:20] = 1.0
    bootstrap = Bootstrap(all_items(n), ["x"] * n, [str(i) for i in range(n)])
    drawn = bootstrap.replicates(np.stack([a, b], 1))
    found = difference(10.0, drawn[:, 0, 0], drawn[:, 1, 0])
    # Binomial(200, 0.1): standard deviation 2.12 points, so about 6 to 14 and never at zero.
    assert found.interval.low == pytest.approx(6.0, abs=0.51) and found.interval.high == pytest.approx(14.5, abs=0.51)
    assert found.p == pytest.approx(2 / 10_001)
    assert interval(drawn[:, 1, 0]).high - interval(drawn[:, 1, 0]).low > 13, "unpaired, it would drown"


def test_equal_runs_differ_by_nothing():
    values = np.linspace(20, 30, 1000)
    found = difference(0.0, values, values + 1e-13)
    assert (found.interval, found.p) == (Interval(0.0, 0.0), 1.0)
    assert difference(0.0, np.full(9, np.nan), np.full(9, np.nan)).p is None


def test_the_p_value_by_hand():
    """Of nine differences two are below and one at zero: (2 + 1 + 1) / 10, twice."""
    differences = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert difference(2.0, np.zeros(9), differences).p == pytest.approx(0.8)
    assert difference(-2.0, differences, np.zeros(9)).p == pytest.approx(0.8)


def test_agreement_counts_more_than_half_as_right():
    assert agreement([1, 1, 0, 0, 0.5, 0.6], [1, 0, 1, 0, 1.0, 0.9]) == Agreement(2, 1, 2, 1)


def test_columns_carry_their_declared_rules_and_their_items():
    columns = {column.name: column for column in columns_of(Toy(), toy_items(40))}
    assert {name: (column.rule, int(column.members.sum())) for name, column in columns.items()} == {
        "Overall": ("items", 40),
        "left": ("items", 30),
        "right": ("items", 10),
        "Mean of kinds": ("categories", 40),
    }


def test_a_column_that_follows_no_rule_has_no_interval():
    class Odd(Toy):
        rules = {"Mean of kinds": None}

        def aggregate(self, items, scores):
            return super().aggregate(items, scores) | {"Mean of kinds": 100 * float(np.mean(scores)) ** 2}

    items = toy_items(40)
    columns = columns_of(Odd(), items)
    assert [column.rule for column in columns] == ["items", "items", "items", None]
    bootstrap = Bootstrap(columns, [item["kind"] for item in items], [item["video"] for item in items])
    drawn = bootstrap.replicates(np.ones((40, 1)), 50)
    assert interval(drawn[:, 0, 0]) == Interval(100.0, 100.0)
    assert interval(drawn[:, 0, 3]) == Interval(None, None)


def by_rule(column, categories, scores):
    """A column's value by its declared rule, in [0, 1]."""
    if column.rule == "items":
        return scores[column.members].mean()
    families = {}
    for category in np.unique(categories[column.members]):
        family = category.partition("/")[0] if column.rule == "families" else category
        families.setdefault(family, []).append(scores[column.members & (categories == category)].mean())
    return np.mean([np.mean(means) for means in families.values()])


class Everything:
    """A generator that draws every group once."""

    def integers(self, low, high, size):
        return np.tile(np.arange(high), (size[0], 1))


@pytest.mark.parametrize("name", [*BENCHMARKS, "toy"])
def test_declared_rules_are_those_of_the_official_function(name, tmp_path, monkeypatch):
    """On resamples of a folder's items with random scores; official functions round to 0.01 or divide by N + 1e-6."""
    if name == "toy":
        benchmark, items = Toy(), toy_items(40)
    else:
        write_folder(name, tmp_path, 40)
        benchmark = get(name)
        items = benchmark.load(tmp_path).items
    generator = np.random.default_rng(0)
    for trial in range(4):
        drawn = [items[i] for i in generator.integers(0, len(items), len(items))] if trial else list(items)
        scores = generator.integers(0, 2, len(drawn)).astype(float)
        categories = np.array([benchmark.category(item) for item in drawn])
        official = benchmark.aggregate(drawn, scores.tolist())
        for column in columns_of(benchmark, drawn):
            if column.members.any():
                value = by_rule(column, categories, scores)
                assert official[column.name] == pytest.approx(100 * value, abs=0.006), column.name
                one = Bootstrap([column], categories, [str(i) for i in range(len(drawn))])
                monkeypatch.setattr(np.random, "default_rng", lambda seed: Everything())
                drawn_once = one.replicates(scores[:, None], 1)[0, 0, 0]
                monkeypatch.undo()
                assert np.isnan(drawn_once) or drawn_once == pytest.approx(100 * value)
