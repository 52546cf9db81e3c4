# SPDX-License-Identifier: Apache-2.0
"""Statistics of the finished runs: means over seeds with 95 % intervals, and paired differences.

A seed is what an interval is over: the same seed of two arms has the same weights, records and order, so their
difference is taken seed by seed. Intervals are Student's.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rgpt4d_plugin.evidence.arms import ALL, ARMS, BASE_ARM, REGIMES
from rgpt4d_plugin.files import read_json


# 97.5 % quantiles of Student's t by degrees of freedom; more than ten seeds are taken as ten.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in percent or percentage points.

    Attributes:
        value: The mean.
        half: Half of the 95 % interval; None of a single seed.
        seeds: How many.
    """

    value: float
    half: float | None
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """Of one value a seed."""
        n = len(values)
        half = None if n < 2 else _T[min(n - 2, len(_T) - 1)] * stdev(values) / math.sqrt(n)
        return cls(fmean(values), half, n)

    @property
    def low(self) -> float | None:
        """End of the interval."""
        return None if self.half is None else self.value - self.half

    @property
    def high(self) -> float | None:
        """The other end."""
        return None if self.half is None else self.value + self.half

    @property
    def side(self) -> int | None:
        """1 or -1 where the interval is above or below zero, 0 where it holds zero; None without one."""
        if self.half is None:
            return None
        return int(self.value > self.half) - int(self.value < -self.half)

    def __str__(self) -> str:
        return f"{self.value:.1f}" + ("" if self.half is None else f" ± {self.half:.1f}")

    def signed(self) -> str:
        """With its sign, for a difference."""
        return f"{self.value:+.1f}" + ("" if self.half is None else f" ± {self.half:.1f}")


@dataclass(frozen=True)
class Results:
    """All finished runs of an experiment, as `read` finds them.

    Attributes:
        runs: (regime, arm, seed) -> the run's `result.json`.
    """

    runs: Mapping[tuple[str, str, int], Mapping[str, Any]]

    @classmethod
    def read(cls, root: Path) -> "Results":
        """Reads every `result.json` of an experiment's folder."""
        found = {}
        for path in sorted((root / "runs").glob("*/result.json")):
            run = read_json(path, "delete it, and the run is made again")
            found[run["regime"], run["arm"], run["seed"]] = run
        return cls(found)

    @property
    def regimes(self) -> list[str]:
        """Those with runs."""
        return [regime for regime in REGIMES if any(key[0] == regime for key in self.runs)]

    def arms(self, regime: str) -> list[str]:
        """Those with runs, in the order of `ARMS`."""
        return [arm for arm in ARMS if any(key[:2] == (regime, arm) for key in self.runs)]

    def seeds(self, regime: str, *arms: str) -> list[int]:
        """Seeds of which all of these arms have a run."""
        every = [{seed for r, a, seed in self.runs if (r, a) == (regime, arm)} for arm in arms]
        return sorted(set.intersection(*every)) if every else []

    def categories(self) -> list[str]:
        """Names of the categories, in the order of the results."""
        return next((list(run["curve"][-1]["accuracy"]) for run in self.runs.values()), [])

    def value(self, regime: str, arm: str, seed: int, category: str = ALL, at: int = -1) -> float:
        """Right answers of a run in percent, at its evaluation number `at`."""
        point = self.runs[regime, arm, seed]["curve"][at]
        accuracy = point["accuracy"]
        if category != ALL:
            return accuracy[category]
        return fmean(accuracy.values(), [point["questions"][kind] for kind in accuracy])

    def steps(self, regime: str, arm: str) -> list[int]:
        """Steps of an arm's evaluations."""
        seed = self.seeds(regime, arm)[0]
        return [point["step"] for point in self.runs[regime, arm, seed]["curve"]]

    def estimate(self, regime: str, arm: str, category: str = ALL, at: int = -1) -> Estimate:
        """Mean over an arm's seeds."""
        return Estimate.of([self.value(regime, arm, seed, category, at) for seed in self.seeds(regime, arm)])

    def difference(
        self, regime: str, arm: str, category: str = ALL, at: int = -1, other: str = BASE_ARM
    ) -> Estimate | None:
        """Mean over seeds of an arm's lead over another; None for itself, and without a seed that both have."""
        seeds = self.seeds(regime, arm, other)
        if arm == other or not seeds:
            return None
        return Estimate.of(
            [self.value(regime, arm, s, category, at) - self.value(regime, other, s, category, at) for s in seeds]
        )


