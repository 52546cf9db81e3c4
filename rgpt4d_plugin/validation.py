# SPDX-License-Identifier: Apache-2.0
"""Checked records: configuration blocks and records of files as pydantic models, all problems at once."""

import difflib
import functools
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError


T = TypeVar("T")

# pydantic's own message where it is as clear: "Input should be" becomes "expected".
_WORDING = {
    "missing": "missing",
    "model_type": "expected a mapping, got {got}",
    "literal_error": "expected one of {expected}, got {got}",
    "greater_than_equal": "expected a value >= {ge:g}, got {got}",
    "greater_than": "expected a value > {gt:g}, got {got}",
    "less_than_equal": "expected a value <= {le:g}, got {got}",
    "int_from_float": "expected an integer, got {got}",
    "int_parsing_size": "expected an integer of at most 64 bits, got {got}",
    "list_type": "expected a list, got {got}",
    "is_instance_of": "expected a value of type {class}, got {got}",
    "string_type": "expected text, got {got}",
    "string_too_short": "expected text, got {got}",
    "value_error": "{error}",
}


class Checked(BaseModel):
    """Base of all checked records: frozen, finite numbers only, unknown keys refused, null for an empty mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_mapping(cls, values: Any) -> Any:
        # pydantic passes over keys that are no text.
        return {str(k): v for k, v in (values or {}).items()} if isinstance(values, Mapping | None) else values


def _number(value: Any) -> Any:
    """Text such as `1e-4`, which some YAML readers leave as it is, as a number; true and false are none."""
    try:
        if isinstance(value, str):
            return float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            float(value)
            return value
    except OverflowError:
        raise PydanticCustomError("finite_number", "Input should be a finite number") from None
    except ValueError:
        pass
    raise PydanticCustomError("number", "Input should be a number")


def _encodable(value: str) -> str:
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise PydanticCustomError("characters", "Input should be text without NUL and lone surrogates")
    return value


def _switch(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


Integer = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Text = Annotated[str, Field(min_length=1), AfterValidator(_encodable)]
Switch = Annotated[StrictBool, BeforeValidator(_switch)]


def check(kind: type[T], values: Any, path: str, problems: list[str]) -> T | None:
    """Returns `values` as a `kind`, a `Checked` model or a dataclass; None after all problems are added to `problems`.

    In a problem `path`, such as "p4d" or "", stands before the names of keys.
    """
    try:
        return _adapter(kind).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        found = error.errors(include_url=False)
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    for entry in sorted(found, key=lambda entry: entry["type"] not in unknown):
        *parents, key = entry["loc"] or [""]
        here = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in entry["loc"])
        if entry["type"] in unknown:
            said = f"unknown key; {hint(str(key), _keys(kind, parents))}"
        else:
            said = _WORDING.get(entry["type"], entry["msg"].replace("Input should be", "expected") + ", got {got}")
            context = {name: _without_or(value) for name, value in entry.get("ctx", {}).items()}
            said = said.format(got=shown(entry["input"]), **context)
        problems.append(f"{here.removeprefix('.')}: {said}")
    return None


_adapter = functools.cache(TypeAdapter)  # making one takes longer than a thousand checks


def shown(value: Any, limit: int = 80) -> str:
    """Returns the `repr` of a value for a message, cut to `limit` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list thousands deep
        text = f"a value of type {type(value).__name__} too large to print"
    return text if len(text) <= limit else f"{text[:limit]}..."


def _without_or(value: Any) -> Any:
    return value.replace(" or ", ", ") if isinstance(value, str) else value


def _keys(kind: Any, parents: list[Any]) -> list[str]:
    for name in parents:
        kind = kind.model_fields[name].annotation
        if isinstance(kind, UnionType):  # a record, or null
            kind = kind.__args__[0]
    return list(getattr(kind, "model_fields", None) or kind.__dataclass_fields__)


def hint(name: str, known: Iterable[str], title: str = "known keys") -> str:
    """Returns "did you mean ...?" for a name that is nearly a known one, and all of these otherwise."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else f"{title}: {', '.join(known)}"
