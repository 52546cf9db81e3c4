# SPDX-License-Identifier: Apache-2.0
"""What one statement chooses: a letter, an option in words, a number, nothing, or the refusal to choose."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rgpt4d_plugin.eval_hooks.reading.letters import marks
from rgpt4d_plugin.eval_hooks.reading.numbers import gives, in_ranges, quantities, results, values_of
from rgpt4d_plugin.eval_hooks.reading.options import Option, Options, normal
from rgpt4d_plugin.eval_hooks.reading.outcome import Reading
from rgpt4d_plugin.eval_hooks.reading.text import LONGEST, one_of
from rgpt4d_plugin.eval_hooks.reading.words import NEGATORS, Mention, Word, are_joined, is_denied, mentions, words_of


# "B: right", "B right"; "A right" may begin with an article.
_LETTER_AND_TEXT = re.compile(
    r"[(\[\"']?(?P<letter>[A-Za-z])[)\]\"']?(?:\s?(?:[-.](?!\.?\d)|[:)_,])\s?|(?<![Aa])\s|(?<=[Aa])\s(?=-?\.?\d))(?=[^\s=])"
)
_NAME = re.compile(r"\A(?:frame|step|image|video|object|region|scene) (?=\d)", re.IGNORECASE)
_FIRST_PART = re.compile(r"(?:[\s:)_,]|[-.](?!\.?\d)|\((?!-?\.?\d))*((?:[^\n.;]|\.(?=\d)){0,200})")
_CANNOT = one_of(
    "can ?not, could not, unable to, impossible to, not possible to, no way to, difficult to, hard to, do not"
)
_TELL = one_of(
    "determin, answer, tell, identif, conclud, see, view, watch, assist, help, provid, say, know, access, ascertain, "
    "choos, select, assess, be determined, be answered, be identified, be seen"
)
_LACKS = one_of("not enough, insufficient, lack of, without more, without further, without additional, no")
_REFUSAL = re.compile(
    rf"(?:\b{_CANNOT}|n't)\s[^.\n]{{0,40}}?\b{_TELL}"
    rf"|\b{_LACKS} (?:\w+ ){{0,2}}?(?:information|context|evidence|details?)\b"
    r"|\bnot (?:applicable|sure|provide)\b|n't provide\b|\bundetermin|\bunclear\b|\bunknown\b"
    r"|\b(?:i'?m|i am) (?:very |so )?sorry\b|\bas an ai\b",
    re.IGNORECASE,
)
_NONE_OF = re.compile(
    r"\A\W*none\W*\Z|\b(?:none|neither|not any) of (?:the )?"
    r"(?:above|these|given|provided|listed|available|options|choices|answers|them)"
    r"|\bno (?:valid |correct |suitable |right )?(?:answer|option|choice)\b",
    re.IGNORECASE,
)
_NOT_ANY = re.compile(r"\b(?:no|none|(?:not|n't) (?:\w+ ){0,3}any|never)\b", re.IGNORECASE)
# What happens in the scene, as a conclusion says it.
_OUTCOME = re.compile(
    r"(?:(?:therefore|thus|so|hence|consequently|in conclusion)[, ]\s?|that )"
    r"(?=(?:the|it|he|she|they|there|his|her|its|their|this|a|an|both|all)\b)",
    re.IGNORECASE,
)
_ABOUT_THE_QUESTION = re.compile(
    r"\b(?:answers?|options?|choices?|questions?|correct|incorrect|determin\w*|conclu\w*|analy\w*|we|i|or)\b"
    r"|\b(?:unclear|possibl[ey]|might|may|could)\b|[:?]",
    re.IGNORECASE,
)
# Stems of directions and motions.
_WAYS = frozenset(
    "left right up down top bottom forward backward back front straight ahead toward away in out upward downward "
    "inward outward clockwis counterclockwis unmov turn spin forth stil sam stay".split()
)
_BESIDE = frozenset("of behind past near beside around by alongside against following".split())
"""Before a direction, after another one: it tells things apart, as in "to the right of the left car"."""
_ALL_WAYS = frozenset("or nor any either".split())
# Subordinate clauses tell when or why, not what.
_SUBORDINATE = re.compile(
    r"\b(?:as|so) \w+ as\b"
    r"|,?\s\b(?P<why>because|since|before|after|while|when|whereas|although|though|even though|given|despite|due to"
    r"|based on|as (?:(?-i:[A-Z]\b)|it|the|he|she|they|indicated|evidenced|shown|seen|there|its|his|her|their)"
    r"|which (?:is )?(?:indicat|evident))\b",
    re.IGNORECASE,
)


def whole(text: str, options: Options) -> Reading | None:
    """The choice of a text that is nothing but a letter, an option's text, or both."""
    if len(text) > LONGEST:
        return None
    found = marks(text)
    if len(found) == 1 and not found[0].denied and not words_of(text[: found[0].start] + text[found[0].end :]):
        return letter(found[0].letter, options)
    both = _LETTER_AND_TEXT.match(text)
    if both and both["letter"].upper() in options.first and _same(text[both.end() :], options):
        return with_text(both["letter"].upper(), text[both.end() :], options)
    return _one_of(_same(text, options))


