# SPDX-License-Identifier: Apache-2.0
"""The `p4d_eval:` block: what it means, what is refused, and the host keys that follow from it."""

import pytest

from rgpt4d_plugin.eval_hooks.arguments import (
    EvalConfigError,
    Evaluation,
    key_prefix,
    metric_keys,
    parse_p4d_eval,
    schedule,
)
from rgpt4d_plugin.eval_hooks.benchmark_task import BenchmarkTask
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from tests.benchmark_folders import write_folder


TRAINING = {"do_train": True}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmarks")
    for name in ("r4d_bench", "sti_bench"):
        write_folder(name, root / name, items=6)
    return {name: str(root / name) for name in ("r4d_bench", "sti_bench")}


def parse(block, recipe=None) -> Evaluation:
    return parse_p4d_eval(block, recipe or TRAINING)


def problems(call, *args) -> list[str]:
    with pytest.raises(EvalConfigError) as caught:
        call(*args)
    first, *found = str(caught.value).split("\n  - ")
    assert first == f"The `p4d_eval:` block of the recipe has {len(found)} problem(s):"
    return found


# What a block means


def test_defaults_are_the_benchmarks_own(folders):
    (questionnaire,) = parse({"benchmarks": {"r4d_bench": folders["r4d_bench"]}}).questionnaires
    assert questionnaire.benchmark is get("r4d_bench")
    assert (questionnaire.style, questionnaire.frames, questionnaire.max_new_tokens) == ("direct", 16, 16)
    assert (questionnaire.limit, questionnaire.seed, len(questionnaire.questions)) == (None, 0, 6)


def test_a_benchmarks_own_options_win_over_the_blocks(folders):
    block = {
        "benchmarks": {"r4d_bench": folders["r4d_bench"], "sti_bench": {"data": folders["sti_bench"], "limit": 2}},
        "limit": 4,
        "frames": 8,
        "max_new_tokens": 3,
    }
    r4d, sti = parse(block).questionnaires
    assert (len(r4d.questions), len(sti.questions)) == (4, 2)
    assert {(q.frames, q.max_new_tokens) for q in (*r4d.questions, *sti.questions)} == {(8, 3)}
    assert parse(block).size == 6


def test_a_list_says_the_same_as_a_mapping(folders):
    mapping = {name: {"data": folder, "frames": 4} for name, folder in folders.items()}
    listed = [{"name": name, "data": folder, "frames": 4} for name, folder in folders.items()]
    ways = [[q.settings for q in parse({"benchmarks": way}).questionnaires] for way in (mapping, listed)]
    assert ways[0] == ways[1]


def test_questions_carry_key_prompt_and_media(folders):
    (questionnaire,) = parse({"benchmarks": {"r4d_bench": folders["r4d_bench"]}}).questionnaires
    benchmark, item = questionnaire.benchmark, questionnaire.items[0]
    question = questionnaire.questions[0]
    assert (question.key, question.prompt) == (benchmark.key(item), benchmark.prompt(item, "direct"))
    assert [medium.kind for medium in question.media] == ["image", "video"]
    assert [medium.kind for medium in question.media] == ["image", "video"]


def test_the_sample_is_the_same_everywhere_and_another_with_another_seed(folders):
    def keys(**options):
        block = {"benchmarks": {"r4d_bench": folders["r4d_bench"]}, "limit": 3, **options}
        return [question.key for question in parse(block).questionnaires[0].questions]

    assert keys() == keys()
    assert {tuple(keys(seed=seed)) for seed in range(8)} > {tuple(keys())}


def test_settings_tell_runs_apart(folders):
    def settings(**options):
        return parse({"benchmarks": {"r4d_bench": folders["r4d_bench"]}, **options}).questionnaires[0].settings

    assert settings() == settings(batch_size=4, workers=0)
    for options in ({"frames": 8}, {"limit": 3}, {"max_new_tokens": 4}):
        assert settings(**options) != settings()
    assert settings(limit=3)["items"] != settings()["items"]


# What is refused


def test_all_problems_are_said_at_once(folders, tmp_path):
    block = {
        "benchmarks": {
            "r4d_bensh": folders["r4d_bench"],
            "sti_bench": {"data": str(tmp_path / "nowhere"), "style": None},
            "vlm4d": {"folder": "x"},
            "sat": 7,
        },
        "evry": 10,
        "batch_size": 0,
    }
    found = problems(parse, block)
    # Options of the block are in doubt, and so no data is read; nothing is said twice.
    assert found == [
        "p4d_eval.evry: unknown key; did you mean 'every'?",
        "p4d_eval.batch_size: expected a value >= 1, got 0",
        "p4d_eval.benchmarks.sat: expected a mapping such as {r4d_bench: FOLDER}, or a list of mappings with `name` "
        "and `data`, got 7",
        "p4d_eval.benchmarks.r4d_bensh: unknown benchmark 'r4d_bensh'; did you mean 'r4d_bench'?",
        "p4d_eval.benchmarks.vlm4d.folder: unknown key; known keys: data, style, frames, limit, max_new_tokens",
        "p4d_eval.benchmarks.vlm4d.data: missing",
    ]


