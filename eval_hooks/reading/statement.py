# SPDX-License-Identifier: Apache-2.0
"""What one statement chooses: a letter, an option in words, a number, nothing, or the refusal to choose."""

import re
from collections.abc import Iterable, Sequence

from .letters import marks
from .numbers import quantities
from .options import Option, Options, key
from .outcome import AMBIGUOUS, LETTER, OPTION, REFUSED, UNREAD, VALUE, How, Reading
from .text import LONGEST
from .words import NEGATORS, Mention, Word, is_denied, mentions, words_of


# "B: right", "B right"; "A right" may begin with an article.
_LETTER_AND_TEXT = re.compile(r"[(\[\"']?(?P<letter>[A-Za-z])[)\]\"']?\s?(?:[-.:)_,]|(?<![Aa])\s)\s?(?=\S)")
_FIRST_PART = re.compile(r"[\s\-.:)_,(]*([^\n.;]{0,200})")
_REFUSAL = re.compile(
    r"(?:\b(?:can ?not|could not|unable to|impossible to|not possible to|no way to|difficult to|hard to|do not)|n't)\s"
    r"[^.\n]{0,40}?\b(?:determin|answer|tell|identif|conclud|see|view|watch|assist|help|provid|say|know|access|ascertain"
    r"|choos|select|assess|be (?:determined|answered|identified|seen))"
    r"|\b(?:not enough|insufficient|lack of|without (?:more|further|additional)|no) (?:\w+ ){0,2}?(?:information|context|evidence|details?)\b"
    r"|\bnot (?:applicable|sure|provide)\b|n't provide\b"
    r"|\b(?:i'?m|i am) (?:very |so )?sorry\b|\bas an ai\b|\bundetermin|\bunclear\b|\bunknown\b",
    re.IGNORECASE,
)
_NOT_ANY = re.compile(r"\b(?:no|none|(?:not|n't) (?:\w+ ){0,3}any|never)\b", re.IGNORECASE)
_NONE_OF = re.compile(
    r"\A\W*none\W*\Z|\b(?:none|neither|not any) of (?:the )?(?:above|these|given|provided|listed|available|options|choices|answers|them)"
    r"|\bno (?:valid |correct |suitable |right )?(?:answer|option|choice)\b",
    re.IGNORECASE,
)
_OUTCOME = re.compile(
    r"(?:(?:therefore|thus|so|hence|consequently|in conclusion)[, ]\s?|that )(?=(?:the|it|he|she|they|there|his|her|its|their|this|a|an|both|all)\b)",
    re.IGNORECASE,
)
_ABOUT_THE_QUESTION = re.compile(
    r"\b(?:answers?|options?|choices?|questions?|correct|incorrect|determin\w*|conclu\w*|analy\w*|we|i|unclear|possibl[ey]|might|may|could|or)\b|[:?]", re.IGNORECASE
)
# Words that may join two options of one choice; anything else between them is a sentence around two things.
_JOINTS = frozenset("and or nor then to as well also both either".split())
# Subordinate clauses tell when or why, not what.
_SUBORDINATE = re.compile(
    r",?\s\b(?:because|since|before|after|while|when|whereas|although|though|even though|as (?:it|the|he|she|they|indicated|evidenced"
    r"|shown|seen|there|its|his|her|their)|which (?:is )?(?:indicat|evident)|given|despite|due to|based on)\b",
    re.IGNORECASE,
)


def whole(text: str, options: Options) -> Reading | None:
    """The choice of a text that is nothing but a letter, an option's text, or both."""
    if len(text) > LONGEST:
        return None
    found = marks(text)
    if len(found) == 1 and not key(text[: found[0].start] + text[found[0].end :]):
        return letter(found[0].letter, options, LETTER)
    same = [option for option in options.distinct if option.text and option.text == key(text)]
    both = _LETTER_AND_TEXT.match(text)
    if not same and both and both["letter"].upper() in options.first:
        rest = key(text[both.end() :])
        if any(option.text == rest for option in options.distinct):
            return with_text(both["letter"].upper(), rest, options)
    if not same:
        exact = tuple(word.text for word in words_of(text))
        same = [option for option in options.distinct if exact and option.exact == exact]
    return _one_of(same)


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


def letter(name: str, options: Options, how: How) -> Reading:
    """The reading of a letter; unread if no option has it."""
    first = options.first.get(name)
    return Reading(first, how) if first else Reading(None, UNREAD)


def with_text(name: str, text: str, options: Options) -> Reading:
    """The reading of a letter and the text after it. "B: left" where B is "right" contradicts itself."""
    stated = key(_FIRST_PART.match(text)[1])
    named = {option.letter for option in options.distinct if option.text == stated}
    if named and options.first.get(name) not in named:
        return Reading(None, AMBIGUOUS)
    return letter(name, options, LETTER)


def by_letter(text: str, options: Options) -> Reading | None:
    """The one letter that a statement affirms."""
    found = marks(text)
    affirmed = {options.first.get(mark.letter) for mark in found if not mark.denied}
    known = affirmed - {None}
    if len(known) == 1:
        first = next(mark for mark in found if not mark.denied and mark.letter in options.first)
        return with_text(first.letter, text[first.end :], options)
    if known:  # all of them: "one of A, B, C or D" is the question, not an answer
        everything = len(known) == len(options.distinct) > 2
        return None if everything else Reading(None, AMBIGUOUS)
    begins = found and not found[0].denied and not text[: found[0].start].strip()
    return Reading(None, UNREAD) if begins else None


