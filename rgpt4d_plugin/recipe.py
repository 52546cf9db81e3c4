# SPDX-License-Identifier: Apache-2.0
"""Recipe files, read without importing the host."""

import os
from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException


def read_recipe(path: str | os.PathLike, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe file with KEY=VALUE overrides, merged as `llamafactory-cli` merges them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML mapping, or an override is not KEY=VALUE with a YAML value.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such recipe")
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{override!r}: expected an override KEY=VALUE, such as cutoff_len=4096")
    try:
        recipe = OmegaConf.load(path)
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        raise ValueError(f"{path} is not a YAML file: {' '.join(str(err).split())}") from err
    if not OmegaConf.is_dict(recipe):
        raise ValueError(f"{path}: expected keys and values, found a list")
    try:
        return OmegaConf.to_container(OmegaConf.merge(recipe, OmegaConf.from_cli(list(overrides))))
    except (yaml.YAMLError, OmegaConfBaseException) as err:
        raise ValueError(f"{path} with {' '.join(overrides) or 'no override'}: {' '.join(str(err).split())}") from err
