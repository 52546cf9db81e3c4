# SPDX-License-Identifier: Apache-2.0
"""The video models of LLaMA-Factory that cannot be trained with `p4d:`, each with its reason.

`docs/families.md` is written from this and the families. A test compares both with the host's own list, so that no
model of a new host version is passed over.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class UnsupportedFamily:
    """A family of base models that is refused.

    Attributes:
        name: Name in messages.
        model_types: The `model_type`s of its configs.
        templates: The host's templates for it.
        reason: Why, as a sentence without its full stop.
        on_main: Only the host's main branch has it.
    """

    name: str
    model_types: tuple[str, ...]
    templates: tuple[str, ...]
    reason: str
    on_main: bool = False


_REMOTE = "its code comes with the checkpoint; transformers 5.5 has no class for it"

_LIST = (
    UnsupportedFamily("GLM-OCR", ("glm_ocr",), ("glm_ocr",), "it reads documents"),
    UnsupportedFamily(
        "ERNIE-4.5-VL",
        ("ernie4_5_vl_moe", "ernie4_5_moe_vl"),
        ("ernie_vl",),
        "LLaMA-Factory 0.9.5 reads no videos for it: its plugin calls the video processor with an argument that "
        "transformers 5 refuses and without the times that the processor writes on frames, and counts two tokens "
        "where the model makes one of two frames",
    ),
    UnsupportedFamily(
        "Qwen2.5-Omni, Qwen3-Omni",
        ("qwen2_5_omni", "qwen2_5_omni_thinker", "qwen3_omni_moe", "qwen3_omni_moe_thinker"),
        ("qwen2_omni", "qwen3_omni", "qwen3_omni_nothink"),
        "LLaMA-Factory trains and saves its thinker alone, which no Auto class of transformers 5.5 loads again: what "
        "was trained could not be asked, evaluated or exported; its token grid has not been tested",
    ),
    UnsupportedFamily(
        "NVILA, as published",
        ("llava_llama", "nvila_lite"),
        (),
        "transformers 5.5 has no class for it; `rgpt4d convert-model nvila` makes a supported folder of NVILA-Lite's "
        "published one, the one without -hf",
    ),
    UnsupportedFamily(
        "MiniCPM-V, MiniCPM-o",
        ("minicpmv", "minicpmo"),
        ("minicpm_v", "minicpm_o"),
        f"{_REMOTE}, and its resampler turns a frame into learned queries that stand for no place of it",
    ),
    UnsupportedFamily(
        "MiniCPM-V 4.6", ("minicpmv4_6",), ("minicpm_v_4_6",), "it needs a transformers later than the supported 5.5"
    ),
    UnsupportedFamily("Keye-VL", ("Keye", "KeyeVL1_5"), ("keye_vl",), _REMOTE),
    UnsupportedFamily("dots.ocr", ("dots_ocr",), ("dots_ocr",), f"{_REMOTE}; it reads documents"),
    UnsupportedFamily("Intern-S1", ("interns1",), ("intern_s1",), _REMOTE),
    UnsupportedFamily("Youtu-VL", ("youtu_vl",), ("youtu_vl",), _REMOTE),
    UnsupportedFamily("MOSS-VL", ("moss_vl",), (), "LLaMA-Factory 0.9.5 does not have it", on_main=True),
)

UNSUPPORTED = {model_type: family for family in _LIST for model_type in family.model_types}
"""By `model_type`."""
