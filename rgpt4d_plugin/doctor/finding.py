# SPDX-License-Identifier: Apache-2.0
"""What a check found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: "fine"; "warning": a run goes on, but perhaps not as meant; "wrong": a run would fail.
        about: What was looked at.
        found: What is there.
        mend: What to do, unless all is fine.
    """

    state: Literal["fine", "warning", "wrong"]
    about: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"\n{'':<24}-> {self.mend}" if self.mend else ""
        return f"{self.state:<8} {self.about:<14} {self.found}{mend}"
