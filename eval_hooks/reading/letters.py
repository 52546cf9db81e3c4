# SPDX-License-Identifier: Apache-2.0
"""Letters that stand for options: in marks such as `(B)`, `B:` or `option B`, or alone where only an answer can stand.

`A` and `I` are words too. They are the only letters that any rule treats in a way of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from rgpt4d_plugin.eval_hooks.reading.denial import is_denied
from rgpt4d_plugin.eval_hooks.reading.text import one_of


@dataclass(frozen=True)
class Mark:
    """A letter of a text that can only stand for an option, with its brackets, quotes and label."""

    letter: str  # upper case; not always one of the item's options
    start: int
    end: int
    denied: bool = False  # the text says that this option is wrong


_FIRST, _LAST = 8, 40
"""Letters of a text that are looked at, where it has more: the first and the last ones."""

_LETTER = re.compile(
    r"""(?<![A-Za-z0-9_'&.])(?<![A-Za-z0-9]-)
    (?P<open>[(\[<"']{0,3})(?P<letter>[A-Za-z])(?P<close>[)\]>"']{0,3})
    (?![A-Za-z0-9_]|'[A-Za-z]|-[A-Za-z0-9]|&\w|\.[A-Za-z])""",
    re.VERBOSE,
)
_LABEL = re.compile(
    r"(?:\b(?:option|choice|answer|letter|alternative)|选项|选择|选|答案)\s{0,3}[:#]?\s{0,3}\Z", re.IGNORECASE
)
_INTRODUCERS = one_of(
    "is, are, be, was, as, with, to, so, thus, therefore, hence, and, or, nor, not, but, than, of, for, that, only, "
    "options, choices, answers, answer, between, both, either, neither, over, versus, choose, select, pick, chose, "
    "selected, picked, say, think, believe, guess, conclude, maybe, perhaps, likely, probably, clearly, definitely, "
    "simply, still, just, actually, indeed, leaving, leaves, remains, es, est, ist, sondern, sino"
)
# What stands before a letter in prose where it answers; before "player B" or "vitamin C" it does not.
_INTRODUCED = re.compile(
    rf"(?:\A|[\n:;=,/.!?]|[^\x00-\x7f]|(?:\A|\W){_INTRODUCERS}|'s|(?:\A|\s)-)\s{{0,3}}\Z", re.IGNORECASE
)
# How a sentence goes on after the letter "A"; after the article, something else follows.
_GOES_ON = one_of(
    "is, was, are, would, must, should, could, can, cannot, does, seem, seems, appears, because, since, as, and, or, "
    "nor, but, not, with, due, based, given, represents, corresponds, matches, describes, states, indicates, which, "
    "that, therefore, so, rather, instead, over, than"
)
_GOES_ON_AFTER = re.compile(rf"\s+{_GOES_ON}\b")
_JOINED = re.compile(r"\s+(?:or|and|nor)\s+[A-Z]\b")  # "I or B" names two letters, "I and Bob" a person
_ENDS = re.compile(r"\s*(?:[.,;:!?)\]/\n\"']|\Z|[^\x00-\x7f])")
_LIST_MARK = re.compile(r"\s?[:.)\]\-](?:\s|\Z)|\s?[:)]|\s*(?:\n|\Z)")
_LISTED = re.compile(r"(?:^|(?<=[.,;!?]))[ \t]*(?:[(\[]([A-Z])[)\]]|([A-Z])\s?[:.)])(?=\s|$)", re.MULTILINE)

_AND = re.compile(r"\b(?:and|or|nor)\b|[和与與及或]", re.IGNORECASE)
_JOINT = re.compile(
    r" *(?:[,/&+|和与與及或]|,? *\b(?:and|or|nor|as well as|and/or)\b)? *(?:both|either|options?|choices?)? *",
    re.IGNORECASE,
)
_COUNT = ("first 1st one 1", "second 2nd two 2", "third 3rd three 3", "fourth 4th four 4", "fifth 5th five 5")
_PLACES = {word: place for place, words in enumerate(_COUNT, start=1) for word in words.split()}
_COUNTED = re.compile(
    r"\b(?P<ordinal>first|second|third|fourth|fifth|last|1st|2nd|3rd|[45]th) (?:option|choice|alternative)\b"
    r"|\b(?:option|choice|alternative) (?:number |no\. ?)?#?(?P<cardinal>one|two|three|four|five|[1-5])\b(?![.,]\d)",
    re.IGNORECASE,
)


def spell_out(text: str, letters: Sequence[str], ordinals_only: bool) -> str:
    """The text with "the second option" and, unless `ordinals_only`, "option two" replaced by "option B"."""

    def named(match: re.Match[str]) -> str:
        word = match["ordinal"] or match["cardinal"]
        place = len(letters) if word.lower() == "last" else _PLACES.get(word.lower(), 0)
        if not 1 <= place <= len(letters) or (ordinals_only and match["cardinal"]):
            return match.group()
        return f"option {letters[place - 1]}"

    return _COUNTED.sub(named, text)


@lru_cache(maxsize=64)
def marks(text: str) -> tuple[Mark, ...]:
    """All marks of a text, in order."""
    found = list(_LETTER.finditer(text))
    if len(found) > _FIRST + _LAST:
        found = found[:_FIRST] + found[-_LAST:]
    result = []
    for i, match in enumerate(found):
        start = _mark_start(text, match)
        if start is None:
            continue
        limit = found[i + 1].start() if i + 1 < len(found) else len(text)
        denied = is_denied(text, start, match.end(), limit)
        result.append(Mark(match["letter"].upper(), start, match.end(), denied))
    return _share_denial(text, result)


def _share_denial(text: str, found: list[Mark]) -> tuple[Mark, ...]:
    """What is said before or after "A, B and D" is said of all three."""
    result: list[Mark] = []
    while len(result) < len(found):
        group = joined(text, found[len(result) :])
        listed = len(group) > 1 and _AND.search(text, group[-2].end, group[-1].start)
        denied = group[-1].denied or (listed and group[0].denied)
        result += [replace(mark, denied=bool(denied or mark.denied)) for mark in group]
    return tuple(result)


def joined(text: str, found: Sequence[Mark]) -> Sequence[Mark]:
    """The marks that are joined to the first one: three of "A, B or C", one of "A. The car ..."."""
    for i in range(1, len(found)):
        if not _JOINT.fullmatch(text, found[i - 1].end, found[i].start):
            return found[:i]
    return found


def leading_mark(text: str) -> Mark | None:
    """The mark that a text begins with."""
    first = next(iter(marks(text[:200])), None)
    return first if first and not text[: first.start].strip(" \"'([") else None


def line_letters(text: str) -> list[str]:
    """The letters that begin lines or sentences like the marks of a list."""
    return [match[1] or match[2] for match in _LISTED.finditer(text)]


def is_listed(letters: Sequence[str], order: Sequence[str]) -> bool:
    """Whether the second of two letters follows the first one as in a list of all options."""
    return any(list(letters) == list(pair) for pair in zip(order, order[1:]))


def _mark_start(text: str, match: re.Match[str]) -> int | None:
    """Where the mark around a letter starts; None if the letter is just a letter."""
    before, letter = text[max(0, match.start() - 16) : match.start()], match["letter"]
    bracketed = match["open"].strip("\"'") and match["close"].strip("\"'")
    labelled = _LABEL.search(before)
    start = match.start() - len(labelled.group()) if labelled else match.start()
    end = match.end("letter")
    if bracketed or (labelled and (letter.isupper() or _ENDS.match(text, end))):
        return start
    introduced = match.start() == 0 or match["open"] or _INTRODUCED.search(before)
    if not introduced:
        return None
    if letter.islower():  # "b" alone, "b)", "the answer is b."
        alone = _ENDS.match(text, end) and (
            letter not in "ai" or _LIST_MARK.match(text, end) or (match["open"] and match["close"])
        )
        return start if alone else None
    if letter == "I" and not (_ENDS.match(text, end) or _JOINED.match(text, end)):
        return None
    if letter == "A" and not (_ENDS.match(text, end) or _GOES_ON_AFTER.match(text, end)):
        return None
    return start
