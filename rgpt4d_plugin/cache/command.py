# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d cache-teacher`: plans, estimates, computes, verifies and sums up the cache of a recipe."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from rgpt4d_plugin.cache.clips import RecipeClip, Unreadable, decode_clips, plan_clips, recipe_entries
from rgpt4d_plugin.files import only_writer, write_whole
from rgpt4d_plugin.preview.recipe_pipeline import RecipePipeline
from rgpt4d_plugin.recipe import read_recipe
from rgpt4d_plugin.teachers import Teacher, TeacherWindows, cut_windows, teacher_class
from rgpt4d_plugin.teachers.cached.identity import MANIFEST, CacheManifest, ClipNames, TeacherCacheError, manifest_for
from rgpt4d_plugin.teachers.cached.precision import Error
from rgpt4d_plugin.teachers.cached.results import ResultForm, joined, results_of
from rgpt4d_plugin.teachers.cached.store import CacheStore, ClipResults, Shard


SUMMARY = "summary.json"


@dataclass(frozen=True)
class CacheOptions:
    """The command's options; None stands for what the recipe's terms need.

    Attributes:
        latents: Precision of the latents.
        maps: Resolution of the maps.
        key: How files are recognized.
        workers: Processes that read clips, per process that computes.
        strict: A clip that cannot be read is an error.
        shard_mb: Megabytes of a shard, about: what a process computes anew after it was killed.
    """

    latents: str | None = None
    maps: str | None = None
    key: str | None = None
    workers: int = 2
    strict: bool = False
    shard_mb: float = 256.0


def run_cache_teacher(
    recipe_path: str | os.PathLike,
    out: str | os.PathLike,
    options: CacheOptions,
    verify: bool = False,
    overrides: Sequence[str] = (),
) -> None:
    """Computes what the cache of a recipe lacks, or verifies the cache.

    Args:
        recipe_path: YAML file with a `p4d:` block.
        out: Folder of the cache.
        options: See there.
        verify: Compute nothing; read every byte, and look for every clip.
        overrides: KEY=VALUE, as `llamafactory-cli` takes them.

    Raises:
        ValueError, OSError, RuntimeError: What is wrong with recipe, cache, disk or clips.
    """
    pipeline = RecipePipeline.from_recipe(read_recipe(recipe_path, overrides))
    if not pipeline.distils:
        raise ValueError("the recipe has no active loss term under p4d.loss, so its teacher computes nothing")
    folder = Path(out)
    with ExitStack() as stack:
        if _rank() == 0:
            (folder / "shards").mkdir(parents=True, exist_ok=True)
            stack.enter_context(only_writer(folder))
        _barrier()
        manifest = _manifest(pipeline, folder, options, verify)
        if verify:
            _verify(pipeline, folder, options)
            return
        if _rank() == 0:
            for left in (folder / "shards").glob(".*.tmp"):  # of processes that were killed
                left.unlink(missing_ok=True)
            manifest.save(folder)
        _barrier()
        store = CacheStore(folder)
        clips, unreadable = _plan(pipeline, store.names, options)
        missing = [clip for clip in clips if clip.name not in store]
        form = ResultForm(manifest, pipeline.run.teacher)
        _estimate(folder, form, clips, missing)
        unreadable += _gathered(list(_compute(pipeline, store, form, missing, options)))
        if _rank() == 0:
            _sum_up(folder, clips, unreadable)


