# SPDX-License-Identifier: Apache-2.0
"""The host's Hugging Face engine, in batches: prompts are made by the host's template and collator, as in training.

What a model family needs is the template's and the processor's business. A question's media are decoded by worker
processes while the model answers earlier ones.
"""

import contextlib
import copy
import gc
import inspect
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import av
import torch
from llamafactory.data import SFTDataCollatorWith4DAttentionMask
from llamafactory.extras.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER
from torch.utils.data import DataLoader
from transformers import BatchFeature, GenerationConfig

from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Medium
from rgpt4d_plugin.eval_hooks.engines.process_group import ALONE, Ranks
from rgpt4d_plugin.eval_hooks.replies import Reply
from rgpt4d_plugin.files import ImageError, open_image
from rgpt4d_plugin.modeling import is_timestamped
from rgpt4d_plugin.regions.media_entries import Clip
from rgpt4d_plugin.regions.region import RegionError
from rgpt4d_plugin.students import get_family, has_linear_attention
from rgpt4d_plugin.template.plugin_classes import token_types, with_recorder
from rgpt4d_plugin.video import VideoError


logger = logging.getLogger(__name__)

_VERSIONS = ("rgpt4d-plugin", "llamafactory", "transformers", "torch")
# SyntaxError is what PIL raises for a PNG file with a broken chunk.
_MEDIA_ERRORS = (VideoError, RegionError, BenchmarkDataError, ImageError, av.FFmpegError, OSError, SyntaxError)

GREEDY = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
}
"""Plain greedy decoding. All of it is said, because what is not comes from the model's generation_config.json, where
Qwen2.5-VL for one has a repetition penalty. The last three are the library's defaults, which mean nothing here."""


@dataclass(frozen=True)
class Encoded:
    """A batch of questions as the model gets it."""

    keys: Sequence[str]  # of its rows
    inputs: BatchFeature | None  # for `model.generate`; None if no question is left
    failed: Mapping[str, str] = field(default_factory=dict)  # key -> why its media cannot be read


class Encoder:
    """Turns questions into a batch, its pixels in `dtype`, by the host's own functions. Runs in worker processes too.

    A model with timestamp positional encoding, by its `config`, is told the times.
    """

    def __init__(self, template: Any, tokenizer: Any, processor: Any, dtype: torch.dtype, config: Any) -> None:
        self._template, self._processor, self._dtype = template, processor, dtype
        self._family = get_family(config.model_type) if is_timestamped(config.model_type) else None
        self._linear_attention = has_linear_attention(config)
        self._tokenizer = copy.deepcopy(tokenizer)
        self._tokenizer.padding_side = "left"

    def __call__(self, questions: Sequence[Question]) -> Encoded:
        """One batch; all questions must want the same number of frames. Media that cannot be read are left out."""
        if not questions:
            return Encoded((), None)
        try:
            return Encoded([question.key for question in questions], self.collate(questions))
        except _MEDIA_ERRORS as err:
            if len(questions) == 1:
                return Encoded((), None, {questions[0].key: f"{type(err).__name__}: {err}"})
        # One of them, or more: each is tried alone, and those that can be read are a batch again.
        alone = [self([question]) for question in questions]
        failed = {key: error for part in alone for key, error in part.failed.items()}
        readable = [question for question in questions if question.key not in failed]
        return Encoded([q.key for q in readable], self.collate(readable) if readable else None, failed)

    def collate(self, questions: Sequence[Question]) -> BatchFeature:
        """The padded batch with its pixels."""
        template = with_recorder(self._template, questions[0].frames)
        collator = SFTDataCollatorWith4DAttentionMask(
            template=template,
            model=None,  # the model numbers positions itself while it generates
            tokenizer=self._tokenizer,
            processor=self._processor,
            label_pad_token_id=IGNORE_INDEX,
            compute_dtype=self._dtype,
        )
        features = [self._feature(template, question) for question in questions]
        if self._linear_attention and len(questions) == 1 and not questions[0].media:
            # The host hides a stand-in image on the left. Linear attention (transformers 5.5) heeds the mask of two
            # rows or more; the reply to the second is not read.
            features.append(self._feature(template, questions[0]))
        counts = [[len(feature[media]) for feature in features] for media in ("images", "videos")]
        with template.mm_plugin.asked() as seconds:
            batch = collator(features)
        del batch["labels"]
        if self._family is not None:
            batch["video_timestamps"] = self._family.timestamps(
                batch["input_ids"], batch, *counts, seconds, self._processor, self._tokenizer
            )
        return batch

    def _feature(self, template: Any, question: Question) -> dict[str, Any]:
        """One question as the host's dataset processor makes it, with the answer left to the model."""
        placeholders = {"image": IMAGE_PLACEHOLDER, "video": VIDEO_PLACEHOLDER}
        media = list(question.media)
        text = "".join(placeholders[medium.kind] for medium in media) + question.prompt
        images, videos = ([_entry(medium) for medium in media if medium.kind == kind] for kind in placeholders)
        plugin = template.mm_plugin
        messages = [{"role": "user", "content": text}]
        messages = plugin.process_messages(messages, images, videos, [], self._processor)
        answer = {"role": "assistant", "content": ""}
        ids, _ = template.encode_oneturn(self._tokenizer, [*messages, answer], None, None)
        ids, _ = plugin.process_token_ids(ids, None, images, videos, [], self._tokenizer, self._processor)
        return {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            "labels": [IGNORE_INDEX] * len(ids),
            "images": images,
            "videos": videos,
        }