def by_number(text: str, options: Options) -> Reading | None:
    """The one option whose number a statement gives; "no" and "none" give 0."""
    if not options.numeric:
        return None
    given = quantities(text)
    same_unit = [
        option
        for option in options.distinct
        if option.quantity
        and any(q.value == option.quantity.value and q.unit in ("", option.quantity.unit) for q in given)
    ]
    if same_unit:
        return _one_of(same_unit)
    if len(given) == 1:
        unitless = [
            o for o in options.distinct if o.quantity and not o.quantity.unit and o.quantity.value == given[0].value
        ]
        return _one_of(unitless)
    if not given and _NOT_ANY.search(text):
        return _one_of([option for option in options.distinct if option.quantity and option.quantity.value == 0])
    return None


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
    return Reading(options.none[0], OPTION) if len(options.none) == 1 else Reading(None, REFUSED)


def _by_refusal(text: str, options: Options) -> Reading | None:
    """No answer can be given: the option that says so itself ("not enough information"), or refused."""
    if not refuses(text):
        return None
    said = options.undetermined
    return Reading(said[0], OPTION) if len(said) == 1 else Reading(None, REFUSED)


def _by_polarity(text: str, options: Options) -> Reading | None:
    """ "Yes" or "no" from a conclusion about the scene: "Therefore, the ball does not hit the rim." means no.

    Questions with these options ask whether something is so. Only a conclusion counts, and only one that names nothing
    else, the question and its options included.
    """
    yes_no = [next((o for o in options.distinct if o.exact == (word,)), None) for word in ("yes", "no")]
    said = _OUTCOME.match(text)
    if None in yes_no or said is None or _ABOUT_THE_QUESTION.search(text):
        return None
    subordinate = _SUBORDINATE.search(text, said.end())
    main = text[: subordinate.start()] if subordinate else text
    return _one_of([yes_no[any(word.text in NEGATORS for word in words_of(main))]])


def _one_of(found: Iterable[Option]) -> Reading | None:
    found = list(found)
    if not found:
        return None
    if len(found) > 1:
        return Reading(None, AMBIGUOUS)
    return Reading(found[0].letter, VALUE if found[0].quantity else OPTION)


def _answer_word(text: str, options: Options) -> Reading | None:
    """Options "yes" and "no": named only by a clause that is nothing else, as in "No, it does not"."""
    clauses: dict[int, list[str]] = {}
    for word in words_of(text):
        clauses.setdefault(word.clause, []).append(word.text)
    said = {tuple(clause) for clause in clauses.values()}
    return _one_of(o for o in options.distinct if not o.keys and not o.quantity and o.exact in said)


def _named(text: str, options: Options, merged: bool) -> Reading | None:
    keys = [option.merged_keys if merged else option.keys for option in options.distinct]
    subordinate = _SUBORDINATE.search(text)
    if subordinate:
        found = _affirmed(text[: subordinate.start()], keys, merged)
        if found:
            return _last(*found, options)
    found = _affirmed(text, keys, merged)
    return _last(*found, options) if found else None


def _affirmed(text: str, keys: list[tuple[str, ...]], merged: bool) -> tuple[Sequence[Word], list[Mention]] | None:
    words = words_of(text, merge_synonyms=merged)
    every = mentions(words, keys)
    found = [mention for mention in every if not mention.denied and not _denies_another(mention, every, words)]
    return (words, found) if found else None


_ALL_WAYS = frozenset(("or", "nor", "any", "either"))


def _denies_another(mention: Mention, every: list[Mention], words: Sequence[Word]) -> bool:
    """Whether a name that says "not" only denies the option after it: "not turning left" is not "not turning", while
    "not turning left or right" is."""
    if not any(words[i].text in NEGATORS for i in mention.words):
        return False
    end = max(mention.words)
    clause = [word.text for word in words[end + 1 :] if word.clause == words[end].clause]
    if _ALL_WAYS.intersection(clause):
        return False
    after = {
        m.option for m in every if m.denied and min(m.words) > end and words[min(m.words)].clause == words[end].clause
    }
    return len(after - {mention.option}) == 1


def _last(words: Sequence[Word], found: list[Mention], options: Options) -> Reading:
    """The option named last: the subject of an English sentence comes first ("the left car moves right"), and what it
    does last. Several that are joined ("left or right") are no choice."""
    last = found[-1]
    for other in found[:-1]:
        if other.option == last.option:
            continue
        between = words[max(other.words) + 1 : min(last.words)]
        joined = all(word.text in _JOINTS or word.clause != words[max(other.words)].clause for word in between)
        if joined and (between or words[max(other.words)].clause != words[min(last.words)].clause):
            source = words[min(other.words) - 1].text == "from" if min(other.words) else False
            if not source:
                return Reading(None, AMBIGUOUS)
    return Reading(options.distinct[last.option].letter, OPTION)


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
