# SPDX-License-Identifier: Apache-2.0
"""Types for argparse: numbers in a range, so that a wrong one is refused before anything heavy is imported."""

import argparse
import math
from collections.abc import Callable


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns a type for whole numbers from `least` to `most`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least or (most is not None and value > most):
            end = "" if most is None else f", at most {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number, at least {least}{end}; got {text!r}")
        return value

    return parse


def positive(most: float) -> Callable[[str], float]:
    """Returns a type for numbers above 0, up to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"expected a number above 0, at most {most:g}; got {text!r}")
        return value

    return parse
