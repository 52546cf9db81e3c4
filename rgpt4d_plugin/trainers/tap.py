# SPDX-License-Identifier: Apache-2.0
"""The tap on the student: decodes the last hidden states at the video tokens, inside the model's own forward.

Inside, because DeepSpeed ZeRO-3 gathers a module's weights in its own forward order, DDP watches what a forward
returns, and autocast is on there. Only the decoder's latents leave the forward; no hidden state is kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from rgpt4d_plugin.distill import DistillBatch, LatentDecoder, resample
from rgpt4d_plugin.students import StudentFamily
from rgpt4d_plugin.teachers import TeacherSpec


DECODER_NAME = "p4d_decoder"
"""Attribute of the trained model that holds the decoder while it trains."""


class StudentTap:
    """Hooks on a student model and the decoder that trains with it.

    Args:
        model: The model that the Trainer gets, a PeftModel included. Gains the decoder as a submodule.
        family: How to find the text decoder.
        decoder: Trained along; an optimizer, DDP and DeepSpeed find it in `model`.
        spec: The teacher's windows and grid.
        frames_per_step: Frames that one temporal step of the student covers.
    """

    def __init__(
        self, model: nn.Module, family: StudentFamily, decoder: LatentDecoder, spec: TeacherSpec, frames_per_step: int
    ) -> None:
        self.decoder = decoder
        self.model = model
        self._batch: DistillBatch | None = None
        self._latents: torch.Tensor | None = None
        self._maps: dict[str, torch.Tensor] = {}
        self._spec = spec
        self._frames_per_step = frames_per_step
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        model.add_module(DECODER_NAME, decoder)
        # The decoder module rather than its final norm: ZeRO-3 has re-partitioned the norm by the time of backward.
        family.decoder(base).register_forward_hook(self._decode)
        model.register_forward_hook(self._expose)

    @contextmanager
    def listen(self, batch: DistillBatch) -> Iterator["StudentTap"]:
        """Decodes the next forward of the model, for the clips of `batch`."""
        self._batch, self._latents, self._maps = batch, None, {}
        try:
            yield self
        finally:
            self._batch, self._latents, self._maps = None, None, {}

    @property
    def maps(self) -> dict[str, torch.Tensor]:
        """What trainable heads made of those latents, term -> (windows of all clips, C, T, H', W'); {} without."""
        return self._maps

    def latents(self) -> torch.Tensor:
        """(windows * N of all clips, K, teacher width) of the forward inside `listen`.

        Raises:
            RuntimeError: the text decoder did not run; its output was not seen.
        """
        if self._latents is None:
            raise RuntimeError(
                "the hook on the student's text decoder did not run: the model calls another module than "
                "get_decoder() returns, or was compiled before the trainer was built"
            )
        return self._latents

    @contextmanager
    def detached(self) -> Iterator[None]:
        """The model without the decoder: what a saved or reloaded checkpoint is."""
        attached = self.model._modules.pop(DECODER_NAME)
        try:
            yield
        finally:
            self.model.add_module(DECODER_NAME, attached)

    @contextmanager
    def hidden_in(self, model: nn.Module) -> Iterator[None]:
        """Leaves the decoder out of the `state_dict()` of the wrapped `model`, whose own FSDP hooks have run before
        this one.

        FSDP keeps count of the modules that it shards: none of them can be taken away.
        """

        def drop(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
            for key in [key for key in state if key.startswith(f"{prefix}{DECODER_NAME}.")]:
                del state[key]

        handle = model.register_state_dict_post_hook(drop)
        try:
            yield
        finally:
            handle.remove()

    def _decode(self, module: nn.Module, args: Any, output: Any) -> None:
        batch = self._batch
        if batch is None:
            return
        if self._latents is not None:
            raise RuntimeError("the student's text decoder ran twice in one forward; its last output is ambiguous")
        hidden = output[0] if isinstance(output, tuple) else output.last_hidden_state
        attached = self.model._modules[DECODER_NAME]  # FSDP may have wrapped it
        if len(batch):
            tokens = [
                resample(hidden, clip, len(key), self._frames_per_step, self._spec)
                for clip, key in zip(batch.tokens, batch.keys, strict=True)
            ]
            decoded = attached(tokens[0] if len(tokens) == 1 else torch.cat(tokens))
        else:
            # A rank without a video must still use the decoder: gathers (ZeRO-3) and gradient buckets (DDP) wait for
            # every rank. The distiller makes nothing of it.
            decoded = attached(hidden[:1, 0].expand(self._spec.tokens if self._spec.trainable_heads else 1, -1))
        self._latents, self._maps = decoded if isinstance(decoded, tuple) else (decoded, {})

    def _expose(self, module: nn.Module, args: Any, output: Any) -> None:
        # DDP's search for unused parameters starts from the tensors that forward returns, and takes the output apart
        # and together again by its known fields. So the latents are tied to one of these, by a sum over nothing.
        # Evaluation has no such search.
        if self._latents is not None and module.training and isinstance(output, dict):
            key = "loss" if output.get("loss") is not None else "logits"
            for tensor in (self._latents, *self._maps.values()):
                output[key] = output[key] + tensor[:0].sum(dtype=output[key].dtype)