class HostEngine:
    """Answers questions with a model that the host has loaded. The model must be in evaluation mode.

    Args:
        model: The model as loaded; not wrapped, for it is `generate` that is called.
        tokenizer, processor, template: The host's, of the run.
        dtype: That the model computes in.
        description: Description of the model, see `Engine`.
        batch_size: Questions a process answers at once.
        workers: Processes that decode; 0: this one does, and the model waits for it.
        device: Device of the inputs; None: the model's.
        ranks: Processes that share the questions. All must ask the same.
        synced: Every process must take part in every forward of another, as under DeepSpeed ZeRO-3.
        autocast: Context of every forward.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        processor: Any,
        template: Any,
        *,
        dtype: torch.dtype,
        description: Mapping[str, Any],
        batch_size: int = 1,
        workers: int = 0,
        device: torch.device | None = None,
        ranks: Ranks = ALONE,
        synced: bool = False,
        autocast: Callable[[], AbstractContextManager] = contextlib.nullcontext,
    ) -> None:
        self.description = {
            "engine": "host",
            **description,
            "dtype": str(dtype).removeprefix("torch."),
            "decoding": GREEDY,
            "versions": {name: version(name) for name in _VERSIONS},
        }
        self._encoder = Encoder(template, tokenizer, processor, dtype, model.config)
        self._model, self._tokenizer = model, tokenizer
        self._stops = template.get_stop_token_ids(tokenizer)
        self._batch_size, self._workers = batch_size, workers
        self._device = model.device if device is None else device
        self._ranks, self._synced, self._autocast = ranks, synced, autocast
        keep_unpacked(model)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._wants_types = "mm_token_type_ids" in inspect.signature(type(base).forward).parameters

    def ask(self, questions: Sequence[Question]) -> Iterator[tuple[str, Reply]]:
        """Implements `Engine.ask`. Every process gets all replies, in the same order."""
        rounds = list(_rounds(questions, self._batch_size, self._ranks.size, self._synced))
        shares = [batches[self._ranks.rank] for batches in rounds]
        limits = [batches[0][0].max_new_tokens for batches in rounds]
        for encoded, limit in zip(self._encoded(shares), limits, strict=True):
            for reply in itertools.chain.from_iterable(self._ranks.all_of(self._answer(encoded, limit))):
                if reply.error is not None and self._ranks.first:
                    logger.warning("%s is counted as a failure: %s", reply.key, reply.error)
                yield reply.key, reply

    def _encoded(self, batches: Sequence[Sequence[Question]]) -> Iterator[Encoded]:
        loader = DataLoader(
            batches,
            batch_size=None,
            collate_fn=self._encoder,
            num_workers=min(self._workers, len(batches)),
            pin_memory=self._device.type == "cuda",
            # Without its own a loader draws from the generator that training draws from.
            generator=torch.Generator(),
        )
        # A decoder that this process has left to the garbage collector must not be found by that of a forked worker:
        # there it would wait for ever for threads which only exist here.
        gc.collect()
        gc.freeze()
        try:
            return iter(loader)
        finally:
            gc.unfreeze()

    def _answer(self, encoded: Encoded, max_new_tokens: int) -> list[Reply]:
        """Replies to this process's share of a round."""
        replies = [Reply(key, "", error=error) for key, error in encoded.failed.items()]
        inputs = encoded.inputs
        if self._synced and self._ranks.size > 1:
            # A process without a question of its own helps with another's, or the other would wait for ever.
            have = self._ranks.all_of(inputs is not None)
            if any(have) and not all(have):
                lent = self._ranks.shared(inputs, source=have.index(True))
                inputs = lent if inputs is None else inputs
        if inputs is not None:
            texts = self._generate(inputs, max_new_tokens)
            # What was lent has more rows than this process has questions.
            replies += [Reply(key, text, cut) for key, (text, cut) in zip(encoded.keys, texts, strict=False)]
        return replies

    @torch.no_grad()
    def _generate(self, batch: BatchFeature, max_new_tokens: int) -> list[tuple[str, bool]]:
        """Text of each row, and whether it was ended by the limit."""
        inputs = {
            name: value.to(self._device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.items()
        }
        if self._wants_types and "mm_token_type_ids" not in inputs:
            inputs["mm_token_type_ids"] = token_types(inputs["input_ids"], self._model.config)
        config = GenerationConfig(
            **GREEDY,
            max_new_tokens=max_new_tokens,
            use_cache=True,
            eos_token_id=self._stops,
            pad_token_id=self._tokenizer.pad_token_id,
        )
        with self._autocast():
            tokens = self._model.generate(**inputs, generation_config=config, synced_gpus=self._synced)
        rows = tokens[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._read(row) for row in rows]

    def _read(self, row: list[int]) -> tuple[str, bool]:
        end = next((place for place, token in enumerate(row) if token in self._stops), None)
        text = self._tokenizer.decode(row[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text, end is None


def keep_unpacked(model: torch.nn.Module) -> None:
    """Keeps bitsandbytes from repacking 4-bit weights, in place, at their first use in evaluation mode.

    It does so on a CPU with AVX-512 BF16; training would go on from the packed weights, and matrices narrower than a
    block of the quantisation make it fail (bitsandbytes 0.50).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _rounds(
    questions: Sequence[Question], batch_size: int, ranks: int, synced: bool
) -> Iterator[list[Sequence[Question]]]:
    """Batches that are answered at the same time, one a process; the last ones may be empty.

    The batches of a round want the same number of frames and of new tokens. If `synced` they also show the same kinds
    of media, because processes must then call the same modules, and images and videos are two calls.
    """

    def kind(question: Question) -> tuple:
        try:
            kinds = sorted({medium.kind for medium in question.media}) if synced else ()
        except BenchmarkDataError:  # is a counted failure when it is asked
            kinds = ()
        return question.frames, question.max_new_tokens, *kinds

    alike: dict[tuple, list[Question]] = {}
    for question in questions:
        alike.setdefault(kind(question), []).append(question)
    for group in alike.values():
        for start in range(0, len(group), batch_size * ranks):
            yield [group[start + rank * batch_size :][:batch_size] for rank in range(ranks)]


def _entry(medium: Medium) -> Any:
    """A medium as it stands in a sample's `images` or `videos`."""
    if medium.kind == "video":
        return Clip(str(medium.path), medium.start, medium.end).encode()
    source = medium.data if medium.data is not None else str(medium.path)
    open_image(source).close()  # the host decodes whatever Pillow can, by other programs too
    return source
