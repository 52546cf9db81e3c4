# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference.md, the page of all keys, from the models that check them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rgpt4d_plugin.arguments import PRESETS, parse_p4d
from rgpt4d_plugin.eval_hooks.arguments import BenchmarkArguments, EvalOptions
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS


PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference.md"

_TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "`true`, `false`", "null": "`null`"}
_HEAD = "| key | values | default | meaning |\n|---|---|---|---|\n"


def page() -> str:
    """Returns the text of the page."""
    p4d = "\n".join(_rows("p4d", defaults := parse_p4d(None, training=False), type(defaults)))
    options = "\n".join(_rows("p4d_eval", EvalOptions(), EvalOptions))
    benchmark = "\n".join(_rows("p4d_eval.benchmarks.NAME", None, BenchmarkArguments))
    presets = "\n".join(
        f"| `p4d.{part}.{key}` | {' | '.join(_value(preset[part].get(key)) for preset in PRESETS.values())} |"
        for part in PRESETS["release"]
        for key in PRESETS["release"][part]
    )
    return f"""# All keys

Any of them can be given on the command line: `llamafactory-cli train recipe.yaml p4d.loss.depth=0.2`. Unknown keys and
values out of range are reported all at once, before anything is loaded. This page is made by `tools/reference.py` from
the models that check the blocks.

## `p4d`

The defaults are those of `p4d.preset: release`.

{_HEAD}{p4d}

## Presets

A preset only supplies defaults: any key written in the recipe wins. With `none` every weight is 0 unless given.

| key | {" | ".join(f"`{name}`" for name in PRESETS)} |
|---|{"---|" * len(PRESETS)}
{presets}

## `p4d_eval`

`p4d_eval.benchmarks` is required: a mapping from a benchmark's name to its folder or to the options below. The names
are {", ".join(f"`{name}`" for name in BENCHMARKS)}.

{_HEAD}{options}

One benchmark; what is not said here is taken from the block, or from the benchmark:

{_HEAD}{benchmark}
"""


def _rows(path: str, values: BaseModel | None, model: type[BaseModel]) -> Iterator[str]:
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        default = getattr(values, name) if values is not None else field.get_default()
        if isinstance(default, BaseModel):
            yield from _rows(f"{path}.{name}", default, type(default))
        else:
            shown = "required" if field.is_required() else _value(default)
            meaning = (field.description or "").replace("<", r"\<").replace("|", r"\|")
            yield f"| `{path}.{name}` | {_kind(properties[name])} | {shown} | {meaning} |"


def _value(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _kind(schema: dict[str, Any]) -> str:
    """Returns the values that a JSON schema allows, in words."""
    if "anyOf" in schema:
        return ", ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(_value, schema["enum"]))
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
    limits = "".join(f" {word} {schema[key]:g}" for key, word in words.items() if key in schema)
    return _TYPES[schema["type"]] + limits


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
