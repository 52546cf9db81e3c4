# SPDX-License-Identifier: Apache-2.0
"""The host's tokenizer, template, model and collator as its SFT workflow builds them, without a training run."""

import functools
from dataclasses import dataclass
from typing import Any

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.data.processor import SupervisedDatasetProcessor
from llamafactory.data.template import Template
from llamafactory.extras.constants import IGNORE_INDEX
from llamafactory.hparams import get_train_args
from llamafactory.model import load_config, load_model, load_tokenizer

from rgpt4d_plugin.patches.mm_plugin import with_recorder
from rgpt4d_plugin.trainers.collator import P4DDataCollator
from rgpt4d_plugin.trainers.run import P4DRun


@dataclass(frozen=True)
class HostParts:
    """Made by `host_parts`."""

    model_args: Any
    data_args: Any
    finetuning_args: Any
    tokenizer: Any
    processor: Any
    template: Template
    """The host's own, shared object."""

    def recording(self, frames: int | None = None) -> Template:
        """The template as runs with `p4d:` use it."""
        return with_recorder(self.template, frames)

    def encode(self, template: Template, prompt: str, images: list = (), videos: list = ()) -> dict[str, Any]:
        """A feature as the collator gets it: the host's tokens of one question, answered with "yes"."""
        encoder = SupervisedDatasetProcessor(template, self.tokenizer, self.processor, self.data_args)
        messages = [{"role": "user", "content": prompt}], [{"role": "assistant", "content": "yes"}]
        ids, labels = encoder._encode_data_example(*messages, None, None, list(images), list(videos), [])
        return {
            "input_ids": ids,
            "attention_mask": [1] * len(ids),
            "labels": labels,
            "images": list(images) or None,
            "videos": list(videos) or None,
        }

    @functools.cached_property
    def model(self) -> Any:
        return load_model(self.tokenizer, self.model_args, self.finetuning_args, is_trainable=True)

    def collator(self, template: Template) -> P4DDataCollator:
        """The collator that the plugin puts into the workflow, with the workflow's own arguments."""
        return P4DDataCollator(
            template=template,
            model=self.model,
            pad_to_multiple_of=8,
            label_pad_token_id=IGNORE_INDEX,
            attn_implementation=self.model.config._attn_implementation,
            compute_dtype=self.model_args.compute_dtype,
            tokenizer=self.tokenizer,
            processor=self.processor,
            p4d=P4DRun.prepare(self.finetuning_args.p4d, load_config(self.model_args)),
            cutoff_len=self.data_args.cutoff_len,
        )


def host_parts(recipe: dict[str, Any]) -> HostParts:
    """What the host makes of a recipe."""
    model_args, data_args, _, finetuning_args, _ = get_train_args(dict(recipe))
    modules = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
    return HostParts(model_args, data_args, finetuning_args, modules["tokenizer"], modules["processor"], template)
