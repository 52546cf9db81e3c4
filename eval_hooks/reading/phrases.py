# SPDX-License-Identifier: Apache-2.0
"""Where a reply announces its answer: "the final answer is ...", "I choose ...", "option B is correct", "so B"."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from rgpt4d_plugin.eval_hooks.reading.denial import is_announcement_denied
from rgpt4d_plugin.eval_hooks.reading.letters import Mark, marks
from rgpt4d_plugin.eval_hooks.reading.options import Options
from rgpt4d_plugin.eval_hooks.reading.outcome import Reading
from rgpt4d_plugin.eval_hooks.reading.statement import by_letter, choice, letter
from rgpt4d_plugin.eval_hooks.reading.text import LONGEST, end_of_sentence, one_of, sentences


_MOST = 12
"""Announcements that are looked at, from the end of the text."""

# "The correct answer", and how an announcement goes on to "is"; what is quoted in between may hold anything.
_NOUN = re.compile(
    r"(?:\b(?P<before>[a-z']{1,20})\s{1,3})?"
    r"(?:(?<![a-z])(?:answer|ans|option|choice|solution|selection|response|prediction"
    r"|respuesta|réponse|antwort|risposta|resposta)(?![a-z])|答案|选项|答え|正解|정답|ответ)",
    re.IGNORECASE,
)
_IS = re.compile(
    r"(?:[^.!?:;=\n\"]|\"[^\n\"]{0,200}\"){0,90}?"
    r"(?P<is>\b(?:is|was|be|are|becomes|remains|es|est|ist|è|é)\b|\"?[:=]|->|-(?=\s)|是|为|应该)",
    re.IGNORECASE,
)
# "To answer the question, it is", "another option is": no announcements.
_NO_ANNOUNCEMENT = frozenset(
    "each every this these that which an another other first second third incorrect wrong any no to can cannot could "
    "must please".split()
)
_SENTENCE_END = re.compile(r"[.!?\n]")
_SECOND = re.compile(r"\b(?:could|may|might) also\b", re.IGNORECASE)
_WOULD = re.compile(r"\bwould\b", re.IGNORECASE)
_IF = re.compile(
    r"\bif (?!we\b|i\b|you\b|one\b|forced\b|i'd\b)", re.IGNORECASE
)  # "if we have to choose" is no condition
# "The answer is based on ..." says why, not what.
_NO_ANSWER = re.compile(
    one_of("based, clear, determined, derived, supported, evident, because, found, as follows, obvious") + r"\b",
    re.IGNORECASE,
)
_LEADING = re.compile(r"(?:[ \n\"':=]|-(?!\.?\d))*")  # a sign belongs to its number
_HEADING = re.compile(
    r"^\W*(?:(?:the|my|final|correct|direct|short)\s+){0,3}(?:answer|choice|option)\W*\n", re.IGNORECASE | re.MULTILINE
)
_LABELLED = re.compile(
    r"\b(?:final|correct|best|right|my) (?:answer|choice|option)\s+(?=[(\[\"']?[A-Z]\b)", re.IGNORECASE
)
_CHOSEN = re.compile(
    r"\b(?:I|we)(?:'d|'ll| would| will| must| should| can| have| therefore| thus| to| confidently){0,3} "
    rf"{one_of('choose, select, pick, chose, selected, picked, go with, opt for, settle on, answer')}\b(?: with)?",
    re.IGNORECASE,
)

_MATCHES = re.compile(
    r"\b(?:match(?:es|ing)?|correspond(?:s|ing)? (?:to|with)|align(?:s|ed|ing)? with|fits?|points? to|supports?"
    r"|leads? (?:us |me )?to|consistent with|(?:represented|described|given) by"
    r"|(?:match|fit|description|guess|bet) (?:is|would be)|leaving|leaves)\b(?: us with| me with)?",
    re.IGNORECASE,
)
_THEREFORE = "so, thus, therefore, hence, consequently, accordingly, ultimately, overall, finally"
_IN_SUM = "in conclusion, in summary, to conclude, as a result"
_SO = re.compile(
    r"(?:\A|(?<=[.!?,;\n])\s?)(?:and |but )?"
    rf"(?:{one_of(f'{_THEREFORE}, {_IN_SUM}')}(?![a-z])|因此|所以|综上),?",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    rf"(?:\A|[,;:] )(?:and |but )?{one_of(f'so, consequently, accordingly, overall, ultimately, {_IN_SUM}')}\b"
    r"|\b(?:therefore|thus|hence|it can be concluded|we can conclude|i conclude)\b"
    r"|\bthis (?:indicates|suggests|means|implies)\b"
    r"|\A(?:finally|(?:given|based on|considering|from) (?:this|these|the))\b",
    re.IGNORECASE,
)

_SEEMS = r"\b(?:is|was|seems|appears|would be|must be|should be|being|remains)\s+"
_ADVERBS = r"(?:(?:to be|likely|clearly|therefore|also|indeed)\s+){0,2}"
_RIGHT = (
    r"(?:(?:the|our|my)\s+)?(?:(?:only|most|final)\s+){0,2}(?:correct|best|answer|choice|closest"
    r"|right(?=\s(?:answer|option|choice|one)|\W*\Z))(?! (?:only )?(?:if|when)\b)"
)
_BEST = r"(?:the\s+)?(?:most|only|more|best)\s+" + one_of(
    "accurate, appropriate, plausible, likely, suitable, logical, reasonable, fitting, consistent, valid, "
    "possible, probable"
)
# "B is the correct answer", "B: right. This is the most plausible ..."
_CONFIRMED = re.compile(
    r"(?:[^.!?\n]{0,80}?|[^\n]{0,200}?\b(?:this|it|that|which|option))\s*"
    + rf"{_SEEMS}{_ADVERBS}(?:{_RIGHT}|{_BEST})\b|[^\n]{{0,80}}?(?:[✅✓✔☑]|- correct\b)",
    re.IGNORECASE,
)


def concludes(sentence: str) -> bool:
    """Whether a sentence says that it concludes."""
    return bool(_CONCLUDES.search(sentence[:LONGEST]))


def announced(text: str, options: Options) -> Reading | None:
    """What the last announcement of an answer chooses; None if nothing is announced."""
    every = marks(text)
    last_sentence = len(text) - len(sentences(text)[-1])
    candidates: list[tuple[int, Callable[[], Reading | None]]] = []
    for start, end in announcements(text, every):
        candidates.append((start, partial(choice, statement_at(text, end), options)))
    for match in _last(_SO, text):
        candidates.append((match.start(), partial(by_letter, statement_at(text, match.end()), options)))
    for match in _last(_MATCHES, text):
        if match.start() >= last_sentence:  # anywhere else, "this matches option B" is a step of the reasoning
            candidates.append((match.start(), partial(by_letter, statement_at(text, match.end()), options)))
    for i, mark in enumerate(every):
        candidates.append((mark.start, partial(_confirmed, text, every, i, options)))
    candidates.sort(key=lambda candidate: -candidate[0])
    return next(filter(None, (read() for _, read in candidates[:_MOST])), None)


def announcements(text: str, every: Sequence[Mark]) -> Iterator[tuple[int, int]]:
    """Where announcements of an answer start in a text with these marks, and where they end and it should stand."""
    for noun in _last(_NOUN, text):
        found = _IS.match(text, noun.end())
        if found is None or (noun["before"] or "").lower() in _NO_ANNOUNCEMENT:
            continue
        if _is_hypothetical(text, noun.start(), found.end()):
            continue
        if is_announcement_denied(text, noun.start(), found.end("is")):
            continue
        if not any(mark.start <= noun.end() - 1 < mark.end <= found.start("is") for mark in every):
            yield noun.start(), found.end()  # else "option B is ...": a matter of what is said of B
    for pattern in (_HEADING, _LABELLED, _CHOSEN):
        for match in _last(pattern, text):
            yield match.start(), match.end()


def _is_hypothetical(text: str, start: int, end: int) -> bool:
    """Whether it announces a second choice ("could also be"), or the answer to another scene ("if it moved, ...")."""
    clause = _SENTENCE_END.split(text[max(0, start - LONGEST) : start])[-1]
    announcement = text[start:end]
    return bool(_SECOND.search(announcement) or (_IF.search(clause) and _WOULD.search(announcement)))


def _last(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[-_MOST:]


def statement_at(text: str, start: int) -> str:
    """The statement that an announcement ends in; none if it goes on with a reason."""
    start = _LEADING.match(text, start).end()
    if _NO_ANSWER.match(text, start):
        return ""
    return text[start : end_of_sentence(text, start)]


def _confirmed(text: str, every: Sequence[Mark], i: int, options: Options) -> Reading | None:
    """The letter of a mark that is said to be right before the next mark."""
    mark = every[i]
    stop = every[i + 1].start if i + 1 < len(every) else len(text)
    if mark.denied or mark.letter not in options.first or not _CONFIRMED.match(text, mark.end, stop):
        return None
    return letter(mark.letter, options)
