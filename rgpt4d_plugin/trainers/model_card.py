# SPDX-License-Identifier: Apache-2.0
"""The section of a model card (README.md) that says what was distilled, and how to load and ask the model.

It stands between two comments in whatever card the host, TRL or PEFT write, so that it can be renewed. The first
comment has the facts once more, as JSON: an export makes the section of the merged model from them.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from peft import PeftModel

from rgpt4d_plugin._version import __version__
from rgpt4d_plugin.files import parse_json, write_whole
from rgpt4d_plugin.seams import installed
from rgpt4d_plugin.teachers import teacher_class
from rgpt4d_plugin.trainers.setup import P4DSetup
from rgpt4d_plugin.validation import Checked, check


CARD_FILE = "README.md"
_BEGIN, _END = "<!-- rgpt4d-plugin", "<!-- end of rgpt4d-plugin -->"
_SECTION = re.compile(rf"{_BEGIN} (?P<facts>.*?) -->\n.*?{_END}\n?", re.DOTALL)
_TAGS = ("4d-rgpt", "p4d")
_PACKAGES = ("torch", "transformers", "peft", "llamafactory", "trl")
_TIMING = ("runtime", "per_second", "_time")


class CardFacts(Checked):
    """What the section says.

    Attributes:
        rows: The table: what was trained, on what, by which teacher, with which versions.
        base: Name or path of the base model.
        template: A template of LLaMA-Factory that fits.
        adapter: Whether the folder holds an adapter.
        takes_videos: Whether the base's processor does, so that the model can be asked without a host.
        timed: Whether times are added to its video tokens.
        tpe, frames, style: `p4d.tpe`, `p4d.frames`, `p4d.regions.style`.
        evaluation: Values by the host's key, as `eval_r4d_avg`.
    """

    rows: dict[str, str]
    base: str
    template: str
    adapter: bool
    takes_videos: bool
    timed: bool
    tpe: str
    frames: int | None
    style: str
    evaluation: dict[str, float] = {}

    @classmethod
    def of_trainer(cls, trainer: Any, run: P4DSetup) -> "CardFacts":
        """Returns what a trainer's run has come to so far."""
        base, given = trainer.model.config._name_or_path, run.arguments
        adapter = isinstance(trainer.accelerator.unwrap_model(trainer.model), PeftModel)
        template = run.family.templates[0].removeprefix("rgpt4d_")
        return cls(
            rows={"base model": f"{base} ({run.family.name})", **_rows(run)},
            base=base,
            template=f"rgpt4d_{template}",
            adapter=adapter,
            takes_videos=run.family.takes_videos,
            timed=run.encoding is not None,
            tpe=given.tpe,
            frames=given.frames,
            style=given.regions.style,
            evaluation=_evaluation_of(trainer.state.log_history),
        )

    def section(self) -> str:
        """Returns the section, in Markdown."""
        facts = self.model_dump_json().replace(">", "\\u003e")  # so that no value ends the comment
        kind = "an adapter for the base model" if self.adapter else "the whole model"
        rows = "\n".join(f"| {name} | {value} |" for name, value in {"this folder": kind, **self.rows}.items())
        measured = "".join(f"| {key} | {value:.4g} |\n" for key, value in self.evaluation.items())
        table = f"\n### Evaluation\n\n| key | value |\n|---|---:|\n{measured}" if measured else ""
        example = self._host_example() if self._needs_host else self._example()
        return (
            f"{_BEGIN} {facts} -->\n## Perceptual 4D Distillation\n\n"
            "Trained with [P4D](https://arxiv.org/abs/2512.17012) (4D-RGPT, CVPR 2026) by rgpt4d-plugin "
            f"{__version__}. The teacher and the decoder were there in training only; nothing of them is in these "
            f"weights.\n\n| | |\n|---|---|\n{rows}\n\n### Load and ask\n\n```python\n{example}```\n\n"
            f"{self._note()}\n{table}{_END}\n"
        )

    @property
    def _needs_host(self) -> bool:
        """Whether only LLaMA-Factory can ask: it reads an adapter's marker, and shows frames as images."""
        return (self.adapter and self.timed) or not self.takes_videos

    def _example(self) -> str:
        remote = ", trust_remote_code=True" if self.timed else ""
        name = self.base if self.adapter else "THIS_MODEL"
        model = f'AutoModelForImageTextToText.from_pretrained("{name}", dtype="auto", device_map="auto"{remote})'
        lines = [
            "from transformers import AutoModelForImageTextToText, AutoProcessor",
            "from rgpt4d_plugin import RegionPrompt",
            "",
            f"model = {model}",
            f'processor = AutoProcessor.from_pretrained("{name}"{remote})',
            *self._prompt(sentence=self.tpe == "text"),
            "inputs = prompt.inputs(processor).to(model.device)",
            'reply = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]',
            "print(processor.decode(reply, skip_special_tokens=True))",
        ]
        if self.adapter:
            lines.insert(0, "from peft import PeftModel")
            lines.insert(5, 'model = PeftModel.from_pretrained(model, "THIS_MODEL")')
        return "\n".join(lines) + "\n"

    def _host_example(self) -> str:
        recipe = {"model_name_or_path": self.base, "adapter_name_or_path": "THIS_MODEL"}
        recipe = recipe if self.adapter else {"model_name_or_path": "THIS_MODEL"}
        block = {"frames": self.frames, "tpe": self.tpe}
        recipe |= {"template": self.template, "p4d": {key: value for key, value in block.items() if value is not None}}
        lines = [
            "from llamafactory.chat import ChatModel",
            "from rgpt4d_plugin import RegionPrompt",
            "",
            f"chat = ChatModel({json.dumps(recipe)})",
            *self._prompt(sentence=False),  # the template says so itself
            "print(chat.chat(**prompt.chat())[0].response_text)",
        ]
        return "\n".join(lines) + "\n"

    def _prompt(self, sentence: bool) -> list[str]:
        return [
            "prompt = RegionPrompt(",
            '    "kitchen.mp4",',
            '    "Where does <obj_1> go after 3.0 seconds?",',
            '    [{"id": "obj_1", "time": 0.5, "box": [40, 60, 120, 200]}],  # seconds; pixels of the frame',
            f'    style="{self.style}",',
            *([] if self.frames is None else [f"    frames={self.frames},"]),
            *(["    time_sentence=True,"] if sentence else []),
            ")",
        ]

    def _note(self) -> str:
        if not self.timed:
            return "The weights are of the base's own type: every engine that loads the base loads them."
        return (
            "The model is an `rgpt4d_` type, which wants the times of its frames: its processor, or a template "
            "`rgpt4d_...`, computes them. Load it with the Auto classes."
        )


