# SPDX-License-Identifier: Apache-2.0
"""Numbers in options and replies, in digits or in words, with their units."""

import math
import re
from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.eval_hooks.reading.words import NUMBER_WORDS


@dataclass(frozen=True)
class Quantity:
    """A number of a text.

    Attributes:
        value: as written; no unit is converted.
        unit: in its short form ("m" for meters); "" for none or for a word that is no known unit.
        start: where the number starts.
        end: where the number ends, its unit excluded.
    """

    value: float
    unit: str
    start: int
    end: int


_MOST = 200
"""Numbers of a text that are looked at, from its end."""
_DIGITS = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?(?:e[-+]?\d{1,3}(?!\w))?|\.\d+)(?!\d)"
_TENS = {
    word: 10 * i for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<digits>{_DIGITS})"
    rf"|\b(?P<tens>{'|'.join(_TENS)})(?:[ -](?P<ones>one|two|three|four|five|six|seven|eight|nine))?\b"
    rf"|\b(?P<word>{'|'.join(NUMBER_WORDS)})\b"
    r"|\b(?P<half>half)(?= an? )",
    re.IGNORECASE,
)
_AND_A_HALF = re.compile(r" and (?:a|one) half\b", re.IGNORECASE)
# "the one", "one another", "no one": a pronoun, no number.
_PRONOUN = re.compile(r"\b(?:the|this|that|which|each|every|any|no|another|other|last|some)\s+\Z", re.IGNORECASE)
_ONE_ANOTHER = re.compile(r"\s+(?:another|who|that|which|by one)\b", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"(?:\A|\n)[ \t]*[(#]?\Z")
_UNITS = {
    name: unit
    for unit, names in {
        "m": "m meter meters metre metres", "cm": "cm centimeter centimeters centimetre centimetres",
        "mm": "mm millimeter millimeters millimetre millimetres", "km": "km kilometer kilometers kilometre kilometres",
        "ft": "ft foot feet", "inch": "inch inches", "s": "s sec secs second seconds",
        "ms": "ms millisecond milliseconds",
        "min": "min minute minutes", "deg": "deg degree degrees °", "rad": "rad radian radians", "%": "% percent",
        "m/s": "m/s mps", "km/h": "km/h kmh kph", "m/s2": "m/s2 m/s^2 m/s²", "deg/s": "deg/s °/s", "rad/s": "rad/s",
        "m2": "m2 m^2", "m3": "m3 m^3", "frame": "frame frames",
    }.items()
    for name in names.split()
}  # fmt: skip
_UNIT = re.compile(
    r"\s{0,2}(?P<unit>°/s|°|%|[A-Za-z]{1,12}(?:/[A-Za-z]{1,3})?(?:\^?[23](?!\d))?|)"
    r"(?P<per>\s(?:per|/)\s?(?:s|sec|seconds?|h|hour)(?:\s(?:squared|per second))?\b)?"
)
_PER = {"second": "s", "seconds": "s", "sec": "s", "hour": "h"}


def quantities(text: str, words: bool = True) -> list[Quantity]:
    """The numbers of a text, in order; of very many, the last ones. The marks of a list ("1. ...") are none.

    Args:
        text: any.
        words: read "two", "twice" and "half a" too.
    """
    found = []
    for match in list(_NUMBER.finditer(text))[-_MOST:]:
        before = text[max(0, match.start() - 12) : match.start()]
        end = match.end()
        if match["digits"]:
            after = text[end : end + 2]
            if after and after[0] in ".)" and after[1:] in (" ", "\t") and _LIST_NUMBER.search(before):
                continue
            value = _parsed(match["digits"])
        elif not words:
            continue
        elif match["word"]:
            word = match["word"].lower()
            if word == "one" and (_PRONOUN.search(before) or _ONE_ANOTHER.match(text, end)):
                continue
            value = float(NUMBER_WORDS[word])
        elif match["tens"]:
            value = float(_TENS[match["tens"].lower()] + int(NUMBER_WORDS.get((match["ones"] or "zero").lower(), 0)))
        else:
            value = 0.5
        if half := _AND_A_HALF.match(text, end):
            value, end = value + 0.5, half.end()
        if math.isfinite(value):
            found.append(Quantity(value, _unit_at(text, end), match.start(), end))
    return found


def _parsed(digits: str) -> float:
    return float(digits.replace(",", ""))


def quantity_of(option: Any) -> Quantity | None:
    """The number that an option is, with or without a unit; None if it is anything else."""
    if option is None or isinstance(option, bool):
        return None
    text = str(option).strip(" \t\n~").removesuffix(".")
    digits = _NUMBER.match(text)
    if digits is None or not digits["digits"] or not math.isfinite(_parsed(digits["digits"])):
        return None
    unit = _UNIT.match(text, digits.end())
    name = _unit_at(text, digits.end())
    if unit is None or unit.end() != len(text) or bool(unit.group().strip()) != bool(name):
        return None  # "2 logs" is a text
    return Quantity(_parsed(digits["digits"]), name, 0, digits.end())


def _unit_at(text: str, start: int) -> str:
    match = _UNIT.match(text, start)
    if match is None or not match["unit"]:
        return ""
    unit = _UNITS.get(match["unit"].lower(), "")
    if unit and match["per"]:
        words = match["per"].replace("/", " per ").split()
        unit += "/" + _PER.get(words[1], words[1]) + ("2" if len(words) > 2 else "")
    return unit
