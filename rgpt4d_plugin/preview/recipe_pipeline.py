# SPDX-License-Identifier: Apache-2.0
"""The host's own steps of a recipe, without a training run: arguments, tokenizer, template, records, model, collator.

Order, names and arguments are those of `llamafactory.train.sft.workflow.run_sft`. `rgpt4d preview`, the demo's maps
and tests go through here, so that they see the data and the model of a run.
"""

import copy
import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from datasets.exceptions import DatasetsError
from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_template_and_fix_tokenizer, loader
from llamafactory.data.parser import get_dataset_list
from llamafactory.data.processor import SupervisedDatasetProcessor
from llamafactory.data.template import Template
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.hparams import get_train_args
from llamafactory.model import load_config, load_model, load_tokenizer

from rgpt4d_plugin.arguments import P4DArguments
from rgpt4d_plugin.regions.region import RegionError
from rgpt4d_plugin.seams import require
from rgpt4d_plugin.teachers import teacher_class
from rgpt4d_plugin.template.plugin_classes import with_recorder
from rgpt4d_plugin.template.region_formats import check_region_formats
from rgpt4d_plugin.trainers.collator import P4DDataCollator
from rgpt4d_plugin.trainers.setup import P4DSetup


# What asks for several processes, a GPU or an evaluation, of a process that only looks.
_RUN_KEYS = ("deepspeed", "fp16", "tf32")
_EVAL_KEYS = ("p4d_eval", "eval_strategy", "do_eval", "do_predict", "load_best_model_at_end")


