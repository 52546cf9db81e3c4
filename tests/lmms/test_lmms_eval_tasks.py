# SPDX-License-Identifier: Apache-2.0
"""The external tasks, in the real lmms-eval: loaded, asked and scored. `make test-lmms` runs this.

lmms-eval has an environment of its own, since beside the product it would move the product's packages.
"""

import json
import os
import subprocess
import sys
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from rgpt4d_plugin.eval_hooks import lmms_eval_tasks
from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError
from rgpt4d_plugin.eval_hooks.reply_formats import read_replies
from rgpt4d_plugin.eval_hooks.scoring import score_replies
from tests.benchmark_folders import write_folder


pytest.importorskip("lmms_eval", reason="lmms-eval has an environment of its own: make test-lmms")

from lmms_eval.api.model import lmms
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.loggers import EvaluationTracker
from lmms_eval.tasks import TaskManager


FOLDER = Path(lmms_eval_tasks.__path__[0])
TASKS = {
    "r4d_bench": ("r4d_bench", "direct"),
    "sti_bench": ("sti_bench", "direct"),
    "vlm4d": ("vlm4d", "direct"),
    "vlm4d_cot": ("vlm4d", "cot"),
    "vsti_bench": ("vsti_bench", "direct"),
}
ITEMS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Benchmark -> its folder, which the environment names; lmms-eval's own cache is out of the way."""
    root = tmp_path_factory.mktemp("benchmarks")
    names = sorted({name for name, _ in TASKS.values()})
    for name in names:
        write_folder(name, root / name, ITEMS)
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(f"RGPT4D_{name.upper()}", str(root / name))
        patch.setenv("LMMS_EVAL_DATASETS_CACHE", str(root / "cache"))
        yield {name: get(name).load(root / name) for name in names}


@pytest.fixture(scope="module")
def manager(data):
    return TaskManager(include_path=str(FOLDER), include_defaults=False)


def reply_to(item, benchmark, number):
    """Right for both readings, for one of them, wrong, empty or unreadable, in turn; with blanks around it."""
    gold = benchmark.gold(item)
    forms = (gold, f"A guess: the answer is ({gold}).", gold.lower(), "B", "", "hard to say\n\nreally")
    return f"\n{forms[number % 6]}  \n"


class Scripted(lmms):
    """Gives the prepared replies, and remembers what it was asked."""

    def __init__(self, simple, replies):
        super().__init__()
        self.is_simple, self.replies, self.asked = simple, replies, {}

    def generate_until(self, requests):
        found = []
        for request in requests:
            if self.is_simple:
                text, options, doc_to_visual, number, task, split = request.args
                doc = self.task_dict[task][split][number]
                content = (doc_to_visual(doc), text)
            else:
                _, doc_to_messages, options, number, task, split = request.args
                doc = self.task_dict[task][split][number]
                (message,) = doc_to_messages(doc)
                content = message["content"]
            self.asked[doc["key"]] = (content, options)
            found.append(self.replies[doc["key"]])
        return found

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


@pytest.fixture(scope="module")
def evaluate(manager, data):
    """Runs lmms-eval's own evaluator on a task, once: results, model, and replies by key."""

    @cache
    def evaluate(task, simple=True):
        name, _ = TASKS[task]
        benchmark, items = get(name), data[name].items
        replies = {benchmark.key(item): reply_to(item, benchmark, number) for number, item in enumerate(items)}
        model = Scripted(simple, replies)
        results = simple_evaluate(
            model=model, tasks=[task], task_manager=manager, batch_size=1, bootstrap_iters=0, log_samples=True
        )
        return results, model, replies

    return evaluate


