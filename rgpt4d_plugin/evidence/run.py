# SPDX-License-Identifier: Apache-2.0
"""Runs the experiment: each training is `llamafactory-cli train RECIPE`, its result a file.

A run whose `result.json` is there is never started again. One that was killed goes on from its last checkpoint, or
begins anew where it has none.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from rgpt4d_plugin.evidence.arms import PRESETS, Preset, Run, recipe_of
from rgpt4d_plugin.files import read_json, write_json
from rgpt4d_plugin.template import tokenized_data


RESULT = "result.json"
_REMEDY = "delete the file, and the run is made again"


class RunError(RuntimeError):
    """A training failed; the message says where its output is."""


def run_experiment(root: Path, preset_name: str, runs: Sequence[Run], jobs: int = 1) -> None:
    """Makes the data and every run that has no result yet, with a bar over all steps.

    Args:
        root: Folder of the experiment.
        preset_name: One of `PRESETS`; a folder belongs to one.
        runs: In the order in which they are wanted.
        jobs: Trainings at a time.

    Raises:
        ValueError: The folder is another preset's.
        RunError: A training failed; what was running beside it is stopped.
    """
    from rgpt4d_plugin.evidence.data import prepare

    preset = PRESETS[preset_name]
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    _check_settings(root, preset_name, preset)
    runs = list(dict.fromkeys(one for run in runs for one in (run.base, run) if one is not None))
    prepare(root, preset, runs)
    missing = [run for run in runs if not (run.output(root).parent / RESULT).exists()]
    with tqdm(total=sum(run.steps(preset) for run in missing), unit="step", desc="evidence", disable=None) as bar:
        workers = _Workers(root, preset, bar, missing)
        try:
            with ThreadPoolExecutor(jobs) as pool:
                for done in [pool.submit(workers.train, run) for run in missing]:
                    done.result()
        except BaseException:
            workers.stop()
            raise


def _check_settings(root: Path, name: str, preset: Preset) -> None:
    path, settings = root / "preset.json", json.loads(json.dumps({"name": name, **vars(preset)}))
    if path.exists() and read_json(path, "delete the folder") != settings:
        raise ValueError(f"{root} holds runs of other settings ({path} has them): give another --out")
    write_json(path, settings)


class _Workers:
    """Starts trainings and follows their logs."""

    def __init__(self, root: Path, preset: Preset, bar: tqdm, runs: Sequence[Run]) -> None:
        self.root, self.preset, self.bar = root, preset, bar
        self._first = {run.dataset: run for run in reversed(runs)}  # which writes the tokens that the others read
        self._finished = {run: threading.Event() for run in runs}
        self._running: set[subprocess.Popen] = set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ends what is running; nothing starts any more."""
        self._stopped.set()
        for finished in self._finished.values():
            finished.set()
        for process in list(self._running):
            process.terminate()

    def train(self, run: Run) -> None:
        """One training, to its result, once the files are there that it reads; who writes them began before it."""
        recipe, first = recipe_of(self.preset, self.root, run), self._first[run.dataset]
        tokens = Path(recipe["tokenized_path"])
        try:
            if run.base in self._finished:
                self._finished[run.base].wait()
            while run != first and not _written(tokens) and not self._finished[first].wait(1):
                pass
            if not self._stopped.is_set():
                self._train(run, recipe, tokens)
        finally:
            self._finished[run].set()

    def _train(self, run: Run, recipe: Mapping[str, Any], tokens: Path) -> None:
        output = run.output(self.root)
        folder = output.parent
        if not list(output.glob("checkpoint-*")):
            shutil.rmtree(output, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not _written(tokens):  # not there, or not to its end
            shutil.rmtree(tokens, ignore_errors=True)
        path = folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        command = [str(Path(sys.executable).with_name("llamafactory-cli")), "train", str(path)]
        begun = time.monotonic()
        # Threads of networks this small only wait for each other.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        with open(folder / "output.log", "ab") as log:
            # A session of its own: an interrupt is for this process, which then ends the trainings itself.
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
            self._running.add(process)
            try:
                self._follow(process, output / "trainer_log.jsonl")
            finally:
                process.terminate()
                process.wait()
                self._running.discard(process)
        if process.returncode:
            raise RunError(f"`llamafactory-cli train {path}` failed; its output is in {folder / 'output.log'}")
        seconds = round(time.monotonic() - begun, 1)
        write_json(folder / RESULT, result_of(output, run, seconds, self._kinds()))

    def _kinds(self) -> dict[str, str]:
        """Held-out question -> its kind."""
        items = read_json(self.root / "data" / "asked" / "questions.json", _REMEDY)
        return {item["id"]: item["kind"] for item in items}

    def _follow(self, process: subprocess.Popen, log: Path) -> None:
        seen, running = 0, True
        while running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
                running = False
            steps = _steps(log)
            self.bar.update(steps - seen)
            seen = steps


def _written(tokens: Path) -> bool:
    """Whether a run's tokens are there, to their end."""
    return (tokens / tokenized_data.FILE).exists()


def _steps(log: Path) -> int:
    """Steps that a run has made."""
    lines = log.read_text().splitlines() if log.exists() else []
    for line in reversed(lines):
        try:
            return int(json.loads(line)["current_steps"])
        except (ValueError, KeyError):  # a line that is being written
            continue
    return 0


def result_of(output: Path, run: Run, seconds: float, kind_of: Mapping[str, str]) -> dict[str, Any]:
    """What is kept of a run: right answers of each kind at every evaluation, and the last losses.

    Args:
        output: Its `output_dir`.
        run: The run.
        seconds: That it took.
        kind_of: Held-out question -> its kind.
    """
    curve = []
    folders = sorted((output / "p4d_eval").glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-")))
    for folder in folders:
        rows = [json.loads(line) for line in (folder / "synth4d" / "scores.jsonl").read_text().splitlines()]
        kinds: dict[str, list[float]] = {}
        for row in rows:
            kinds.setdefault(kind_of[row["key"]], []).append(row["official"])
        curve.append(
            {
                "step": int(folder.name.removeprefix("step-")),
                "accuracy": {kind: 100 * sum(found) / len(found) for kind, found in sorted(kinds.items())},
                "questions": {kind: len(found) for kind, found in sorted(kinds.items())},
            }
        )
    logged = [json.loads(line) for line in (output / "trainer_log.jsonl").read_text().splitlines()]
    losses = [line for line in logged if "loss" in line]
    terms = [{k: v for k, v in line.items() if k.startswith("loss") or k == "current_steps"} for line in losses]
    return {**vars(run), "seconds": seconds, "curve": curve, "losses": terms}
