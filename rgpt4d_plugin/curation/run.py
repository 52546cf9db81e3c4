# SPDX-License-Identifier: Apache-2.0
"""Runs a curation: step after step over all questions, each outcome on the disk before the next is asked for.

    OUT/steps/1_keywords.jsonl   one line an outcome, under the hash of all that it depends on; and so on for each step
    OUT/NAME.jsonl               the records that are left, for people to verify and to train on; dataset_info.json
    OUT/r4d/                     the same as R4D-Bench is published
    OUT/summary.json             counts per reason, and every decision
    OUT/sheets/                  a picture per decision

A run that was killed goes on where it was; one with a changed recipe asks only what the change touches.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rgpt4d_plugin.curation.items import Case, read_items
from rgpt4d_plugin.curation.output import write_r4d, write_records, write_sheet, write_summary
from rgpt4d_plugin.curation.recipe import CurationRecipe
from rgpt4d_plugin.curation.steps import STEPS, Step
from rgpt4d_plugin.eval_hooks.engines import Engine
from rgpt4d_plugin.eval_hooks.scoring import digest
from rgpt4d_plugin.files import only_writer
from rgpt4d_plugin.journal import Journal
from rgpt4d_plugin.video import VideoError


def curate(recipe: CurationRecipe, engine: Engine | None = None, sheets: bool = True) -> Iterator[str]:
    """Runs all steps; yields lines for the terminal.

    Args:
        recipe: Checked recipe.
        engine: Asks the VLM; default: the recipe's.
        sheets: Draw the sheets.

    Raises:
        ValueError: The source, or a model, cannot be used.
        RuntimeError: The server is gone, or questions were left unanswered; what was found is kept.
    """
    cases = [Case(item) for item in read_items(recipe)]
    for name, about in recipe.models.items():
        yield f"{name}: {about['model']} ({about['licence']})"
    folder = Path(recipe.out, "steps")
    folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        for case in cases:
            try:
                case.item.sampled(recipe.frames)
            except VideoError as err:
                case.rejected = ("video", "the video cannot be read", str(err))
        engine_of = functools.cache(lambda: engine or _engine(recipe))
        for number, kind in enumerate(STEPS, start=1):
            step = kind(recipe, engine_of)
            asked = _run(step, Journal(folder / f"{number}_{step.name}.jsonl"), [case for case in cases if case.alive])
            yield f"{step.name}: {asked} asked anew, {sum(case.alive for case in cases)} of {len(cases)} left"
        kept = [case for case in cases if case.alive]
        path = write_records(recipe, kept)
        in_r4d = write_r4d(recipe, kept)
        summary = write_summary(recipe, cases)
        for case in tqdm(cases if sheets else (), "sheets", leave=False, disable=None):
            write_sheet(recipe, case)
    for reason, count in summary["rejected"].items():
        yield f"  rejected, {reason}: {count}"
    yield f"{len(kept)} records in {path}, {in_r4d} entries in {Path(recipe.out, 'r4d')}"
    yield f"to verify them: rgpt4d annotate {path} --media-root {recipe.data or Path(recipe.source).parent}"
    if summary["failed"]:
        first = next(case.failed for case in cases if case.failed)
        raise RuntimeError(f"{summary['failed']} questions failed, the first with: {first}. Run it again to go on.")


def _run(step: Step, journal: Journal, cases: Sequence[Case]) -> int:
    """Gives every case the step's outcome, from the journal where it is known; returns how many were not."""
    known = {record["key"]: record["outcome"] for record in journal}
    keys = {case.item.id: _key(step, case) for case in cases}
    left = []
    for case in cases:
        if keys[case.item.id] in known:
            _take(step, case, known[keys[case.item.id]])
        else:
            left.append(case)
    work = step.work(left) if left else iter(())
    for case, outcome in tqdm(work, step.name, len(left), leave=False, disable=None):
        if "failed" not in outcome:
            journal.append({"key": keys[case.item.id], "id": case.item.id, "outcome": outcome})
        _take(step, case, outcome)
    return len(left)


def _take(step: Step, case: Case, outcome: dict[str, Any]) -> None:
    if "failed" in outcome:
        case.failed = f"{step.name}: {outcome['failed']}"
    elif "rejected" in outcome:
        case.rejected = (step.name, outcome["rejected"], outcome["detail"])
    else:
        case.found[step.name] = outcome


def _key(step: Step, case: Case) -> str:
    content = json.dumps([step.name, step.depends(case)], sort_keys=True, ensure_ascii=False)
    return digest(content).hex()[:32]


def _engine(recipe: CurationRecipe) -> Engine:
    if recipe.vlm.server is None:
        from rgpt4d_plugin.eval_hooks.engines.load import load_host_engine

        assert recipe.vlm.host is not None
        return load_host_engine(recipe.vlm.host)
    from rgpt4d_plugin.eval_hooks.engines.chat_message import MediaOptions
    from rgpt4d_plugin.eval_hooks.engines.openai_endpoint import OpenAIEndpoint

    options = MediaOptions(picture="png", image_max_pixels=2**24)
    return OpenAIEndpoint(recipe.vlm.server, recipe.vlm.model, options, recipe.vlm.concurrency)
