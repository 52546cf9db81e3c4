# SPDX-License-Identifier: Apache-2.0
"""The task folder for lmms-eval's own repository stands alone, and asks and scores as this package does."""

import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgpt4d_plugin.eval_hooks.benchmarks import get
from tests.benchmark_folders import write_folder


FOLDER = Path(__file__).parents[2] / "examples/submissions/lmms_eval/video_4d"
TASKS = {"r4d_bench": "direct", "vlm4d": "direct", "vlm4d_cot": "cot", "vsti_bench": "direct"}
PIECES = st.sampled_from(
    [*"ABCDE", "(B)", "b.", "answer is ", "Answer: ", "The best answer is", "\n", " ", "1.5", "2 m"]
)
REPLIES = st.lists(PIECES, max_size=6).map("".join)


@pytest.fixture(scope="module")
def utils():
    spec = importlib.util.spec_from_file_location("video_4d_utils", FOLDER / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert "rgpt4d" not in (FOLDER / "utils.py").read_text().replace("4D-RGPT", "")
    return module


@pytest.fixture(scope="module")
def root(tmp_path_factory, utils):
    """Folders under the names that the task looks for."""
    root = tmp_path_factory.mktemp("video_4d")
    for name, hub in utils.HUBS.items():
        write_folder(name, root / hub.split("/")[1], 18)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEO_4D", str(root))
        yield root


def folder_of(utils, root, name):
    return root / utils.HUBS[name].split("/")[1]


@pytest.mark.parametrize("task", TASKS)
def test_questions_are_those_of_the_package(utils, root, task):
    name = task.removesuffix("_cot")
    benchmark, data = get(name), get(name).load(folder_of(utils, root, name))
    documents = list(getattr(utils, task)(None))
    assert [doc["key"] for doc in documents] == [benchmark.key(item) for item in data.items]
    for doc, item in zip(documents, data.items, strict=True):
        assert doc["prompt"] == benchmark.prompt(item, TASKS[task])
        assert doc["target"] == (benchmark.gold(item) or "") and doc["group"] == benchmark.group(item)
        assert set(doc["columns"]) == set(benchmark.columns_of(item))
        media = [[medium.kind, str(medium.path)] for medium in benchmark.media(item, data.folder)]
        assert json.loads(doc["visuals"]) == media


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(reply=REPLIES)
def test_replies_are_scored_as_officially(utils, root, reply):
    for name in utils.HUBS:
        benchmark, data = get(name), get(name).load(folder_of(utils, root, name))
        for doc, item in zip(getattr(utils, name)(None), data.items, strict=True):
            found = utils.process_results(doc, [reply])
            assert {value["score"] for value in found.values()} == {
                100 * benchmark.score(item, reply.strip()).official
            }


@pytest.mark.parametrize("name", ["r4d_bench", "vlm4d", "vsti_bench"])
def test_columns_in_lmms_eval_itself(utils, root, name, monkeypatch):
    pytest.importorskip("lmms_eval", reason="lmms-eval has an environment of its own: make test-lmms")
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager

    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(root / "cache"))
    manager = TaskManager(include_path=str(FOLDER), include_defaults=False)
    assert sorted(manager.task_index["video_4d"]["task"]) == sorted(TASKS)
    results = simple_evaluate(
        model="dummy", model_args="response=B", tasks=[name], task_manager=manager, batch_size=1, bootstrap_iters=0
    )
    benchmark, data = get(name), get(name).load(folder_of(utils, root, name))
    columns = benchmark.aggregate(data.items, [benchmark.score(item, "B") for item in data.items])
    found = {column: results["results"][name].get(f"{column},none") for column in benchmark.columns}
    expected = {column: value for column, value in columns.items() if found.get(column) is not None}
    assert len(expected) > 2 and expected == pytest.approx({c: found[c] for c in expected}, abs=0.006)
