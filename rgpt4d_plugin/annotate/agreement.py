# SPDX-License-Identifier: Apache-2.0
"""Agreement of two annotators beyond chance."""

from collections import Counter
from collections.abc import Hashable, Sequence


def kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Cohen's kappa of two annotators' verdicts on the same records (Cohen, 1960).

    Returns:
        1 for full agreement, 0 for that of chance; None where it says nothing: no record, or one verdict throughout.
    """
    if not pairs:
        return None
    count = len(pairs)
    observed = sum(one == other for one, other in pairs) / count
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    expected = sum(ones[verdict] * others[verdict] for verdict in ones) / count**2
    return None if expected == 1 else (observed - expected) / (1 - expected)
