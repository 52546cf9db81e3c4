# SPDX-License-Identifier: Apache-2.0
"""A page as one HTML file that needs nothing else: no network, no fonts, no scripts."""

import base64
import re
from collections.abc import Iterable
from html import escape
from pathlib import PurePath

from rgpt4d_plugin.eval_hooks.report.page import (
    Answer,
    Beside,
    Block,
    Bullets,
    Card,
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


_REPLY_LIMIT = 4_000
_FEW = 6  # columns of a table
_TYPES = {".svg": "image/svg+xml", ".jpg": "image/jpeg", ".png": "image/png"}

# Should anything that a model wrote ever get past the escaping, a browser would still load and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { --ink: #1b2430; --soft: #5b6675; --line: #dfe4ea; --paper: #fff; --wash: #f5f7f9; --blue: #0072b2;
  --orange: #b86e00; --good: #00734f; --bad: #b3400a; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 32px 64px; background: var(--paper); min-height: 100vh;
  border-left: 1px solid var(--line); border-right: 1px solid var(--line); }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 32px 0 6px; padding-top: 18px; border-top: 2px solid var(--ink); }
h3 { font-size: 16px; margin: 28px 0 8px; }
p { margin: 6px 0; max-width: 86ch; }
.lead { color: var(--soft); font-size: 16px; }
.note, ul.notes { color: var(--soft); font-size: 13px; }
.warning { background: #fff6e5; border-left: 4px solid #e69f00; padding: 8px 12px; max-width: none; }
ul { margin: 6px 0; padding-left: 20px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 14px 0 0; font-size: 14px; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
.scroll { overflow-x: auto; margin: 10px 0 14px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th { font-weight: 600; text-align: right; vertical-align: bottom; color: var(--soft); font-size: 13px;
  border-bottom: 1.5px solid var(--ink); padding: 4px 10px; }
th.span { text-align: center; color: var(--ink); border-bottom: 1px solid var(--line); }
td { text-align: right; vertical-align: top; padding: 5px 10px; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child, .word { text-align: left; }
td:first-child, td.word { white-space: normal; overflow-wrap: anywhere; }
td:first-child { min-width: 130px; } td .detail { white-space: pre; } td.word { font-size: 13px; }
tbody tr:hover { background: var(--wash); }
.detail { display: block; color: var(--soft); font-size: 12px; line-height: 1.25; font-weight: 400;
  white-space: pre-line; }
.few td:not(:first-child) .detail { display: inline; margin-left: 6px; }
.strong { font-weight: 650; } .grey, .grey .detail { color: #8a94a1; }
.up { color: var(--good); font-weight: 600; } .down { color: var(--bad); font-weight: 600; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 14px 0; }
.card { border: 1px solid var(--line); border-top: 4px solid var(--soft); border-radius: 6px; padding: 10px 16px;
  min-width: 150px; }
.card .title { font-size: 12.5px; color: var(--soft); } .card .value { font-size: 27px; font-weight: 650;
  line-height: 1.25; font-variant-numeric: tabular-nums; } .card .detail { font-size: 12.5px; }
.beside { display: flex; flex-wrap: wrap; gap: 0 40px; } .beside > div { max-width: 100%; }
.pictures { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; margin: 12px 0; }
.pictures img { max-width: 100%; height: auto; }
details { margin: 10px 0; } summary { cursor: pointer; color: var(--blue); font-size: 14px; }
.example { display: grid; grid-template-columns: 300px minmax(0, 1fr); gap: 18px; border: 1px solid var(--line);
  border-radius: 6px; padding: 14px; margin: 12px 0; break-inside: avoid; }
.example .shots img { width: 100%; border-radius: 4px; display: block; margin-bottom: 6px; background: var(--wash); }
.example .several { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; align-content: start; }
.example .none { background: var(--wash); color: var(--soft); font-size: 13px; padding: 14px; border-radius: 4px; }
.key { font: 12px/1.4 ui-monospace, Menlo, Consolas, monospace; color: var(--soft); overflow-wrap: anywhere; }
.question { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 8px; max-height: 18em; overflow-y: auto;
  font-size: 14px; line-height: 1.4; }
.options { list-style: none; padding: 0; margin: 0 0 8px; display: flex; flex-wrap: wrap; gap: 4px 8px; }
.options li { border: 1px solid var(--line); border-radius: 4px; padding: 1px 8px; font-size: 13.5px; }
.options li.gold { border-color: var(--good); box-shadow: inset 0 0 0 1px var(--good); font-weight: 600; }
.reply { margin: 4px 0; padding: 6px 10px; background: var(--wash); border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; max-height: 12em; overflow-y: auto; unicode-bidi: isolate;
  font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }
.verdict { font-size: 13px; margin-right: 14px; display: inline-block; } .remark { font-size: 13px;
  color: var(--soft); }
.answer + .answer { margin-top: 10px; } .run { font-weight: 600; font-size: 13.5px; }
@media (max-width: 760px) { main { padding: 18px 14px; } .example { grid-template-columns: 1fr; } }
@media print { body { background: none; } main { border: none; max-width: none; } }
"""


def render_html(page: Page) -> str:
    """The whole file."""
    sections = [block for block in page.blocks if isinstance(block, Heading) and block.level == 2]
    parts = []
    for block in page.blocks:
        if block is sections[0] and len(sections) > 1:
            parts.append(_navigation(sections))
        parts.append(_block(block))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(page.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return escape(visible(text))


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _navigation(sections: Iterable[Heading]) -> str:
    links = "".join(f'<a href="#{_anchor(section.text)}">{_text(section.text)}</a>' for section in sections)
    return f"<nav>{links}</nav>"


def _block(block: Block) -> str:
    match block:
        case Heading():
            anchor = f' id="{_anchor(block.text)}"' if block.level == 2 else ""
            return f"<h{block.level}{anchor}>{_text(block.text)}</h{block.level}>"
        case Text():
            return f'<p class="{block.kind}">{_text(block.text)}</p>'
        case Bullets():
            return f'<ul class="notes">{"".join(f"<li>{_text(item)}</li>" for item in block.items)}</ul>'
        case Table():
            return _table(block)
        case Cards():
            return f'<div class="cards">{"".join(map(_card, block.cards))}</div>'
        case Pictures():
            return f'<div class="pictures">{"".join(map(_image, block.pictures))}</div>'
        case Example():
            return _example(block)
        case Beside():
            stacks = ("\n".join(map(_block, stack)) for stack in (block.left, block.right))
            return f'<div class="beside">{"".join(f"<div>{stack}</div>" for stack in stacks)}</div>'


def _table(table: Table) -> str:
    def kind(column: int) -> str:
        return "word" if column in table.words else ""

    spans = "".join(f'<th class="span" colspan="{width}">{_text(title)}</th>' for title, width in table.spans)
    header = "".join(_tag("th", kind(number), _text(title)) for number, title in enumerate(table.header))
    rows = "".join(
        f"<tr>{''.join(_cell(cell, kind(number)) for number, cell in enumerate(row))}</tr>\n" for row in table.rows
    )
    head = f"<thead>{f'<tr>{spans}</tr>' if spans else ''}<tr>{header}</tr></thead>"
    # Few columns leave room for an interval beside its number; many need it below.
    kind = ' class="few"' if len(table.header) <= _FEW else ""
    text = f'<div class="scroll"><table{kind}>{head}\n<tbody>\n{rows}</tbody></table></div>'
    return f"<details><summary>{_text(table.folded)}</summary>{text}</details>" if table.folded else text


def _cell(cell: Cell | str, kind: str) -> str:
    cell = Cell(cell) if isinstance(cell, str) else cell
    detail = f'<span class="detail">{_text(cell.detail)}</span>' if cell.detail else ""
    return _tag("td", f"{kind} {cell.mark}".strip(), _text(cell.text) + detail)


def _tag(name: str, kind: str, content: str) -> str:
    return f'<{name} class="{kind}">{content}</{name}>' if kind else f"<{name}>{content}</{name}>"


def _card(card: Card) -> str:
    style = f' style="border-top-color: {card.colour}"' if card.colour else ""
    return (
        f'<div class="card"{style}><div class="title">{_text(card.title)}</div><div class="value">'
        f'{_text(card.value)}</div><div class="detail">{_text(card.detail)}</div></div>'
    )


def _image(picture: Picture) -> str:
    kind = _TYPES[PurePath(picture.name).suffix]
    return f'<img src="data:{kind};base64,{base64.b64encode(picture.data).decode()}" alt="{_text(picture.alt)}">'


def _example(example: Example) -> str:
    shots = "".join(map(_image, example.pictures))
    if example.missing:
        shots += f'<div class="none">{_text(example.missing)}</div>'
    kind = "shots several" if len(example.pictures) > 1 else "shots"
    options = "".join(
        _tag("li", "gold" if letter == example.gold else "", f"<b>{_text(letter)}</b> {_text(value)}")
        for letter, value in example.options
    )
    gold = "no right answer" if example.gold is None else f"right: {example.gold}"
    return (
        f'<div class="example"><div class="{kind}">{shots}</div><div><div class="key">{_text(example.key)} · '
        f'{_text(gold)}</div><div class="question">{_text(example.question)}</div>'
        + (f'<ul class="options">{options}</ul>' if options else "")
        + "".join(map(_answer, example.answers))
        + "</div></div>"
    )


def _answer(answer: Answer) -> str:
    run = f'<div class="run">{_text(answer.run)}</div>' if answer.run else ""
    if answer.reply is None:
        reply = '<div class="remark">no reply</div>'
    elif not answer.reply:
        reply = '<div class="remark">an empty reply</div>'
    else:
        reply = f'<div class="reply">{_text(shortened(answer.reply, _REPLY_LIMIT))}</div>'
    verdicts = "".join(
        f'<span class="verdict">{_text(reading)}: <span class="{"up" if right else "down"}">'
        f"{'✓' if right else '✗'} {_text(read)}</span></span>"
        for reading, read, right in answer.verdicts
    )
    remarks = "".join(f'<span class="remark">{_text(remark)} </span>' for remark in answer.remarks)
    return f'<div class="answer">{run}{reply}{verdicts}{remarks}</div>'
