# SPDX-License-Identifier: Apache-2.0
"""What regions cost while a dataset is prepared: records converted and tokenised per second, with and without them.

python benchmarks/region_records.py [--records 10000] [--videos 500] [--rounds 3]

Three arms, in turns, on the same records about the same video files, each a call of LLaMA-Factory's own `get_dataset`
with cold caches: `sharegpt` (the host's converter and template, records without regions), `derived` (the same records,
`formatting: rgpt4d` and the `rgpt4d_<name>` template) and `regions` (each record with three boxes). The numbers are
records per second over converting and tokenising together; the ratio is to the first arm of the same round.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer

from rgpt4d_plugin.synth4d.clips import encode_mp4
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student


ARMS = {
    "sharegpt": ("plain", "qwen2_vl"),
    "derived": ("derived", "rgpt4d_qwen2_vl"),
    "regions": ("regions", "rgpt4d_qwen2_vl"),
}


def write_data(folder: Path, records: int, videos: int) -> None:
    """Video files, and the three datasets about them."""
    rng = np.random.default_rng(0)
    for number in range(videos):
        frames = np.broadcast_to(rng.integers(0, 255, (16, 1, 1, 3), dtype=np.uint8), (16, 224, 224, 3))
        (folder / f"{number}.mp4").write_bytes(encode_mp4(np.ascontiguousarray(frames), 2.0))
    boxes = [[20, 30, 90, 120], [100, 40, 200, 90], [10.5, 140, 60, 220]]
    regions = [{"id": f"obj_{n}", "video": 0, "time": 1.5, "box": box} for n, box in enumerate(boxes, start=1)]
    questions = [
        {
            "messages": [
                {"role": "user", "content": f"<video>Question {number}: where do <obj_1>, <obj_2> and <obj_3> go?"},
                {"role": "assistant", "content": "They go to the left, one after the other."},
            ],
            "videos": [str(folder / f"{number % videos}.mp4")],
        }
        for number in range(records)
    ]
    unmarked = [json.loads(json.dumps(record).replace("<obj_", "<ball_")) for record in questions]
    datasets = {
        "plain": ("sharegpt", unmarked),
        "derived": ("rgpt4d", unmarked),
        "regions": ("rgpt4d", [{**record, "regions": regions} for record in questions]),
    }
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    info = {}
    for name, (formatting, content) in datasets.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
        columns = {"messages": "messages", "videos": "videos"}
        info[name] = {"file_name": f"{name}.json", "formatting": formatting, "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps(info))


def seconds(arm: str, folder: Path, student: Path) -> float:
    """Wall time of converting and tokenising one arm's records."""
    dataset, template = ARMS[arm]
    recipe = {
        "model_name_or_path": str(student),
        "stage": "sft",
        "do_train": True,
        "dataset": dataset,
        "dataset_dir": str(folder),
        "template": template,
        "cutoff_len": 4096,
        "overwrite_cache": True,
        "output_dir": str(folder / "out"),
        "report_to": "none",
        "use_cpu": True,
    }
    model_args, data_args, training_args, _, _ = get_train_args(recipe)
    modules = load_tokenizer(model_args)
    made = get_template_and_fix_tokenizer(modules["tokenizer"], data_args)
    start = time.perf_counter()
    get_dataset(made, model_args, data_args, training_args, stage="sft", **modules)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000, help="records (default %(default)s)")
    parser.add_argument("--videos", type=int, default=500, help="video files (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each arm is run (default %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        write_data(folder, options.records, options.videos)
        student = build_tiny_student(folder / "student")
        rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for _ in range(options.rounds):
            for arm in ARMS:
                rates[arm].append(options.records / seconds(arm, folder, student))
    print(f"\n{options.records} records about {options.videos} videos, {options.rounds} rounds\n")
    print("| arm | records / s, median | min..max | x sharegpt, median of rounds |\n|---|---:|---:|---:|")
    for arm, found in rates.items():
        ratio = statistics.median(rate / base for rate, base in zip(found, rates["sharegpt"], strict=True))
        print(f"| {arm} | {statistics.median(found):.0f} | {min(found):.0f}..{max(found):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