def test_the_folder_has_these_tasks(manager):
    assert manager.all_subtasks == sorted(TASKS)
    assert sorted(manager.task_index["rgpt4d"]["task"]) == sorted(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_columns_are_those_of_the_benchmark(evaluate, data, task):
    name, style = TASKS[task]
    benchmark, items = get(name), data[name].items
    results, _, replies = evaluate(task)
    found = {
        key.removesuffix(",none"): value
        for key, value in results["results"][task].items()
        if key.endswith(",none") and "_stderr" not in key
    }
    # lmms-eval strips replies before any task sees them.
    scores = [benchmark.score(item, replies[benchmark.key(item)].strip(), style) for item in items]
    expected = {}
    for reading in ("official", "strict", *scores[0].columns):
        values = [s.columns[reading] if reading in s.columns else getattr(s, reading) for s in scores]
        present = {column for column, of in benchmark.by_column(items, values).items() if of}
        columns = benchmark.aggregate(items, values)
        expected |= {f"{reading}_{column}": columns[column] for column in benchmark.columns if column in present}
    assert found == pytest.approx(expected)
    # These replies can tell the readings apart, and neither all nor none of them are right.
    overall = "Avg" if name == "r4d_bench" else "Overall"
    assert 0 < found[f"official_{overall}"] < found[f"strict_{overall}"] < 100


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("simple", [True, False], ids=["simple", "chat"])
def test_what_models_are_asked(evaluate, data, task, simple):
    name, style = TASKS[task]
    benchmark, folder = get(name), data[name].folder
    _, model, _ = evaluate(task, simple)
    assert list(model.asked) == [benchmark.key(item) for item in data[name].items]
    for item in data[name].items:
        content, options = model.asked[benchmark.key(item)]
        if simple:
            visuals, text = content
        else:
            *visuals, last = content
            assert last["type"] == "text"
            kinds, text = [part["type"] for part in visuals], last["text"]
            visuals = [part["url"] for part in visuals]
            assert kinds == [medium.kind for medium in benchmark.media(item, folder)]
        assert text == benchmark.prompt(item, style)
        media = benchmark.media(item, folder)
        assert len(visuals) == len(media)
        for visual, medium in zip(visuals, media):
            if medium.kind == "image":
                assert isinstance(visual, Image.Image) and visual.mode == "RGB"
            else:
                assert visual == str(medium.path) and Path(visual).is_file()
        assert options["max_new_tokens"] == benchmark.token_limit(style)
        assert options["until"] == [] and options["temperature"] == 0 and options["do_sample"] is False


def test_standard_errors_are_of_percentages_and_of_videos(evaluate, data):
    results, _, _ = evaluate("r4d_bench")
    found = results["results"]["r4d_bench"]
    scores = [sample["official_Avg"]["score"] for sample in results["samples"]["r4d_bench"]]
    mean = sum(scores) / ITEMS
    naive = 100 * (sum((score - mean) ** 2 for score in scores) / (ITEMS - 1) / ITEMS) ** 0.5
    assert found["official_Avg_stderr_clt,none"] == pytest.approx(naive)
    assert isinstance(found["official_Avg_stderr_clustered,none"], float)
    groups = {sample["official_Avg"]["group"] for sample in results["samples"]["r4d_bench"]}
    assert groups == {get("r4d_bench").group(item) for item in data["r4d_bench"].items}


@pytest.mark.parametrize("task", TASKS)
def test_logged_samples_are_scored_the_same_elsewhere(evaluate, data, tmp_path, task):
    name, style = TASKS[task]
    results, _, replies = evaluate(task)
    tracker = EvaluationTracker(output_path=str(tmp_path))
    tracker.general_config_tracker.model_name_sanitized = "scripted"
    tracker.save_results_aggregated(results=results, samples=results["samples"], datetime_str="now")
    # Saving takes the samples apart.
    tracker.save_results_samples(task_name=task, samples=deepcopy(results["samples"][task]))
    (path,) = tmp_path.rglob("*.jsonl")

    read = read_replies(path, get(name), data[name])
    assert read.format == "lmms-eval"
    assert {key: reply.text.strip() for key, reply in read.replies.items()} == {
        key: reply.strip() for key, reply in replies.items()
    }
    result = score_replies(get(name), data[name], read.replies, style=style, settings=read.settings)
    for reading, columns in result.columns.items():
        for column in get(name).columns:
            if columns[column].items:
                assert results["results"][task][f"{reading}_{column},none"] == columns[column].value


def run(tmp_path, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "lmms_eval", "--model", "dummy", "--model_args", "response=B", "--batch_size", "1"]
        + ["--log_samples", "--output_path", str(tmp_path), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_finds_the_folder(data, tmp_path):
    result = run(tmp_path, "--tasks", "rgpt4d", "--include_path", str(FOLDER))
    samples = {path.name.split("_samples_")[1]: path for path in tmp_path.rglob("*_samples_*.jsonl")}
    assert sorted(samples) == sorted(f"{task}.jsonl" for task in TASKS), result.stdout + result.stderr
    for task, (name, _) in TASKS.items():
        read = read_replies(samples[f"{task}.jsonl"], get(name), data[name])
        assert len(read.replies) == ITEMS and {reply.text for reply in read.replies.values()} == {"B"}
    (table,) = (json.loads(path.read_text()) for path in tmp_path.rglob("*_results.json"))
    items = data["vlm4d"].items
    official = get("vlm4d").aggregate(items, [get("vlm4d").score(item, "B") for item in items])
    assert table["results"]["vlm4d"]["official_Overall,none"] == official["Overall"]


def test_the_command_finds_the_plugin(data, tmp_path):
    result = run(tmp_path, "--tasks", "vlm4d", "--limit", "2", LMMS_EVAL_PLUGINS=lmms_eval_tasks.__name__)
    assert list(tmp_path.rglob("*_samples_vlm4d.jsonl")), result.stdout + result.stderr


def test_the_readings_of_a_benchmark_are_its_metrics(data):
    utils = import_module(f"{lmms_eval_tasks.__name__}.tasks.utils")
    for name in data:
        benchmark = get(name)
        readings = ("official", "strict", *benchmark.score(data[name].items[0], "B").columns)
        assert [metric["metric"] for metric in getattr(utils, f"{name}_metrics")] == [
            f"{reading}_{column}" for reading in readings for column in benchmark.columns
        ]


def test_without_a_folder_the_benchmark_comes_from_the_hub(monkeypatch, tmp_path):
    utils = import_module(f"{lmms_eval_tasks.__name__}.tasks.utils")
    asked = []

    def download(repository, local_dir, **options):
        asked.append((repository, Path(local_dir)))
        write_folder("vlm4d", Path(local_dir), 4)

    monkeypatch.delenv("RGPT4D_VLM4D", raising=False)
    monkeypatch.setattr(utils, "HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    utils.load.cache_clear()
    assert len(utils.load("vlm4d").items) == 4
    assert asked == [("shijiezhou/VLM4D", tmp_path / "rgpt4d_benchmarks/vlm4d")]
    utils.load.cache_clear()
    monkeypatch.setenv("RGPT4D_VLM4D", str(tmp_path / "nowhere"))
    with pytest.raises(BenchmarkDataError, match="there is no folder .*nowhere"):
        utils.load("vlm4d")
