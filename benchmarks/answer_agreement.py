# SPDX-License-Identifier: Apache-2.0
"""How often readers of answers agree with a judge that was asked about every reply.

python benchmarks/answer_agreement.py judged.jsonl.gz [--disagreements]

The file has one judged reply a line: `run` (whose name says whether its model was told to reason: "cot"), `id`,
`choices` (letter -> value), `answer` (the right value), `response` and `judge_correct`, as VLM4D publishes them. A
reader agrees where it scores a reply as the judge does; where it draws a random letter, to the expected extent.
Replies without a verdict are left out.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.answers import read_choice
from rgpt4d_plugin.eval_hooks.benchmarks import r4d_bench, sti_bench, vlm4d


Record = dict[str, Any]


def credit(letter: str | None, record: Record) -> float:
    """1 for the right letter. Options of equal value: the first one is right."""
    return float(letter is not None and letter == gold(record))


def gold(record: Record) -> str | None:
    """The letter of the right option."""
    return next((letter for letter, value in record["choices"].items() if value == record["answer"]), None)


def drawn(letter: str | None, record: Record) -> float:
    """As `credit`; no letter means a random one."""
    return 1 / len(record["choices"]) if letter is None else credit(letter, record)


READERS: dict[str, Callable[[Record], float]] = {
    "strict": lambda record: credit(read_choice(record["response"], record["choices"]).letter, record),
    "R4D-Bench": lambda record: drawn(r4d_bench.read_official(record["response"], len(record["choices"])), record),
    "STI-Bench": lambda record: credit(sti_bench.read_official(record["response"]), record),
    "VLM4D (rules)": lambda record: credit(vlm4d.read_official(record["response"], len(record["choices"])), record),
}
"""Name -> the score of a reply in [0, 1], under this project's reader and the published ones."""


def read(path: Path) -> list[Record]:
    """The judged replies of a file of JSON lines, compressed or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines if line.strip()]
    return [record for record in records if record["judge_correct"] is not None]


def agreement(records: Iterable[Record], reader: Callable[[Record], float]) -> float:
    """In percent."""
    agreed = [1 - abs(reader(record) - record["judge_correct"]) for record in records]
    return 100 * sum(agreed) / len(agreed)


def table(records: list[Record]) -> str:
    """Rows: runs, then all direct and all reasoning ones; columns: readers."""
    runs = dict.fromkeys(record["run"] for record in records)
    groups = {run: [record for record in records if record["run"] == run] for run in runs}
    groups["all direct"] = [record for record in records if "cot" not in record["run"]]
    groups["all reasoning"] = [record for record in records if "cot" in record["run"]]
    lines = [f"| Run | Replies | {' | '.join(READERS)} |", f"|---|--:|{'--:|' * len(READERS)}"]
    for name, group in groups.items():
        if group:
            cells = " | ".join(f"{agreement(group, reader):.2f}" for reader in READERS.values())
            lines.append(f"| {name.removesuffix('.json')} | {len(group)} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("judged", type=Path, help="judged replies, JSON lines, .gz or not")
    parser.add_argument("--disagreements", action="store_true", help="also print where the strict reader differs")
    arguments = parser.parse_args()
    records = read(arguments.judged)
    print(f"Agreement with the judge, % of replies ({len(records)} judged replies)\n\n{table(records)}")
    if arguments.disagreements:
        for record in records:
            reading = read_choice(record["response"], record["choices"])
            if credit(reading.letter, record) != record["judge_correct"]:
                print(
                    f"\n{record['run']} {record['id']}: read {reading.letter} ({reading.how}), right {gold(record)}, "
                    f"judged {record['judge_correct']}; options {record['choices']}\n{record['response']}"
                )


if __name__ == "__main__":
    main()
