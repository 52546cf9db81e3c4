# SPDX-License-Identifier: Apache-2.0
"""The figures of docs/evidence.md are those of the stored results."""

import re
from pathlib import Path

import pytest

from rgpt4d_plugin.evidence.arms import ARMS
from rgpt4d_plugin.evidence.results import Estimate
from rgpt4d_plugin.files import read_json


DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def stored():
    """Results of preset tiny, which the README quotes, and of preset relations."""
    return [read_json(DOCS / "evidence" / f"{name}.json", "") for name in ("results", "relations")]


def _rows(stored):
    """The rows of the tables as they follow from the results."""
    for arms in stored["results"].values():
        for arm, found in arms.items():
            lead = Estimate(**found["lead"]).signed() if found["lead"] else ""
            seeds = str(len(found["seeds"]))
            yield [ARMS[arm].title, seeds, str(Estimate(**found["accuracy"])), lead]
            yield [ARMS[arm].title, *(str(Estimate(**value)) for value in found["categories"].values())]
    for name, values in stored["blind"].items():
        kinds = next(iter(next(iter(stored["results"].values())).values()))["categories"]
        yield [name, *(f"{values[kind]:.1f}" for kind in kinds)]


def test_tables_are_those_of_the_results(stored):
    page = (DOCS / "evidence.md").read_text()
    table = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines() if "|" in line}
    expected = {tuple(row) for one in stored for row in _rows(one)}
    assert expected <= table
    # And no other figures in tables.
    assert {row for row in table if any(re.search(r"\d\.\d", cell) for cell in row[1:])} <= expected


def test_conclusions_are_those_of_the_results(stored):
    page = " ".join((DOCS / "evidence.md").read_text().split())
    assert all(line in page for one in stored for line in one["conclusions"])


def test_page_says_when_and_on_what(stored):
    page = (DOCS / "evidence.md").read_text()
    assert all(one["date"] in page and one["hardware"] in page for one in stored)


def test_the_readme_has_the_same_figures(stored):
    leads = {
        Estimate(**found["lead"]).signed()
        for arms in stored[0]["results"].values()
        for found in arms.values()
        if found["lead"]
    }
    quoted = set(re.findall(r"[+-]\d+\.\d ± \d+\.\d", (DOCS.parent / "README.md").read_text()))
    assert Estimate(**stored[0]["results"]["one"]["explicit"]["lead"]).signed() in quoted <= leads
