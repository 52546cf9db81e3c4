# SPDX-License-Identifier: Apache-2.0
"""Where a text says of something that it is not so: in English, and as far as letters need it in other languages."""

import re

from rgpt4d_plugin.eval_hooks.reading.text import one_of


LESSENED = re.compile(
    r"\b(?:less(?! (?:likely|plausible|accurate|probable)\b)|fewer|slow(?:er|ly)|smaller|shorter|lower|not|no)\b"
    r".*\bthan\b|n't\b.*\bthan\b|\b(?:as|so) (?!well\b|soon\b|long\b)\w+ (?:.* )?as\b",
    re.IGNORECASE | re.DOTALL,
)
"""Stands between two things where it depends on the question which of them is the answer."""

_CLAUSE_START = re.compile(
    r"[.,;:!?\n]|\b(?:(?<!anything )but|so|therefore|thus|hence|because|sondern|sino)\b|而是|但|因此|所以|故",
    re.IGNORECASE,
)
_NOT = (
    "not, never, neither, nor, cannot, (?<!none other )than, instead of, nicht, kein, n'est pas, no es, não é, "
    "non è, не"
)
_DOUBT = r"(?<!no )(?<!without )(?<!beyond )doubt"
_DENIES = one_of(
    f"{_NOT}, rather than, unlike, unlikely, {_DOUBT}, no way, over, versus, vs, except, anything but, incorrect, "
    "wrong, rule out, rules out, ruled out, ruling out"
)
_SETS_ASIDE = one_of("exclud, eliminat, reject, disregard, dismiss, discard, discount, ignor") + r"(?:e|es|s|ed|ing)?"
# "不应该选", "错误的是", "除了", "比": a denial and the auxiliaries that may stand between it and what is denied.
_AUXILIARY = "(?:[应應该該会會是係太再选選择擇有能的项項为為了仅僅]|可能|可以|认为|認為|正确|正確|符合|答案)"
_DENIED_BEFORE = re.compile(
    rf"\b(?:{_DENIES}|{_SETS_ASIDE})\b|n't\b"
    rf"|(?:[非没沒未唔除比]|[无無]法|不(?![仅僅])|排除|错误?|錯誤?){_AUXILIARY}{{0,6}}\s?\Z",
    re.IGNORECASE,
)
_WRONG = one_of(
    r"not\b(?! only), incorrect\b, wrong\b, false\b, ruled out, eliminated, excluded, unlikely, less likely, "
    "impossible, invalid, inaccurate, irrelevant, inconsistent, contradict"
)
_FOREIGN_WRONG = (
    "[❌✗✘✖]|不(?![仅僅错錯过過])|[错錯误誤]|排除|[没沒]有|[无無]法|[并並]非|[除以]?外"
    "|ない|なく|ありません|間違|아니|아닙|아닌|틀"
)
_DENIED_AFTER = re.compile(
    r"[^.;:!?\n]{0,60}?(?:\b(?:is|are|was|can|could|would|must|should|does|do|did|seems?|appears?|be)"
    rf"(?:n't\b|\s+(?:(?:be|to be|clearly|also|therefore|definitely|likely)\s+)?{_WRONG})|\bcannot\b)"
    rf"|[)\]]?(?:\([^()\n]{{0,40}}\))?(?:(?![而但比])[^\x00-\x7f]|\s){{0,8}}?(?:{_FOREIGN_WRONG})",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:because|since|as|where|which|that|while|and|but|so)\b", re.IGNORECASE)
# A line of a list that judges its option: "A: left - this does not match."
_JUDGED = one_of("correct, right, best, accurate, supported, valid, possible, consistent, plausible, likely, true")
_DENIED_LINE = re.compile(
    r"[^\n,]{0,40}?(?:[❌✗✘✖]|不(?:正[确確]|[对對]|符合|成立)|[错錯][误誤])"
    rf"|[^\n]{{0,300}}?\b(?:incorrect|wrong|ruled out|eliminated|unlikely|not applicable|not (?:the )?{_JUDGED}"
    r"|(?:does|do|did)(?:n't| not) (?:match|apply|fit|align|correspond))\b",
    re.IGNORECASE,
)
_NUMBER_DENIED = re.compile(
    rf"(?:\b{one_of(_NOT)}\b|n't|[<>≤≥]=?|不是|并非)\s*(?:(?:be|the|a|an|exactly|equal to) ){{0,2}}\Z", re.IGNORECASE
)
_NUMBER_WRONG = re.compile(
    r"\s*(?:is|was|would be)(?:(?: not|n't) (?:correct|right|possible)| (?:incorrect|wrong)\b)", re.IGNORECASE
)
# "The answer cannot be A", "答案不可能是A".
_NO_ANNOUNCEMENT = re.compile(
    rf"(?:\b{one_of(_NOT)}\b|n't)\W+(?:\w+\W+)?(?:be|is|was)\Z|\b(?:no|não|non|nicht|n'|ne)\s?(?:es|é|è|est|ist)\Z"
    rf"|[不非没沒]{_AUXILIARY}{{0,6}}\Z",
    re.IGNORECASE,
)
_DOUBTED = re.compile(
    r"(?:(?:n't|\bnot|\bcannot|\bnever) (?:think|believe|say|suppose|agree|conclude|mean)|\bunlikely|\bno way"
    rf"|\bimpossible|\b{_DOUBT})\s+(?:that\s+)?(?:\w+\s+){{0,2}}\Z",
    re.IGNORECASE,
)


def is_denied(text: str, start: int, end: int, limit: int) -> bool:
    """Whether the clause before a name of an option, or what is said of it up to the next at `limit`, denies it."""
    clause = _CLAUSE_START.split(text[max(0, start - 80) : start])[-1] or ""
    after = text[end:limit]
    compared = "" if _CLAUSE_START.search(after) or limit == len(text) else after
    if _DENIED_BEFORE.search(clause) or LESSENED.search(clause) or LESSENED.search(compared):
        return True
    reason = _REASON.search(after)
    if _DENIED_AFTER.match(after[: reason.start()] if reason else after):
        return True
    at_line_start = not text[:start].rpartition("\n")[2].strip()
    return bool(at_line_start and _DENIED_LINE.match(text, end, limit))


def is_number_denied(text: str, start: int, end: int) -> bool:
    """Whether what stands directly before or after a number says that it is another one. A sentence about a number may
    deny other things: "it does not move for 3 seconds"."""
    return bool(_NUMBER_DENIED.search(text, max(0, start - 24), start) or _NUMBER_WRONG.match(text, end))


def is_announcement_denied(text: str, start: int, end: int) -> bool:
    """Whether the words that announce an answer, such as "the answer cannot be", say what it is not."""
    return bool(_NO_ANNOUNCEMENT.search(text[start:end]) or _DOUBTED.search(text[max(0, start - 40) : start]))