def _manifest(pipeline: RecipePipeline, folder: Path, options: CacheOptions, verify: bool) -> CacheManifest:
    """What the cache is to hold; raises TeacherCacheError if the folder has another one."""
    run, loss = pipeline.run, pipeline.p4d.loss
    teacher = teacher_class(pipeline.p4d.teacher.type)
    if not teacher.needs_frames:
        raise ValueError(
            f"p4d.teacher.type: {pipeline.p4d.teacher.type!r} computes nothing of frames; it needs no cache"
        )
    path = folder / MANIFEST
    old = CacheManifest.read(folder) if path.exists() or verify else None
    terms = loss.maps
    latents = options.latents or (old.latents if old else "bf16" if "latent" in loss.active else "none")
    maps = options.maps or (old.maps if old else "native" if terms else "none")
    if latents == "none" and "latent" in loss.active:
        raise ValueError("--latents none, but p4d.loss.latent has a weight: that term compares latents")
    if maps == "none" and terms and (latents == "none" or run.teacher.trainable_heads):
        found = "this teacher" if run.teacher.trainable_heads else "--latents none"
        raise ValueError(f"--maps none and {found} leave nothing to make {', '.join(terms)} from")
    hooks = () if latents == "none" else run.hooks
    stored = () if maps == "none" else terms
    key = options.key or (old.key if old else "content")
    new = manifest_for(pipeline.p4d.teacher, run.teacher, hooks, stored, latents, maps, key)
    if old is not None and old != new:
        changed = {name: value for name, value in new.model_dump().items() if getattr(old, name) != value}
        found = old.differences(new) or [
            f"{name} is {getattr(old, name)}, this would be {value}" for name, value in changed.items()
        ]
        raise TeacherCacheError(f"{folder} holds another cache: {'; '.join(found)}. Give another --out, or delete it")
    return new


