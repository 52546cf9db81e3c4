# SPDX-License-Identifier: Apache-2.0
"""The strict reader: which option, or which number, a reply settles on; nothing where it settles on none.

One reader serves all benchmarks. It reads as a careful person would who sees the options and the reply, but not the
question: the choice that a reply ends on counts, and where it is not clear, none is read. Official scorers take the
first capital letter, or a random one; their score is always reported next to this one.

A reply becomes plain text (`reading.text`); candidates for the answer are looked for in the order of how plainly they
state it; the first that says anything decides:

1. the whole reply: a letter, an option's text, or both;
2. the last line, if it is a letter or an option's text;
3. the last announcement: "the final answer is ...", "option B is correct" (`reading.phrases`);
4. the beginning: "B: right. The car ...", "Right. The car ...";
5. the conclusion: what the last sentence says, else the last one that starts with "therefore" or the like, else the
   last of the few before.

What a candidate says is a matter of letters, numbers and words (`reading.statement`). Of a comparison ("A is closer
than B") the subject is read, or nothing where the question decides ("A is slower than B"). Options of equal value are
one answer: the first of them is read, which is the one that the benchmarks count as right.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rgpt4d_plugin.eval_hooks.reading.letters import is_listed, joined, leading_mark, line_letters, marks, spell_out
from rgpt4d_plugin.eval_hooks.reading.numbers import Quantity, gives, in_ranges, quantities, results, values_of
from rgpt4d_plugin.eval_hooks.reading.options import Options, prepare
from rgpt4d_plugin.eval_hooks.reading.outcome import How, NumberReading, Reading
from rgpt4d_plugin.eval_hooks.reading.phrases import announced, announcements, concludes, statement_at
from rgpt4d_plugin.eval_hooks.reading.statement import by_words, choice, refuses, whole, with_text
from rgpt4d_plugin.eval_hooks.reading.text import (
    LONGEST,
    REVISION,
    is_blank,
    is_cut,
    last_boxes,
    plain,
    sentences,
    with_sign,
)


__all__ = ["NumberReading", "Reading", "match_value", "read_choice", "read_number"]

_FIRST_CLAUSE = re.compile(r"[^,;:]*")
_RELATIVE = re.compile(
    r"\b(?:more|less|fewer|further|farther|(?:clos|near|slow|fast|quick|tall|short|larg|small|high|low|long|wid|heavi|light"
    r"|earli|lat|deep|old|young)er|bigger)\b(?!.* than\b)",
    re.IGNORECASE,
)
"""A comparison with what was said before."""
_TOLERANCE = 1e-3
_RECENT = 6
"""Sentences from the end that may hold the conclusion where the last one does not."""


def read_choice(reply: str, options: Mapping[str, Any]) -> Reading:
    """Which option a reply settles on.

    Args:
        reply: any text, as a model wrote it. Of a very long one, head and tail are read (`reading.text`).
        options: letter (A to Z) -> value (text, number or None), in their order.

    Returns:
        The letter and how it was read, or no letter and why not. Never raises for any reply.

    Raises:
        ValueError: an option's letter is not one of A to Z.
    """
    prepared = prepare(options)
    boxes = {whole(box, prepared) for box in last_boxes(reply)} - {None}
    if len({box.letter for box in boxes}) > 1:
        return Reading(None, "ambiguous")
    read, signed = (_read(text, options, prepared) for text in (reply, with_sign(reply)))
    if read.letter and signed.letter and read.letter != signed.letter:
        return Reading(None, "ambiguous")
    return signed if read.how == "unread" else read


def _read(reply: str, options: Mapping[str, Any], prepared: Options) -> Reading:
    text = plain(reply)
    if is_blank(text):
        return Reading(None, _nothing(reply))
    text = spell_out(text, list(options), ordinals_only=prepared.numeric)
    if changes := list(REVISION.finditer(text)):
        after = _decide(text[changes[-1].end() :].strip(), prepared)
        if after.letter:
            return after
    return _decide(text, prepared)


def _nothing(reply: str) -> How:
    """Why nothing is read where no answer is: there is no text, or only a thought that is never finished."""
    return "empty" if is_blank(reply) else "unread"


def _decide(text: str, options: Options) -> Reading:
    if is_blank(text):
        return Reading(None, "unread")
    if read := whole(text, options) or _ends(text, options):
        return read
    if read := announced(text, options):
        return Reading(read.letter, "final") if read.letter else read
    return _begins(text, options) or _concludes(text, options) or Reading(None, "unread")


def _ends(text: str, options: Options) -> Reading | None:
    """What the last line is, if it is a letter or an option's text and does not just end a list of options."""
    *before, last = (line for line in map(str.strip, text.splitlines()) if line)
    if not before:
        return None
    listed = line_letters("\n".join(before))[-1:] + line_letters(last)[:1]
    if is_listed(listed, list(options.first)) or all(map(line_letters, (*before, last))):
        return None
    read, above = whole(last, options), whole(before[-1], options)
    is_list = read and above and read.how in ("option", "value") and above.how == read.how and read != above
    return Reading(None, "ambiguous") if is_list else read


