# SPDX-License-Identifier: Apache-2.0
"""How many files a reader opens to follow a clip: those that run from the first tokenized record to the first log.

    python benchmarks/files_of_a_clip.py

Two runs of two steps through the host, on the tiny models of the tests: `plain`, and `regions` with `p4d.tpe: add`.
Printed are the product's files in the order in which they first run; loading the student and the teacher is among
them. Exit code 1 if a run needs more files than its limit, or the plain run touches `regions/`.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llamafactory.data.processor import SupervisedDatasetProcessor  # noqa: E402
from llamafactory.train.tuner import run_exp  # noqa: E402
from transformers import Trainer  # noqa: E402

import rgpt4d_plugin.eval_hooks  # noqa: E402
import rgpt4d_plugin.patches  # noqa: E402
from tests.harness import Assets, make_assets  # noqa: E402


LIMITS = {"plain": 30, "regions": 38}

PACKAGES = {
    Path(package.__path__[0]).resolve(): package.__name__.rpartition(".")[2]
    for package in (rgpt4d_plugin, rgpt4d_plugin.eval_hooks, rgpt4d_plugin.patches)
}


def product_file(path: str) -> str | None:
    """Returns a file's name below its top-level folder; None for files of other packages."""
    for folder, name in PACKAGES.items():
        if path.startswith(f"{folder}/"):
            return f"{name}/{Path(path).relative_to(folder)}"
    return None


@contextmanager
def following(files: dict[str, None]) -> Iterator[None]:
    """Adds the product's files that run between the first tokenized record and the first log to `files`."""
    tokenize, log = SupervisedDatasetProcessor.preprocess_dataset, Trainer.log

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and (name := product_file(frame.f_code.co_filename)):
            files.setdefault(name)

    def tokenize_and_look(*args: Any, **kwargs: Any) -> Any:
        if not logged:
            sys.setprofile(look)
        return tokenize(*args, **kwargs)

    def log_and_stop(*args: Any, **kwargs: Any) -> Any:
        logged.append(True)
        sys.setprofile(None)
        return log(*args, **kwargs)

    logged: list[bool] = []
    with (
        patch.object(SupervisedDatasetProcessor, "preprocess_dataset", tokenize_and_look),
        patch.object(Trainer, "log", log_and_stop),
    ):
        yield


def recipes(assets: Assets, out: Path) -> dict[str, dict[str, Any]]:
    """Returns the recipe of each run; writes the dataset with regions."""
    (assets.clips / "marked.json").write_text(
        json.dumps(
            [
                {
                    "messages": [
                        {"role": "user", "content": "<video>Where is <obj_1>?"},
                        {"role": "assistant", "content": "yes"},
                    ],
                    "videos": record["videos"],
                    "regions": [{"id": "obj_1", "time": 0.2, "video": 0, "box": [10, 10, 30, 30]}],
                }
                for record in json.loads((assets.clips / "synth4d.json").read_text())
            ]
        )
    )
    info = json.loads((assets.clips / "dataset_info.json").read_text())
    info["marked"] = {**info["synth4d"], "file_name": "marked.json", "formatting": "rgpt4d"}
    (assets.clips / "dataset_info.json").write_text(json.dumps(info))
    return {
        "plain": assets.recipe(out / "plain"),
        "regions": assets.recipe(
            out / "regions", dataset="marked", template="rgpt4d_qwen2_vl", p4d=assets.p4d(tpe="add")
        ),
    }


def main() -> int:
    """Runs both recipes and prints their files."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in recipes(make_assets(Path(folder) / "assets"), Path(folder)).items():
            files: dict[str, None] = {}
            with following(files):
                run_exp(recipe)
            print(f"\n{name}: {len(files)} files, at most {LIMITS[name]}", *files, sep="\n  ")
            if len(files) > LIMITS[name]:
                problems.append(f"{name}: {len(files)} files")
            if name == "plain" and any(file.startswith("rgpt4d_plugin/regions/") for file in files):
                problems.append("plain: a file of regions/ ran")
    print("\n".join(problems), file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
