# SPDX-License-Identifier: Apache-2.0
"""TRL's vision collator, for videos too: frames are decoded once, for the student and for the teacher."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from trl import apply_chat_template
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from rgpt4d_plugin.arguments import RegionArguments
from rgpt4d_plugin.distill import DistillBatch
from rgpt4d_plugin.modeling.timestamp_encoding import NO_TIME
from rgpt4d_plugin.regions.rendering import Sampling, ShownClip, check_takes_videos, processed
from rgpt4d_plugin.students import RowMedia
from rgpt4d_plugin.trainers.mixin import BATCH_KEY
from rgpt4d_plugin.trainers.setup import P4DSetup
from rgpt4d_plugin.trainers.trl_records import RecordError, ShownRecord, show_record


_PER_TOKEN = {"attention_mask": 0, "token_type_ids": 0, "mm_token_type_ids": 0, "video_timestamps": NO_TIME}
"""Outputs of a processor with a value per token, and their value at padding and, but for the first, at text."""

_IGNORED = -100


@dataclass
class P4DVisionCollator(DataCollatorForVisionLanguageModeling):
    """Collates conversational records with videos, images and regions; see `trl_records` for their format.

    Labels are TRL's: all tokens of `messages`, the completion of `prompt` and `completion`, but for the tokens that
    stand for frames and images. Those TRL leaves in because it does not know them in general; a video has thousands.

    Attributes:
        completion_only_loss: None: for records with a completion, as in `SFTConfig`.
        p4d: the run; None: plain SFT on the same frames, without a `DistillBatch` in the batch.
        sampling, regions, sentences: as for `show_record`.
    """

    completion_only_loss: bool | None = None
    p4d: P4DSetup | None = None
    sampling: Sampling = field(default_factory=Sampling)
    regions: RegionArguments = field(default_factory=RegionArguments)
    sentences: bool = False

    def __post_init__(self) -> None:
        check_takes_videos(self.processor)

    @property
    def showing(self) -> dict[str, Any]:
        """Arguments of `show_record` and `check_record`."""
        return {"sampling": self.sampling, "regions": self.regions, "sentences": self.sentences}

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        records = [show_record(example, **self.showing) for example in examples]
        clips = [clip for record in records for clip in record.clips]
        batch = self._tokenise(records, clips)
        if self.p4d is not None:
            batch[BATCH_KEY] = self._distill_batch(batch, records, clips)
        return batch

    def _tokenise(self, records: Sequence[ShownRecord], clips: Sequence[ShownClip]) -> dict[str, Any]:
        """The model's inputs and the labels, padded on the right."""
        texts = [apply_chat_template(record.conversation, self.processor) for record in records]
        beginnings = [text["text"] if "text" in text else text["prompt"] for text in texts]
        # The chat template has written the first token already.
        inputs = dict(
            processed(
                self.processor,
                beginnings,
                [record.images for record in records],
                clips,
                [(len(record.images), len(record.clips)) for record in records],
                padding=True,
                return_tensors=self.return_tensors,
                add_special_tokens=False,
            )
        )
        kept = inputs["attention_mask"].bool()
        columns = {
            key: [values[row] for values, row in zip(inputs[key], kept, strict=True)]
            for key in ("input_ids", *_PER_TOKEN)
            if key in inputs
        }
        labels = [ids.masked_fill(self._is_media(ids), _IGNORED) for ids in columns["input_ids"]]
        tokenizer = self.processor.tokenizer
        for row, text in enumerate(texts):
            if "completion" not in text:
                if self.completion_only_loss:
                    raise RecordError("completion_only_loss needs records with `prompt` and `completion`")
                continue
            ids = torch.tensor(tokenizer(text["completion"], add_special_tokens=False)["input_ids"], dtype=torch.long)
            if self.completion_only_loss is not False:
                labels[row] = torch.full_like(labels[row], _IGNORED)
            labels[row] = torch.cat([labels[row], ids])
            more = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            for key, values in columns.items():
                new = more[key] if key in more else torch.full_like(ids, _PER_TOKEN[key])
                values[row] = torch.cat([values[row], new])

        self._check_length(columns["input_ids"], records)
        for key, values in columns.items():
            inputs[key] = self._padded(values, _PER_TOKEN.get(key, tokenizer.pad_token_id))
        inputs["labels"] = self._padded(labels, _IGNORED)
        return inputs

    def _distill_batch(
        self, batch: dict[str, Any], records: Sequence[ShownRecord], clips: Sequence[ShownClip]
    ) -> DistillBatch:
        family, processor = self.p4d.family, self.processor
        rows = [RowMedia(len(record.images), tuple(len(clip.frames) for clip in record.clips)) for record in records]
        keys = self.p4d.keys([clip.seen for clip in clips], processor)
        return DistillBatch(
            tokens=family.clip_tokens(batch["input_ids"], batch, rows, processor, processor.tokenizer),
            keys=keys,
            stored=[self.p4d.stored_maps(key) for key in keys],
            frames=(
                [self.p4d.teacher_frames(clip.seen, processor) for clip in clips] if self.p4d.needs_frames else None
            ),
        )

    def _is_media(self, ids: torch.Tensor) -> torch.Tensor:
        """Mask of the tokens that stand for frames and images."""
        known = vars(self.processor)
        tokens = [known[name] for name in ("image_token_id", "video_token_id") if name in known]  # or one for both
        return torch.isin(ids, torch.tensor(tokens))

    def _check_length(self, rows: Sequence[torch.Tensor], records: Sequence[ShownRecord]) -> None:
        """Raises RecordError if `max_length` would cut a clip or an image: the model refuses such a batch."""
        if self.max_length is None:
            return
        for ids, record in zip(rows, records, strict=True):
            if self._is_media(ids[self.max_length :]).any():
                what = ", ".join(clip.source for clip in record.clips) or "an image"
                raise RecordError(
                    f"max_length={self.max_length} cuts the tokens of {what}: the record has {len(ids)} tokens. Set "
                    "max_length=None in the SFTConfig, or show fewer or smaller frames (p4d.frames, sampling)"
                )

    def _padded(self, rows: Sequence[torch.Tensor], value: int) -> torch.Tensor:
        """(B, L) of rows that are cut at `max_length`."""
        rows = [row[: self.max_length] for row in rows]
        length = max(len(row) for row in rows)
        if self.pad_to_multiple_of is not None:
            length += -length % self.pad_to_multiple_of
        return torch.stack([torch.nn.functional.pad(row, (0, length - len(row)), value=value) for row in rows])
