# SPDX-License-Identifier: Apache-2.0
"""The options of an item, prepared once for all replies to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rgpt4d_plugin.eval_hooks.reading.numbers import Quantity, values_of
from rgpt4d_plugin.eval_hooks.reading.text import plain
from rgpt4d_plugin.eval_hooks.reading.words import NEGATORS, key_words, words_of


_YES_NO = (("yes",), ("no",))
_UNDETERMINED = re.compile(
    r"not (?:enough|sufficient)|insufficient|not sure|unsure|unclear|unknown|undetermined|can(?:no|')?t (?:be )?"
    r"(?:determined?|tell|say|told|answer)|cannot (?:be )?(?:determined?|tell|answer|say)|impossible to"
    r"|not possible to",
    re.IGNORECASE,
)
_NONE = re.compile(r"\W*(?:none|neither|nothing)(?: of (?:the )?[a-z]+(?: [a-z]+)?)?\W*\Z", re.IGNORECASE)
_ABSENT = re.compile(r"\W*(?:there (?:is|are|was|were) )?(?:no|not any)\b", re.IGNORECASE)
_SPACED_SIGN = re.compile(r"\A\s*[-\u2212\u2013]\s+(?=[\d.])")
_LONGEST_TEXT = 1_000


@dataclass(frozen=True)
class Option:
    """One option."""

    letter: str
    normal: tuple[str, ...]  # its text as `normal` gives it
    keys: tuple[str, ...]  # words that tell it from others; none for numbers, "yes" and "no", which prose has too
    merged_keys: tuple[str, ...]  # the same, with one word for each motion
    own: frozenset[str]  # of these, those that no other option has
    values: tuple[Quantity, ...]  # the number, or the numbers in a row, that it is


@dataclass(frozen=True)
class Options:
    """The options of one item. Those of equal value are one answer, and the benchmarks count the first as right."""

    first: Mapping[str, str]  # letter -> the first letter with the very same value
    distinct: tuple[Option, ...]  # one for each value, in order
    undetermined: tuple[str, ...]  # letters of options such as "not enough information"
    none: tuple[str, ...]  # letters of options such as "none of the above"
    absent: tuple[str, ...]  # letters of options such as "no dog there"

    @property
    def numeric(self) -> bool:
        """Whether any option is a number."""
        return any(option.values for option in self.distinct)


def normal(text: str) -> tuple[str, ...]:
    """The one form in which texts are compared: their words and numbers, without case, marks and articles."""
    return tuple(word.text for word in words_of(text)) or tuple(text.lower().split())


def prepare(options: Mapping[str, Any]) -> Options:
    """The options of an item, from its mapping of letters to values; ValueError if a letter is not one of A to Z."""
    return _prepare(tuple((letter, "" if value is None else str(value)) for letter, value in options.items()))


@lru_cache(maxsize=4096)
def _prepare(items: tuple[tuple[str, str], ...]) -> Options:
    wrong = [letter for letter, _ in items if not (len(letter) == 1 and "A" <= letter <= "Z")]
    if wrong:
        raise ValueError(f"Options have the letters A to Z, but here are {wrong}.")
    first: dict[str, str] = {}
    seen: dict[str, str] = {}
    for letter, text in items:
        first[letter] = seen.setdefault(text, letter)
    texts = {letter: plain(_SPACED_SIGN.sub("-", text)) for letter, text in items if first[letter] == letter}
    values = {letter: values_of(text) for letter, text in texts.items()}
    forms = {letter: normal(text[:_LONGEST_TEXT]) for letter, text in texts.items()}
    in_words = {letter: not values[letter] and form not in _YES_NO for letter, form in forms.items()}
    keys, merged = (
        {
            letter: key_words(words_of(text[:_LONGEST_TEXT], merge_synonyms=merge)) if in_words[letter] else ()
            for letter, text in texts.items()
        }
        for merge in (False, True)
    )
    distinct = []
    for letter in texts:
        others = {word for other in texts if other != letter for word in merged[other]}
        own = frozenset() if NEGATORS.intersection(forms[letter]) else frozenset(merged[letter]) - others
        distinct.append(Option(letter, forms[letter], keys[letter], merged[letter], own, values[letter]))
    return Options(
        first=first,
        distinct=tuple(distinct),
        undetermined=tuple(letter for letter, text in texts.items() if _UNDETERMINED.search(text)),
        none=tuple(letter for letter, text in texts.items() if _NONE.match(text)),
        absent=tuple(letter for letter, text in texts.items() if _ABSENT.match(text)),
    )
