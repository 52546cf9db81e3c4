# SPDX-License-Identifier: Apache-2.0
"""The functions that the YAML files name: a benchmark's questions as lmms-eval documents, and its readings as metrics.

lmms-eval runs this file anew for every name it looks up, so nothing here is shared between two of them.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from huggingface_hub.constants import HF_HOME

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.records import READINGS, BenchmarkData, BenchmarkDataError
from rgpt4d_plugin.files import open_image


logger = logging.getLogger(__name__)

Document = Mapping[str, Any]
"""One question:

benchmark, style, folder: what it is of;
key: `Benchmark.key`;
group: `Benchmark.group`, which lmms-eval's clustered standard errors go by;
prompt, target: what lmms-eval shows and logs;
item: as published, as JSON: tables have no columns for options that are a number in one item and a text in the next.
"""


@cache
def load(name: str) -> BenchmarkData:
    """The benchmark's folder: the one that RGPT4D_<NAME> names, else a download from the Hub below HF_HOME.

    Raises:
        BenchmarkDataError: The folder cannot be used.
    """
    variable = f"RGPT4D_{name.upper()}"
    folder = os.environ.get(variable)
    if folder:
        return get(name).load(folder)
    logger.warning("%s is not set: %s is taken from the Hub (%s)", variable, get(name).title, get(name).hub)
    return get(name).load(get(name).fetch(Path(HF_HOME) / "rgpt4d_benchmarks" / name))


def documents(name: str, style: str, placeholder: Dataset) -> Dataset:
    """Returns all questions, in the published order, in place of the dataset that lmms-eval has loaded."""
    benchmark, data = get(name), load(name)
    for note in (data.revision, *data.notes):
        logger.warning("%s: %s", benchmark.title, note)
    return Dataset.from_list(
        [
            {
                "benchmark": name,
                "style": style,
                "folder": str(data.folder),
                "key": benchmark.key(item),
                "group": benchmark.group(item),
                "prompt": benchmark.prompt(item, style),
                "target": benchmark.gold(item) or "",
                "item": json.dumps(dict(item)),
            }
            for item in data.items
        ]
    )


def doc_to_visual(doc: Document) -> list[Any]:
    """Images as pictures and videos as paths, as lmms-eval's models tell them apart.

    How many frames of a video are shown is an option of the model, of other names for each.
    """
    visuals: list[Any] = []
    for medium in get(doc["benchmark"]).media(json.loads(doc["item"]), Path(doc["folder"])):
        if medium.start is not None or medium.end is not None:
            raise BenchmarkDataError(f"{doc['key']}: lmms-eval's models show whole videos, not parts of them")
        visuals.append(open_image(medium.path).convert("RGB") if medium.kind == "image" else str(medium.path))
    return visuals


def process_results(doc: Document, results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The reply's score under each reading, for every column that the item counts in.

    Columns are percentages, and so are the scores that lmms-eval takes its standard errors of.
    """
    benchmark, item = get(doc["benchmark"]), json.loads(doc["item"])
    score = benchmark.score(item, results[0], doc["style"])
    readings = {"official": score.official, "strict": score.strict, **score.columns}
    return {
        f"{reading}_{column}": {"score": value, "percent": 100 * value, "key": doc["key"], "group": doc["group"]}
        for reading, value in readings.items()
        for column in benchmark.columns_of(item)
        if column in benchmark.columns
    }


def metrics(name: str) -> list[dict[str, Any]]:
    """Returns the benchmark's `metric_list`: every official column under every reading."""
    return [
        {
            "metric": f"{reading}_{column}",
            "aggregation": partial(aggregate, name, column),
            "higher_is_better": True,
        }
        for reading in (*READINGS, *get(name).readings)
        for column in get(name).columns
    ]


def aggregate(name: str, column: str, values: Sequence[Mapping[str, Any]]) -> float:
    """One official column, in percent, of what `process_results` gave for it."""
    benchmark = get(name)
    items = {benchmark.key(item): item for item in load(name).items}
    return benchmark.aggregate([items[value["key"]] for value in values], [value["score"] for value in values])[column]


r4d_bench = partial(documents, "r4d_bench", "direct")
sti_bench = partial(documents, "sti_bench", "direct")
vlm4d = partial(documents, "vlm4d", "direct")
vlm4d_cot = partial(documents, "vlm4d", "cot")
vsti_bench = partial(documents, "vsti_bench", "direct")

r4d_bench_metrics = metrics("r4d_bench")
sti_bench_metrics = metrics("sti_bench")
vlm4d_metrics = metrics("vlm4d")
vsti_bench_metrics = metrics("vsti_bench")
