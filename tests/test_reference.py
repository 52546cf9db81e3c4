# SPDX-License-Identifier: Apache-2.0
"""docs/reference.md is what its script writes."""

import importlib.util
from pathlib import Path


def test_the_page_of_all_keys_is_up_to_date():
    script = Path(__file__).parents[1] / "docs" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/make_reference.py"
