# SPDX-License-Identifier: Apache-2.0
"""A page as Markdown, with its pictures as files beside it."""

import re
from urllib.parse import quote

from rgpt4d_plugin.eval_hooks.report.page import (
    Answer,
    Beside,
    Block,
    Bullets,
    Cards,
    Cell,
    Example,
    Heading,
    Page,
    Picture,
    Pictures,
    Table,
    Text,
    shortened,
    visible,
)


_REPLY_LIMIT = 1_500
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")


def render_markdown(page: Page, folder: str) -> str:
    """The whole file; pictures are looked for in `folder`, relative to it."""
    return "\n\n".join(_block(block, folder) for block in page.blocks) + "\n"


def _text(text: str) -> str:
    """One line on which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text).split()))


def _block(block: Block, folder: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_text(block.text)}"
        case Text():
            return f"> **{_text(block.text)}**" if block.kind == "warning" else _text(block.text)
        case Bullets():
            return "\n".join(f"- {_text(item)}" for item in block.items)
        case Table():
            return _table(block)
        case Cards():
            return "\n".join(f"- {_text(c.title)}: **{_text(c.value)}** {_text(c.detail)}" for c in block.cards)
        case Pictures():
            return "\n\n".join(_image(picture, folder) for picture in block.pictures)
        case Example():
            return _example(block, folder)
        case Beside():
            return "\n\n".join(_block(inner, folder) for inner in (*block.left, *block.right))


def _table(table: Table) -> str:
    titles = [""] * len(table.header)
    column = 0
    for title, width in table.spans:
        titles[column : column + width] = [f"{title}: " if title else ""] * width
        column += width
    header = [_text(title + name) for title, name in zip(titles, table.header)]
    rules = [":--" if number == 0 or number in table.words else "--:" for number in range(len(header))]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rules, *rows))
    return f"**{_text(table.folded)}**\n\n{text}" if table.folded else text


def _cell(cell: Cell | str) -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    text = _text(cell.text)
    if text and cell.mark in ("strong", "up", "down"):
        text = f"**{text}**"
    elif text and cell.mark == "grey":
        text = f"*{text}*"
    detail = _text(cell.detail if not cell.detail or cell.detail.startswith("[") else f"({cell.detail})")
    return f"{text} {detail}".strip()


def _image(picture: Picture, folder: str) -> str:
    return f"![{_text(picture.alt)}]({quote(f'{folder}/{picture.name}')})"


def _example(example: Example, folder: str) -> str:
    gold = "no right answer" if example.gold is None else f"right: **{_text(example.gold)}**"
    parts = [f"**{_text(example.key)}** · {gold}"]
    parts += [_image(picture, folder) for picture in example.pictures]
    if example.missing:
        parts.append(f"*{_text(example.missing)}*")
    parts.append(_fenced(example.question))
    if example.options:
        parts.append("\n".join(f"- {letter}: {_text(value)}" for letter, value in example.options))
    parts += [_answer(answer) for answer in example.answers]
    return "\n\n".join(parts)


def _answer(answer: Answer) -> str:
    who = f"Reply of {_text(answer.run)}" if answer.run else "Reply"
    if answer.reply is None:
        said = f"{who}: none."
    elif not answer.reply:
        said = f"{who}: empty."
    else:
        said = f"{who}:\n\n{_fenced(shortened(answer.reply, _REPLY_LIMIT))}"
    verdicts = "; ".join(
        [
            f"{_text(reading)}: {_text(read)}, {'right' if right else 'wrong'}"
            for reading, read, right in answer.verdicts
        ]
        + [_text(remark) for remark in answer.remarks]
    )
    return f"{said}\n\n{verdicts}" if verdicts else said


def _fenced(text: str) -> str:
    """A block of code whose fence is longer than any in the text."""
    text = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