def _rows(run: P4DSetup) -> dict[str, str]:
    """What the table says beyond the base."""
    given, encoding = run.arguments, run.encoding
    rows = {}
    if run.distils:
        file = os.path.basename(getattr(given.teacher, "checkpoint", None) or "")
        licence = teacher_class(given.teacher.type).licence
        rows |= {
            "teacher": f"{given.teacher.type}{f' ({file})' if file else ''}. {licence}",
            "loss": f"SFT + {given.loss.summary}",
        }
    if encoding is not None:
        times = f"added to the video tokens (`p4d.tpe: add`, scale {encoding.scale:g}, base {encoding.base:g})"
    else:
        times = "each clip's length in words (`p4d.tpe: text`)" if given.tpe == "text" else "none"
    versions = {name: installed(name) for name in _PACKAGES}
    return rows | {
        "frames": "by `video_fps` and `video_maxlen`" if given.frames is None else f"{given.frames} a clip",
        "timestamps": times,
        "regions": f"`<obj_1>` in the question, style `{given.regions.style}`",
        "data": ", ".join(run.datasets) or "not named",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items() if number),
    }


def write_card(folder: str | os.PathLike, facts: CardFacts) -> None:
    """Puts the section into the card of a folder, in place of an older one; makes a card if there is none."""
    path = Path(folder, CARD_FILE)
    card = ModelCard.load(path, ignore_metadata_errors=True) if path.is_file() else ModelCard("---\n{}\n---\n")
    card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *_TAGS]))
    text = _SECTION.sub("", card.text).strip()
    card.text = f"\n{text}\n\n{facts.section()}" if text else f"\n{facts.section()}"
    write_whole(path, str(card))


def read_card(folder: str | os.PathLike) -> CardFacts | None:
    """Returns the facts in the card of a folder; None where there is no card, or none of ours.

    Raises:
        ValueError: The comment with the facts was changed.
    """
    path = Path(folder, CARD_FILE)
    found = _SECTION.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    if found is None:
        return None
    problems: list[str] = []
    try:
        facts = check(CardFacts, parse_json(found["facts"]), "", problems)
    except ValueError as err:
        problems.append(str(err))
    if problems:
        raise ValueError(f"{path}: the comment `{_BEGIN}` was changed ({'; '.join(problems)}); remove the section")
    return facts


def _evaluation_of(history: list[dict[str, float]]) -> dict[str, float]:
    """Returns the newest value of everything that a run's log has of evaluations, but for how long they took."""
    found: dict[str, float] = {}
    for entry in history:
        found |= {key: value for key, value in entry.items() if key.startswith("eval_")}
    return {key: value for key, value in sorted(found.items()) if not any(word in key for word in _TIMING)}
