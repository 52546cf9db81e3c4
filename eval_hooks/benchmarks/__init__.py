# SPDX-License-Identifier: Apache-2.0
"""The benchmarks, by name: one file each, all of the same shape."""

from .base import Benchmark, BenchmarkData, BenchmarkDataError, Item, Medium, Score
from .mmsi_bench import MMSIBench
from .omnispatial import OmniSpatial
from .r4d_bench import R4DBench
from .sat import SAT
from .sti_bench import STIBench
from .vlm4d import VLM4D
from .vsti_bench import VSTIBench


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
