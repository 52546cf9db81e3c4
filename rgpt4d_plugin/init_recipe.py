# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d init`: a recipe with comments, for a model, a dataset and a teacher."""

import argparse
import json
from pathlib import Path

from rgpt4d_plugin import recipes
from rgpt4d_plugin.students import FAMILIES, get_family


def init_recipe(arguments: argparse.Namespace) -> list[Path]:
    """Writes the recipe that the command's arguments describe, and the DeepSpeed file that it names.

    Returns:
        The files.

    Raises:
        UnsupportedFamilyError: The model is of no supported family.
        ValueError: Its family cannot be found out, or a file of that name is there.
    """
    out = Path(arguments.out)
    values = {
        "model_name_or_path": arguments.model,
        "dataset": arguments.dataset,
        "dataset_dir": arguments.dataset_dir,
        "template": arguments.template or _template(arguments.model),
        "output_dir": f"saves/{out.stem}",
        "  checkpoint": arguments.teacher,
        "frames": str(arguments.frames),
    }
    quoted = {key: value if _is_plain(value) else json.dumps(value) for key, value in values.items()}
    text = recipes.compose(arguments.method, arguments.teacher_type, quoted)
    title = (
        f"# Perceptual 4D Distillation of {arguments.model}, made by `rgpt4d init`.\n#\n"
        f"#     llamafactory-cli train {arguments.out}\n#\n"
        "# Any key can be overridden there: ... p4d.loss.depth=0.2 output_dir=saves/try\n"
    )
    return recipes.write(recipes.with_deepspeed({out: title + text}, out.parent))


def _template(model: str) -> str:
    """The derived template of the model's family, which also takes regions.

    Raises:
        ValueError: There is no config.json, here or on the hub.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as err:
        known = ", ".join(dict.fromkeys(name for family in FAMILIES.values() for name in family.templates))
        raise ValueError(
            f"--model {model}: its config.json cannot be read ({str(err).partition(chr(10))[0]}); say --template, one "
            f"of {known}"
        ) from err
    template = get_family(config.model_type).templates[0]
    return template if template.startswith("rgpt4d_") else f"rgpt4d_{template}"


def _is_plain(value: str) -> bool:
    """Whether YAML reads the words as themselves."""
    import yaml

    return yaml.safe_load(value) == value or value.isdigit()
