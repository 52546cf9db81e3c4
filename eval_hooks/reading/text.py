# SPDX-License-Identifier: Apache-2.0
"""A reply as plain text: bounded, folded to simple characters, without markup, and cut into sentences."""

import re
import unicodedata


HEAD, TAIL = 1_500, 4_500
"""Characters read of a reply that is longer than both together. Answers stand at the ends of a reply."""

LONGEST = 400
"""Characters read of one statement."""

REVISION = re.compile(
    r"(?:(?:\A|[.!?\n]\s?)(?:but |oh,? |no,? )?wait\b|\b(?:wait|hold on|correction)(?=[,.:!-])|\bscratch that\b"
    r"|\bon second thought\b|\blet me (?:re-?(?:check|consider|think|evaluate|examine)|(?:check|think|look) again)\b"
    r"|\bi (?:made (?:a mistake|an error)|was wrong)\b|\bupon (?:re-?examination|further reflection)\b)",
    re.IGNORECASE,
)
"""Where a writer changes its mind."""

# Tags of thought, as models and templates write them: <think>, </Reasoning>, [THINK], <|begin_of_thought|>, ◁think▷.
_THOUGHT = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis|reflection|scratchpad|cot)"
_THOUGHT_STARTS, _THOUGHT_ENDS = (
    re.compile(
        rf"[<\[\u25c1](?:(?<!\[){slash}{_THOUGHT}[>\u25b7]|(?<=\[){slash}THINK\]|\|{word}_of_{_THOUGHT}\|>"
        rf"|\|channel\|>(?:{channels})<\|message\|>)",
        re.IGNORECASE,
    )
    for slash, word, channels in (("", "begin", "analysis|commentary"), ("/", "end", "final"))
)
_ANSWER_TAG = re.compile(r"<(?:final_?)?answer>(.*?)(?:</|\Z)", re.IGNORECASE | re.DOTALL)

# `<|im_end|>`, `</s>`, `<final>`: names of tags. `<obj_1>` is a word of the benchmarks, `<B>` may be an answer.
_TAG = re.compile(r"\[/?INST\]|<\|[^<>|]{1,40}\|>|</?(?:[bisupq]|[a-z][a-z_]{1,20}) ?/?>")
_NOT_APPLICABLE = re.compile(r"\b[Nn]\s?/\s?[Aa]\b")
_BOXED = re.compile(r"\\(?:f|frame)?box(?:ed)?\b|\[(?:[Ff]inal )?[Aa]nswer\](?=\s)|\((?:最终|正确)?答案\)")
_BOX = re.compile(r"\\(?:f|frame)?box(?:ed)?\s?\{((?:[^{}]|\{[^{}]*\}){1,200})\}")
_JOINS_BOXES = re.compile(r"[\s$,;/]*(?:or|and|或|和)?[\s$]*", re.IGNORECASE)
_LOOSE_SIGN = re.compile(r"(?:(?<=\bis )|(?<=\bis about )|(?<=: )|^[ \t]*)[-\u2212\u2013] (?=\.?\d)", re.MULTILINE)
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{\s?(-?[\d.]+)\s?\}\s?\{\s?(\d+)\s?\}|(\d)(\d))")
_SPLIT_SIGN = re.compile(r"(?<![\w)] )(?<![\w)])([-+]) (?=\d+/\d)")
_DEGREES = re.compile(r"\s?\^?\s?\{?\s?\\(?:circ|degree)\b\s?\}?")
_POWER = re.compile(r"\^\s?\{\s?(-?\w{1,3})\s?\}")
_LATEX_COMMAND = re.compile(
    r"\\(?:text|math|operator)[a-z]{0,12}\b|\\[,;:!()\[\]]|\\(?:bf|rm|it|sf|tt|displaystyle)\b|\\(?:quad|left|right)\b(?=\s*[({\[|.\\])"
)
_TEMPLATE = re.compile(r"\$\{?LETTER\}?\$?(?:\s*[=:])?|\bLETTER\s*[=:]")
_LINE_PREFIX = re.compile(r"^[ \t]*(?:(?!> *\d)[#>•·▪●◦+-]+[ \t]+)*(?:[(#]?\d{1,2}[.)][ \t]+(?=\S))?", re.MULTILINE)
_ANGLED = re.compile(r"<(\s?[-+.\d][^<>A-Za-z\n]{0,200})>")  # a vector
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
_EMPHASIS = re.compile(r"(?<![A-Za-z0-9])_{1,3}(?=\S)|(?<=\S)_{1,3}(?![A-Za-z0-9])")
_DROPPED = str.maketrans({"*": "", "`": "", "$": "", "\\": " ", "{": " ", "}": " "})
# The full stop of a list mark ("A. left", "2. Then" at the start of a line) ends no sentence, nor does a decimal's.
_SENTENCE_END = re.compile(
    r"(?<!\A\w)(?<!\n\w)(?<!\n\d\d)(?<![:;,(][A-Za-z])(?<![:;,(] [A-Za-z])[.!?]+[\"')\]]*(?=\s|\Z)|\n+"
)