@dataclass(frozen=True)
class RecipePipeline:
    """LLaMA-Factory's parsed arguments, tokenizer and template of a recipe.

    Config, run and model are loaded on first use.
    """

    model_args: Any
    data_args: Any
    training_args: Any
    finetuning_args: Any
    tokenizer: Any
    processor: Any
    """None for a language model without one."""
    template: Template
    """The very object of the host's registry."""

    @classmethod
    def from_recipe(cls, recipe: Mapping[str, Any], needs_teacher: bool = True) -> Self:
        """Parses a recipe and loads tokenizer, processor and template. Nothing is written.

        The teacher is the one that computes, whatever cache of its results the recipe names: that of a run may lack
        the clip that is looked at. Without `needs_teacher`, the teacher's file need not be there.
        """
        recipe = {key: value for key, value in recipe.items() if key not in (*_RUN_KEYS, *_EVAL_KEYS)}
        recipe = _without_teacher_cache(recipe)
        if not needs_teacher:
            recipe = _with_any_checkpoint(recipe)
        with tempfile.TemporaryDirectory() as output:
            # With several GPUs the host demands torchrun. The model goes where `device_map` says all the same.
            recipe |= {"output_dir": output, "use_cpu": True}
            model_args, data_args, training_args, finetuning_args, _ = get_train_args(recipe)
        try:
            modules = load_tokenizer(model_args)
        except OSError as err:  # the host's own words for it name nothing
            reason = str(err.__cause__ or err).partition("\n")[0]
            raise OSError(f"model_name_or_path: {model_args.model_name_or_path}: {reason}") from err
        template = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
        return cls(model_args, data_args, training_args, finetuning_args, template=template, **modules)

    @property
    def p4d(self) -> P4DArguments | None:
        """The recipe's `p4d:` block."""
        return getattr(self.finetuning_args, "p4d", None)

    @property
    def distils(self) -> bool:
        """True if a run of the recipe distils. If not it is plain SFT."""
        return self.p4d is not None and bool(self.p4d.loss.active)

    @functools.cached_property
    def config(self) -> Any:
        """The base model's `PretrainedConfig`."""
        return load_config(self.model_args)

    @functools.cached_property
    def run(self) -> P4DSetup:
        """The checked run of a recipe that distils; reads the head of the teacher's file."""
        return P4DSetup.prepare(self.p4d, self.config)

    def recording(self, frames: int | None = None, sentences: bool = False) -> Template:
        """Returns the template with a recorder of clips, `frames` in place of the host's sampling, and sentences."""
        return with_recorder(self.template, frames, sentences)

    @functools.cached_property
    def run_template(self) -> Template:
        """The template that samples as a run of the recipe does. It records, also where the run would not."""
        if self.p4d is None or not self.p4d.active:
            return self.recording()
        return with_recorder(self.template, self.p4d.frames, self.p4d.tpe == "text", self.p4d.video)

    def records(self, dataset: str, count: int) -> list[dict[str, Any]]:
        """Returns the first records of a dataset in the host's standard format, before they are tokenized.

        The name is one of `dataset_info.json`, whether or not the recipe trains on it. A shorter dataset gives all it
        has.
        """
        require(loader, "_load_single_dataset")
        if self.p4d is not None:
            check_region_formats(self.data_args, [dataset])
        (attributes,) = get_dataset_list([dataset], self.data_args.dataset_dir)
        attributes.num_samples = None  # a random draw: what it gives has no record numbers
        data_args = _with(self.data_args, max_samples=count, streaming=False, preprocessing_num_workers=None)
        try:
            return list(loader._load_single_dataset(attributes, self.model_args, data_args, self.training_args))
        except RegionError:  # names its record
            raise
        # StopIteration: the host learns the columns from the first record.
        except (DatasetsError, LookupError, StopIteration, TypeError, ValueError) as err:
            reason = err.__cause__ or err
            raise ValueError(f"dataset {dataset!r} cannot be read: {type(reason).__name__}: {reason}") from err

    def tokenise(
        self, template: Template, record: Mapping[str, Any], cutoff_len: int | None = None
    ) -> dict[str, Any] | None:
        """Returns one of `records` as the collator gets it; None if the host drops it, as where turns are out of
        order.

        `cutoff_len` takes the place of the recipe's.
        """
        data_args = self.data_args if cutoff_len is None else _with(self.data_args, cutoff_len=cutoff_len)
        encoder = SupervisedDatasetProcessor(template, self.tokenizer, self.processor, data_args)
        columns = encoder.preprocess_dataset({key: [value] for key, value in record.items()})
        return {key: value for key, (value,) in columns.items()} or None

    def load_student(self, trainable: bool) -> Any:
        """Returns the model, with its adapters if the recipe has any, on the host's device."""
        return load_model(self.tokenizer, self.model_args, self.finetuning_args, is_trainable=trainable)

    def plain_collator(self, template: Template, model: Any = None) -> SFTDataCollatorWith4DAttentionMask:
        """Returns the host's collator; without a model it leaves out the positions and nothing else."""
        return SFTDataCollatorWith4DAttentionMask(**self._collator_arguments(template, model))

    def p4d_collator(self, template: Template, model: Any = None) -> P4DDataCollator:
        """Returns the collator of a run that distils; the template must record."""
        arguments = self._collator_arguments(template, model)
        cut = {"cutoff_len": self.data_args.cutoff_len, "mask_history": self.data_args.mask_history}
        return P4DDataCollator(p4d=self.run, **cut, **arguments)

    def _collator_arguments(self, template: Template, model: Any) -> dict[str, Any]:
        """Returns the workflow's own arguments, but for packing: `tokenise` packs nothing."""
        keeps_pads_out = self.data_args.ignore_pad_token_for_loss
        return {
            "template": template,
            "model": model,
            "pad_to_multiple_of": 8,
            "label_pad_token_id": IGNORE_INDEX if keeps_pads_out else self.tokenizer.pad_token_id,
            "attn_implementation": None if model is None else model.config._attn_implementation,
            "compute_dtype": self.model_args.compute_dtype,
            "tokenizer": self.tokenizer,
            "processor": self.processor,
        }


def _without_teacher_cache(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns the recipe without `p4d.teacher.cache`."""
    block = recipe.get("p4d")
    teacher = block.get("teacher") if isinstance(block, Mapping) else None
    if not isinstance(teacher, Mapping):
        return recipe
    return {**recipe, "p4d": {**block, "teacher": {key: value for key, value in teacher.items() if key != "cache"}}}


def _with_any_checkpoint(recipe: dict[str, Any]) -> dict[str, Any]:
    """Returns the recipe with files in the place of the teacher's that are sure to exist; nothing reads them."""
    block = {} if recipe.get("p4d", "off") is None else recipe.get("p4d")
    teacher = block.get("teacher") or {} if isinstance(block, Mapping) else None
    # Where there is no block, or something is wrong with it, the parser says so.
    if not isinstance(teacher, Mapping):
        return recipe
    try:
        options = teacher_class(str(teacher.get("type", "l4p"))).Arguments
    except ValueError:
        return recipe
    # A composite is asked for what it names alone; a single checkpoint is always needed.
    files = [name for name in options.weight_files if name in teacher or options.weight_files == ("checkpoint",)]
    return {**recipe, "p4d": {**block, "teacher": {**teacher, **dict.fromkeys(files, __file__)}}}


def _with(arguments: Any, **values: Any) -> Any:
    """Copies a host argument object with other values; its checks, which resolve names, are not run again."""
    arguments = copy.copy(arguments)
    for name, value in values.items():
        setattr(arguments, name, value)
    return arguments