def _same(text: str, options: Options) -> list[Option]:
    """The options that a text is, in other words or not."""
    form, values = normal(text), values_of(_NAME.sub("", text), words=True)
    return [option for option in options.distinct if form and option.normal == form and not option.values] or [
        option for option in options.distinct if len(option.values) == len(values) and gives(values, option.values)
    ]


def choice(text: str, options: Options) -> Reading | None:
    """What a statement chooses; None if it says nothing about it."""
    text = text.strip()[:LONGEST]
    if not text:
        return None
    return (
        whole(text, options)
        or by_letter(text, options)
        or by_number(text, options)
        or _by_none(text, options)
        or by_words(text, options)
        or _by_refusal(text, options)
        or _by_polarity(text, options)
    )


def letter(name: str, options: Options) -> Reading:
    """The reading of a letter; unread if no option has it."""
    first = options.first.get(name)
    return Reading(first, "letter") if first else Reading(None, "unread")


def with_text(name: str, text: str, options: Options) -> Reading:
    """The reading of a letter and the text after it. "B: left" where B is "right" contradicts itself."""
    named = {option.letter for option in _same(_FIRST_PART.match(text)[1], options)}
    if named and options.first.get(name) not in named:
        return Reading(None, "ambiguous")
    return letter(name, options)


def by_letter(text: str, options: Options) -> Reading | None:
    """The one letter that a statement affirms."""
    found = marks(text)
    affirmed = {options.first.get(mark.letter) for mark in found if not mark.denied}
    known = affirmed - {None}
    if len(known) == 1:
        first = next(mark for mark in found if not mark.denied and mark.letter in options.first)
        return with_text(first.letter, text[first.end :], options)
    if known and (main := _main_clause(text)) != text:
        return by_letter(main, options)
    if known:  # all of them: "one of A, B, C or D" is the question, not an answer
        everything = len(known) == len(options.distinct) > 2
        return None if everything else Reading(None, "ambiguous")
    begins = found and not found[0].denied and not text[: found[0].start].strip()
    return Reading(None, "unread") if begins else None


def by_number(text: str, options: Options) -> Reading | None:
    """The one option whose number, or numbers, a statement gives; "no" and "none" give 0."""
    every = quantities(text)
    given = results(text, every)
    numeric = [option for option in options.distinct if option.values]
    found = [option for option in numeric if gives(given, option.values)]
    if not found:  # options without units
        bare = [replace(number, unit="") for number in given]
        bare_options = [o for o in numeric if len(o.values) == len(bare) and not any(n.unit for n in o.values)]
        found = [option for option in bare_options if gives(bare, option.values)]
    if not every and _NOT_ANY.search(text):
        found = [option for option in numeric if [number.value for number in option.values] == [0]]
    longest = max((len(option.values) for option in found), default=0)
    if longest == 1 and given and all(number in in_ranges(text, given) for number in given):
        return Reading(None, "ambiguous")
    return _one_of(option for option in found if len(option.values) == longest)


def by_words(text: str, options: Options) -> Reading | None:
    """The one option that a statement names and does not deny.

    By the option's own words; else with one word for each motion ("closer" for "towards"); else by words that no other
    option has.
    """
    return (
        _answer_word(text, options)
        or _named(text, options, merged=False)
        or _named(text, options, merged=True)
        or _named_in_part(text, options)
    )


def refuses(text: str) -> bool:
    """Whether a text says that no answer can be given."""
    return bool(_REFUSAL.search(text))


def _by_none(text: str, options: Options) -> Reading | None:
    """None of the options: the option that says so itself, or refused."""
    if not _NONE_OF.search(text):
        return None
    return Reading(options.none[0], "option") if len(options.none) == 1 else Reading(None, "refused")


