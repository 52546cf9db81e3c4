# SPDX-License-Identifier: Apache-2.0
"""The registry of benchmarks. Each is one file, imported when it is asked for."""

import functools
import pkgutil
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark


_HERE = "rgpt4d_plugin.eval_hooks.benchmarks"
BENCHMARKS: dict[str, str] = {
    "r4d_bench": f"{_HERE}.r4d_bench:R4DBench",
    "sti_bench": f"{_HERE}.sti_bench:STIBench",
    "vlm4d": f"{_HERE}.vlm4d:VLM4D",
    "vsti_bench": f"{_HERE}.vsti_bench:VSTIBench",
    "vsi_bench": f"{_HERE}.vsi_bench:VSIBench",
    "dsr_bench": f"{_HERE}.dsr_bench:DSRBench",
    "sat": f"{_HERE}.sat:SAT",
    "omnispatial": f"{_HERE}.omnispatial:OmniSpatial",
    "mmsi_bench": f"{_HERE}.mmsi_bench:MMSIBench",
    "synth4d": f"{_HERE}.synth4d:Synth4D",
}
"""Name -> "module:class". Commands, configuration and reports list benchmarks in this order."""


def get(name: str) -> "Benchmark":
    """The benchmark of that name; ValueError, which lists those that exist, if there is none."""
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r} (known: {', '.join(BENCHMARKS)})")
    return _load(BENCHMARKS[name])


@functools.cache
def _load(path: str) -> "Benchmark":
    return pkgutil.resolve_name(path)()


__all__ = ["BENCHMARKS", "get"]