def test_the_data_of_all_benchmarks_is_checked(folders, tmp_path):
    write_folder("vlm4d", tmp_path / "vlm4d", items=4)
    video = next((tmp_path / "vlm4d").rglob("*.mp4"))
    video.unlink()
    nowhere, incomplete, small = problems(
        parse,
        {
            "benchmarks": [
                {"name": "r4d_bench", "data": str(tmp_path / "nowhere")},
                {"name": "vlm4d", "data": str(tmp_path / "vlm4d")},
                {"name": "sti_bench", "data": folders["sti_bench"], "limit": 7},
            ]
        },
    )
    assert nowhere.startswith("p4d_eval.benchmarks[0]: ") and str(tmp_path / "nowhere") in nowhere
    assert incomplete.startswith("p4d_eval.benchmarks[1]: ") and video.name in incomplete
    assert small == "p4d_eval.benchmarks[2]: limit is 7, but STI-Bench has 6 items here."


@pytest.mark.parametrize("benchmarks", [None, {}, [], "r4d_bench", ["r4d_bench"]])
def test_benchmarks_must_be_named(benchmarks):
    (found,) = problems(parse, {"benchmarks": benchmarks})
    assert found.startswith("p4d_eval.benchmarks") and "expected a mapping such as {r4d_bench: FOLDER}" in found


def test_an_entry_of_a_list_has_a_name():
    (found,) = problems(parse, {"benchmarks": [{"data": "x"}]})
    assert found.startswith("p4d_eval.benchmarks[0].name: missing; one of r4d_bench, sti_bench")


def test_a_block_is_a_mapping():
    assert problems(parse, ["r4d_bench"]) == ["p4d_eval: expected a mapping, got ['r4d_bench']"]


def test_a_benchmark_is_named_once(folders):
    entry = {"name": "r4d_bench", "data": folders["r4d_bench"]}
    assert problems(parse, {"benchmarks": [entry, entry]}) == ["p4d_eval.benchmarks[1]: r4d_bench is named twice"]


def test_an_unknown_style_is_refused_with_those_that_exist(folders):
    (found,) = problems(parse, {"benchmarks": {"r4d_bench": {"data": folders["r4d_bench"], "style": "poem"}}})
    assert "R4D-Bench has no prompt style 'poem' (known: direct" in found


@pytest.mark.parametrize(
    ("options", "recipe", "expected"),
    [
        ({"benchmark": {}}, {}, "p4d_eval.benchmark: unknown key; did you mean 'benchmarks'?"),
        ({"limit": "1e400"}, {}, "p4d_eval.limit: expected a finite number"),
        ({"batch_size": 10**400}, {}, "p4d_eval.batch_size: expected a finite number"),
        ({}, {"val_size": "abc"}, "val_size: expected a number, got 'abc'"),
        ({}, {"val_size": [0.1]}, "val_size: expected a number, got [0.1]"),
    ],
)
def test_keys_and_numbers_that_cannot_be_meant(folders, options, recipe, expected):
    (found,) = problems(parse, {"benchmarks": {"r4d_bench": folders["r4d_bench"]}, **options}, {**TRAINING, **recipe})
    assert found.startswith(expected)


# Keys in the logs


def test_keys_are_named_after_benchmark_and_column(folders):
    keys = parse({"benchmarks": folders}).keys
    assert {"eval_r4d_avg", "eval_r4d_avg_strict", "eval_r4d_sta", "eval_sti_overall", "eval_sti_indoor"} <= set(keys)
    assert "eval_sti_ego_centric_orientation_strict" in keys
    # Columns that no question here counts for have no number worth a log.
    assert "eval_r4d_dp" not in keys


def test_no_two_columns_share_a_key():
    class Whole:
        def __init__(self, benchmark):
            self.benchmark, self.columns = benchmark, benchmark.columns

    keys = [key for benchmark in map(get, BENCHMARKS) for key in metric_keys(Whole(benchmark)).values()]
    assert len(keys) == len(set(keys)) > 100
    prefixes = [key_prefix(benchmark) for benchmark in map(get, BENCHMARKS)]
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)


