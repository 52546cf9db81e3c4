# SPDX-License-Identifier: Apache-2.0
"""TRL's SFT trainer with distillation, for those who train without LLaMA-Factory.

    trainer = P4DSFTTrainer(
        "Qwen/Qwen2.5-VL-3B-Instruct",
        args=SFTConfig(output_dir="saves/p4d", max_length=None),
        train_dataset=dataset,                                   # see trl_records for its format
        peft_config=LoraConfig(target_modules="all-linear"),     # or none
        p4d={"teacher": {"checkpoint": "checkpoints/l4p.ckpt"}, "frames": 16},
    )
    trainer.train()

Written for trl 0.24 and 1.16.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from datasets import Dataset, IterableDataset
from peft import PeftConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.integrations import is_deepspeed_zero3_enabled, is_fsdp_enabled
from trl import SFTConfig, SFTTrainer

from rgpt4d_plugin.arguments import P4DArguments, P4DConfigError, VideoArguments, parse_p4d
from rgpt4d_plugin.modeling import (
    base_type,
    encoding_of,
    is_timestamped,
    timestamped_config,
    timestamped_processor,
)
from rgpt4d_plugin.modeling.marker import MarkerCallback
from rgpt4d_plugin.regions.rendering import Sampling
from rgpt4d_plugin.trainers.mixin import P4DTrainerMixin
from rgpt4d_plugin.trainers.setup import P4DSetup
from rgpt4d_plugin.trainers.trl_collator import P4DVisionCollator
from rgpt4d_plugin.trainers.trl_records import COLUMNS, check_record


__all__ = ["P4DSFTTrainer", "P4DVisionCollator", "Sampling", "VideoSFTTrainer"]


class VideoSFTTrainer(SFTTrainer):
    """`trl.SFTTrainer` on records with videos: plain SFT on the inputs of `P4DSFTTrainer`, to compare with.

    Args:
        args: as for `SFTTrainer`. A `max_length` that cuts a video is refused; None is the sensible value. The records
            and the heads of their files are checked first, by `dataset_num_proc` processes, unless `dataset_kwargs`
            says `skip_prepare_dataset`.
        processing_class: the processor; None: the model's own.
        data_collator: None: a `P4DVisionCollator` by the other arguments.
        sampling: which frames of a video are shown, and how large; for the default collator.
    """

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: SFTConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: ProcessorMixin | None = None,
        *,
        sampling: Sampling | None = None,
        **kwargs: Any,
    ) -> None:
        args = args if args is not None else _default_args(model)
        processing_class = processing_class or AutoProcessor.from_pretrained(_name(model))
        if data_collator is None:
            data_collator = _collator(args, processing_class, sampling=sampling or Sampling())
        self._checks = data_collator.showing if isinstance(data_collator, P4DVisionCollator) else None
        if isinstance(train_dataset, IterableDataset) and args.accelerator_config.dispatch_batches is None:
            # By default one process reads for all and cuts batches along their first axis; that of pixels is another.
            args.accelerator_config.dispatch_batches = False
        super().__init__(model, args, data_collator, train_dataset, eval_dataset, processing_class, **kwargs)

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: SFTConfig,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        """Checks the records as far as that goes without decoding; each process its share.

        The collator does the preparation, as it does for TRL's datasets of images.
        """
        if isinstance(dataset, Dataset) and self._checks is not None:
            dataset.shard(args.world_size, args.process_index).map(
                _check,
                with_indices=True,
                fn_kwargs={**self._checks, "first": args.process_index, "step": args.world_size},
                num_proc=args.dataset_num_proc,
                desc=f"Checking {dataset_name} dataset",
            )
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            self._signature_columns = list(COLUMNS)


class P4DSFTTrainer(P4DTrainerMixin, VideoSFTTrainer):
    """`trl.SFTTrainer` whose loss has the P4D terms (arXiv 2512.17012).

    Args:
        model: name or path, or a model; its family must be a supported one.
        data_collator: None: a `P4DVisionCollator` by the other arguments. Another one puts a `DistillBatch` under
            `p4d` into every batch.
        train_dataset: conversational records, see `trl_records`, as is `eval_dataset`.
        processing_class: the processor; None: the model's own.
        p4d: the mapping under `p4d:` of a recipe.
        sampling: which frames of a video are shown, and how large; `p4d.frames` says how many where it is given.

    Raises:
        P4DConfigError: with every problem of the block.
        UnsupportedFamilyError: the model is of no supported family.
        L4PCheckpointError: the teacher's file cannot be used.
    """

    _tag_names = ["trl", "sft", "p4d"]

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        args: SFTConfig | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: ProcessorMixin | None = None,
        *,
        p4d: Mapping[str, Any],
        peft_config: PeftConfig | None = None,
        sampling: Sampling | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = parse_p4d(p4d)
        if not arguments.loss.active:
            raise P4DConfigError.from_problems(
                ["p4d.loss: every weight is 0, so there is nothing to distil; VideoSFTTrainer is the same without"]
            )
        if arguments.video != VideoArguments():
            raise P4DConfigError.from_problems(
                ["p4d.video: decoder and cache of frames are LLaMA-Factory's reader's; remove it for TRL"]
            )
        sampling = _with_frames(sampling or Sampling(), arguments.frames)
        name = _name(model)
        config = _config(model, arguments)
        run = P4DSetup.prepare(arguments, config)
        if isinstance(train_dataset, Dataset | IterableDataset) and train_dataset.info.dataset_name:
            run = replace(run, datasets=(train_dataset.info.dataset_name,))

        args = copy.copy(args) if args is not None else _default_args(model)
        if args.n_gpu > 1:
            raise P4DConfigError.from_problems(
                [f"{args.n_gpu} GPUs, one process: start one process per GPU, with `accelerate launch` or `torchrun`"]
            )
        if isinstance(model, str):
            options = {"config": config, **(args.model_init_kwargs or {})}
            model = AutoModelForImageTextToText.from_pretrained(model, **options)
            args.model_init_kwargs = None  # used, and TRL would warn that they are not
        if peft_config is not None:
            # Here rather than in SFTTrainer: the decoder joins the trained model after PEFT has frozen the base.
            model = _with_adapter(model, peft_config, args)
        processing_class = processing_class or AutoProcessor.from_pretrained(name)
        if run.encoding is not None:
            processing_class = timestamped_processor(processing_class, base_type(config.model_type))
            if isinstance(model, PeftModel):
                kwargs["callbacks"] = [*(kwargs.get("callbacks") or []), MarkerCallback(run.encoding)]
        if data_collator is None:
            options = {"sampling": sampling, "regions": arguments.regions, "sentences": arguments.tpe == "text"}
            data_collator = _collator(args, processing_class, p4d=run, **options)
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            p4d=run,
            **kwargs,
        )
        if not _is_sharded():
            self._p4d_tap.decoder.float()  # TRL 1 casts all that trains over a quantised base to bfloat16


def _with_adapter(model: Any, peft_config: PeftConfig, args: SFTConfig) -> PeftModel:
    """The base with a new adapter, prepared for QLoRA if it is quantised."""
    if isinstance(model, PeftModel):
        raise P4DConfigError("peft_config: the model has an adapter already; leave one out, or merge_and_unload() it")
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=args.gradient_checkpointing,
            gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs or {},
        )
    # PEFT keeps adapters in float32; ZeRO-3 and FSDP want one dtype of what they shard together.
    # A copy: PEFT and `patches.adapters` note in it what holds for this model; the caller may use it for others.
    return get_peft_model(model, copy.deepcopy(peft_config), autocast_adapter_dtype=not _is_sharded())


def _is_sharded() -> bool:
    return is_deepspeed_zero3_enabled() or is_fsdp_enabled()


def _config(model: Any, arguments: P4DArguments) -> Any:
    """The model's configuration; with `p4d.tpe: add` that of its `rgpt4d_` type."""
    config = AutoConfig.from_pretrained(model) if isinstance(model, str) else model.config
    encoding = arguments.encoding
    if encoding is None or encoding_of(config) == encoding:
        return config
    if not isinstance(model, str) or is_timestamped(config.model_type):
        raise P4DConfigError.from_problems(
            [
                f"p4d.tpe: add with {encoding}, but the model has {encoding_of(config) or 'none'}; give the name or "
                "path of a base without TPE, or a model with this one"
            ]
        )
    return timestamped_config(config, encoding.scale, encoding.base)


def _check(record: dict[str, Any], index: int, first: int, step: int, **showing: Any) -> None:
    """For `Dataset.map`: a record of a process's share of the dataset."""
    check_record(record, first + index * step, **showing)


def _name(model: Any) -> str:
    return model if isinstance(model, str) else model.config._name_or_path


def _default_args(model: Any) -> SFTConfig:
    """TRL's own, but for `max_length`: 1024 tokens cut almost any video."""
    return SFTConfig(f"{_name(model).rstrip('/').split('/')[-1]}-SFT", max_length=None)


def _collator(args: SFTConfig, processor: ProcessorMixin, **kwargs: Any) -> P4DVisionCollator:
    return P4DVisionCollator(
        processor,
        max_length=args.max_length,
        completion_only_loss=args.completion_only_loss,
        pad_to_multiple_of=args.pad_to_multiple_of,
        **kwargs,
    )


def _with_frames(sampling: Sampling, frames: int | None) -> Sampling:
    if frames is None:
        return sampling
    if sampling.frames not in (None, frames):
        raise P4DConfigError.from_problems(
            [f"p4d.frames: {frames} and sampling.frames: {sampling.frames} both choose the frames; remove one"]
        )
    return replace(sampling, frames=frames)
