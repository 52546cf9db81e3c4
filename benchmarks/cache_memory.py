# SPDX-License-Identifier: Apache-2.0
"""Memory of a process that trains from a teacher cache of many clips, read in random order, epoch after epoch.

    python benchmarks/cache_memory.py --clips 10000 --epochs 2

The cache is made up: three windows a clip (32 frames of 16, stride 8) with little in each, in many shards. Every clip
is verified and read as training does it.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import torch

from rgpt4d_plugin.teachers import ClipKey
from rgpt4d_plugin.teachers.cached.identity import CacheManifest
from rgpt4d_plugin.teachers.cached.results import results_of
from rgpt4d_plugin.teachers.cached.store import CacheStore


WINDOWS = 3
KILOBYTES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--per-shard", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = make(folder, arguments.clips, arguments.per_shard)
        start = time.perf_counter()
        store = CacheStore(folder)
        print(f"{len(store)} clips in {arguments.clips // arguments.per_shard} shards, opened in", end=" ")
        print(f"{time.perf_counter() - start:.2f} s")
        print("| clips read | resident MB | of it not of files |\n|---:|---:|---:|")
        row(0)
        read = 0
        for _ in range(arguments.epochs):
            random.shuffle(keys)
            for key in keys:
                clip = store.names.of(key)
                store.verify(clip)
                sum(tensor.float().sum() for tensor in store.read(clip).values())
                read += 1
                if read % (arguments.clips // 2) == 0:
                    row(read)


def make(folder: Path, clips: int, per_shard: int) -> list[ClipKey]:
    """Writes a cache, and a file for every clip."""
    (folder / "shards").mkdir()
    manifest = {"teacher": {}, "windows": {}, "hooks": [0], "terms": [], "latents": "bf16", "maps": "none"}
    CacheManifest(**manifest, key="stat").save(folder)
    store = CacheStore(folder)
    width = KILOBYTES * 1024 // (WINDOWS * 64 * 2)
    keys, shard = [], []
    for number in range(clips):
        path = folder / f"{number}.mp4"
        path.touch()
        keys.append(ClipKey(str(path), tuple(range(32)), files=(str(path),)))
        tensors = {"latents.0": torch.full((WINDOWS, 64, width), float(number % 7), dtype=torch.bfloat16)}
        shard.append(results_of(store.names.of(keys[-1]), keys[-1], store.names.files(keys[-1]), tensors, {}))
        if len(shard) == per_shard:
            store.add(shard)
            shard = []
            print(f"\r{number + 1} clips written", end="", file=sys.stderr)
    print(file=sys.stderr)
    return keys


def row(read: int) -> None:
    """Prints what Linux says of this process's memory."""
    said = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    whole, own = (int(said[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
    print(f"| {read} | {whole:.0f} | {own:.0f} |", flush=True)


if __name__ == "__main__":
    main()
