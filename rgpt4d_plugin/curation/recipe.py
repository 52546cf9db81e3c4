# SPDX-License-Identifier: Apache-2.0
"""The recipe of `rgpt4d curate`: a YAML file with the keys of `CurationRecipe`, checked all at once."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal

from pydantic import Field

from rgpt4d_plugin.recipe import read_recipe
from rgpt4d_plugin.validation import Checked, Integer, Number, Switch, Text, check


Share = Annotated[Number, Field(ge=0, le=1)]
PROMPTS = ("keywords", "grounding", "matching", "blind")


class Model(Checked):
    """A model of transformers, and what is said about it in the summary."""

    model: Text = Field(description="Folder or name on the hub.")
    licence: Text = Field(description="Its licence, as its card says it.")
    device: Text = "cpu"


class Vlm(Checked):
    """The model that reads questions and looks at frames: behind a server, or loaded by the host."""

    model: Text = Field(description="Name under which the server knows it; for `host` only a name.")
    licence: Text
    server: Text | None = Field(None, description="Base URL, such as http://localhost:8000/v1.")
    host: dict[str, Any] | None = Field(None, description="The host's keys: model_name_or_path, template, ...")
    concurrency: Integer = Field(16, ge=1)
    max_new_tokens: Integer = Field(512, ge=1)


class Grounding(Checked):
    """How phrases become boxes on frames."""

    by: Literal["model", "vlm"] = "model"
    model: Model | None = Field(None, description="GroundingDINO, MM-GroundingDINO, OWLv2 or SAM 3.")
    threshold: Share = 0.3
    text_threshold: Share = Field(0.25, description="GroundingDINO's, for words.")
    frames: Integer = Field(
        1,
        ge=1,
        description="Sampled frames that are grounded; several let boxes be followed without a tracker.",
    )


class Filters(Checked):
    """Which questions are rejected."""

    min_area: Share = Field(0.001, description="Smallest region, as a share of the frame.")
    min_seen: Share = Field(0.5, description="Smallest share of the sampled frames on which a region is seen.")
    several: Share | None = Field(
        0.95,
        description="Another region of the phrase with this share of the score: ambiguous; null: off.",
    )
    blind: Switch = Field(True, description="Reject what the VLM answers rightly from the words alone.")


class CurationRecipe(Checked):
    """The whole recipe."""

    source: Text = Field(description="File of records (.json, .jsonl), or the name of a benchmark.")
    data: Text | None = Field(None, description="Folder of the benchmark, or of the records' media.")
    out: Text
    name: Annotated[str, Field(pattern=r"^\w+$")] = "curated"
    limit: Integer | None = Field(None, ge=1)
    frames: Integer = Field(16, ge=1, description="Frames of a clip to which tracks are thinned: p4d.frames.")
    max_phrases: Integer = Field(4, ge=1)
    vlm: Vlm
    grounding: Grounding
    tracking: Model | None = Field(None, description="SAM 2 or SAM 3 tracker; null: interpolation.")
    filters: Filters = Filters()
    prompts: dict[Literal["keywords", "grounding", "matching", "blind"], Text] = Field(
        {}, description="Files that replace the package's own prompts."
    )

    @cached_property
    def templates(self) -> dict[str, Template]:
        """The prompts by their steps."""
        own = Path(__file__).parent / "prompts"
        return {
            name: Template(Path(self.prompts.get(name, own / f"{name}.txt")).read_text(encoding="utf-8").strip())
            for name in PROMPTS
        }

    @property
    def models(self) -> dict[str, dict[str, str]]:
        """Every model that is used and its licence."""
        used = {"vlm": self.vlm, "grounding": self.grounding.model, "tracking": self.tracking}
        return {step: {"model": each.model, "licence": each.licence} for step, each in used.items() if each}


def read_curation(path: str, overrides: Sequence[str] = ()) -> CurationRecipe:
    """Reads a recipe; ValueError lists all that is wrong with it."""
    values: Mapping[str, Any] = read_recipe(path, overrides)
    problems: list[str] = []
    recipe = check(CurationRecipe, values, "", problems)
    if recipe is not None:
        if (recipe.vlm.server is None) == (recipe.vlm.host is None):
            problems.append("vlm: give either server or host")
        if (recipe.grounding.by == "model") != (recipe.grounding.model is not None):
            problems.append("grounding.model: name one for by: model, and none for by: vlm")
        for name, file in recipe.prompts.items():
            if not Path(file).is_file():
                problems.append(f"prompts.{name}: no such file: {file}")
    if recipe is None or problems:
        raise ValueError("\n".join([f"{path}:", *(f"  {problem}" for problem in problems)]))
    return recipe
