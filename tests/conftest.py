# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all layers: tiny checkpoints and clips, made once per run of the suite."""

import importlib
import os
from collections import Counter
from typing import TYPE_CHECKING


# Before torch starts its thread pool: the networks here are so small that threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
# The suite is about values, and runs everywhere: on the CPU, whatever the machine has.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# The host asks a hub for a version otherwise.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest


if TYPE_CHECKING:
    from tests.harness import Assets


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks slow tests of families that are like one of the `FIRST` as `further`; puts the longest files first.

    Longest are those with the most runs in several processes, then those with the most slow tests, then those with the
    most: of several pytest processes none is then left with a long file at the end.
    """
    from tests.tiny_models import OTHERS  # not by the process that only hands out work

    for item in items:
        values = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if item.get_closest_marker("slow") and any(isinstance(value, str) and value in OTHERS for value in values):
            item.add_marker("further")
    counts = [
        Counter(item.path for item in items if item.get_closest_marker(name)) for name in ("distributed", "slow")
    ]
    counts.append(Counter(item.path for item in items))
    items.sort(key=lambda item: [-count[item.path] for count in counts])


@pytest.fixture(scope="session")
def assets(tmp_path_factory) -> "Assets":
    """A tiny Qwen2.5-VL, a tiny random teacher and a few synthetic clips."""
    from tests.harness import make_assets

    return make_assets(tmp_path_factory.mktemp("assets"))


@pytest.fixture
def trainers():
    """The P4D trainers that the host builds during the test."""
    from tests.training import built_trainers

    with built_trainers() as built:
        yield built


@pytest.fixture
def host_modules():
    """The modules of the host that the plugin patches, by name; patched again after the test."""
    from _rgpt4d_boot import TARGETS
    from rgpt4d_plugin import patches

    modules = {name: importlib.import_module(name) for name in TARGETS}
    importlib.import_module("llamafactory.train.tuner")
    yield modules
    for module in modules.values():
        patches.apply(module)
