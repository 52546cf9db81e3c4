# SPDX-License-Identifier: Apache-2.0
"""Rules of this folder: shared code stands in helper modules, no test reads a clock, folders mirror the product's."""

import ast
from pathlib import Path

import pytest


TESTS = Path(__file__).parent
ROOT = TESTS.parent
MODULES = sorted(TESTS.rglob("*.py"))
ELSEWHERE = {"data", "e2e", "lmms", "tiny_models"}
"""Folders that are about no single folder of the product."""


@pytest.fixture(scope="module")
def nodes():
    """Every node of the syntax of every module, with its place."""
    return [
        (f"{path.relative_to(TESTS)}:{getattr(node, 'lineno', 0)}", node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
    ]


def test_no_module_imports_from_a_test_module(nodes):
    """What is shared stands in a helper module or in conftest.py."""
    found = []
    for place, node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = ".".join([getattr(node, "module", None) or "", *(name.name for name in node.names)])
            found += [place] if any(part.startswith("test_") for part in names.split(".")) else []
    assert not found


def test_no_test_reads_a_clock(nodes):
    """How long something takes is measured in benchmarks/; here, work is counted."""
    clocks = {"time", "perf_counter", "process_time", "monotonic", "thread_time", "getrusage"}
    read = {f"{module}.{name}" for module in ("time", "resource") for name in clocks}
    assert not [place for place, node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) in read]


def test_folders_mirror_those_of_the_product():
    folders = {path.parent.relative_to(TESTS) for path in MODULES} - {Path(".")}
    for folder in folders:
        product = (ROOT / "rgpt4d_plugin" / folder, ROOT / folder)
        assert folder.parts[0] in ELSEWHERE or any(path.is_dir() for path in product), folder