def _by_refusal(text: str, options: Options) -> Reading | None:
    """No answer can be given: the option that says so itself ("not enough information"), or refused."""
    if not refuses(text):
        return None
    said = options.undetermined
    return Reading(said[0], "option") if len(said) == 1 else Reading(None, "refused")


def _by_polarity(text: str, options: Options) -> Reading | None:
    """ "Yes" or "no" from a conclusion about the scene: "Therefore, the ball does not hit the rim." means no.

    Questions with these options ask whether something is so. Only a conclusion counts, and only one that names nothing
    else, the question and its options included.
    """
    yes_no = [next((o for o in options.distinct if o.normal == (word,)), None) for word in ("yes", "no")]
    said = _OUTCOME.match(text)
    if None in yes_no or said is None or _ABOUT_THE_QUESTION.search(text):
        return None
    return _one_of([yes_no[any(word.text in NEGATORS for word in words_of(_main_clause(text)))]])


def _main_clause(text: str) -> str:
    found = next((match for match in _SUBORDINATE.finditer(text) if match["why"]), None)
    return text[: found.start()] if found else text


def _one_of(found: Iterable[Option]) -> Reading | None:
    found = list(found)
    if not found:
        return None
    if len(found) > 1:
        return Reading(None, "ambiguous")
    return Reading(found[0].letter, "value" if found[0].values else "option")


def _answer_word(text: str, options: Options) -> Reading | None:
    """Options "yes" and "no": named only by a clause that is nothing else, as in "No, it does not"."""
    clauses: dict[int, list[str]] = {}
    for word in words_of(text):
        clauses.setdefault(word.clause, []).append(word.text)
    said = {tuple(clause) for clause in clauses.values()}
    return _one_of(o for o in options.distinct if not o.keys and not o.values and o.normal in said)


def _named(text: str, options: Options, merged: bool) -> Reading | None:
    keys = [option.merged_keys if merged else option.keys for option in options.distinct]
    found = _affirmed(_main_clause(text), keys, merged) or _affirmed(text, keys, merged)
    return _last(*found, options) if found else None


def _affirmed(text: str, keys: list[tuple[str, ...]], merged: bool) -> tuple[Sequence[Word], list[Mention]] | None:
    words = words_of(text, merge_synonyms=merged)
    every = mentions(words, keys)
    found = [mention for mention in every if not mention.denied and not _denies_another(mention, every, words)]
    return (words, found) if found else None


def _denies_another(mention: Mention, every: list[Mention], words: Sequence[Word]) -> bool:
    """Whether a name that says "not" only denies the option after it: "not turning left" is not "not turning", while
    "not turning left or right" is."""
    if not any(words[i].text in NEGATORS for i in mention.words):
        return False
    end = max(mention.words)
    clause = [i for i in range(end + 1, len(words)) if words[i].clause == words[end].clause]
    if _ALL_WAYS.intersection(words[i].text for i in clause):
        return False
    after = {other.option for other in every if other.denied and min(other.words) in clause}
    return len(after - {mention.option}) == 1


def _last(words: Sequence[Word], found: list[Mention], options: Options) -> Reading:
    """The option named last, where options are directions: the subject of an English sentence comes first ("the left
    car moves right"), and what it does last, but for what it does it beside ("to the right of the left car"). Of
    several things, or several that are joined ("left or right", "left, then right"), none is chosen, but of "from left
    to right" one is."""
    are_ways = all(_WAYS.intersection(options.distinct[mention.option].merged_keys) for mention in found)
    while are_ways and len(found) > 1 and words[min(found[-1].words) - 1].text in _BESIDE:
        found = found[:-1]
    last = found[-1]
    for other in found[:-1]:
        first, end = min(other.words), max(other.words)
        is_source = first > 0 and words[first - 1].text == "from"
        if other.option == last.option or is_source:
            continue
        then = any(word.text == "then" for word in words[end + 1 : min(last.words)])  # one motion after the other
        if not are_ways or then or are_joined(words, end, min(last.words)):
            return Reading(None, "ambiguous")
    return Reading(options.distinct[last.option].letter, "option")


def _named_in_part(text: str, options: Options) -> Reading | None:
    """The only option that has any word to itself in the text: more than half of its own ones, not denied."""
    words = words_of(text, merge_synonyms=True)
    place = {word.stem: i for i, word in reversed(list(enumerate(words)))}
    touched = [option for option in options.distinct if not option.own.isdisjoint(place)]
    if len(touched) != 1:
        return None
    own = touched[0].own
    said = frozenset(place[stem] for stem in own if stem in place)
    return _one_of(touched) if 2 * len(said) > len(own) and not is_denied(words, said) else None
