# SPDX-License-Identifier: Apache-2.0
"""Kills `rgpt4d cache-teacher` at random moments, starts it again, and compares the cache with an uninterrupted one.

    OMP_NUM_THREADS=1 python benchmarks/killed_caching.py --kills 20

Every second kill takes the whole group of processes, the others the main one alone, whose workers then outlive it. The
next run starts at once. A run that is done before its moment comes leaves a whole cache: it is compared, and the next
run starts from nothing. Exits with 1 if any cache differs in a file, an entry or a byte.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from safetensors import safe_open

from rgpt4d_plugin.synth4d import TINY_TEACHER, write_clips
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        recipe = write_recipe(root, arguments.clips)
        whole, killed = root / "whole", root / "killed"
        start = time.perf_counter()
        assert caching(recipe, whole).wait() == 0
        seconds = time.perf_counter() - start
        print(f"uninterrupted: {seconds:.1f} s, {len(contents(whole))} files\n")
        print("| kill | after s | what | whole shards | unfinished shards |\n|---:|---:|---|---:|---:|", flush=True)
        done = compared = 0
        while done < arguments.kills:
            moment = moments.uniform(0, seconds)
            process = caching(recipe, killed)
            try:
                assert process.wait(moment) == 0
                compare(killed, whole)
                compared += 1
                killed.rename(root / f"killed {compared}")
            except subprocess.TimeoutExpired:
                done += 1
                group = done % 2 == 0
                os.killpg(process.pid, signal.SIGKILL) if group else process.kill()
                process.wait()
                shards = [len(list((killed / "shards").glob(form))) for form in ("*.safetensors", ".*.tmp")]
                what = "group" if group else "main process"
                print(f"| {done} | {moment:.1f} | {what} | {shards[0]} | {shards[1]} |", flush=True)
        assert caching(recipe, killed).wait() == 0
        compare(killed, whole)
        print(f"\n{compared + 1} caches after {done} kills, each equal to the uninterrupted one")


def write_recipe(root: Path, clips: int) -> Path:
    """A tiny student, the small L4P, clips, and the recipe that names them."""
    student = build_tiny_student(root / "student", merge=1)
    folder = write_clips(root / "clips", count=clips, seed=0, frames=16, held_out=0.0, questions_per_clip=1)
    loss = {"latent": 1, "depth": 1, "flow": 1, "motion": 1, "camray": 1}
    recipe = {
        "model_name_or_path": str(student),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset": "synth4d",
        "dataset_dir": str(folder),
        "template": "qwen2_vl",
        "output_dir": str(root / "out"),
        "p4d": {"teacher": {"checkpoint": str(TINY_TEACHER), "dtype": "float32"}, "frames": 16, "loss": loss},
    }
    path = root / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def caching(recipe: Path, out: Path) -> subprocess.Popen:
    """Starts the command, two clips a shard."""
    command = [str(Path(sys.executable).with_name("rgpt4d")), "cache-teacher", str(recipe), "--out", str(out)]
    log = recipe.with_suffix(".log").open("a")
    return subprocess.Popen(
        [*command, "--shard-mb", "1.5", "--workers", "1"], start_new_session=True, stdout=log, stderr=log
    )


def contents(cache: Path) -> dict[str, bytes]:
    """Every file of a cache."""
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def compare(found: Path, expected: Path) -> None:
    """Exits unless two caches are equal: their files to the byte, and with that every entry."""
    one, other = contents(found), contents(expected)
    if one == other:
        return
    problems = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    entries = [len(safe_open(path, "pt").keys()) for path in found.glob("shards/*.safetensors")]
    sys.exit(f"{found} differs in {', '.join(problems)}; it has {sum(entries)} tensors")


if __name__ == "__main__":
    main()
