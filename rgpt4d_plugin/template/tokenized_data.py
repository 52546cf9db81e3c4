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

_SAMPLING = ("video_fps", "video_maxlen")
_SIZES = ("video_max_pixels", "video_min_pixels", "image_max_pixels", "image_min_pixels")


def keeping_settings(get_dataset: Callable[..., Any], data_args: Any, model_args: Any) -> Callable[..., Any]:
    """Wraps the host's `get_dataset` for the settings on its arguments; raises P4DConfigError for data of others, and
    for data that was not written to its end."""
    folder = data_args.tokenized_path
    if folder is None:
        return get_dataset
    wanted, path = _of_block(data_args.p4d), Path(folder, FILE)
    # With p4d.frames the host's own sampling has no say.
    keys = _SIZES if data_args.p4d.frames is not None else (*_SAMPLING, *_SIZES)
    wanted |= {"template": data_args.template} | {key: getattr(model_args, key) for key in keys}

    @functools.wraps(get_dataset)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if os.path.isdir(folder) and os.listdir(folder):
            _check(folder, path, wanted)
            try:
                return get_dataset(*args, **kwargs)
            except (OSError, RuntimeError, ValueError) as err:  # of which some name no file
                raise P4DConfigError.from_problems(
                    [f"tokenized_path: {folder} cannot be read ({err}); delete it to tokenize again"]
                ) from err
        dataset = get_dataset(*args, **kwargs)
        if os.path.isdir(folder):  # the host has one process save it
            write_json(path, wanted)
        return dataset

    return wrapped


def _of_block(settings: P4DSettings) -> dict[str, Any]:
    """Returns the block's settings that tokens depend on, by their keys in the recipe."""
    regions = {f"p4d.regions.{key}": value for key, value in settings.regions.model_dump().items()}
    return {"p4d.frames": settings.frames, "p4d.tpe: text": settings.sentences, **regions}


def _check(folder: str, path: Path, wanted: Mapping[str, Any]) -> None:
    found, how = _of_block(P4DSettings()), "made without the plugin's block"
    if path.is_file():
        remedy = "delete the folder to tokenize again"
        found, how = read_json(path, remedy), "made with other settings"
        if not isinstance(found, dict):
            raise P4DConfigError.from_problems([f"tokenized_path: {path} should be one JSON object: {remedy}"])
    problems = [
        f"tokenized_path: {folder} was {how}: its tokens are of {key} {found[key]!r}, this run has {value!r}; "
        "name another folder, or delete this one to tokenize again"
        for key, value in wanted.items()
        if key in found and found[key] != value
    ]
    if problems:
        raise P4DConfigError.from_problems(problems)
