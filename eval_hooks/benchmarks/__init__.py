# SPDX-License-Identifier: Apache-2.0
"""The benchmarks, by name."""

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark, BenchmarkData, BenchmarkDataError, Item, Medium, Score


BENCHMARKS: dict[str, Benchmark] = {}


def get(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ValueError: naming those that exist.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r} (known: {', '.join(BENCHMARKS)})")
    return BENCHMARKS[name]


__all__ = ["BENCHMARKS", "Benchmark", "BenchmarkData", "BenchmarkDataError", "Item", "Medium", "Score", "get"]