def _plan(
    pipeline: RecipePipeline, names: ClipNames, options: CacheOptions
) -> tuple[list[RecipeClip], list[Unreadable]]:
    """The recipe's clips, each once, in the order of its records, and those that cannot be read."""
    entries = list(recipe_entries(pipeline).values())
    mine = plan_clips(pipeline, entries[_rank() :: _world()], names, options.workers)
    bar = tqdm(
        mine, "looking at videos", len(range(_rank(), len(entries), _world())), unit="clip", disable=_rank() > 0
    )
    shares = _all_lists(list(bar))
    planned = [shares[index % _world()][index // _world()] for index in range(len(entries))]
    unreadable = [clip for clip in planned if isinstance(clip, Unreadable)]
    _complain(unreadable, options)
    clips = {clip.name: clip for clip in reversed(planned) if isinstance(clip, RecipeClip)}
    if not clips:
        raise ValueError("the recipe's datasets have no clip that can be read")
    return list(clips.values())[::-1], unreadable


def _complain(unreadable: list[Unreadable], options: CacheOptions) -> None:
    if unreadable and options.strict:
        first = unreadable[0]
        raise ValueError(f"{first.problem} ({first.where}); {len(unreadable)} clip(s) cannot be read")


def _windows(form: ResultForm, clip: RecipeClip) -> int:
    return len(form.spec.window_starts(len(clip.key))[1])


def _estimate(folder: Path, form: ResultForm, clips: list[RecipeClip], missing: list[RecipeClip]) -> None:
    """Says how large the cache will be; raises ValueError if the disk is too small."""
    each = form.window_bytes()
    whole, needed = (each * sum(_windows(form, clip) for clip in part) for part in (clips, missing))
    free = shutil.disk_usage(folder).free
    if _rank() == 0:
        print(
            f"{len(clips)} clips in {whole // each} windows, {_size(whole)} in all; {len(missing)} clips and "
            f"{_size(needed)} to compute, {_size(free)} free in {folder}"
        )
    if needed > free:
        raise ValueError(
            f"{folder}: {_size(needed)} are needed and {_size(free)} free. Give --out on another disk, or keep less: "
            "--latents int8, --maps half"
        )


def _shards(form: ResultForm, clips: list[RecipeClip], limit: float) -> Iterator[list[RecipeClip]]:
    """Cuts the clips into runs whose results have about `limit` bytes."""
    shard: list[RecipeClip] = []
    size, each = 0, form.window_bytes()
    for clip in clips:
        shard.append(clip)
        size += _windows(form, clip) * each
        if size >= limit:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _compute(
    pipeline: RecipePipeline, store: CacheStore, form: ResultForm, missing: list[RecipeClip], options: CacheOptions
) -> Iterator[Unreadable]:
    """Computes and writes this process's share of the shards; yields the clips that could not be decoded."""
    shards = list(_shards(form, missing, options.shard_mb * 1e6))[_rank() :: _world()]
    if not shards:
        return
    teacher = _load(pipeline, form)
    frames = decode_clips(pipeline, [clip for shard in shards for clip in shard], options.workers)
    written = 0
    with tqdm(total=sum(map(len, shards)), unit="clip", disable=_rank() > 0, smoothing=0.1) as bar:
        for shard in shards:
            results: list[ClipResults] = []
            for clip in shard:
                found = next(frames)
                if isinstance(found, Unreadable):
                    _complain([found], options)
                    yield found
                else:
                    results.append(_results(teacher, form, clip, found))
                    written += results[-1].nbytes
                bar.set_postfix_str(_size(written), refresh=False)
                bar.update()
            if results:
                store.add(results)


def _load(pipeline: RecipePipeline, form: ResultForm) -> Teacher:
    options = pipeline.p4d.teacher
    name = options.device
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    return teacher_class(options.type).load(options, torch.device(name), tuple(form.manifest.terms))


def _results(teacher: Teacher, form: ResultForm, clip: RecipeClip, frames: torch.Tensor) -> ClipResults:
    starts = form.spec.window_starts(len(clip.key))[1]
    windows = TeacherWindows(tuple((clip.key, start) for start in starts), cut_windows(frames, form.spec, starts))
    at_once = 8 if teacher.device.type == "cpu" else 1  # as in training, see `Distiller`
    parts = [form.compute(teacher, windows[first : first + at_once]) for first in range(0, len(starts), at_once)]
    return results_of(clip.name, clip.key, clip.files, *joined(parts))


def _sum_up(folder: Path, clips: list[RecipeClip], unreadable: list[Unreadable]) -> None:
    """Writes the summary and prints it."""
    store = CacheStore(folder)
    errors: dict[str, Error] = {}
    windows = 0
    records = [store.source(clip.name) for clip in clips if clip.name in store]
    for record in records:
        windows += record.windows
        for name, error in record.errors.items():
            errors[name] = errors.get(name, Error()) + error
    size = sum(path.stat().st_size for path in store.shards.glob("*.safetensors"))
    summary = {
        "clips": len(records),
        "windows": windows,
        "bytes": size,
        "latents": store.manifest.latents,
        "maps": store.manifest.maps,
        "errors": {
            name: {"rms": error.rms, "relative": error.relative, "largest": error.largest}
            for name, error in errors.items()
        },
        "unreadable": [f"{clip.problem} ({clip.where})" for clip in unreadable],
    }
    write_whole(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    print(f"{folder}: {len(records)} clips, {windows} windows, {_size(size)}")
    for name, error in errors.items():
        print(f"  {name:<14} error as stored: {error.rms:.3g} rms ({error.relative:.2%}), {error.largest:.3g} at most")
    for problem in summary["unreadable"][:20]:
        print(f"  left out: {problem}")
    if unreadable:
        print(f"  {len(unreadable)} clip(s) left out, all listed in {folder / SUMMARY}; --strict makes them an error")
    print(f"To train with it:  p4d.teacher.cache={folder}")


def _verify(pipeline: RecipePipeline, folder: Path, options: CacheOptions) -> None:
    """Reads every byte of the cache; raises TeacherCacheError with everything that is wrong."""
    problems: list[str] = []
    paths = sorted((folder / "shards").glob("*.safetensors"))
    for path in tqdm(paths, "verifying", unit="shard"):
        try:
            shard = Shard(path)
            for clip in shard.records:
                shard.verify(clip)
        except TeacherCacheError as err:
            problems.append(str(err))
    if not problems:
        store = CacheStore(folder)
        clips, unreadable = _plan(pipeline, store.names, options)
        problems = [str(store.missing(clip.key)) for clip in clips if clip.name not in store]
        print(f"{folder}: {len(store)} clips in {len(paths)} shards are as they were written")
        print(
            f"the recipe's {len(clips)} clips: {len(clips) - len(problems)} in the cache, {len(unreadable)} unreadable"
        )
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems[:20])
        raise TeacherCacheError(f"{folder} has {len(problems)} problem(s):{lines}")


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


# One process, or those of torchrun: LLaMA-Factory has set their group up by the time the recipe is parsed.


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def _all_lists(mine: list[Any]) -> list[list[Any]]:
    """Every process's list, by rank."""
    if not dist.is_initialized():
        return [mine]
    lists: list[Any] = [None] * _world()
    dist.all_gather_object(lists, mine)
    return lists


def _gathered(mine: list[Any]) -> list[Any]:
    """The lists of all processes in one."""
    return [item for part in _all_lists(mine) for item in part]
