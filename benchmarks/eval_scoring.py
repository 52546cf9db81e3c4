# SPDX-License-Identifier: Apache-2.0
"""How long it takes to score and to render a run of R4D-Bench's size, bootstrap, pictures and examples included.

python benchmarks/eval_scoring.py [--items 1419] [--keep DIR]

Builds a folder in R4D-Bench's layout (tiny videos and key frames, two questions a video, its nine tasks) and replies
of many kinds, then runs `rgpt4d eval score` and `rgpt4d eval report` as processes of their own, so that start-up
counts too.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw


# Task -> share of the questions, roughly as published.
TASKS = {
    "Translational": 30,
    "Rotational": 14,
    "Counting": 12,
    "False Positives": 12,
    "Spatial Relation": 9,
    "3D Video Grounding": 8,
    "Dimensional Measurement": 8,
    "Speed & Acceleration": 4,
    "Displacement & Path Length": 3,
}
OPTIONS = ("to the left", "to the right", "towards the camera", "not moving", "upwards")
FRAMES, HEIGHT, WIDTH = 8, 96, 160


def write_folder(folder: Path, items: int) -> None:
    """R4D-Bench's layout: test.json, videos and key frames with marks; files are copies of a few."""
    generator = random.Random(0)
    videos = [_video(number) for number in range(4)]
    images = [_key_frame(number) for number in range(4)]
    tasks = generator.choices(list(TASKS), weights=list(TASKS.values()), k=items)
    entries = []
    for i, task in enumerate(tasks):
        benchmark = "stibench" if i % 4 == 0 else "vlm4d"
        video, image = f"videos/{benchmark}/clip_{i // 2}.mp4", f"images/{benchmark}/{i}.png"
        for path, content in ((folder / video, videos[i // 2 % 4]), (folder / image, images[i // 2 % 4])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        options = generator.sample(OPTIONS, 5 if benchmark == "stibench" else 4)
        if task == "Counting":
            options = [0, 1, 2, "none of these"]
        entries.append(
            {
                "id": i,
                "benchmark": benchmark,
                "task": task,
                "video": video,
                "source": video,
                "som_image": image,
                "question": f"From the camera's view, how does <obj_1> move relative to <obj_2> in clip {i // 2}?",
                "question_raw": "",
                "options": options,
                "answer": generator.choice(options),
            }
        )
    (folder / "test.json").write_text(json.dumps(entries))


def write_replies(folder: Path, path: Path, skill: float, seed: int) -> None:
    """Replies that are right with a probability of about `skill`, in the forms that models reply in."""
    generator = random.Random(seed)
    lines = []
    for entry in json.loads((folder / "test.json").read_text()):
        own = skill + {"Counting": -0.15, "Displacement & Path Length": -0.2}.get(entry["task"], 0.04)
        options = entry["options"]
        right = options.index(entry["answer"])
        chosen = right if generator.random() < own else generator.randrange(len(options))
        letter = "ABCDE"[chosen]
        text = generator.choices(
            (letter, f"({letter})", f"The answer is {letter}.", str(options[chosen]), f"<b>{letter}</b>", "", "?"),
            weights=(40, 30, 15, 8, 4, 1, 2),
        )[0]
        if generator.random() < 0.05:
            text = f"Look at <obj_1>: A square that is {options[0]} at first. So it is {letter}, I think."
        lines.append({"key": f"{entry['benchmark']}/{entry['id']}", "reply": text})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _frames(number: int) -> list[np.ndarray]:
    frames = []
    for t in range(FRAMES):
        image = Image.new("RGB", (WIDTH, HEIGHT), (60 + 30 * number, 80, 110))
        draw = ImageDraw.Draw(image)
        draw.rectangle((10 + 12 * t, 30, 40 + 12 * t, 60), fill=(230, 160, 40))
        draw.ellipse((110, 40, 140, 70), fill=(40, 150, 90))
        frames.append(np.asarray(image))
    return frames


def _video(number: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/clip.mp4"
        with av.open(path, "w") as container:
            stream = container.add_stream("h264", rate=4)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for frame in _frames(number):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
        return Path(path).read_bytes()


def _key_frame(number: int) -> bytes:
    image = Image.fromarray(_frames(number)[0])
    draw = ImageDraw.Draw(image)
    for box, name in (((10, 30, 40, 60), "<obj_1>"), ((110, 40, 140, 70), "<obj_2>")):
        draw.rectangle(box, outline=(255, 0, 0), width=2)
        draw.text((box[0], box[1] - 12), name, fill=(255, 255, 255))
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        image.save(file.name)
        return Path(file.name).read_bytes()


@dataclass(frozen=True)
class Cost:
    """Of one or more commands, in seconds."""

    wall: float
    processor: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.wall + other.wall, self.processor + other.processor)

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.processor:.2f} s of processor time)"


def cost(*command: str) -> Cost:
    """What one `rgpt4d` command takes."""
    call = "import sys; from rgpt4d_plugin.cli import main; sys.exit(main())"
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", call, *command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - start, processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1419, help="questions (default %(default)s)")
    parser.add_argument("--keep", metavar="DIR", help="keep data and reports there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(arguments.keep or folder)
        data = root / "R4D-Bench"
        write_folder(data, arguments.items)
        for run, skill, seed in (("base", 0.22, 1), ("p4d", 0.29, 2)):
            replies = root / f"{run}.jsonl"
            write_replies(data, replies, skill, seed)
            score = cost(
                *("eval", "score", "--benchmark", "r4d_bench", "--data", f"{data}", "--replies", f"{replies}"),
                *("--model", run, "--frames", "16", "--out", f"{root / run}"),
            )
            report = cost("eval", "report", f"{root / run}", "--out", f"{root / run}")
            print(f"{run}: score {score}, report {report}, both {score + report}")
        both = cost("eval", "report", f"{root / 'base'}", f"{root / 'p4d'}", "--out", f"{root / 'comparison'}")
        print(f"comparison of two: {both}; {arguments.items:,} items, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
