# SPDX-License-Identifier: Apache-2.0
"""The trainer's side of distillation: a mixin over any `transformers.Trainer`.

It adds the terms in `compute_loss`, logs them, and keeps the decoder trainable but out of every saved model. Loop,
optimiser and distribution stay the Trainer's.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill import DistillBatch
from rgpt4d_plugin.files import only_writer
from rgpt4d_plugin.trainers.checkpoint_folder import DECODER_FILE, check_resumable, write_decoder
from rgpt4d_plugin.trainers.decoder_checkpoint import load_whole_state, whole_state
from rgpt4d_plugin.trainers.meter import FiniteCheck, TermMeter
from rgpt4d_plugin.trainers.setup import LOG_KEYS, P4DSetup
from rgpt4d_plugin.trainers.tap import StudentTap


logger = logging.get_logger(__name__)

BATCH_KEY = "p4d"
"""Key of the `DistillBatch` in a collated batch."""


class P4DTrainerMixin:
    """Put in front of a Trainer class. `model` and `args` must be given by keyword.

    The student's processor is `processor`, or where a Trainer class knows no such argument `processing_class`; its
    video processor says how many frames a temporal step covers.
    """

    def __init__(self, *args: Any, p4d: P4DSetup, **kwargs: Any) -> None:
        model, train_args = kwargs["model"], kwargs["args"]
        decoder = p4d.build_decoder(model.config, train_args.seed).to(train_args.device)
        if is_deepspeed_zero3_enabled():
            # The host keeps trainable weights in float32, except here: ZeRO-3 wants one dtype and keeps its own
            # float32 copies.
            decoder.to(next(model.parameters()).dtype)
        processor = kwargs["processor"] if "processor" in kwargs else kwargs.get("processing_class")
        per_step = p4d.family.frames_per_step(processor)
        self._p4d_run = p4d
        self._p4d_tap = StudentTap(model, p4d.family, decoder, p4d.teacher, per_step)
        if train_args.accelerator_config.dispatch_batches is None:
            # Of a stream, accelerate would read batches in one process, join them and deal them out by rows, which
            # neither the pixels of a batch nor its clips follow. This way every process reads its own.
            train_args.accelerator_config.dispatch_batches = False
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled:
            self._p4d_adapt_to_fsdp()

        # The teacher is no attribute of any module: no optimiser, wrapper or checkpoint ever sees it.
        self._p4d_distiller = p4d.load_distiller(self.args.device)
        arguments, weights = p4d.arguments, p4d.arguments.loss.active
        scales = [weight if arguments.logging.weighted else 1.0 for weight in weights.values()]
        self._p4d_meter, self._p4d_eval_meter = (TermMeter(list(weights), scales, self.args.device) for _ in range(2))
        self._p4d_finite = FiniteCheck(["loss_sft", *(LOG_KEYS[term] for term in weights)])
        self._p4d_learning_rate = arguments.decoder.learning_rate
        self._p4d_global_clips: float | torch.Tensor = 1.0
        self._p4d_left_out = 0

    def _p4d_adapt_to_fsdp(self) -> None:
        plugin = self.accelerator.state.fsdp_plugin
        if plugin.fsdp_version == 1 and not plugin.use_orig_params:
            raise P4DConfigError(
                "fsdp: with use_orig_params: false the P4D decoder cannot be told from the model's other weights; set "
                "it to true, or fsdp_version: 2"
            )
        # One dtype for all that trains, as FSDP wants it within a shard.
        model = self._p4d_tap.model
        self._p4d_tap.decoder.to(next(weight.dtype for weight in model.parameters() if weight.requires_grad))

    # Loss

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches, num_items = super().get_batch_samples(*args, **kwargs)
        clips = sum(len(batch[BATCH_KEY]) for batch in batches)
        self._p4d_global_clips = float(max(1, clips))
        if self.args.world_size > 1:
            # Filled on the device and summed there: nobody waits for the number.
            total = torch.full((), float(clips), device=self.args.device)
            dist.all_reduce(total)
            self._p4d_global_clips = total.clamp(min=1.0)
        return batches, num_items

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        inputs = dict(inputs)
        batch: DistillBatch = inputs.pop(BATCH_KEY).to(self.args.device)  # where the data loader has put it already
        if not model.training:
            batch = self._p4d_without_repeats(batch, inputs)
        ahead = self._p4d_distiller.start(batch)
        with self._p4d_tap.listen(batch) as tap:
            result = super().compute_loss(model, inputs, *args, **kwargs)
            latents, maps = tap.latents(), tap.maps
        draw = self._p4d_run.draw(self.args.seed, self.state.global_step) if model.training else None
        sums = self._p4d_distiller(latents, batch, draw, ahead, maps)
        self._p4d_left_out += batch.left_out
        if not model.training:  # `eval_loss` stays the host's; the terms are logged beside it
            loss = result[0] if isinstance(result, tuple) else result
            self._p4d_eval_meter.update(loss, sums)
            return result
        loss = result
        clips = ", ".join(key.source for key in batch.keys) or "none"
        where = f"in step {self.state.global_step + 1} (clips: {clips})"
        self._p4d_finite.submit(torch.cat([loss.detach().float()[None], sums.terms]), where)
        self._p4d_meter.update(self._p4d_parts() * loss, sums)
        return loss + self._p4d_scale() * sums.total

    def _p4d_without_repeats(self, batch: DistillBatch, inputs: dict[str, Any]) -> DistillBatch:
        """Leaves out the clips of rows that only fill up the last batch of an evaluation in several processes."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:  # the rows over all processes that are no repeats
            return batch
        rows, length = inputs["input_ids"].shape
        return batch.before(max(0, state.remainder - self.args.process_index * rows) * length)

    def _p4d_scale(self) -> float | torch.Tensor:
        """Factor that turns a micro-batch's sum over clips into its share of the mean over the whole step's clips.

        The Trainer divides by accumulation steps (if the model's loss is a mean, as the host says) and DDP and
        DeepSpeed average over processes. Undoing both makes each clip weigh the same however the step is cut up.
        """
        steps = self.current_gradient_accumulation_steps / self._p4d_parts()
        return steps * self.args.world_size / self._p4d_global_clips

    def _p4d_parts(self) -> int:
        """Micro-batches whose losses add up to the step's; 1 where each is a mean that the Trainer divides."""
        divided = not self.model_accepts_loss_kwargs and self.compute_loss_func is None
        return 1 if divided else self.current_gradient_accumulation_steps

    def prediction_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(self.args, "predict_with_generate", False):  # inputs go to model.generate, which knows no such key
            inputs.pop(BATCH_KEY, None)
        return super().prediction_step(model, inputs, *args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        # Generating (predict_with_generate) computes no losses, so there are no terms then.
        terms = self._p4d_eval_meter.drain()
        prefix = kwargs.get("metric_key_prefix", "eval")
        output.metrics.update({f"{prefix}_{key}": value for key, value in terms.items()})
        return output

    # Logging

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs.update(self._p4d_meter.drain())
        if self._p4d_left_out:
            logger.warning(
                f"p4d: {self._p4d_left_out} clip(s) on this process were left out since the last log, because "
                "`cutoff_len` cut their video tokens; raise it or lower `video_max_pixels` / `p4d.frames`."
            )
            self._p4d_left_out = 0
        super().log(logs, *args, **kwargs)

    # Optimiser

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if new and hasattr(optimizer, "add_param_group"):  # not DeepSpeed's stand-in for an optimiser of its own
            self._p4d_group_decoder(optimizer)
        return optimizer

    def _p4d_group_decoder(self, optimizer: torch.optim.Optimizer) -> None:
        """Checks that the decoder is optimised, and moves it to groups with its own learning rate if it has one."""
        decoder = {id(parameter) for parameter in self._p4d_tap.decoder.parameters()}
        grouped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if not decoder <= grouped:
            raise P4DConfigError(
                f"the optimiser {type(optimizer).__name__} of this recipe leaves the P4D decoder out; use a plain "
                "`optim`"
            )
        if self._p4d_learning_rate is None:
            return
        for group in list(optimizer.param_groups):
            own = [parameter for parameter in group["params"] if id(parameter) in decoder]
            if own:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in decoder]
                optimizer.add_param_group({**group, "params": own, "lr": self._p4d_learning_rate})

    # Checkpoints: the decoder is beside the model, not in it

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        newest = resume_from_checkpoint is True  # an interrupted run may have left it incomplete
        folder = get_last_checkpoint(self.args.output_dir) if newest else resume_from_checkpoint
        if folder:
            changed = check_resumable(folder, self._p4d_run.settings)
            if changed and self.args.process_index == 0:
                logger.warning(f"{folder} is resumed with other settings: {'; '.join(changed)}")
        output = Path(self.args.output_dir)
        output.mkdir(parents=True, exist_ok=True)
        # Two runs would mix up their checkpoints.
        with only_writer(output) if self.args.process_index == 0 else nullcontext():
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self._p4d_finite.raise_if_any(wait=True)
        with self._p4d_tap.hidden_in(self.model) if self.is_fsdp_enabled else self._p4d_tap.detached():
            super().save_model(output_dir, _internal_call)
        # A checkpoint to resume from; the final model has no internal call, or as in `push_to_hub` no folder.
        if _internal_call and output_dir is not None and not self.args.save_only_model:
            state = whole_state(self._p4d_tap.decoder, self.model)
            if self.args.should_save:
                write_decoder(output_dir, state, self._p4d_run.settings)
        self._p4d_write_card(output_dir or self.args.output_dir)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # It pushes the output folder, into which it copies the checkpoint's weights and not its card.
        self._p4d_write_card(self.args.output_dir)
        super()._push_from_checkpoint(checkpoint_folder)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        super().create_model_card(*args, **kwargs)
        self._p4d_write_card(self.args.output_dir)

    def _p4d_write_card(self, folder: str) -> None:
        if self.args.should_save:
            from rgpt4d_plugin.trainers.model_card import CardFacts, write_card

            write_card(folder, CardFacts.of_trainer(self, self._p4d_run))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # Beside the optimiser's state FSDP writes its own copy of the model, of which `accelerate merge-weights` makes
        # a checkpoint. FSDP 1 cannot read such a copy without the decoder back; what it saves for use is above.
        with self._p4d_tap.hidden_in(self.model) if self.accelerator.is_fsdp2 else nullcontext():
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        self._p4d_check_that_fsdp_can_load()
        with self._p4d_as_saved():
            if self._p4d_is_whole_model():
                reload_weights(self.model, resume_from_checkpoint)
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = load_file(os.path.join(resume_from_checkpoint, DECODER_FILE))
        load_whole_state(self._p4d_tap.decoder, self.model if model is None else model, state)

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled:  # restores its whole engine, the decoder included
            super()._load_best_model()
            return
        self._p4d_check_that_fsdp_can_load()
        with self._p4d_as_saved():
            if self._p4d_is_whole_model() and self.state.best_model_checkpoint is not None:
                reload_weights(self.model, self.state.best_model_checkpoint)
            else:
                super()._load_best_model()

    def _p4d_check_that_fsdp_can_load(self) -> None:
        # accelerate hands the whole adapter to one process and nothing to the others, and PEFT, which knows no shards,
        # loads nothing and says nothing: training would go on from the initial adapter.
        if not self.accelerator.is_fsdp2 or isinstance(self.accelerator.unwrap_model(self.model), PreTrainedModel):
            return
        if "FULL_STATE_DICT" in str(self.accelerator.state.fsdp_plugin.state_dict_type):
            raise P4DConfigError(
                "an adapter cannot be loaded back into FSDP 2 from a checkpoint of whole weights; train with "
                "fsdp_state_dict_type: SHARDED_STATE_DICT (in the environment FSDP_STATE_DICT_TYPE)"
            )

    def _p4d_as_saved(self) -> AbstractContextManager[None]:
        """The model as the checkpoint that is read has it: without the decoder, but for FSDP 1's own."""
        fsdp1 = self.is_fsdp_enabled and not self.accelerator.is_fsdp2
        return nullcontext() if fsdp1 else self._p4d_tap.detached()

    def _p4d_is_whole_model(self) -> bool:
        """Whether a checkpoint holds the whole model, rather than an adapter or FSDP's shards."""
        return isinstance(self.model, PreTrainedModel) and not self.is_fsdp_enabled


def reload_weights(model: PreTrainedModel, folder: str) -> None:
    """Loads a saved model's weights into `model`, in place.

    The Trainer of transformers 5 looks a checkpoint's tensors up by the names of the module tree, but vision-language
    models are saved under the names of their original release: it finds none, warns, and trains on from the base
    weights (huggingface/transformers#43701). To be removed when that is mended. Float32 keeps the trained weights
    exact; weights that `model` keeps in lower precision were saved in it and come back unchanged.
    """
    saved = type(model).from_pretrained(folder, dtype=torch.float32)
    model.load_state_dict(saved.state_dict())
