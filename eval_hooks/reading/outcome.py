# SPDX-License-Identifier: Apache-2.0
"""What a reading is, and the closed set of ways in which it can end."""

from dataclasses import dataclass
from typing import Literal


READ = ("letter", "final", "option", "value")
"""How an answer was read.

letter: the reply is a letter, begins with one, or ends on one, such as `\\boxed{B}`.
final: a phrase announces the answer ("the final answer is ...", "option B is correct").
option: the reply, or its conclusion, names one option in words.
value: it gives the number that one option is.
"""
NOT_READ = ("empty", "unread", "ambiguous", "refused")
"""Why nothing was read.

empty: there is no text.
unread: nothing in it names an option; so too if it is cut off before it does, or names a letter that no option has.
ambiguous: it settles on several options.
refused: it says that it cannot answer, or that no option is right, and no option says so.
"""
How = Literal["letter", "final", "option", "value", "empty", "unread", "ambiguous", "refused"]


@dataclass(frozen=True)
class Reading:
    """The letter that a reply chooses and how it was read (`READ`), or None and why not (`NOT_READ`)."""

    letter: str | None
    how: How


@dataclass(frozen=True)
class NumberReading:
    """The number that a reply gives, without its unit, and how it was read, or None and why not; see `Reading`."""

    value: float | None
    how: How
