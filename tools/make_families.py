# SPDX-License-Identifier: Apache-2.0
"""Writes docs/families.md, every video model of LLaMA-Factory and its state, from the lists that the product goes by.

python tools/make_families.py
"""

from pathlib import Path

from rgpt4d_plugin.modeling import BASES
from rgpt4d_plugin.students import FAMILIES
from rgpt4d_plugin.students.unsupported import UNSUPPORTED


PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"

HEAD = """\
# Base models

Written by `tools/make_families.py` from the lists that the product goes by. A test compares them with LLaMA-Factory's
own: every template of LLaMA-Factory 0.9.5 that takes videos is here, and what is known of its main branch (August
2026). Whether a model is supported, the `model_type` of its `config.json` says.

## Supported

Any size. Each was trained as a tiny random model of the real class, in full and with LoRA, and its token grid was
tested by painting blocks of video files; the released weights were not run.

| family | `model_type` | `template`, and with the prefix `rgpt4d_` | `tpe: add` |
|---|---|---|---|
"""

REFUSED = """
## Refused

`p4d:` with one of these is an error that says why. [How to add a family](adding_a_family.md).

| family | `model_type` | `template` | why |
|---|---|---|---|
"""

REMOTE = """
## Models whose code comes with the checkpoint

`trust_remote_code: true` reaches LLaMA-Factory, but `p4d:` and `tpe: add` need a class of transformers, whose modules
are known when the token grid is tested. What follows was read in LLaMA-Factory 0.9.5 and transformers 5.5.4; without a
model hub no checkpoint was loaded, and what the checkpoints' own code does under transformers 5 is **not verified**.

| model | in LLaMA-Factory 0.9.5 | with `p4d:` |
|---|---|---|
"""

REMOTE_MODELS = (
    (
        "InternVL, original form (`InternVLChatModel`)",
        "refused by name: it asks for the `-hf` form",
        "the `-hf` form of the same weights is supported",
    ),
    (
        "MiniCPM-V 2.6 to 4.5, MiniCPM-o",
        "trained through remote code (`minicpmv`, `minicpmo`)",
        "cannot be: a resampler turns each slice of a frame into learned queries, which stand for no place of it",
    ),
    (
        "Keye-VL",
        "trained through remote code (`Keye`), with the plugin of Qwen2-VL",
        "might be: its tokens are counted as Qwen2-VL's are; that the merged patches keep their order is not verified",
    ),
    (
        "Kimi-VL",
        "trained through remote code (`kimi_vl`), on images: its template takes no videos",
        "cannot be there; frames as images would need a reader like that of Gemma 3",
    ),
)


def page() -> str:
    """Returns the page as it should be."""
    supported = [
        f"| {family.name} | {_code(family.model_types)} | {_code(family.templates)} "
        f"| {'yes' if set(family.model_types) <= set(BASES) else 'no'} |"
        for family in dict.fromkeys(FAMILIES.values())
    ]
    refused = [
        f"| {family.name}{' (main branch)' if family.on_main else ''} | {_code(family.model_types)} "
        f"| {_code(family.templates)} | {family.reason} |"
        for family in dict.fromkeys(UNSUPPORTED.values())
    ]
    remote = [f"| {' | '.join(row)} |" for row in REMOTE_MODELS]
    return "\n".join([HEAD.rstrip(), *supported, REFUSED.rstrip(), *refused, REMOTE.rstrip(), *remote, ""])


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