class _Fold(dict[int, str]):
    """Character -> its plain form, found when first met. One character at a time: normalising a whole string
    takes quadratic time on long runs of combining marks."""

    _SIMPLE = {
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\u300c\u300d\u300e\u300f\u300a\u300b", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\u2192\u21d2", "-"),
        **dict.fromkeys("\u3010\u3014\u27e8", "("),
        **dict.fromkeys("\u3011\u3015\u27e9", ")"),
        "\u3002": ". ", "\u3001": ",", "\n": "\n", "\t": " ", "\r": "\n", "\u2028": "\n", "\u2029": "\n",
        "\u2014": " - ", "\u2015": " - ", "\u25c1": "<", "\u25b7": ">", "\u2044": "/",
    }  # fmt: skip

    def __missing__(self, code: int) -> str:
        char = chr(code)
        plain = self._SIMPLE.get(char)
        if plain is None and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Mn", "Me"):
            plain = ""  # controls, direction marks, lone surrogates, combining marks
        if plain is None and 0x1F170 <= code <= 0x1F189:
            plain = chr(ord("A") + code - 0x1F170)
        if plain is None:
            plain = unicodedata.normalize("NFKC", char)
            plain = plain if len(plain) <= 3 else char
            plain = "".join(self._SIMPLE.get(c, c) for c in plain)
            before = {"<super>": "^", "<fraction>": " "}.get(unicodedata.decomposition(char).partition(" ")[0], "")
            plain = f"{before}{plain}" if plain[:1].isdigit() else plain  # "10²" is not 102, nor is "2½" 21/2
        self[code] = plain
        return plain


_FOLD = _Fold()


def one_of(phrases: str) -> str:
    """A regular expression that matches any of some phrases, given in one string with ", " between them."""
    return f"(?:{'|'.join(phrases.split(', '))})"


def plain(reply: str) -> str:
    """The part of a reply that answers, as plain text.

    Thought is dropped, unless it is closed and nothing follows it. Of a very long reply, its head and
    tail are kept. Full-width, circled and styled characters become simple ones, marks of direction, control characters
    and lone surrogates vanish, and so does the markup of Markdown, HTML and LaTeX; `\\boxed{}` becomes `Answer:`.
    """
    text = _SPLIT_SIGN.sub(r"\1", _bounded(_bounded(_without_thought(reply)).translate(_FOLD)))
    tagged = _ANSWER_TAG.findall(text)
    if tagged and tagged[-1].strip():
        text = tagged[-1]
    text = _ANGLED.sub(r"(\1)", _STRUCK.sub(" ", _TAG.sub(" ", text)))
    text = _BOXED.sub("\nAnswer: ", text)
    text = _POWER.sub(r"^\1", _DEGREES.sub("\u00b0", _FRACTION.sub(_fraction, text.replace("{,}", ","))))
    text = _LATEX_COMMAND.sub(" ", text)
    text = _TEMPLATE.sub("", text)
    text = _NOT_APPLICABLE.sub("not applicable", text)
    text = text.translate(_DROPPED)
    text = _EMPHASIS.sub("", text)
    return _bounded(_LINE_PREFIX.sub("", text).strip())  # what was put in may have made it longer


def _fraction(match: re.Match[str]) -> str:
    after_number = match.string[: match.start()][-1:].isdigit()
    return f"{' ' * after_number}{match[1] or match[3]}/{match[2] or match[4]} "


def _without_thought(reply: str) -> str:
    """What follows the last thought, or that thought if nothing does. A thought that is never closed says nothing,
    but for an answer between tags of its own."""
    start = max((match.end() for match in _THOUGHT_ENDS.finditer(reply)), default=0)
    if opened := _THOUGHT_STARTS.search(reply, start):
        tagged = _ANSWER_TAG.findall(reply, opened.end())
        return tagged[-1] if tagged else reply[start : opened.start()]
    return reply if is_blank(reply[start:]) else reply[start:]


def _bounded(text: str) -> str:
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def last_boxes(reply: str) -> list[str]:
    """What stands in the last box of a reply and in those joined to it: both of "\\boxed{A} or \\boxed{B}"."""
    answer = _bounded(_without_thought(reply))
    boxes = list(_BOX.finditer(answer))
    first = len(boxes) - 1
    while first > 0 and _JOINS_BOXES.fullmatch(answer, boxes[first - 1].end(), boxes[first].start()):
        first -= 1
    return [plain(box[1]) for box in boxes[max(first, 0) :]]


def with_sign(reply: str) -> str:
    """The reply with "- 3" written "-3", where the dash may be a sign or a bullet."""
    return _LOOSE_SIGN.sub("-", reply)


def is_blank(text: str) -> bool:
    """Whether a plain text has no letter and no digit."""
    return re.search(r"[^\W_]", text) is None


def end_of_sentence(text: str, start: int) -> int:
    """Where the sentence that covers `start` ends, at most `LONGEST` characters on."""
    stop = min(start + LONGEST, len(text))
    found = _SENTENCE_END.search(text, start, stop)
    return found.start() if found else stop


def sentences(text: str) -> list[str]:
    """The sentences and lines of a plain text, in order, without their final marks."""
    return [piece for piece in map(str.strip, _SENTENCE_END.split(text)) if piece]


def is_cut(text: str) -> bool:
    """Whether a long text stops in the middle of a sentence, as at a token limit."""
    return len(text) > 300 and text[-1] not in ".!?)]\"':"
