# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference.md, all keys of the configuration blocks, from the models that check them.

python tools/make_reference.py
"""

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from rgpt4d_plugin.arguments import PRESETS, TERMS, parse_p4d
from rgpt4d_plugin.eval_hooks.arguments import BenchmarkArguments, EvalOptions
from rgpt4d_plugin.teachers import TeacherArguments, teacher_class
from rgpt4d_plugin.teachers.base import teacher_names


PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"
NAMES = {Any: "a mapping or a list", int: "integer", float: "number", str: "text", bool: "true, false"}
BOUNDS = {"ge": ">=", "gt": ">", "le": "<="}

HEAD = """\
# All keys

Written by `tools/make_reference.py` from the models that check the blocks. An unknown key or a value out of range is
an error that names it. `p4d: off`, or `p4d=off` on the command line, turns a recipe into its baseline; `p4d_eval: off`
leaves the benchmarks out.

Override any of them on the command line: `llamafactory-cli train recipe.yaml p4d.loss.depth=0.2`. Numbers may be
written as text (`1e-4`), and a bare `off` is the word. Mistakes are reported all at once, before anything is loaded.
"""


def rows(model: type[BaseModel], prefix: str, defaults: BaseModel | None = None) -> list[str]:
    """Returns one table row per key, those of nested blocks under their full name."""
    found = []
    for name, field in model.model_fields.items():
        kind, path = field.annotation, f"{prefix}.{name}"
        value = getattr(defaults, name) if defaults else field.default
        if isinstance(value, BaseModel):  # its own type: each teacher has options of its own
            found += rows(type(value), path, value)
            continue
        default = "required" if field.is_required() else f"`{_yaml(value)}`"
        said = (field.description or "").replace("<", "&lt;")
        found.append(f"| `{path}` | {default} | {values_of(kind, field.metadata)} | {said} |")
    return found


def own_rows(teacher: str) -> list[str]:
    """Returns the rows of the options that a teacher has beyond those of every one."""
    shared = TeacherArguments.model_fields
    own = rows(teacher_class(teacher).Arguments, "p4d.teacher")
    return [row for row in own if row.split("`")[1].removeprefix("p4d.teacher.") not in shared]


def values_of(kind: Any, metadata: Any = ()) -> str:
    """Returns what a key may hold, in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return values_of(inner[0], [*_constraints(inner[1:]), *metadata])
    if origin in (Union, types.UnionType):
        (given,) = (arg for arg in inner if arg is not type(None))
        return f"{values_of(given, metadata)}, or null"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is list:
        return f"list of: {values_of(inner[0])}"
    limits = [
        f"{sign} {_yaml(getattr(bound, name))}"
        for bound in metadata
        for name, sign in BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return f"{NAMES[kind]} {' and '.join(limits)}".strip()


def _constraints(metadata: Any) -> list[Any]:
    return [bound for entry in metadata for bound in getattr(entry, "metadata", [entry])]


def _yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def page() -> str:
    """Returns the text of the page."""
    block = parse_p4d(None, training=False)
    table = ["| key | default | values | what it says |", "|---|---|---|---|"]
    presets = ["| key | " + " | ".join(PRESETS) + " |", "|---|" + "---|" * len(PRESETS)]
    keys = [("loss", "type"), *(("loss", term) for term in TERMS), ("decoder", "layers")]
    for part, key in keys:
        values = (_yaml(preset[part].get(key, 0.0)) for preset in PRESETS.values())
        presets.append(f"| `p4d.{part}.{key}` | " + " | ".join(f"`{value}`" for value in values) + " |")
    teachers = [
        part
        for name in teacher_names()
        if name != "l4p"
        for part in (f"### `p4d.teacher` of `type: {name}`", "\n".join([*table, *own_rows(name)]))
    ]
    parts = [
        "## `p4d:`",
        "Distillation, timestamps and regions. The defaults are those of `preset: release`.",
        "\n".join([*table, *rows(type(block), "p4d", block)]),
        "### Presets",
        "A preset only supplies defaults: a key in the recipe wins. With `none` every weight is 0 unless given.",
        "\n".join(presets),
        *teachers,
        "## `p4d_eval:`",
        "Benchmarks while training, or of a finished model.",
        "\n".join([*table, *rows(EvalOptions, "p4d_eval")]),
        "### `p4d_eval.benchmarks`",
        "A mapping from a benchmark's name to its folder or to these keys, or a list of mappings with a `name`.",
        "\n".join([*table, *rows(BenchmarkArguments, "p4d_eval.benchmarks.NAME")]),
    ]
    return HEAD + "".join(f"\n{part}\n" for part in parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
