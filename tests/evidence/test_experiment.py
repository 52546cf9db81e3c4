# SPDX-License-Identifier: Apache-2.0
"""The experiment itself, with two steps an arm: rendered, trained through the host, asked, reported and drawn."""

from dataclasses import replace

import pytest

from rgpt4d_plugin.evidence.arms import PRESETS, Run
from rgpt4d_plugin.evidence.maps import draw_maps
from rgpt4d_plugin.evidence.report import write_report
from rgpt4d_plugin.evidence.run import run_experiment
from rgpt4d_plugin.files import read_json


@pytest.mark.slow
def test_from_nothing_to_the_page(tmp_path, monkeypatch):
    small = replace(PRESETS["tiny"], train=40, test=20, asked=2, steps=2, batch=2, evaluations=1)
    monkeypatch.setitem(PRESETS, "tiny", small)
    runs = [Run("sft", "one", 1), Run("pixels", "one", 1)]
    run_experiment(tmp_path, "tiny", runs)

    results = [read_json(tmp_path / "runs" / run.name / "result.json", "") for run in runs]
    asked = [result["curve"][-1]["questions"] for result in results]
    assert asked[0] == asked[1] and set(asked[0].values()) == {2} and len(asked[0]) > 4
    assert [set(result["losses"][-1]) & {"loss_sft", "loss_flow"} for result in results] == [
        set(),
        {"loss_sft", "loss_flow"},
    ]
    # The first step of both arms: the same answers to the same questions by the same weights.
    first = [result["losses"][0] for result in results]
    assert first[0]["loss"] == pytest.approx(first[1]["loss_sft"], rel=1e-5)

    assert draw_maps(tmp_path, small, runs[1]).stat().st_size > 10_000
    page = write_report(tmp_path, "a machine").read_text()
    assert "fine-tuning alone" in page and "nothing follows about others" in page and "maps_one-pixels-1" in page
    assert read_json(tmp_path / "results.json", "")["hardware"] == "a machine"


@pytest.mark.slow
@pytest.mark.further
def test_a_step_of_the_preset_for_a_gpu(tmp_path, monkeypatch):
    """At its own sizes but for the numbers of clips, steps and questions: on a CPU, so in float32."""
    one_step = {"train": 12, "test": 6, "asked": 1, "steps": 1, "batch": 1, "evaluations": 1, "save_every": None}
    monkeypatch.setitem(PRESETS, "gpu", replace(PRESETS["gpu"], **one_step, host={}))
    run = Run("explicit", "one", 1)
    run_experiment(tmp_path, "gpu", [run])
    (line,) = read_json(tmp_path / "runs" / run.name / "result.json", "")["losses"]
    assert all(line[name] > 0 for name in ("loss_sft", "loss_depth", "loss_flow", "loss_motion"))
