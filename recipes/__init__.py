# SPDX-License-Identifier: Apache-2.0
"""The recipes of this folder, which an installed package has too: `rgpt4d recipes`, `rgpt4d init`, `rgpt4d demo`."""

import os
import re
from pathlib import Path


FOLDER = Path(__file__).parent
_HERE = "recipes/"
"""How a recipe calls this folder, as `deepspeed: recipes/deepspeed/ds_z3.json`."""
_BLOCK = "### Perceptual 4D Distillation\n"

BY_METHOD = {"lora": "4drgpt_p4d_lora", "qlora": "4drgpt_p4d_qlora", "full": "4drgpt_p4d"}
"""The recipe that shows each way to train."""
BY_TEACHER = {"l4p": "4drgpt_p4d_lora", "depth_anything_3": "4drgpt_p4d_permissive"}
"""The recipe that shows each teacher's block."""


def names() -> list[str]:
    """Names of the recipes, without `.yaml`."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def text_of(name: str) -> str:
    """Returns a recipe's file.

    Raises:
        ValueError: There is no such recipe.
    """
    if name.removesuffix(".yaml") not in names():
        raise ValueError(f"no recipe {name!r}; there are {', '.join(names())}")
    return (FOLDER / f"{name.removesuffix('.yaml')}.yaml").read_text(encoding="utf-8")


def summary_of(name: str) -> str:
    """Returns what a recipe's first line says."""
    return text_of(name).partition("\n")[0].removeprefix("# ")


def copy(wanted: list[str], out: str | os.PathLike) -> list[Path]:
    """Copies recipes, and the DeepSpeed files that they name, whose paths in them become those of the copies.

    Args:
        wanted: Names of recipes.
        out: Folder to write.

    Returns:
        The files.

    Raises:
        ValueError: There is no such recipe, or a file of that name with another content.
    """
    out = Path(out)
    return write(with_deepspeed({out / f"{name.removesuffix('.yaml')}.yaml": text_of(name) for name in wanted}, out))


def with_deepspeed(contents: dict[Path, str], out: Path) -> dict[Path, str]:
    """Adds the DeepSpeed files if a recipe names one, in `out`, and makes the paths in the recipes those."""
    files = {}
    if any(re.search(rf"^deepspeed: {_HERE}", text, re.MULTILINE) for text in contents.values()):
        found = sorted(FOLDER.glob("deepspeed/*.json"))
        files = {out / "deepspeed" / path.name: path.read_text(encoding="utf-8") for path in found}
    return files | {path: text.replace(_HERE, f"{out.as_posix()}/") for path, text in contents.items()}


def write(contents: dict[Path, str]) -> list[Path]:
    """Writes new files, or none of them.

    Raises:
        ValueError: One of them is there already, with another content.
    """
    for path, text in contents.items():
        if path.exists() and path.read_text(encoding="utf-8") != text:
            raise ValueError(f"{path} is there already, and differs: move it away, or choose another place with --out")
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(contents)


def compose(method: str, teacher: str, values: dict[str, str]) -> str:
    """Returns a commented recipe.

    Args:
        method: One of `BY_METHOD`, whose recipe gives all but the block.
        teacher: One of `BY_TEACHER`, whose recipe gives the block.
        values: New values, in YAML, of keys of the recipe; with two leading blanks `checkpoint` and others of the
            block. Their comments, which are about the old ones, go.
    """
    head = text_of(BY_METHOD[method]).partition(_BLOCK)[0]
    head = head[head.index("\n### ") :]  # without the title
    if method == "full":  # how the paper's own data is made
        head = re.sub(r"(### dataset: ).*?(?=^dataset:)", r"\1your video records\n", head, flags=re.S | re.M)
        head = re.sub(r"^(media_dir|mix_strategy):.*\n", "", head, flags=re.M)
    recipe = head + _BLOCK + text_of(BY_TEACHER[teacher]).partition(_BLOCK)[2]
    for key, value in values.items():
        recipe, found = re.subn(rf"^( *){key}:.*$", rf"\1{key}: {value}", recipe, count=1, flags=re.MULTILINE)
        assert found, key
    return recipe
