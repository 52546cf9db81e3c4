# SPDX-License-Identifier: Apache-2.0
"""Rules of this folder: shared code stands in helper modules, no test reads a clock, folders mirror the product's."""

import re
from pathlib import Path


TESTS = Path(__file__).parent
ROOT = TESTS.parent
MODULES = sorted(TESTS.rglob("*.py"))
ELSEWHERE = {"data", "e2e", "lmms", "tiny_models"}
"""Folders that are about no single folder of the product."""


def lines_with(pattern: str) -> list[str]:
    """Places of the lines of all modules that a pattern is found in."""
    texts = [(path.relative_to(TESTS), path.read_text()) for path in MODULES if path != Path(__file__)]
    return [
        f"{path}:{text.count(chr(10), 0, hit.start()) + 1}"
        for path, text in texts
        for hit in re.finditer(pattern, text, re.M)
    ]


def test_no_module_imports_from_a_test_module():
    """What is shared stands in a helper module or in conftest.py."""
    assert not lines_with(r"^ *(from|import) [^\n]*\btest_")


def test_no_test_reads_a_clock():
    """How long something takes is measured in benchmarks/; here, work is counted."""
    clocks = "time|perf_counter|process_time|monotonic|thread_time|getrusage"
    assert not lines_with(rf"\b(time|resource)\.({clocks})\(|^ *from (time|resource) import")


def test_folders_mirror_those_of_the_product():
    folders = {path.parent.relative_to(TESTS) for path in MODULES} - {Path(".")}
    for folder in folders:
        product = (ROOT / "rgpt4d_plugin" / folder, ROOT / folder)
        assert folder.parts[0] in ELSEWHERE or any(path.is_dir() for path in product), folder
