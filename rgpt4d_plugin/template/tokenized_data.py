# SPDX-License-Identifier: Apache-2.0
"""Keeps with a dataset at the host's `tokenized_path` which settings its tokens are of, and refuses it for others.

The host loads such data and ignores the recipe's other keys, so that frames and tokens would not fit.
"""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.files import read_json, write_json
from rgpt4d_plugin.template.clip_reader import P4DSettings


FILE = "rgpt4d_settings.json"


def keeping_settings(get_dataset: Callable[..., Any], data_args: Any) -> Callable[..., Any]:
    """Wraps the host's `get_dataset` for the settings on `data_args`; raises P4DConfigError for data of others."""
    folder = data_args.tokenized_path
    if folder is None:
        return get_dataset
    wanted, path = _of_tokens(data_args.p4d), Path(folder, FILE)

    @functools.wraps(get_dataset)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        is_there = os.path.isdir(folder) and bool(os.listdir(folder))
        if is_there:
            _check(folder, path, wanted)
        dataset = get_dataset(*args, **kwargs)
        if not is_there and os.path.isdir(folder):  # the host has one process save it
            write_json(path, wanted)
        return dataset

    return wrapped


def _of_tokens(settings: P4DSettings) -> dict[str, Any]:
    """Returns the settings that tokens depend on, by their keys in the recipe."""
    regions = {f"regions.{key}": value for key, value in settings.regions.model_dump().items()}
    return {"frames": settings.frames, "tpe: text": settings.sentences, **regions}


def _check(folder: str, path: Path, wanted: Mapping[str, Any]) -> None:
    found, how = _of_tokens(P4DSettings()), "made without the plugin's block"
    if path.is_file():
        found, how = read_json(path, "delete the folder to tokenize again"), "made with other settings"
    problems = [
        f"tokenized_path: {folder} was {how}: its tokens are of p4d.{key} {found.get(key)!r}, this run has {value!r}; "
        "name another folder, or delete this one to tokenize again"
        for key, value in wanted.items()
        if found.get(key) != value
    ]
    if problems:
        raise P4DConfigError.from_problems(problems)
