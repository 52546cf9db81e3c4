# SPDX-License-Identifier: Apache-2.0
"""Converts downloaded sources to records for LLaMA-Factory: one small module per source, all of the same shape.

A source's module has `datasets(src, out)`, which finds its annotation files and says how each is read, and the pure
function that builds its prompt. `run.convert` does the rest: checking, counting, writing.
"""

from rgpt4d_plugin.convert import r4d, robofac, sat, vlm4d, vsti, wolf


SOURCES = {
    "robofac": robofac,
    "sat": sat,
    "vsti": vsti,
    "wolf": wolf,
    "r4d": r4d,
    "vlm4d": vlm4d,
}
