# SPDX-License-Identifier: Apache-2.0
"""The host's tokenizer, template, model and collator as its SFT workflow builds them, without a training run."""

import functools
from dataclasses import dataclass, fields
from typing import Any

from llamafactory.data.template import Template
from llamafactory.hparams.parser import _TRAIN_ARGS

from rgpt4d_plugin.preview.recipe_pipeline import RecipePipeline
from rgpt4d_plugin.trainers.collator import P4DDataCollator


HOST_KEYS = {field.name for cls in _TRAIN_ARGS for field in fields(cls)}
"""Every key that the host knows in a training recipe."""


@dataclass(frozen=True)
class HostParts(RecipePipeline):
    """The recipe's pipeline, with features of single questions and the collator of a training run."""

    def encode(self, template: Template, prompt: str, images: list = (), videos: list = ()) -> dict[str, Any]:
        """Returns a feature as the collator gets it: the host's tokens of one question, answered with "yes"."""
        record = {
            "_prompt": [{"role": "user", "content": prompt}],
            "_response": [{"role": "assistant", "content": "yes"}],
            "_system": None,
            "_tools": None,
            "_images": list(images) or None,
            "_videos": list(videos) or None,
            "_audios": None,
        }
        return self.tokenise(template, record)

    @functools.cached_property
    def model(self) -> Any:
        return self.load_student(trainable=True)

    def collator(self, template: Template) -> P4DDataCollator:
        """Returns the collator that the plugin puts into the workflow, with the workflow's own arguments."""
        return self.p4d_collator(template, self.model)


def host_parts(recipe: dict[str, Any]) -> HostParts:
    """Parses a recipe and builds the host's parts for it."""
    return HostParts.from_recipe(recipe)
