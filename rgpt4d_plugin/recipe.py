# SPDX-License-Identifier: Apache-2.0
"""Recipe files, read without importing the host."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException


def read_recipe(path: str | os.PathLike, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Returns a recipe file's keys with KEY=VALUE overrides, merged as `llamafactory-cli` merges them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no YAML mapping, or an override is not KEY=VALUE with a YAML value.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such recipe")
    with _reading(f"{path} is not a YAML file"):
        recipe = OmegaConf.load(path)
    if not OmegaConf.is_dict(recipe):
        raise ValueError(f"{path}: expected keys and values, found a list")
    for override in overrides:
        if "=" not in override:
            raise ValueError(f"{override!r}: expected an override KEY=VALUE, such as cutoff_len=4096")
        with _reading(f"{override!r}: the value is not YAML"):
            recipe = OmegaConf.merge(recipe, OmegaConf.from_cli([override]))
    return OmegaConf.to_container(recipe)


@contextmanager
def _reading(problem: str) -> Iterator[None]:
    try:
        yield
    except (UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as err:
        raise ValueError(f"{problem}: {' '.join(str(err).split())}") from err