def _begins(text: str, options: Options) -> Reading | None:
    """The letter that a reply begins with, if it does not begin a list of options, or the option that is its first
    sentence."""
    lead = leading_mark(text)
    listed = line_letters(text)
    if lead is None:
        first, *others = sentences(text)
        read = whole(first, options)
        after = whole(_FIRST_CLAUSE.match(others[0])[0], options) if read and others else None
        return Reading(None, "ambiguous") if after and after.letter != read.letter else read  # "No. Yes, it does."
    is_asked = text[lead.end :].startswith("?") and not is_blank(text[lead.end :])
    if lead.denied or is_asked or is_listed(listed[:2], list(options.first)):
        return None
    only_list = len(set(listed)) > 1 and all(line_letters(line.strip()) for line in text.splitlines() if line.strip())
    if only_list or len({mark.letter for mark in joined(text, marks(text)) if not mark.denied}) > 1:
        return Reading(None, "ambiguous")
    return with_text(lead.letter, text[lead.end :], options)


def _concludes(text: str, options: Options) -> Reading | None:
    """What the reply's conclusion says. A list of options says nothing."""
    pieces = sentences(text)
    if len({*line_letters(text)}) > 1:
        pieces = [piece for piece in pieces if not line_letters(f"{piece} ")]
    if not pieces:
        return Reading(None, "ambiguous")
    *earlier, last = pieces
    if is_cut(text) and not concludes(last):
        return None
    if read := choice(last, options):
        if read.how == "refused":  # "There are no dogs. Therefore, the question is not applicable."
            for piece in reversed(earlier[-_RECENT:]):
                named = by_words(piece, options)
                if named and named.letter in options.absent:
                    return named
        if earlier and not concludes(last) and _RELATIVE.search(last):  # "The lamp is closest. The table is farther."
            said = choice(earlier[-1], options)
            if said and said.letter and said.letter != read.letter:
                return Reading(None, "ambiguous")
        return read
    if concludes(last):
        return None
    recent = [piece for piece in earlier[-_RECENT:] if concludes(piece)] or earlier[-_RECENT:]
    return next(filter(None, (choice(piece, options) for piece in reversed(recent))), None)


def read_number(reply: str) -> NumberReading:
    """Which number a reply settles on.

    The last announcement counts ("the answer is 2.5 meters", `\\boxed{2.5}`), else the last sentence with a number.
    Units are not converted. A range, or several numbers of which no one is the result, is ambiguous. Never raises.
    """
    boxes = [values_of(box, words=True) for box in last_boxes(reply)]
    if len({box[0].value for box in boxes if box}) > 1:
        return NumberReading(None, "ambiguous")
    read, signed = _read_number(reply), _read_number(with_sign(reply))
    return read if read.value == signed.value else NumberReading(None, "ambiguous")


def _read_number(reply: str) -> NumberReading:
    text = plain(reply)
    if is_blank(text):
        return NumberReading(None, _nothing(reply))
    for start in sorted((end for _, end in announcements(text, ())), reverse=True)[:_RECENT]:
        said = statement_at(text, start)
        if given := quantities(said):
            return _result(said, given, "final")
    first, *others = sentences(text)
    for piece in [first] if len(values_of(first)) == 1 else [first, *others][: -_RECENT - 1 : -1]:
        if given := quantities(piece):
            return _result(piece, given, "value")
    return NumberReading(None, "refused" if refuses(text[-LONGEST:]) else "unread")


def _result(said: str, given: list[Quantity], how: How) -> NumberReading:
    """The one number that a statement comes to: the only one, the only one outside parentheses, or the only one with
    a unit. A range comes to none."""
    given = results(said, given)
    outside = [n for n in given if said.count("(", 0, n.start) == said.count(")", 0, n.start)]
    with_unit = [] if in_ranges(said, given) else [n for n in given if n.unit not in ("", "frame")]
    for each in (given, [] if in_ranges(said, outside) else outside, with_unit):
        if len({number.value for number in each}) == 1:
            return NumberReading(each[0].value, how)
    return NumberReading(None, "ambiguous")


def match_value(reply: str, options: Mapping[str, Any]) -> str | None:
    """The one option whose number, or numbers in a row, a reply gives, to a relative tolerance of 1e-3.

    For replies without a letter to questions about quantities (STI-Bench). No unit is converted, and no nearest option
    is taken: 0.531 is not 0.53. None if no option matches, or several.
    """
    given = [replace(n, unit="") for n in quantities(plain(reply), words=False) if not n.denied]
    wanted = {
        letter: [replace(number, unit="") for number in quantities(plain(str(value)), words=False)]
        for letter, value in options.items()
        if value is not None
    }
    matching = [letter for letter, numbers in wanted.items() if gives(given, numbers, _TOLERANCE)]
    return matching[0] if len(matching) == 1 else None
