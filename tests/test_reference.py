# SPDX-License-Identifier: Apache-2.0
"""Pages that scripts write are what the scripts write, and the page of families has all of the host's."""

import importlib.util
from pathlib import Path

import pytest
from llamafactory.data.template import TEMPLATES

from rgpt4d_plugin.students import FAMILIES
from rgpt4d_plugin.students.unsupported import UNSUPPORTED


@pytest.mark.parametrize("name", ["make_reference", "make_families"])
def test_the_page_is_up_to_date(name):
    script = Path(__file__).parents[1] / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), f"run python tools/{name}.py"


def test_every_video_template_of_the_host_is_supported_or_refused():
    ours = {name for name in TEMPLATES if name.startswith("rgpt4d_")}
    host = {name for name, template in TEMPLATES.items() if template.mm_plugin.video_token is not None} - ours
    supported = {name for family in FAMILIES.values() for name in family.templates}
    refused = {name for family in UNSUPPORTED.values() for name in family.templates}
    assert host == (supported - ours) | refused and not supported & refused
    # With `p4d:`, each of the supported ones has its derived template.
    assert {f"rgpt4d_{name.removeprefix('rgpt4d_')}" for name in supported} <= ours
    assert not FAMILIES.keys() & UNSUPPORTED.keys()
