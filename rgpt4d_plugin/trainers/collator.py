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

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill import DistillBatch
from rgpt4d_plugin.students import RowMedia, has_linear_attention, timestamps_of
from rgpt4d_plugin.students.shared_token import token_runs
from rgpt4d_plugin.trainers.mixin import BATCH_KEY
from rgpt4d_plugin.trainers.setup import P4DSetup
from rgpt4d_plugin.video import SeenClip, VideoError


@dataclass
class P4DDataCollator(SFTDataCollatorWith4DAttentionMask):
    """Adds a `DistillBatch` under `p4d` to the host's batch, and `video_timestamps` for a model with TPE.

    The template's plugin must be a recording one (`template.plugin_classes.with_recorder`).
    """

    p4d: P4DSetup | None = None
    cutoff_len: int = 0
    mask_history: bool = False
    where_used: Callable[[Any], str] | None = None
    """Says which record a video comes from, for errors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neat_packing:
            self._refuse_neat_packing()

    def _refuse_neat_packing(self) -> None:
        """Raises P4DConfigError where the host packs rows that the model cannot take, or that change it."""
        problems = []
        if self.p4d.family.bidirectional_images:
            problems.append(
                f"neat_packing: true: the host's mask takes from {self.p4d.family.name} that the tokens of an image "
                "see one another; remove it"
            )
        if has_linear_attention(self.model.config) and self.attn_implementation != "flash_attention_2":
            problems.append(
                f"neat_packing: true: the linear attention layers of {self.p4d.family.name} carry their state from "
                "one sample of a row into the next; remove it, or set flash_attn: fa2, with which the host keeps "
                "samples apart"
            )
        row = self.cutoff_len + 1  # which the host has made one less, for packing
        if self.get_rope_func is not None and row % (self.pad_to_multiple_of or 1):
            problems.append(
                f"cutoff_len: {row}: with neat_packing the host needs a multiple of {self.pad_to_multiple_of} for "
                f"this model; use {row - row % self.pad_to_multiple_of}"
            )
        if problems:
            raise P4DConfigError.from_problems(problems)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        try:
            return self._collate(features)
        except VideoError as err:
            if self.where_used is None:
                raise
            where = self.where_used(err.entry)
            raise VideoError(f"{err} ({where})" if where else str(err), err.entry) from err

    def _collate(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        kept = [self._without_cut_clips(feature) for feature in features]
        left_out = sum(_clips(old) - _clips(new) for old, new in zip(features, kept, strict=True))
        media = [(_images(feature), _clips(feature)) for feature in kept]

        seen: list[tuple[SeenClip, torch.Tensor | None]] = []
        for_teacher = self.p4d.distils and self.p4d.needs_frames

        def see(clip: SeenClip) -> None:
            seen.append((clip, self.p4d.teacher_frames(clip, self.processor) if for_teacher else None))

        with self.template.mm_plugin.recording(see):
            try:
                batch = super().__call__(kept)  # takes the videos out of the features
            except StopIteration as err:
                # The model ran out of grids while it numbered the positions. Left alone, a data loader takes this for
                # the end of the epoch and the run ends early, without an error.
                raise self._miscounted(seen[0][0].source) from err

        self._mend_packed_text(batch)
        self._mend_token_types(batch)
        family = self.p4d.family
        frames = iter([len(clip.frames) for clip, _ in seen])
        rows = [RowMedia(images, tuple(itertools.islice(frames, clips))) for images, clips in media]
        tokens = family.clip_tokens(batch["input_ids"], batch, rows, self.processor, self.tokenizer)
        for (clip, _), found in zip(seen, tokens, strict=True):
            if found is None:
                raise self._miscounted(clip.source)
        times = [clip.timestamps for clip, _ in seen]
        if self.p4d.encoding is not None:
            per_step = family.frames_per_step(self.processor)
            batch["video_timestamps"] = timestamps_of(batch["input_ids"], tokens, times, per_step)
        if self.p4d.distils:
            keys = self.p4d.keys([clip for clip, _ in seen], self.processor)
            frames = [frames for _, frames in seen] if for_teacher else None
            stored = [self.p4d.stored_maps(key) for key in keys]
            batch[BATCH_KEY] = DistillBatch(tokens, keys, frames, stored, left_out)
        return batch

    def _compute_rope_position_ids_with_packing(
        self,
        features: dict[str, Any],
        mm_inputs: dict[str, Any],
        packing_params_list: list[dict[str, Any] | None],
        batch_imglens: list[int],
        *rest: Any,
    ) -> None:
        """The host's numbering of packed rows, which divides the grids of images among the samples of a row by their
        number. A step of GLM's clips is an image too."""
        grids = mm_inputs.get("image_grid_thw")
        if grids is not None and len(grids) > sum(batch_imglens):
            token = self.tokenizer.convert_tokens_to_ids(self.p4d.family.image_token)
            runs = [[first for first, _ in token_runs(ids.numpy(), token)] for ids in features["input_ids"]]
            packing_params_list = [
                packing and {**packing, "image_subseq_ids": _samples_of(starts, packing["sequence_boundaries"])}
                for packing, starts in zip(packing_params_list, runs, strict=True)
            ]
            batch_imglens = [len(starts) for starts in runs]
        super()._compute_rope_position_ids_with_packing(features, mm_inputs, packing_params_list, batch_imglens, *rest)

    @staticmethod
    def _mend_packed_text(batch: dict[str, Any]) -> None:
        """Makes a batch of packed rows without images or clips one that the model takes.

        The host adds a stand-in image to the first row: for models with three-axis positions twice to the mask, for
        others not to the positions.
        """
        length = batch["input_ids"].shape[1]
        mask, places = batch["attention_mask"], batch.get("position_ids")
        if mask is not None and mask.dim() == 4:
            batch["attention_mask"] = mask[..., :length, :length]
        if places is not None and places.dim() == 2 and places.shape[1] < length:
            batch["position_ids"] = torch.nn.functional.pad(places, (0, length - places.shape[1]))

    def _mend_token_types(self, batch: dict[str, Any]) -> None:
        """Pads Gemma 4's token types as the rows are padded: the host pads them to the longest row, and the rows to a
        multiple of eight."""
        types = batch.get("mm_token_type_ids")
        if types is not None and (missing := batch["input_ids"].shape[1] - types.shape[1]) > 0:
            sides = (missing, 0) if self.tokenizer.padding_side == "left" else (0, missing)
            batch["mm_token_type_ids"] = torch.nn.functional.pad(types, sides)

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
        if not videos or not self._may_be_cut(feature):
            return feature

        family = self.p4d.family
        counts, metadata = self.template.mm_plugin.counted(videos, self.processor)
        rows = [RowMedia(_images(feature), tuple(counts))]
        ids = torch.tensor([feature["input_ids"]])
        is_clip, is_image = family.visual_tokens(ids, rows, self.tokenizer)
        positions = is_clip[0].nonzero().flatten().numpy()
        grids = family.video_grids(metadata, self.processor, rows)
        sizes = [family.clip_length(grid) for grid in grids]
        whole = _whole(sizes, len(positions))
        if whole == len(videos):
            return feature
        if self.mask_history and len(videos) > 1:
            # The host then drops the first turns rather than the last: whose the tokens are that it left, is unknown.
            whole = 0

        feature = {**feature, "videos": videos[:whole]}
        leftover = [positions[sum(sizes[:whole]) :]]
        if images := feature.get("images"):
            media = (images, [], [], [len(images)], [0], [0], ids.tolist())
            inputs = {**self.template.mm_plugin.get_mm_inputs(*media, self.processor), "input_ids": ids}
            grids = family.image_grids(inputs, self.processor, rows)
            left = _whole([math.prod(grid) for grid in grids], int(is_image.sum()))
            if left < len(images) and (family.single_image_is_tiled or self.mask_history):
                left = 0
                leftover.append(is_image[0].nonzero().flatten().numpy())
            feature["images"] = images[:left]
        packing = feature.get("packing_params")
        if packing is not None:  # a cut sample fills its row alone
            kept = {"video_subseq_ids": whole, "image_subseq_ids": _images(feature)}
            packing = packing | {key: (packing[key] or [])[:count] for key, count in kept.items()}
            # The host finds the row's length again as what its mask shows and this.
            packing["right_padding_length"] += sum(map(len, leftover))
            feature["packing_params"] = packing
        length = len(feature["input_ids"])
        masks = {"input_ids": self.tokenizer.pad_token_id, "attention_mask": 0, "labels": self.label_pad_token_id}
        for key, value in masks.items():
            column = np.array(feature[key])
            if len(column) == length:  # not the answer to a prompt that the model is to go on from
                column[np.concatenate(leftover)] = value
                feature[key] = column.tolist()
        return feature

    def _may_be_cut(self, feature: dict[str, Any]) -> bool:
        """Whether the host stopped at `cutoff_len`: it cuts to just that length."""
        tokens, labels = len(feature["input_ids"]), len(feature["labels"])
        # With predict_with_generate the prompt is apart from the answer, and both count.
        return (tokens if tokens == labels else tokens + labels) >= self.cutoff_len


def _whole(sizes: Sequence[int], tokens: int) -> int:
    """How many media, of these sizes and one behind the other, have all of their tokens."""
    return int((np.cumsum(sizes) <= tokens).sum())


def _samples_of(places: Sequence[int], boundaries: Sequence[int]) -> list[int]:
    """Which of a packed row's samples each place is in; `boundaries` are where they begin, and the last one's end."""
    return (np.searchsorted(boundaries, places, side="right") - 1).tolist()


def _clips(feature: dict[str, Any]) -> int:
    return len(feature.get("videos") or [])


def _images(feature: dict[str, Any]) -> int:
    return len(feature.get("images") or [])
