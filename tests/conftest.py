# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all layers: tiny checkpoints and clips, made once per run of the suite."""

import importlib
import os


# Before torch starts its thread pool: the networks here are so small that threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
# The suite is about values, and runs everywhere: on the CPU, whatever the machine has.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# The host asks a hub for a version otherwise.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest  # noqa: E402

from tests.harness import Assets, make_assets  # noqa: E402


@pytest.fixture(scope="session")
def assets(tmp_path_factory) -> Assets:
    """A tiny Qwen2.5-VL, a tiny random expert and a few synthetic clips."""
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
