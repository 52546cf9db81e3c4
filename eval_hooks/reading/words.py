# SPDX-License-Identifier: Apache-2.0
"""The words of options and sentences: which options a sentence names, and which of them it denies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from rgpt4d_plugin.eval_hooks.reading.denial import LESSENED
from rgpt4d_plugin.eval_hooks.reading.numbers import NUMBER_WORDS, with_plain_numbers


# Spellings of one and the same word.
_SPELLINGS = {
    **{word: str(number) for word, number in NUMBER_WORDS.items()},
    **{f"{way}ward{s}": way for way in ("up", "down", "left", "right") for s in ("", "s")},
    **{f"{way}wards": f"{way}ward" for way in ("to", "for", "back", "in", "out", "side")},
    "farther": "further", "never": "not", "cannot": "not",
}  # fmt: skip
# Different words for one motion. They count only where a sentence names no option by its own words.
_SYNONYMS = (
    (
        re.compile(
            r"\b(?:not (?:\w+ )?mov(?:e|es|ed|ing)(?! (?:closer|further|farther|away|towards?|to)\b)"
            r"|no (?:\w+ )?movement|stationary|motionless|still"
            r"|(?:stay|remain|stand)(?:s|ed|ing)? (?:in (?:the same |its )?(?:place|position|spot|location)|still))\b"
        ),
        "unmoving",
    ),
    (
        re.compile(r"\b(\w+) (?:is|are|was|were) not (?:\w+ly )?(?:present|visible|shown|seen|depicted|there)\b"),
        r"no \1",
    ),
    (re.compile(r"\bnot (?:show|contain|include|depict|feature|have) (?:any |an? )?"), "no "),
    (re.compile(r"\b(?:clos(?:e|er)|near(?:er)?|approach(?:es|ed|ing)?)\b"), "toward"),
    (re.compile(r"\b(?:further|farther|reced(?:e|es|ed|ing))\b"), "away"),
)
# Words that do not tell options apart: an option is still named where they differ or are missing.
_FUNCTION_WORDS = frozenset(
    "a an the of to in on at by with into onto for is are was were be been being am it its he she they them his her "
    "their there this that these those do does did doing has have had having will would can could may might shall "
    "video image scene frame picture visible present shown side direction way time times as and".split()
)
_LIGHT_VERBS = frozenset("mov go com get head travel becom".split())  # as stems
NEGATORS = frozenset("not no neither nor without".split())
_ASIDE = frozenset("than among between comparing".split())
"""What follows is compared with what is chosen, or is all that there is to choose from."""
_JOINTS = frozenset("and or nor then to as well also both either".split())
"""Words that may join two options of one choice; anything else between them makes a sentence around two things."""
_CLAUSE_WORDS = frozenset(
    "but however although though while whereas instead because since which so thus hence".split()
)
_ARTICLES = frozenset("a an the".split())
_GAP = 2
"""Words that may stand between two words of an option."""

_WORD = re.compile(r"(?:(?<![\w.])-)?\d+(?:\.\d+)?|[^\W\d_]+(?:_\d+)?|[,;:()\"]|-(?=\s)")
_REWRITES = (
    (re.compile(r"\b(?:counter|anti)[ -]?clock-?wise\b"), "counterclockwise"),
    (re.compile(r"\bu-turn"), "uturn"),
    (re.compile(r"[<≤]=?\s*(?=[-.\d])"), " less than "),
    (re.compile(r"[>≥]=?\s*(?=[-.\d])"), " more than "),
    (re.compile(r"(?<=\d)\+(?!\w)"), " more "),
    *((re.compile(rf"\b{short}\b"), long) for short, long in (("1st", "first"), ("2nd", "second"), ("3rd", "third"))),
    (re.compile(r"\b(?:ca|wo|do|does|did|is|are|was|were|has|have|had|could|would|should)n'?t\b"), "not"),
    (re.compile(r"'(?:s|re|ve|ll|d|m)?\b"), " "),
    (re.compile(r"\b(?:rather than|instead of|as opposed to|other than|unlike)\b"), "not"),
    (re.compile(r"\b(?:(?:when )?compared (?:to|with)|in comparison (?:to|with)|versus|vs)\b"), "than"),
    (re.compile(r"\b(?:no doubt|no question|not only|not just|not merely)\b"), " "),
)


class Word(NamedTuple):
    """A word of a sentence in lower case and canonical spelling, without inflection, and the number of its clause."""

    text: str
    stem: str
    clause: int


@dataclass(frozen=True)
class Mention:
    """Positions of words that name an option, the option's own position, and whether the sentence denies it."""

    option: int
    words: frozenset[int]
    denied: bool


