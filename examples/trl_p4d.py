# SPDX-License-Identifier: Apache-2.0
"""Perceptual 4D Distillation with TRL: LoRA on a public 3B video MLLM, on one GPU, without LLaMA-Factory.

python examples/trl_p4d.py --data clips/train.json --teacher checkpoints/l4p.ckpt

The data are records like this one, with paths relative to their file:
{"messages": [{"role": "user", "content": "<video>Which way does the car turn?"},
              {"role": "assistant", "content": "Left."}],
 "videos": ["car.mp4"]}
Several GPUs: accelerate launch examples/trl_p4d.py ...
"""

import argparse
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig

from rgpt4d_plugin.trainers.trl import P4DSFTTrainer


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--data", type=Path, required=True, help="JSON or JSONL records")
parser.add_argument("--teacher", "--expert", required=True, help="checkpoint of the 4D teacher, L4P (NVlabs/L4P)")
parser.add_argument("--model", default="Qwen/Qwen2.5-VL-3B-Instruct")
parser.add_argument("--output", default="saves/trl_p4d")
parser.add_argument("--frames", type=int, default=16, help="frames per clip (default %(default)s)")
parser.add_argument("--steps", type=int, default=-1, help="optimiser steps (default: one epoch)")
options = parser.parse_args()
records = load_dataset("json", data_files=str(options.data), split="train")


def ask(record: dict) -> dict:
    """The loss is on the answer: the last message is the completion, the others are the prompt."""
    *prompt, answer = record["messages"]
    videos = [str(options.data.parent / video) for video in record["videos"]]
    return {"prompt": prompt, "completion": [answer], "videos": videos}


trainer = P4DSFTTrainer(
    options.model,
    args=SFTConfig(
        output_dir=options.output,
        max_length=None,  # never cut a video
        max_steps=options.steps,
        num_train_epochs=1,
        learning_rate=1e-4,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        logging_steps=1,
        bf16=torch.cuda.is_available(),
    ),
    train_dataset=records.map(ask, remove_columns="messages"),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=r".*language_model.*_proj"),
    p4d={"teacher": {"checkpoint": options.teacher}, "frames": options.frames},
)
trainer.train()
trainer.save_model()
