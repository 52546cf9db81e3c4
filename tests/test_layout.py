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
    """(place, node) of every import and call in any module; each is parsed once for all rules."""
    return [
        (f"{path.relative_to(TESTS)}, line {node.lineno}", node)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
    ]


def test_no_module_imports_from_a_test_module(nodes):
    wrong = []
    for place, node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            found = [name for name in names if any(part.startswith("test_") for part in name.split("."))]
            wrong += [f"{place} imports {found}"] if found else []
    assert not wrong, f"{wrong}; move what is shared to a helper module or conftest.py"


def test_no_test_reads_a_clock(nodes):
    """How long something takes is measured in benchmarks/; here, work is counted."""
    clocks = {"time", "perf_counter", "process_time", "monotonic", "thread_time", "getrusage"}
    calls = [(place, node.func) for place, node in nodes if isinstance(node, ast.Call)]
    assert not [
        place
        for place, called in calls
        if isinstance(called, ast.Attribute)
        and called.attr in clocks
        and ast.unparse(called.value) in ("time", "resource")
    ]


def test_folders_mirror_those_of_the_product():
    folders = {path.parent.relative_to(TESTS) for path in MODULES} - {Path(".")}
    for folder in folders:
        product = (ROOT / "rgpt4d_plugin" / folder, ROOT / folder)
        assert folder.parts[0] in ELSEWHERE or any(path.is_dir() for path in product), folder
