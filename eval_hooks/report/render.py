# SPDX-License-Identifier: Apache-2.0
"""Turns a page into one HTML file that needs nothing else, and into Markdown with its pictures beside it."""

import base64
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rgpt4d_plugin.eval_hooks.report.examples import verdicts
from rgpt4d_plugin.eval_hooks.report.page import Page, Picture


_TYPES = {".svg": "image/svg+xml", ".jpg": "image/jpeg"}
# Controls (but for tab and line feed), C1 controls, surrogates, and what reorders or hides the text around it.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
_BLANK = re.compile(r"^(`{3,})text\n.*?\n\1$|\n{3,}", re.MULTILINE | re.DOTALL)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")


def render_html(page: Page) -> str:
    """Renders the whole file: no network, no fonts, no scripts."""
    return _environment(_escape_html).get_template("report.html.j2").render(page=page)


def render_markdown(page: Page, folder: str) -> str:
    """Renders the whole file; its pictures are looked for in `folder`, relative to it."""
    text = _environment(_escape_markdown).get_template("report.md.j2").render(page=page, folder=folder)
    # The template leaves blank lines between blocks; those inside a fence are the model's own.
    return _BLANK.sub(lambda found: found[0] if found[1] else "\n\n", text).rstrip("\n") + "\n"


def visible(text: str) -> str:
    """Returns text whose control characters, and halves of surrogate pairs, are seen instead of doing something."""
    return _UNSEEN.sub(lambda found: _symbol(ord(found[0])), text)


def shortened(text: str, limit: int) -> str:
    """Returns at most `limit` characters, and how many there are."""
    return text if len(text) <= limit else f"{text[:limit]} [... {len(text):,} characters in all]"


def _symbol(code: int) -> str:
    return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else f"\\u{code:04x}"


def _escape_html(value: Any) -> Markup:
    return escape(visible(str(value)))


def _escape_markdown(value: Any) -> Markup:
    """One line on which nothing is markup."""
    return Markup(_MARKDOWN.sub(r"\\\1", " ".join(visible(str(value)).split())))


def _environment(escaped: Callable[[Any], Markup]) -> Environment:
    """Templates in which everything is escaped that is not markup already: by `escaped`, and by autoescape."""
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else escaped(value),
    )
    environment.filters |= {"anchor": _anchor, "data_url": _data_url, "fenced": _fenced, "shortened": shortened}
    environment.filters |= {"url": lambda path: Markup(quote(path)), "verdicts": verdicts}
    return environment


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _data_url(picture: Picture) -> str:
    return f"data:{_TYPES[PurePath(picture.name).suffix]};base64,{base64.b64encode(picture.data).decode()}"


def _fenced(text: str) -> Markup:
    """A block of code whose fence is longer than any in the text."""
    text = visible(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return Markup(f"{fence}text\n{text}\n{fence}")
