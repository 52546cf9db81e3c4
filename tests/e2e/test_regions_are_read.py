# SPDX-License-Identifier: Apache-2.0
"""A tiny model that was trained on region questions through the host reads the marks: swap them, and it answers so.

Two balls, one in each half of the picture; the question is <obj_1> or <obj_2>, the answer that ball's colour. Nothing
but the marks says which ball is meant. A random network finds the marks much sooner when it is first asked about one
of them only, so training begins with <obj_1>. Every clip is there with both assignments of the marks.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from rgpt4d_plugin import RegionPrompt
from rgpt4d_plugin.synth4d.clips import encode_mp4
from rgpt4d_plugin.synth4d.render import render
from rgpt4d_plugin.synth4d.scene import Body, Scene, wall
from tests.harness import logs, train_here
from tests.tiny_models import build_tiny_student


pytestmark = [pytest.mark.slow, pytest.mark.further]


COLOURS = ("red", "green", "blue", "white")
SIDE = 48  # pixels
TRAIN, HELD_OUT = 1600, 100
ASKED_BOTH = 1000  # clips of the training set
SEEDS = (0, 2, 3)
LEARNED = 0.1  # loss in nats per token; one that guesses between the two colours stays above 0.2
BATCH = 16


@dataclass(frozen=True)
class Clip:
    """A video of two balls; number n is the ball that <obj_n> means."""

    path: str
    boxes: dict[int, list[int]]
    colours: dict[int, str]

    def regions(self, swapped: bool) -> list[dict[str, Any]]:
        boxes = {3 - number if swapped else number: box for number, box in self.boxes.items()}
        return [{"id": f"obj_{n}", "video": 0, "frame": 0, "box": boxes[n]} for n in (1, 2)]

    def record(self, number: int, swapped: bool) -> dict[str, Any]:
        question = {"role": "user", "content": f"<video><obj_{number}>?"}
        answer = {"role": "assistant", "content": self.colours[3 - number if swapped else number]}
        return {"messages": [question, answer], "videos": [self.path], "regions": self.regions(swapped)}


def make_clip(folder: Path, index: int) -> Clip:
    """Two still balls of different colours, of 6 to 9 pixels' radius, left and right."""
    rng = np.random.default_rng(index)
    depth, balls = 4.0, []
    for half, colour in enumerate(rng.permutation(COLOURS)[:2]):
        radius = rng.uniform(6, 9)
        low, high = radius + 2, SIDE / 2 - radius
        x = rng.uniform(low, max(low, high)) + half * (SIDE / 2 - 2)
        y = rng.uniform(radius + 2, SIDE - radius - 2)
        centre = np.array([(x - SIDE / 2) * depth / SIDE, (y - SIDE / 2) * depth / SIDE, depth])
        texture = np.concatenate([rng.normal(0, 3.0, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 1))], axis=1)
        size = np.full(3, radius * depth / SIDE)
        balls.append(Body(str(colour), "ball", size, centre, np.zeros(3), texture))
    waves = np.insert(
        np.concatenate([rng.uniform(-0.9, 0.9, (8, 3)), rng.uniform(-0.05, 0.05, (8, 3))], axis=1), 2, 0, 1
    )
    rendered = render(Scene(tuple(balls), wall(8.5, waves)), 2, SIDE, SIDE, 2.0, (2, 2))
    path = folder / f"{index}.mp4"
    path.write_bytes(encode_mp4(rendered.frames, 2.0))
    boxes, colours = {}, {}
    for number, ball in enumerate(rng.permutation(2), start=1):
        rows, columns = (rendered.instance[0] == ball).nonzero()
        boxes[number] = [int(edge) for edge in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]
        colours[number] = balls[ball].colour
    return Clip(str(path), boxes, colours)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_clip(folder, index) for index in range(TRAIN + HELD_OUT)]


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory) -> Path:
    """The folder of the model."""
    root = tmp_path_factory.mktemp("regions")
    first = [clip.record(1, swapped=swapped) for clip in clips[:TRAIN] for swapped in (False, True)]
    both = [
        clip.record(number, swapped=swapped)
        for clip in clips[:ASKED_BOTH]
        for number in (1, 2)
        for swapped in (False, True)
    ]
    rng = np.random.default_rng(0)
    records = [part[index] for part in (first, both) for index in rng.permutation(len(part))]
    (root / "marks.json").write_text(json.dumps(records))
    entry = {
        "file_name": "marks.json",
        "formatting": "rgpt4d",
        "columns": {"messages": "messages", "videos": "videos"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    (root / "dataset_info.json").write_text(json.dumps({"marks": entry}))
    # Random networks find the marks all of a sudden, and not all of them in so few steps: the training loss tells.
    for seed in SEEDS:
        output = root / f"out{seed}"
        train_here(recipe(root, seed, output))
        if logs(output)[-1]["loss"] < LEARNED:
            return output
    pytest.fail(f"none of the seeds {SEEDS} learned its training set")


def recipe(root: Path, seed: int, output: Path) -> dict[str, Any]:
    student = build_tiny_student(root / f"student{seed}", seed=seed, layers=2, initializer_range=0.2)
    return {
        "model_name_or_path": str(student),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "freeze_vision_tower": False,
        "freeze_multi_modal_projector": False,
        "disable_gradient_checkpointing": True,
        "dataset": "marks",
        "dataset_dir": str(root),
        "template": "rgpt4d_qwen2_vl",
        "cutoff_len": 512,
        "disable_shuffling": True,
        "preprocessing_num_workers": 2,
        "output_dir": str(output),
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 50,
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1,
        "learning_rate": 1e-3,
        "adam_beta2": 0.95,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": 20,
        "seed": seed,
    }


@pytest.fixture(scope="module")
def answer(trained):
    """Answers a prompt with the likeliest of the colours."""
    model = AutoModelForImageTextToText.from_pretrained(trained).eval()
    processor = AutoProcessor.from_pretrained(trained)
    tokens = [processor.tokenizer.encode(colour) for colour in COLOURS]
    assert all(len(token) == 1 for token in tokens)

    @torch.no_grad()
    def ask(prompt: RegionPrompt) -> str:
        logits = model(**prompt.inputs(processor)).logits[0, -1]
        return COLOURS[int(logits[[token[0] for token in tokens]].argmax())]

    return ask


def test_marks_decide_the_answer(clips, answer):
    """Of 200 questions, a guess between the two colours shown gets 100 +- 7 right: 160 are 8 deviations from that."""
    asked = [(clip, number) for clip in clips[TRAIN:] for number in (1, 2)]

    def share_of(meant: int, **options: Any) -> float:
        """Returns the share of answers that name the colour of ball n (meant 1) or of ball 3 - n (meant -1)."""
        swapped = options.pop("swapped", False)
        right = [
            answer(RegionPrompt(clip.path, f"<obj_{n}>?", clip.regions(swapped), **options))
            == clip.colours[n if meant == 1 else 3 - n]
            for clip, n in asked
        ]
        return float(np.mean(right))

    read, swapped, unmarked = share_of(1), share_of(-1, swapped=True), share_of(1, style="none")
    print(f"marked {read:.2f}, marks swapped {swapped:.2f}, no marks {unmarked:.2f}")
    assert read > 0.8
    assert swapped > 0.8
    assert unmarked < 0.65
