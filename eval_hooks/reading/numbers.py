# SPDX-License-Identifier: Apache-2.0
"""Numbers in options and replies, in digits or in words, with sign and unit: the form in which they are compared."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rgpt4d_plugin.eval_hooks.reading.denial import is_number_denied


@dataclass(frozen=True)
class Quantity:
    """A number of a text, as written: no unit is converted. Its sign and its unit are part of it."""

    value: float
    unit: str  # in its short form ("m" for meters); "" for none or for a word that is no known unit
    start: int
    end: int
    denied: bool = False  # the text says that it is not this number: "not 3", "less than 3"


_MOST = 200
"""Numbers of a text that are looked at, from its end."""
_COUNT = (
    "zero", "one once", "two twice", "three thrice", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBER_WORDS = {word: number for number, words in enumerate(_COUNT) for word in words.split()}
"""Words for small numbers -> the numbers."""
_TENS = "thirty forty fifty sixty seventy eighty ninety".split()
_SPOKEN = NUMBER_WORDS | {word: 10 * i for i, word in enumerate(_TENS, start=3)}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "": 1}
_WORD = "|".join([*_SPOKEN, *_SCALES])
# 1,250  1'250  1 250 m  1.250,5  2,5  2.5  .5; the commas of a row are semicolons here (`_apart`).
_DIGITS = (
    r"(?:[1-9]\d{0,2}(?:(?:,\d{3})+|(?:'\d{3})+|(?: \d{3})+(?=(?:\.\d+)? ?(?:[cmk]?m|meters?)\b))(?:\.\d+)?"
    r"|\d{1,3}(?:\.\d{3})+,\d+|\d+,\d+|\d+(?:\.\d+)?|\.\d+)(?!\d)"
)
_NUMBER = re.compile(
    r"(?P<sign>(?<![A-Za-z\d_.)\]])[-+]|(?:(?<=[=(\[])|(?<=[=(\[] ))[-+] |\b(?:minus|negative) )?(?:"
    rf"(?<![A-Za-z\d_./^])(?P<digits>{_DIGITS})"
    r"(?:e(?P<power>[-+]?\d{1,3})(?!\d)| {0,2}(?:x|×|times) ?10 ?\^ ?(?P<ten>[-+]?\d{1,3}))?"
    r"(?:(?P<more> \d+)? ?/ ?(?P<over>\d+)(?![\d/]|\.\d)| (?P<scale>hundred|thousand|million)\b)?"
    rf"|\b(?P<words>(?:{_WORD}|a (?:hundred|thousand))(?:(?:[ -]|(?<=hundred) and |(?<=thousand) and )(?:{_WORD}))*)"
    r"(?:[ -](?P<part>half|halve|third|quarter)s?)?\b"
    r"|\b(?:half(?= an? )|a (?P<one>third|quarter)(?= of\b)))",
    re.IGNORECASE,
)
_ROW = re.compile(r"(?<![A-Za-z\d_.,])[-+]?[\d.]*\d(?:,[-+]?[\d.]*\d)+")
_ONE = re.compile(r"[-+]?(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})+,\d+|(?P<pair>\d+,\d+))")
_AND_A_HALF = re.compile(r" and (?:a|one) half\b", re.IGNORECASE)
# "the one", "one another", "no one": a pronoun, no number.
_PRONOUN = re.compile(r"\b(?:the(?:\s+[\w-]+)?|this|that|which|each|every|any|no|another|other|last|some)\s+\Z", re.I)
_ONE_ANOTHER = re.compile(r"\s+(?:another|who|that|which|by one)\b", re.IGNORECASE)
# Numbers that count or measure nothing: "frame 3", "2nd", "3D", "2 pi", "0:15".
_NAME = re.compile(
    r"(?:\b(?:frame|step|image|figure|option|video|object|region|scene)s? ?|frames [\d, -]*(?:and )?"
    r"|#|\d:|\bsqrt ?\(?)\Z",
    re.IGNORECASE,
)
_NO_NUMBER = re.compile(r"\^?(?:st|nd|rd|th|[dkpx])\b|:\d| ?(?:pi\b|π|\^ ?[-\d])", re.IGNORECASE)
# "2024-05-03", "3.5.2024", "3 May", "May 3rd, 2024"; the verbs "may" and "march" have small letters.
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)(?:uary|ruary|ch|il|e|y|ust|ember|ober)?\b\.?"
_DATE = re.compile(
    r"(?<![\w./-])(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2\d{4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}(?:,? \d{{4}})?"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?)(?![\w/-]|\.\d)"
)
_TOLERANCE = re.compile(r"(?:±|\+/-|\bpm\b|\bplus or minus\b) ?\Z", re.IGNORECASE)
_RESULT = re.compile(r"=|\b(?:so|thus|therefore|hence|say)\b|, (?:most )?(?:likely|probably)\b", re.IGNORECASE)
_RANGE = re.compile(r"\s*(?:[-~/]|to|or|and|through|)\s*(?:(?:about|around|maybe|even|up to)\s)?", re.IGNORECASE)
_BETWEEN = re.compile(r"(?:\b(?:about|around|approx(?:imately)?|and|to|[xyz])\b|[^\w<>≤≥+])*", re.IGNORECASE)
_UNITS = {
    name: unit
    for unit, names in {
        "m": "m meter meters metre metres 米", "cm": "cm centimeter centimeters centimetre centimetres 厘米",
        "mm": "mm millimeter millimeters millimetre millimetres 毫米",
        "km": "km kilometer kilometers kilometre kilometres",
        "ft": "ft foot feet", "inch": "inch inches", "s": "s sec secs second seconds 秒",
        "ms": "ms millisecond milliseconds", "min": "min minute minutes", "h": "h hour hours",
        "deg": "deg degs degree degrees ° 度", "rad": "rad radian radians", "%": "% percent",
        "m/s": "m/s mps", "km/h": "km/h kmh kph", "m/s2": "m/s2 m/s^2", "deg/s": "deg/s °/s", "rad/s": "rad/s",
        "rad/s2": "rad/s2 rad/s^2", "deg/s2": "deg/s2 deg/s^2 °/s^2 °/s2",
        "m2": "m2 m^2", "m3": "m3 m^3", "kg": "kg", "frame": "frame frames",
    }.items()
    for name in names.split()
}  # fmt: skip
_UNIT = re.compile(
    rf"[)\]]?[ -]{{0,2}}(?P<unit>{'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})(?![a-z\d^/])"
    r"(?P<per>\s(?:per|/)\s?(?:s|sec|seconds?|h|hour)(?:\s(?:squared|per second))?\b)?"
    r"|(?P<inch> ?in)(?=\W*(?:[.,;)\n]|\Z))|(?P<attached>in)\b",
    re.IGNORECASE,
)
_PER = {"second": "s", "seconds": "s", "sec": "s", "hour": "h"}


def quantities(text: str, words: bool = True) -> list[Quantity]:
    """The numbers of a text, in order, also in `words` ("two", "twice", "half a"); of very many, the last ones.

    Those of a date count nothing.
    """
    text = _DATE.sub(lambda date: "_" * len(date.group()), text)
    text = _ROW.sub(_apart, text)
    found: list[Quantity] = []
    for match in list(_NUMBER.finditer(text))[-_MOST:]:
        value, start, end = _value(match), match.start(), match.end()
        before, after = text[max(0, start - 24) : start], text[end : end + 8]
        if match["digits"]:
            if _NAME.search(before) or _NO_NUMBER.match(after):
                continue
        elif not words or (match.group().lower() == "one" and (_PRONOUN.search(before) or _ONE_ANOTHER.match(after))):
            continue
        if half := _AND_A_HALF.match(text, end):
            value, end = value + math.copysign(0.5, value), half.end()
        unit, end = _unit_at(text, end)
        if _TOLERANCE.search(before):
            found[-1:] = [replace(number, unit=number.unit or unit, end=end) for number in found[-1:]]
        elif math.isfinite(value):
            found.append(Quantity(value, unit, start, end, is_number_denied(text, start, end)))
    return found


def with_plain_numbers(text: str) -> str:
    """The text with each number in digits as Python writes it: "-0.5" for "minus .50"."""
    text = _ROW.sub(_apart, text)
    return _NUMBER.sub(lambda match: f"{_value(match):.12g}" if match["digits"] else match.group(), text)


def values_of(text: str, words: bool = False) -> tuple[Quantity, ...]:
    """The numbers that a text is, one or a row of them, with or without units; none if it is anything else."""
    found = quantities(text, words)
    ends = [0, *(number.end for number in found)]
    starts = [*(number.start for number in found), len(text)]
    between = " ".join(text[end:start] for end, start in zip(ends, starts))
    if not found or not _BETWEEN.fullmatch(between):
        return ()
    return tuple(replace(number, unit=number.unit or found[-1].unit) for number in found)


def gives(given: Sequence[Quantity], wanted: Sequence[Quantity], tolerance: float = 0) -> bool:
    """Whether the wanted numbers stand in a row among the given ones, several as a whole row. Units that both have
    must agree."""
    goes_on = [right.start - left.end <= 3 for left, right in pairwise(given)]  # "1, 2"
    for start in range(len(given) - len(wanted) + 1) if wanted else ():
        end = start + len(wanted)
        is_part = len(wanted) > 1 and (any(goes_on[max(0, start - 1) : start]) or any(goes_on[end - 1 : end]))
        if not is_part and all(
            math.isclose(number.value, goal.value, rel_tol=tolerance) and number.unit in ("", goal.unit)
            for number, goal in zip(given[start:end], wanted)
        ):
            return True
    return False


def results(text: str, found: Sequence[Quantity]) -> list[Quantity]:
    """Those numbers of a statement that it may come to: not the denied ones, nor what "= 3" or "so 3" follows from."""
    asserted = [number for number in found if not number.denied]
    start = max((match.end() for match in _RESULT.finditer(text)), default=0)
    return [number for number in asserted if number.start >= start] or asserted


def in_ranges(text: str, found: Sequence[Quantity]) -> set[Quantity]:
    """Those numbers of a text that are no value of their own: both of "2 to 3", both of "12 ft 3 in"."""
    pairs = [pair for pair in pairwise(found) if _RANGE.fullmatch(text, pair[0].end, pair[1].start)]
    return {number for pair in pairs for number in pair}


def _apart(row: re.Match[str]) -> str:
    """Numbers with commas and no spaces: one number if it can be one, else several with semicolons."""
    before, after = row.string[: row.start()][-1:], row.string[row.end() :][:1]
    one = _ONE.fullmatch(row.group())
    is_one = one and before != "[" and not (one["pair"] and before == "(" and after == ")")
    return row.group() if is_one else row.group().replace(",", ";")


def _value(match: re.Match[str]) -> float:
    """The number that a match of `_NUMBER` is; nan if its words are no number."""
    if match["digits"]:
        value = float(f"{_plain(match['digits'])}e{int(match['power'] or match['ten'] or 0)}")
        if match["over"]:
            over = float(match["over"]) or math.nan
            value = value + float(match["more"]) / over if match["more"] else value / over
        value *= _SCALES.get((match["scale"] or "").lower(), 1)
    elif match["words"]:
        value = _spoken(re.split("[ -]", match["words"].lower())) / _PARTS[(match["part"] or "").lower()]
    else:
        value = 1 / _PARTS[(match["one"] or "half").lower()]
    return -value if (match["sign"] or "")[:1].lower() in tuple("-mn") else value


def _plain(digits: str) -> str:
    """Digits without marks of thousands, with a decimal point."""
    if re.fullmatch(r"[1-9]\d{0,2}(?:[,' ]\d{3})+(?:\.\d+)?", digits):
        return re.sub("[,' ]", "", digits)
    return (digits.replace(".", "") if "," in digits else digits).replace(",", ".")


def _spoken(words: list[str]) -> float:
    total = current = 0.0
    for word in words:
        if word == "hundred":
            current = max(current, 1.0) * 100
        elif word in _SCALES:
            total, current = total + max(current, 1.0) * _SCALES[word], 0
        elif word in _SPOKEN:
            last = current % 100
            if last and not (last >= 20 and last % 10 == 0 and _SPOKEN[word] < 10):
                return math.nan  # "one two"
            current += _SPOKEN[word]
    return total + current


def _unit_at(text: str, start: int) -> tuple[str, int]:
    match = _UNIT.match(text, start)
    if match is None:
        return "", start
    unit = _UNITS[match["unit"].lower()] if match["unit"] else "inch"
    if match["per"]:
        words = match["per"].replace("/", " per ").split()
        unit += "/" + _PER.get(words[1], words[1]) + ("2" if len(words) > 2 else "")
    return unit, match.end()
