# SPDX-License-Identifier: Apache-2.0
"""The benchmarks, by name: one file each, all of the same shape."""

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark, BenchmarkData, BenchmarkDataError, Item, Medium, Score
from rgpt4d_plugin.eval_hooks.benchmarks.mmsi_bench import MMSIBench
from rgpt4d_plugin.eval_hooks.benchmarks.omnispatial import OmniSpatial
from rgpt4d_plugin.eval_hooks.benchmarks.r4d_bench import R4DBench
from rgpt4d_plugin.eval_hooks.benchmarks.sat import SAT
from rgpt4d_plugin.eval_hooks.benchmarks.sti_bench import STIBench
from rgpt4d_plugin.eval_hooks.benchmarks.vlm4d import VLM4D
from rgpt4d_plugin.eval_hooks.benchmarks.vsti_bench import VSTIBench


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (R4DBench(), STIBench(), VLM4D(), VSTIBench(), SAT(), OmniSpatial(), MMSIBench())
}


def get(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ValueError: naming those that exist.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r} (known: {', '.join(BENCHMARKS)})")
    return BENCHMARKS[name]


__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkData", "BenchmarkDataError", "Item", "Medium", "Score", "get"]