# The host's own keys


def evaluation(folders, recipe=None, **options):
    return parse({"benchmarks": {"r4d_bench": folders["r4d_bench"]}, **options}, recipe)


def test_every_is_the_hosts_schedule(folders):
    assert schedule(TRAINING, evaluation(folders, every=5)) == {
        **TRAINING,
        "eval_strategy": "steps",
        "eval_steps": 5,
    }
    assert schedule(TRAINING, evaluation(folders)) == TRAINING
    own = {**TRAINING, "eval_strategy": "steps", "eval_steps": 5}
    assert schedule(own, evaluation(folders, every=5)) == own
    records = {**own, "eval_dataset": "mine"}
    for every in (None, 5, 10):
        assert schedule(records, evaluation(folders, records, every=every)) == records


@pytest.mark.parametrize(
    ("recipe", "options", "found"),
    [
        (
            {"eval_strategy": "epoch"},
            {"every": 5},
            "eval_strategy: epoch: p4d_eval.every counts steps; use eval_strategy: steps",
        ),
        (
            {"eval_strategy": "steps", "eval_steps": 4, "val_size": 0.1},
            {"every": 6},
            "p4d_eval.every: 6: benchmarks are part of the host's evaluations, so it must be a multiple of "
            "eval_steps, which is 4",
        ),
        (
            {"eval_strategy": "steps", "val_size": 0.1},
            {"every": 6},
            "p4d_eval.every: 6: benchmarks are part of the host's evaluations, so it must be a multiple of "
            "eval_steps, which is None",
        ),
        (
            {"eval_strategy": "steps", "eval_steps": 4},
            {"every": 8},
            "p4d_eval.every: 8: without records of its own (eval_dataset, val_size) the host has nothing else to "
            "evaluate; set it to eval_steps, which is 4",
        ),
        ({"eval_steps": 4}, {"every": 5}, "eval_steps: 4: contradicts p4d_eval.every: 5; remove it"),
        (
            {"eval_on_each_dataset": True},
            {},
            "eval_on_each_dataset: true: not supported together with `p4d_eval:`; remove it",
        ),
        (
            {"do_train": False},
            {},
            "do_train, do_predict: one of them must be true: train and evaluate, or evaluate a model",
        ),
        (
            {"do_train": False, "do_predict": True},
            {"every": 5},
            "p4d_eval.every: 5: nothing is trained; remove it",
        ),
        (
            {"metric_for_best_model": "r4d_avrg"},
            {"every": 5},
            "metric_for_best_model: no evaluation of this recipe has 'eval_r4d_avrg'; did you mean 'eval_r4d_avg'?",
        ),
        (
            {"metric_for_best_model": "r4d_avg"},
            {},
            "metric_for_best_model: r4d_avg: every evaluation must have it: set p4d_eval.every to eval_steps, which "
            "is None",
        ),
        (
            {
                "metric_for_best_model": "eval_r4d_avg",
                "eval_strategy": "steps",
                "eval_steps": 5,
                "eval_dataset": "mine",
            },
            {"every": 10},
            "metric_for_best_model: eval_r4d_avg: every evaluation must have it: set p4d_eval.every to eval_steps, "
            "which is 5",
        ),
    ],
)
def test_contradictions_are_refused(folders, recipe, options, found):
    recipe = {**TRAINING, **recipe}
    assert problems(schedule, recipe, evaluation(folders, recipe, **options)) == [found]


def test_the_best_model_is_chosen_by_a_number_that_exists(folders):
    without = {**TRAINING, "load_best_model_at_end": True}
    (found,) = problems(schedule, without, evaluation(folders, every=5))
    assert found.startswith("metric_for_best_model: no evaluation of this recipe has 'eval_loss' (known: eval_r4d_avg")
    # With records of its own the host has a loss.
    records = {**without, "val_size": 0.1}
    assert schedule(records, evaluation(folders, records, every=5))["eval_steps"] == 5
    for metric in ("r4d_avg", "eval_r4d_avg_strict"):
        chosen = {**without, "metric_for_best_model": metric, "eval_strategy": "steps", "eval_steps": 5}
        assert schedule(chosen, evaluation(folders, every=5)) == chosen


def test_a_questionnaire_needs_no_recipe(folders):
    questionnaire = BenchmarkTask.prepare(get("sti_bench"), folders["sti_bench"], limit=2, seed=1)
    assert len(questionnaire.questions) == len(questionnaire.items) == 2
    assert questionnaire.settings["data"] == folders["sti_bench"]
