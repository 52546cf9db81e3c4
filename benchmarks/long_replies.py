# SPDX-License-Identifier: Apache-2.0
"""How long the reader of answers takes for a reply of a megabyte: the processor time of reading a choice and a number.

python benchmarks/long_replies.py [--megabytes 1]

A few milliseconds each on any machine; more would mean that a pattern takes more than linear time on what it repeats.
"""

import argparse
import random
import time

from rgpt4d_plugin.eval_hooks.answers import read_choice, read_number


OPTIONS = {"A": "left", "B": "right", "C": 3, "D": "not moving"}
PIECES = (
    "A ", "A or ", "(", "[{", "answer is A ", "I choose ", "\\boxed{", "<think>", "<answer>", "</think>",
    "left right ", "not ", " ", "\n", ".", "1 ", "1,111", "-", "*", "_a", "$", "so A ", "wait, A ", "A\n", "A/",
    "\u0301", "twenty-", "first option ", "A is not ", "either ",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1.0)
    size = int(parser.parse_args().megabytes * 1e6)
    words = " ".join(random.Random(0).choices([piece.strip() for piece in PIECES], k=200_000)) + " "
    print("| repeated | ms |\n|---|---:|")
    for piece in (*PIECES, words):
        reply = (piece * (size // len(piece) + 1))[:size]
        taken = []
        for _ in range(3):
            start = time.process_time()
            read_choice(reply, OPTIONS)
            read_number(reply)
            taken.append(time.process_time() - start)
        print(f"| {piece[:20]!r} | {1000 * min(taken):.1f} |")


if __name__ == "__main__":
    main()
