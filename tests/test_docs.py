# SPDX-License-Identifier: Apache-2.0
"""What README and docs name exists: commands and their options, keys, make targets, files, links, Python names."""

import importlib
import itertools
import re
import shlex
from pathlib import Path

import pytest
import yaml

from rgpt4d_plugin.arguments import P4DConfigError, parse_p4d
from rgpt4d_plugin.cli import _parser
from rgpt4d_plugin.eval_hooks.arguments import parse_p4d_eval
from rgpt4d_plugin.teachers.base import teacher_names
from tests.host_parts import HOST_KEYS


ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/README.md"), *ROOT.glob("recipes/*.yaml")]
)
FOLDERS = "rgpt4d_plugin|patches|eval_hooks|recipes|examples|docs|benchmarks|tests|tools"

pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page, *languages):
    """The fenced blocks of a page in these languages."""
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", page.read_text(), re.S)


def commands(parser):
    """Every command of a parser, `eval run` among them, and its own parser."""
    for action in parser._subparsers._group_actions if parser._subparsers else ():
        for name, inner in action.choices.items():
            yield name, inner
            yield from ((f"{name} {step}", parser) for step, parser in commands(inner))


def test_commands(page):
    known = dict(commands(_parser()))
    for name, rest in re.findall(r"\brgpt4d ((?:eval )?[a-z][a-z-]*)\b((?:\\\n|[^`\n])*)", page.read_text()):
        if name in ("eval", "package"):
            continue
        assert name in known, f"rgpt4d {name}"
        unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) - set(known[name]._option_string_actions)
        assert not unknown, f"rgpt4d {name}: {unknown}"


def test_command_lines_parse(page):
    lines = "".join(blocks(page, "bash", "console")).replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith("rgpt4d "):
            _parser().parse_known_args(shlex.split(line, comments=True)[1:])


def test_make_targets(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"`make ([a-z-]+)", page.read_text())
    named += re.findall(r"^make ([a-z-]+)", "\n".join(blocks(page, "bash")), re.M)
    assert set(named) <= targets


def unknown_keys(block):
    """What the parsers of the blocks `p4d` and `p4d_eval` call an unknown key."""
    for name, parse in (
        ("p4d", lambda keys: parse_p4d(keys, training=False)),
        ("p4d_eval", lambda keys: parse_p4d_eval(keys, {})),
    ):
        if isinstance(block.get(name), dict):
            try:
                parse(block[name])
            except P4DConfigError as err:
                yield from re.findall(r"- (.*unknown key.*)", str(err))


def test_keys(page):
    """Keys with dots, as they are given on a command line."""
    for key in set(re.findall(r"\bp4d(?:_eval)?(?:\.[a-z_]+)+\b", page.read_text())):
        name, *path = key.split(".")
        block = None
        for part in reversed(path):
            block = {part: block}
        blocks = [{name: block}]
        if path[:1] == ["teacher"] and isinstance(block["teacher"], dict):  # an option of one of them
            blocks = [{name: {"teacher": {"type": kind, **block["teacher"]}}} for kind in teacher_names()]
        assert any(not list(unknown_keys(block)) for block in blocks), key


def test_yaml(page):
    for block in map(yaml.safe_load, blocks(page, "yaml")):
        assert block.keys() <= HOST_KEYS | {"p4d", "p4d_eval"}
        assert not list(unknown_keys(block))


def test_files(page):
    text = page.read_text()
    named = re.findall(rf"\b(?:{FOLDERS})/[\w./-]*\w(?![\w<*])", text)
    assert not [path for path in named if not (ROOT / path).exists()]


def heading_ids(page):
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_links(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not heading or heading in heading_ids(target), link


def test_python(page):
    """Code is Python, and the names that it takes from the package, or that stand in a table, are there."""
    text = page.read_text()
    for code in blocks(page, "python"):
        compile(code, str(page), "exec")
    # The page on new families shows a file of the package itself.
    text = re.sub(r"<!-- the file.*?```\n.*?```", "", text, flags=re.S)
    for module, names in re.findall(r"^from (rgpt4d_plugin[\w.]*) import ([\w, ]+)$", text, re.M):
        for name in names.split(", "):
            assert name in importlib.import_module(module).__all__, f"{module}.{name}"
    for name in re.findall(r"^\| `(rgpt4d_plugin[\w.]*)`", text, re.M):
        module, _, attribute = name.rpartition(".")
        assert attribute in importlib.import_module(module).__all__, name


def test_every_page_is_in_the_site(page):
    if page.is_relative_to(ROOT / "docs"):
        nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
        assert str(page.relative_to(ROOT / "docs")) in itertools.chain.from_iterable(entry.values() for entry in nav)
