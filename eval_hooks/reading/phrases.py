# SPDX-License-Identifier: Apache-2.0
"""Where a reply announces its answer: "the final answer is ...", "I choose ...", "option B is correct", "so B"."""

import re
from collections.abc import Iterator, Sequence

from .letters import Mark, marks
from .options import Options
from .outcome import LETTER, Reading
from .statement import by_letter, choice, letter
from .text import end_of_sentence


_MOST = 60
"""Phrases of one kind that are looked at, from the end of the text."""

_BEFORE_NOUN = r"(?:(?P<before>[a-z']{1,20})\s{1,3})?"
_NOUN = r"(?<![a-z])(?P<noun>answer|ans|option|choice|solution|selection|response|conclusion|prediction|答案|选项)(?![a-rt-z])"
_ANNOUNCED = re.compile(
    rf"{_BEFORE_NOUN}{_NOUN}(?P<middle>[^.!?:;=\n]{{0,90}}?)(?P<is>\b(?:is|was|be|are|becomes|remains)\b|[:=]|->|-(?=\s)|是|为|应该)",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^\W*(?:(?:the|my|final|correct|direct|short)\s+){0,3}(?:answer|choice|option)\W*\n", re.IGNORECASE | re.MULTILINE
)
_LABELLED = re.compile(
    r"\b(?:final|correct|best|right|my) (?:answer|choice|option)\s+(?=[(\[\"']?[A-Z]\b)", re.IGNORECASE
)
_CHOSEN = re.compile(
    r"\b(?:I|we)(?:'d|'ll| would| will| must| should| can| have| therefore| thus| to| confidently){0,3}"
    r" (?:choose|select|pick|chose|selected|picked|go with|opt for|settle on|answer)\b(?: with)?",
    re.IGNORECASE,
)
_SO = re.compile(
    r"(?:\A|(?<=[.!?,;\n])\s?)(?:and |but )?(?:so|thus|therefore|hence|in conclusion|overall|finally|in summary|to conclude|consequently"
    r"|ultimately|accordingly|as a result|因此|所以|综上)(?![a-z]),?",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:so|thus|therefore|hence|in conclusion|overall|finally|in summary|to conclude|consequently|ultimately|accordingly"
    r"|as a result|it can be concluded|we can conclude|i conclude|this (?:indicates|suggests|means|implies))\b",
    re.IGNORECASE,
)
_IS_RIGHT = (
    r"\b(?:is|was|seems|appears|would be|must be|should be|being|remains)\s+(?:to be\s+|likely\s+|clearly\s+|therefore\s+|also\s+|indeed\s+){0,2}"
    r"(?:the\s+|a\s+|our\s+|my\s+)?(?:only\s+|most\s+|best\s+|more\s+|closest\s+|final\s+){0,2}(?:correct|right(?=\s(?:answer|option|choice|one)|\W*\Z)|best|accurate"
    r"|appropriate|answer|plausible|likely|suitable|logical|reasonable|fitting|choice)\b"
)
_CONFIRMED = re.compile(
    rf"(?:[^.!?\n]{{0,80}}?|[^\n]{{0,200}}?\b(?:this|it|that|which|option))\s*{_IS_RIGHT}", re.IGNORECASE
)

# "This option is", "to answer the question, it is", "another option is": no announcement.
_NO_ANNOUNCEMENT = frozenset(
    "each every this that first second third another other incorrect wrong any no to can cannot could please must an these which".split()
)
# "The answer is based on ..." says why, not what.
_NO_ANSWER = re.compile(
    r"(?:based|clear|determined|derived|supported|evident|because|found|as follows|obvious)\b", re.IGNORECASE
)


def concludes(sentence: str) -> bool:
    """Whether a sentence says that it concludes."""
    return bool(_CONCLUDES.search(sentence))


def announced(text: str, options: Options) -> Reading | None:
    """What the last announcement of an answer chooses; None if nothing is announced."""
    every = marks(text)
    found = list(_confirmed(text, every, options))
    found += [(start, read) for start, said in announcements(text, every) if (read := choice(said, options))]
    found += [(start, read) for start, said in _after(_SO, text) if (read := by_letter(said, options))]
    return max(found, key=lambda each: each[0])[1] if found else None


def announcements(text: str, every: Sequence[Mark]) -> Iterator[tuple[int, str]]:
    """Where answers are announced, and the statements that should be the answers.

    Args:
        text: plain text.
        every: its marks.
    """
    for match in list(_ANNOUNCED.finditer(text))[-_MOST:]:
        if (match["before"] or "").lower() in _NO_ANNOUNCEMENT:
            continue
        if any(match.start("noun") <= mark.start and mark.end <= match.start("is") for mark in every):
            continue  # "option B is ...": a matter of what is said of B
        said = _statement(text, match.end())
        if not _NO_ANSWER.match(said):
            yield match.start(), said
    for pattern in (_HEADING, _LABELLED, _CHOSEN):
        yield from _after(pattern, text)


def _after(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    for match in list(pattern.finditer(text))[-_MOST:]:
        yield match.start(), _statement(text, match.end())


def _confirmed(text: str, every: list[Mark], options: Options) -> Iterator[tuple[int, Reading]]:
    for i, mark in enumerate(every):
        stop = every[i + 1].start if i + 1 < len(every) else len(text)
        if not mark.denied and mark.letter in options.first and _CONFIRMED.match(text, mark.end, stop):
            yield mark.start, letter(mark.letter, options, LETTER)


def _statement(text: str, start: int) -> str:
    while start < len(text) and text[start] in " \n\"':-=":
        start += 1
    return text[start : end_of_sentence(text, start)]
