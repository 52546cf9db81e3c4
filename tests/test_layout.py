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


def of(path: Path) -> str:
    return str(path.relative_to(TESTS))


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_no_module_imports_from_a_test_module(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            found = [name for name in names if any(part.startswith("test_") for part in name.split("."))]
            assert not found, (
                f"line {node.lineno} imports {found}; move what is shared to a helper module or conftest.py"
            )


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_no_test_reads_a_clock(path):
    """How long something takes is measured in benchmarks/; here, work is counted."""
    clocks = {"time", "perf_counter", "process_time", "monotonic", "thread_time", "getrusage"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            base = ast.unparse(node.func.value)
            assert not (base in ("time", "resource") and node.func.attr in clocks), f"line {node.lineno}"


def test_folders_mirror_those_of_the_product():
    folders = {path.parent.relative_to(TESTS) for path in MODULES} - {Path(".")}
    for folder in folders:
        product = (ROOT / "rgpt4d_plugin" / folder, ROOT / folder)
        assert folder.parts[0] in ELSEWHERE or any(path.is_dir() for path in product), folder
