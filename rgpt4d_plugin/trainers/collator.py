# SPDX-License-Identifier: Apache-2.0
"""The host's SFT collator, which also hands each clip's frames and token positions to the distiller."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from llamafactory.data import SFTDataCollatorWith4DAttentionMask

from rgpt4d_plugin.distill import DistillBatch
from rgpt4d_plugin.students import RowMedia, locate_clips
from rgpt4d_plugin.trainers.mixin import BATCH_KEY
from rgpt4d_plugin.trainers.run import P4DRun
from rgpt4d_plugin.video import SeenClip, VideoError


@dataclass
class P4DDataCollator(SFTDataCollatorWith4DAttentionMask):
    """Adds a `DistillBatch` under `p4d` to the host's batch.

    The template's plugin must be a recording one (`patches.mm_plugin.with_recorder`).
    """

    p4d: P4DRun | None = None
    cutoff_len: int = 0
    where_used: Callable[[Any], str] | None = None
    """Says which record a video comes from, for errors."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            return self._collate(features)
        except VideoError as err:
            if self.where_used is None:
                raise
            raise VideoError(f"{err}{self.where_used(err.entry)}", err.entry) from err

    def _collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        kept = [self._without_cut_clips(feature) for feature in features]
        left_out = sum(_clips(old) - _clips(new) for old, new in zip(features, kept, strict=True))
        media = [(_images(feature), _clips(feature)) for feature in kept]

        seen: list[tuple[SeenClip, torch.Tensor]] = []

        def see(clip: SeenClip) -> None:
            seen.append((clip, self.p4d.teacher_frames(clip, self.processor)))

        with self.template.mm_plugin.recording(see):
            try:
                batch = super().__call__(kept)  # takes the videos out of the features
            except StopIteration as err:
                # The model ran out of grids while it numbered the positions. Left alone, a data loader takes this for
                # the end of the epoch and the run ends early, without an error.
                raise self._miscounted(seen[0][0].source) from err

        family = self.p4d.family
        frames = iter([len(clip.frames) for clip, _ in seen])
        rows = [RowMedia(images, tuple(itertools.islice(frames, clips))) for images, clips in media]
        grids = family.video_grids(batch, self.processor, rows)
        is_clip, _ = family.visual_tokens(batch["input_ids"], rows, self.tokenizer)
        tokens = locate_clips(is_clip, [len(row.frames) for row in rows], grids, family.tokens_after_clip)
        for (clip, _), found in zip(seen, tokens, strict=True):
            if found is None:
                raise self._miscounted(clip.source)
        batch[BATCH_KEY] = DistillBatch(
            tokens=tokens,
            frames=[frames for _, frames in seen],
            timestamps=[clip.timestamps for clip, _ in seen],
            left_out=left_out,
        )
        return batch

    @staticmethod
    def _miscounted(source: str) -> VideoError:
        return VideoError(
            f"{source}, or a clip in the same batch, does not fit the video tokens of its record. Either the file "
            "changed since the dataset was tokenised, or the host miscounts records with several clips of different "
            "length (its Qwen3-VL plugin does; template: rgpt4d_qwen3_vl or rgpt4d_qwen3_vl_nothink does not).",
            source,
        )

    def _without_cut_clips(self, feature: dict[str, Any]) -> dict[str, Any]:
        """The feature without the clips whose tokens `cutoff_len` cut; what is left of those tokens is masked.

        The host keeps such a clip's pixels, and those of images behind it, and the model then refuses the batch for
        having more of them than tokens.
        """
        videos = feature.get("videos") or []
        if not videos or len(feature["input_ids"]) < self.cutoff_len or feature.get("packing_params") is not None:
            return feature

        family = self.p4d.family
        counts, metadata = self.template.mm_plugin.counted(videos, self.processor)
        rows = [RowMedia(_images(feature), tuple(counts))]
        ids = torch.tensor([feature["input_ids"]])
        is_clip, is_image = family.visual_tokens(ids, rows, self.tokenizer)
        positions = is_clip[0].nonzero().flatten().numpy()
        grids = family.video_grids(metadata, self.processor, rows)
        sizes = [math.prod(grid) + family.tokens_after_clip for grid in grids]
        whole = _whole(sizes, len(positions))
        if whole == len(videos):
            return feature

        feature = {**feature, "videos": videos[:whole]}
        leftover = [positions[sum(sizes[:whole]) :]]
        if images := feature.get("images"):
            media = (images, [], [], [len(images)], [0], [0], ids.tolist())
            inputs = {**self.template.mm_plugin.get_mm_inputs(*media, self.processor), "input_ids": ids}
            grids = family.image_grids(inputs, self.processor, rows)
            left = _whole([math.prod(grid) for grid in grids], int(is_image.sum()))
            if left < len(images) and family.lone_image_differs:
                left = 0
                leftover.append(is_image[0].nonzero().flatten().numpy())
            feature["images"] = images[:left]
        masks = {"input_ids": self.tokenizer.pad_token_id, "attention_mask": 0, "labels": self.label_pad_token_id}
        for key, value in masks.items():
            column = np.array(feature[key])
            column[np.concatenate(leftover)] = value
            feature[key] = column.tolist()
        return feature


def _whole(sizes: Sequence[int], tokens: int) -> int:
    """How many media, of these sizes and one behind the other, have all of their tokens."""
    return int((np.cumsum(sizes) <= tokens).sum())


def _clips(feature: dict[str, Any]) -> int:
    return len(feature.get("videos") or [])


def _images(feature: dict[str, Any]) -> int:
    return len(feature.get("images") or [])