@lru_cache(maxsize=256)
def words_of(text: str, merge_synonyms: bool = False) -> tuple[Word, ...]:
    """The words of a text, articles left out; if merged, "moves closer to" and "approaches" become "toward"."""
    text = with_plain_numbers(text.lower())
    for pattern, replacement in _REWRITES + (_SYNONYMS if merge_synonyms else ()):
        text = pattern.sub(replacement, text)
    found: list[Word] = []
    clause = 0
    for token in _WORD.findall(text):
        if not token[-1].isalnum():
            clause += 1
        elif token not in _ARTICLES:
            clause += token in _CLAUSE_WORDS
            spelled = _SPELLINGS.get(token, token)
            if not (merge_synonyms and found and found[-1].text == spelled):  # "closer towards"
                found.append(Word(spelled, stem(spelled), clause))
    return tuple(found)


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """A word without its English inflection; only good for comparing two words."""
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 2 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def key_words(words: Sequence[Word]) -> tuple[str, ...]:
    """The stems that tell an option from others; all of its words where nothing would be left."""
    kept = [word.stem for word in words if word.text not in _FUNCTION_WORDS]
    if not any(word.text in NEGATORS for word in words):
        kept = [stem for stem in kept if stem not in _LIGHT_VERBS] or kept
    if not kept or all(stem in NEGATORS for stem in kept):
        kept = [word.stem for word in words]
    return tuple(kept)


def mentions(sentence: Sequence[Word], options: Sequence[tuple[str, ...]]) -> list[Mention]:
    """The options that a sentence names, in the order of their last words.

    A name inside a longer one is none: "left" in "left and up" does not name the option "left". Nor is an option
    without key words ever named.
    """
    content = [(i, word.stem) for i, word in enumerate(sentence) if word.text not in _FUNCTION_WORDS]
    stems = [stem for _, stem in content]
    known = frozenset(stems)
    spans = []
    for number, keys in enumerate(options):
        if not keys or not known.issuperset(keys):
            continue
        for start, first in enumerate(stems):
            if first == keys[0] and (positions := _follow(stems, start, keys)):
                spans.append((number, frozenset(content[i][0] for i in positions)))
    longest = [(number, span) for number, span in spans if not any(span < other for _, other in spans)]
    found = [Mention(number, span, is_denied(sentence, span)) for number, span in longest]
    found.sort(key=lambda mention: max(mention.words))
    aside: set[int] = set()
    for i, mention in enumerate(found):
        start, end = min(mention.words), max(found[i - 1].words) if i else -1
        if aside and (mention.option in aside or not are_joined(sentence, end, start) or _begins(sentence, mention)):
            aside = set()
        if aside or is_denied(sentence, mention.words, by=_ASIDE):
            aside.add(mention.option)
            found[i] = replace(mention, denied=True)
        between = sentence[end + 1 : start]
        if i and between and between[0].clause == sentence[start].clause:
            if LESSENED.search(" ".join(word.text for word in between)):
                found[i - 1 : i + 1] = [replace(each, denied=True) for each in found[i - 1 : i + 1]]
    return found


def _begins(sentence: Sequence[Word], mention: Mention) -> bool:
    """Whether a name begins a clause that goes on: it ends no list."""
    start, end = min(mention.words), max(mention.words)
    clause = sentence[start].clause
    after = [word.text for word in sentence[end + 1 : end + 2] if word.clause == clause]
    return sentence[start - 1].clause != clause and bool(after) and after[0] not in _JOINTS


def are_joined(sentence: Sequence[Word], end: int, start: int) -> bool:
    """Whether only words such as "and", or a comma, stand between two names."""
    between = sentence[end + 1 : start]
    same_clause = sentence[end].clause == sentence[start].clause
    if not between:
        return not same_clause
    return all(word.text in _JOINTS or word.clause != sentence[end].clause for word in between)


def _follow(stems: Sequence[str], start: int, keys: Sequence[str]) -> list[int] | None:
    """Positions of the key words in order from `start`, with at most `_GAP` others between two of them."""
    positions = [start]
    for key in keys[1:]:
        window = range(positions[-1] + 1, min(positions[-1] + 2 + _GAP, len(stems)))
        position = next((i for i in window if stems[i] == key), None)
        if position is None:
            return None
        positions.append(position)
    return positions


def is_denied(sentence: Sequence[Word], span: frozenset[int], by: frozenset[str] = NEGATORS) -> bool:
    """Whether a negation that is no part of the name precedes it in its clause."""
    first = min(span)
    clause = sentence[first].clause
    for i in range(first - 1, -1, -1):
        if sentence[i].clause != clause:
            return False
        if sentence[i].text in by and i not in span:
            return True
    return False
