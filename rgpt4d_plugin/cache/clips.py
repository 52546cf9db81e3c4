# SPDX-License-Identifier: Apache-2.0
"""The clips of a recipe, sampled and decoded as training does it, by the template's own reader."""

import gc
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rgpt4d_plugin.preview.recipe_pipeline import RecipePipeline
from rgpt4d_plugin.teachers import ClipKey
from rgpt4d_plugin.teachers.cached.identity import ClipNames, FileRecord, TeacherCacheError
from rgpt4d_plugin.template.clip_reader import reading_with
from rgpt4d_plugin.template.record_lookup import dataset_names
from rgpt4d_plugin.template.square import video_options
from rgpt4d_plugin.video import MediaError, SeenClip


@dataclass(frozen=True)
class Unreadable:
    """A clip that could not be read.

    Attributes:
        where: The first record that shows it.
        problem: The error's message.
    """

    where: str
    problem: str


@dataclass(frozen=True)
class RecipeClip:
    """A clip of a recipe.

    Attributes:
        entry: What stands in the record's `videos`.
        where: The first record that shows it.
        key: Its frames' times, and all else that its results depend on.
        name: See `ClipNames`.
        files: Its files.
    """

    entry: Any
    where: str
    key: ClipKey
    name: str
    files: list[FileRecord]


def recipe_entries(pipeline: RecipePipeline) -> dict[str, tuple[Any, str]]:
    """Every different entry of `videos` in the recipe's datasets, those for evaluation included, with its record."""
    data_args = pipeline.data_args
    found: dict[str, tuple[Any, str]] = {}
    for dataset in dict.fromkeys(dataset_names(data_args)):
        for number, record in enumerate(pipeline.records(dataset, data_args.max_samples or sys.maxsize)):
            for entry in record["_videos"] or []:
                found.setdefault(json.dumps(entry, default=repr), (entry, f"dataset {dataset!r}, record {number}"))
    return found


class _Reader(Dataset):
    """Reads clips in the processes of a data loader; what cannot be read comes as `Unreadable`."""

    def __init__(self, pipeline: RecipePipeline, jobs: Sequence[Any]) -> None:
        self.run = pipeline.run
        self.plugin = pipeline.run_template.mm_plugin
        self.processor = pipeline.processor
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Any:
        job = self.jobs[index]
        where = job.where if isinstance(job, RecipeClip) else job[1]
        try:
            return self.read(job)
        except (MediaError, OSError, TeacherCacheError) as err:
            return Unreadable(where, str(err))

    def read(self, job: Any) -> Any:
        raise NotImplementedError

    def seen(self, entry: Any) -> SeenClip:
        """The clip as the host samples it."""
        clips: list[SeenClip] = []
        with self.plugin.recording(clips.append):
            self.plugin._regularize_videos([entry], **video_options(self.processor))
        return clips[0]


class _Planner(_Reader):
    """Tells what a clip's frames are, without decoding them."""

    def __init__(self, pipeline: RecipePipeline, jobs: Sequence[tuple[Any, str]], names: ClipNames) -> None:
        super().__init__(pipeline, jobs)
        self.names = names

    def read(self, job: tuple[Any, str]) -> RecipeClip:
        entry, where = job
        with reading_with(counting=True):
            key = self.run.clip_key(self.seen(entry), self.processor)
        return RecipeClip(entry, where, key, self.names.of(key), self.names.files(key))


class _Decoder(_Reader):
    """Decodes a clip for the teacher."""

    def read(self, job: RecipeClip) -> Tensor:
        clip = self.seen(job.entry)
        found = self.run.clip_key(clip, self.processor)
        if found != job.key:
            raise MediaError(
                f"{clip.source} gave {len(found)} frames where its packets promised {len(job.key)}, or changed "
                "meanwhile"
            )
        return self.run.teacher_frames(clip, self.processor)


def plan_clips(
    pipeline: RecipePipeline, entries: Sequence[tuple[Any, str]], names: ClipNames, workers: int
) -> Iterator[RecipeClip | Unreadable]:
    """What each entry's clip is; reads the files, and decodes nothing."""
    yield from _in_order(_Planner(pipeline, entries, names), workers)


def decode_clips(pipeline: RecipePipeline, clips: Sequence[RecipeClip], workers: int) -> Iterator[Tensor | Unreadable]:
    """Each clip's frames (T, 3, H, W) at the teacher's size, in order."""
    yield from _in_order(_Decoder(pipeline, clips), workers)


def _in_order(reader: _Reader, workers: int) -> Iterator[Any]:
    if not len(reader):
        return
    # The host leaves containers open. A worker that inherits one and frees it waits for ever for the threads of its
    # decoder, which a fork does not copy; so what can be freed is freed here.
    gc.collect()
    loader = DataLoader(reader, batch_size=None, num_workers=workers, worker_init_fn=_one_thread)
    yield from loader


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)
