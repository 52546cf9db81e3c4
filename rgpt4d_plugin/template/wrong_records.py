# SPDX-License-Identifier: Apache-2.0
"""Names the record that the host cannot read, or leaves out; records are looked at only once something has failed.

Host names: `get_dataset_converter` of `llamafactory.data.converter` and `get_dataset_list` of
`llamafactory.data.parser` (0.9.5 and main of August 2026).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llamafactory.data.converter import get_dataset_converter
from llamafactory.data.parser import get_dataset_list
from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER

from rgpt4d_plugin.regions.region import RegionError
from rgpt4d_plugin.template.record_lookup import Filled, dataset_files, dataset_names, read_records
from rgpt4d_plugin.validation import shown


def first_wrong_record(data_args: Any) -> RegionError | None:
    """Returns what is wrong with the first record of a run's local datasets that is, with its place."""
    names = dataset_names(data_args)
    for name, attributes in zip(names, get_dataset_list(names, data_args.dataset_dir), strict=True):
        converter = get_dataset_converter(attributes.formatting, attributes, data_args)
        for file in dataset_files(attributes, data_args):
            for number, record in enumerate(read_records(file)):
                problem = _problem(record, converter)
                if problem is not None:
                    return RegionError(f"dataset {name!r}, file {file}, record {number}: {problem}")
    return None


def _problem(record: Any, converter: Any) -> str | None:
    if not isinstance(record, Mapping):
        return f"expected an object with the record's columns, got {shown(record)}"
    if problem := messages_problem(record, converter.dataset_attr):
        return problem
    try:
        output = converter(Filled(record))
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        return f"LLaMA-Factory cannot convert it: {type(err).__name__}: {err}"
    return turns_problem(record, output, converter.dataset_attr) or _media_problem(output)


def messages_problem(record: Mapping[str, Any], attributes: Any) -> str | None:
    """Returns what is wrong with the messages of a record, of the formats that have some."""
    if attributes.formatting == "alpaca":
        return None
    column, said = attributes.messages, 'what dataset_info.json says ("columns", "tags")'
    messages = record.get(column)
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        found = shown(messages) if messages is not None else f"none, the record has {', '.join(map(repr, record))}"
        return f"{column}: expected a list of messages, got {found}; is the column {said}?"
    for number, message in enumerate(messages):
        here = f"{column}[{number}]"
        if not isinstance(message, Mapping):
            return f"{here}: expected an object, got {shown(message)}"
        for key in (attributes.role_tag, attributes.content_tag):
            value = message.get(key)
            if key == attributes.content_tag and attributes.formatting.endswith("openai") and value is None:
                continue  # a call of a tool has none
            if not isinstance(value, str):
                keys = ", ".join(map(repr, message))
                return f"{here}.{key}: expected text, got {shown(value)}; are the keys, here {keys}, {said}?"
    return None


def turns_problem(record: Mapping[str, Any], output: Mapping[str, Any], attributes: Any) -> str | None:
    """Returns why the host would leave a converted record out."""
    if output["_prompt"]:
        return None
    if attributes.formatting == "alpaca":
        return f"{attributes.prompt}: there is no question"
    roles = ", ".join(str(message.get(attributes.role_tag)) for message in record[attributes.messages])
    return (
        f"{attributes.messages}: expected messages of {attributes.user_tag!r} and {attributes.assistant_tag!r} in "
        f'turn, got {roles or "none"}; dataset_info.json says how roles are called ("tags": user_tag, system_tag)'
    )


def _media_problem(output: Mapping[str, Any]) -> str | None:
    content = "".join(message["content"] for message in (*output["_prompt"], *output["_response"]))
    for field, placeholder in (("_images", IMAGE_PLACEHOLDER), ("_videos", VIDEO_PLACEHOLDER)):
        asked, given = content.count(placeholder), len(output[field] or [])
        if asked != given:
            return f"the messages have {asked} {placeholder}, the record has {given} {field.lstrip('_')}"
    return None
