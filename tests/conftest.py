# SPDX-License-Identifier: Apache-2.0
"""Fixtures shared by all layers: tiny checkpoints and clips, made once per run of the suite."""

import os


# Before torch starts its thread pool: the networks here are so small that threads only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
# The suite is about values, and runs everywhere: on the CPU, whatever the machine has.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
# The host asks a hub for a version otherwise.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

from tests.harness import Assets, make_assets


@pytest.fixture(scope="session")
def assets(tmp_path_factory) -> Assets:
    """A tiny Qwen2.5-VL, a tiny random expert and a few synthetic clips."""
    return make_assets(tmp_path_factory.mktemp("assets"))
