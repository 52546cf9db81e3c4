# SPDX-License-Identifier: Apache-2.0
"""Results as tables for others: the files that EASI's leaderboard asks for, in the form of VLMEvalKit.

For each benchmark of a run `MODEL_DATASET.tsv`, a line per question, which VLMEvalKit's own scorer reads too
(`PRED_FORMAT=tsv`), and `MODEL_DATASET_acc.tsv`, a line per reading; for the run `setup.json`.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.report import read_run
from rgpt4d_plugin.eval_hooks.scoring import Result, Row
from rgpt4d_plugin.files import write_json, write_whole


_COLUMNS = ("index", "key", "question_type", "task_type", "question", "candidates", "answer", "prediction")
_SCORES = ("pred_extracted", "hit", "MRA:.5:.95:.05", "strict_extracted", "strict")


def write_tables(run: str | Path, out: str | Path) -> list[Path]:
    """Writes the tables of a run's folder and returns the files; ScoringError if it has no results."""
    out, written, setup = Path(out), [], {}
    results = read_run(run)
    out.mkdir(parents=True, exist_ok=True)
    for result in results.values():
        name = f"{_model(result)}_{dataset(result)}"
        lines = [(*_COLUMNS, *_SCORES), *map(_line, _indices(result.rows), result.rows)]
        table = [
            ("reading", *result.columns["official"]),
            *((reading, *(own.value for own in columns.values())) for reading, columns in result.columns.items()),
        ]
        for path, rows in ((out / f"{name}.tsv", lines), (out / f"{name}_acc.tsv", table)):
            _write(path, rows)
            written.append(path)
        setup[dataset(result)] = {
            "title": result.title,
            "revision": result.revision,
            "items": result.items,
            "sample": None if result.limit is None else {"limit": result.limit, "seed": result.seed},
            "style": result.style,
            "counts": dict(result.counts),
            "notes": list(result.notes),
            "settings": dict(result.settings),
            "scored_with": f"rgpt4d-plugin {result.scored_with}",
        }
    write_json(out / "setup.json", setup)
    return [*written, out / "setup.json"]


def dataset(result: Result) -> str:
    """The name of a benchmark's data in VLMEvalKit, or its title where VLMEvalKit does not have it."""
    frames = result.settings.get("frames")
    shown = f"{frames}frame" if frames else "unknown"
    return (get(result.benchmark).vlmevalkit or result.title).format(
        frames=shown, style=result.style.partition("+")[0]
    )


def _model(result: Result) -> str:
    engine = result.settings.get("engine")
    name = engine.get("model") if isinstance(engine, dict) else None
    return re.sub(r"[^\w.-]+", "_", Path(str(name or "model")).name)


def _indices(rows: Sequence[Row]) -> Sequence[int]:
    """The keys where they are numbers, as VLMEvalKit's files have them, or the rows."""
    return [int(row.key) for row in rows] if all(row.key.isdecimal() for row in rows) else range(len(rows))


def _line(index: int, row: Row) -> Sequence[Any]:
    numeric = row.options is None
    candidates = [] if row.options is None else [f"{letter}. {text}" for letter, text in row.options.items()]
    scores = (row.official_parsed, *(("", row.official) if numeric else (row.official, "")), row.parsed, row.strict)
    return (
        index,
        row.key,
        row.category.replace("/", "_"),
        "NA" if numeric else "MCQ",
        row.question,
        json.dumps(candidates, ensure_ascii=False),
        row.gold,
        row.reply,
        *scores,
    )


def _write(path: Path, lines: Iterable[Sequence[Any]]) -> None:
    """Writes a table in quotes, without the characters that table readers fail at."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n")
    for line in lines:
        writer.writerow(["" if cell is None else str(cell).replace("\0", "\\0") for cell in line])
    write_whole(path, text.getvalue().encode(errors="backslashreplace"))