ARMS_HEADER = ("arm", "seeds", "all questions", "lead over fine-tuning alone")


def arm_rows(results: Results, regime: str) -> list[list[str]]:
    """What stands below `ARMS_HEADER`, a row for each arm of a regime."""
    rows = []
    for arm in results.arms(regime):
        lead = results.difference(regime, arm)
        seeds = len(results.seeds(regime, arm))
        rows.append([ARMS[arm].title, str(seeds), str(results.estimate(regime, arm)), lead.signed() if lead else ""])
    return rows


def overview(results: Results) -> str:
    """The tables of all regimes, in percent of right answers, for a terminal."""
    lines = []
    for regime in results.regimes:
        rows = [ARMS_HEADER, *arm_rows(results, regime)]
        lines += [f"\n{REGIMES[regime].capitalize()}: right answers to held-out questions, %\n"]
        lines += [f"{row[0]:<42}{row[1]:>6}{row[2]:>16}{row[3]:>30}".rstrip() for row in rows]
        if any(len(results.seeds(regime, arm)) == 1 for arm in results.arms(regime)):
            lines += ["\nOne seed says nothing of others: a lead has an interval with --seeds 2 or more."]
    return "\n".join(lines)


def conclusions(results: Results) -> list[str]:
    """What the numbers say, in words; nothing else decides about them."""
    lines = []
    for regime in results.regimes:
        given = REGIMES[regime]
        for arm in results.arms(regime):
            if (lead := results.difference(regime, arm)) is None:
                continue
            lines.append(f"With {given}, {ARMS[arm].title}: {_verdict(lead)}.")
            if arm == "explicit":
                lines += _by_category(results, regime, arm)
    return lines


def _verdict(lead: Estimate) -> str:
    points = f"{lead.signed()} points against fine-tuning alone, {lead.seeds} seed{'s' if lead.seeds > 1 else ''}"
    if lead.side is None:
        return f"{points}, from which nothing follows about others"
    if lead.side == 0:
        return f"{points}; the interval holds zero, so no difference is shown"
    return f"{points}; the interval is {'above' if lead.side > 0 else 'below'} zero"


def _by_category(results: Results, regime: str, arm: str) -> list[str]:
    found: dict[int, list[str]] = {1: [], -1: [], 0: []}
    for category in results.categories():
        lead = results.difference(regime, arm, category)
        if lead is None or lead.side is None:
            return []
        found[lead.side].append(f"{category} {lead.signed()}")
    parts = {"better in": found[1], "worse in": found[-1], "no difference shown in": found[0]}
    return ["By kind of question: " + "; ".join(f"{what} {', '.join(a)}" for what, a in parts.items() if a) + "."]


def summary(results: Results) -> dict[str, Any]:
    """The figures as JSON, which documents quote."""
    table: dict[str, Any] = {}
    for regime in results.regimes:
        for arm in results.arms(regime):
            lead = results.difference(regime, arm)
            table.setdefault(regime, {})[arm] = {
                "accuracy": _rounded(results.estimate(regime, arm)),
                "lead": lead and _rounded(lead),
                "categories": {name: _rounded(results.estimate(regime, arm, name)) for name in results.categories()},
                "seeds": results.seeds(regime, arm),
                "curve": {
                    str(step): _rounded(results.estimate(regime, arm, at=at))
                    for at, step in enumerate(results.steps(regime, arm))
                },
            }
    return table


def _rounded(estimate: Estimate) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(estimate)), parse_float=lambda text: round(float(text), 2))
