# SPDX-License-Identifier: Apache-2.0
"""Converts downloaded sources to records for LLaMA-Factory: one small module per source, all of the same shape.

A source's module has `datasets(src, out)`, which finds its annotation files and says how each is read, and the pure
function that builds its prompt. `run.convert` does the rest: checking, counting, writing.
"""

TOOLS = {name: f"{__name__}.{name}" for name in ("label_studio", "cvat", "coco")}
"""Module of each annotation tool's format, which `rgpt4d convert` reads and `rgpt4d export` writes."""

SOURCES = {
    **{name: f"{__name__}.{name}" for name in ("robofac", "sat", "vsti", "wolf")},
    "r4d_bench": f"{__name__}.r4d",  # benchmarks have the names that `rgpt4d eval` knows
    "vlm4d": f"{__name__}.vlm4d",
    **TOOLS,
}
"""Module of each source that `rgpt4d convert` knows, imported on use."""


def source_name(name: str) -> str:
    """Returns the name in `SOURCES`; `r4d` is what `r4d_bench` was called before."""
    return "r4d_bench" if name == "r4d" else name
