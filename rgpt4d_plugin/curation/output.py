# SPDX-License-Identifier: Apache-2.0
"""What a curation leaves: records that train at once, R4D-Bench's layout, a summary, a sheet per decision."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from rgpt4d_plugin.convert.records import VIDEO, exchange
from rgpt4d_plugin.curation.candidates import mark, marked_frame
from rgpt4d_plugin.curation.items import Case, Item
from rgpt4d_plugin.curation.recipe import CurationRecipe
from rgpt4d_plugin.files import register, registry_entry, write_json, write_whole
from rgpt4d_plugin.preview.frame_grid import INK, SMALL, SOFT, Column, blank, draw_tiles, stack
from rgpt4d_plugin.preview.text_layout import Span, draw_lines, wrap
from rgpt4d_plugin.regions.drawing.marks import draw_marks
from rgpt4d_plugin.regions.tracks import region_of
from rgpt4d_plugin.video import VideoError
from rgpt4d_plugin.video.entries import span
from rgpt4d_plugin.video.frames import read_frames
from rgpt4d_plugin.video.sampling import spread


_SHEET_FRAMES = 6


def write_records(recipe: CurationRecipe, cases: Sequence[Case]) -> Path:
    """Writes OUT/NAME.jsonl with what is left, and its entry in OUT/dataset_info.json."""
    out = Path(recipe.out)
    path = out / f"{recipe.name}.jsonl"
    parts = any(case.item.clip.is_part for case in cases)
    lines = []
    for case in cases:
        item, clip = case.item, case.item.clip
        entry: Any = item.shown
        if parts:  # one form in all records of a file
            entry = {"path": item.shown, "start": clip.start or 0.0, "end": clip.end or item.info.length}
        record = {
            "id": item.id,
            "kind": item.task,
            "messages": exchange(f"{VIDEO}{asked(case)}", item.answer),
            "videos": [entry],
            "regions": json.dumps(regions_of(case), ensure_ascii=False),
            "question_raw": item.question,
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    write_whole(path, "".join(lines))
    if lines:  # the host refuses a dataset without records
        register(out, recipe.name, registry_entry(path.name, "rgpt4d", ("messages", "videos", "regions")))
    return path


def asked(case: Case) -> str:
    """The question with <obj_N>, and its options."""
    options = "".join(f"\n({chr(65 + at)}) {option}" for at, option in enumerate(case.item.options))
    return case.found["matching"]["question"] + options


def regions_of(case: Case) -> list[dict[str, Any]]:
    """The regions that the question names, in the form of records."""
    found = case.found["matching"]
    candidates = {each["number"]: each for each in case.found["tracking"]["candidates"]}
    return [
        region_of(place, phrase, [candidates[number]["entries"]])
        for place, (number, phrase) in enumerate(zip(found["numbers"], found["phrases"], strict=True), start=1)
    ]


def write_r4d(recipe: CurationRecipe, cases: Sequence[Case]) -> int:
    """Writes OUT/r4d as R4D-Bench is published: test.json, clipped/, images/. Questions without options are left out.

    Returns:
        Number of entries.
    """
    folder = Path(recipe.out, "r4d")
    entries = []
    for case in (case for case in cases if len(case.item.options) > 1):
        item, name = case.item, safe(case.item.id)
        video, image = f"clipped/{recipe.name}/{name}.mp4", f"images/{recipe.name}/{name}.png"
        for path in (folder / video, folder / image):
            path.parent.mkdir(parents=True, exist_ok=True)
        cut(item, folder / video)
        order = {number: place for place, number in enumerate(case.found["matching"]["numbers"], start=1)}
        marked_frame(case, order).save(folder / image)
        texts = {"question": case.found["matching"]["question"], "question_raw": item.question}
        places = {"video": video, "source": item.shown, "som_image": image}
        chosen = {"options": list(item.options), "answer": item.answer}
        entries.append({"id": item.id, "benchmark": recipe.name, "task": item.task} | places | texts | chosen)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "test.json", entries)
    return len(entries)


def cut(item: Item, path: Path) -> None:
    """Writes the part of a video that a question is about: the file as it is, or its frames encoded anew (H.264)."""
    if not item.clip.is_part:
        shutil.copyfile(item.clip.path, path)
        return
    first, final, _ = span(item.clip, item.info)
    origin = item.info.time_of(first)
    temporary = path.with_suffix(".part.mp4")
    tick = Fraction(1, 90_000)  # frames keep their own times: the rate may vary
    with av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(item.info.rate).limit_denominator(1001))
        stream.codec_context.time_base = tick
        stream.width, stream.height = item.info.width // 2 * 2, item.info.height // 2 * 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        for start in range(first, final + 1, 64):  # a few at a time: a clip may be long
            numbers = range(start, min(start + 64, final + 1))
            for number, picture in zip(numbers, read_frames(item.clip.path, numbers), strict=True):
                frame = av.VideoFrame.from_image(picture.convert("RGB"))
                frame.time_base, frame.pts = tick, round((item.info.time_of(number) - origin) / tick)
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    temporary.replace(path)


def write_summary(recipe: CurationRecipe, cases: Sequence[Case]) -> dict[str, Any]:
    """Writes OUT/summary.json: counts per reason, every decision, models and their licences."""
    reasons = Counter(case.rejected[1] for case in cases if case.rejected)
    summary = {
        "questions": len(cases),
        "kept": sum(case.alive for case in cases),
        "rejected": dict(sorted(reasons.items())),
        "failed": sum(bool(case.failed) for case in cases),
        "models": recipe.models,
        "decisions": [_decision(case) for case in cases],
    }
    write_json(Path(recipe.out, "summary.json"), summary)
    return summary


def write_sheet(recipe: CurationRecipe, case: Case) -> Path:
    """Draws OUT/sheets/REASON/ID.png: question, decision, and frames with what was marked."""
    reason = case.rejected[1] if case.rejected else "kept"
    path = Path(recipe.out, "sheets", safe(reason), f"{safe(case.item.id)}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{case.item.id} · {reason}", case.item.question]
    if "matching" in case.found:
        lines.append(case.found["matching"]["question"])
    lines.append(f"answer: {case.item.answer}" + (f" · {case.rejected[2]}" if case.rejected else ""))
    wrapped = wrap([Span("\n".join(lines), SMALL, INK)], blank(1).width - 20)
    head = blank(24 * len(wrapped) + 16)
    draw_lines(head, wrapped, 4, 8, 24)
    blocks = [head]
    try:
        blocks.append(_frames(recipe, case))
    except VideoError as err:
        note = blank(30)
        SMALL.draw(ImageDraw.Draw(note), 4, 20, str(err), SOFT)
        blocks.append(note)
    sheet = stack(blocks)
    sheet.save(path)
    return path


def safe(name: str) -> str:
    """Returns a name for a file."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "_"


def _frames(recipe: CurationRecipe, case: Case) -> Image.Image:
    sampled = case.item.sampled(recipe.frames)
    tracking = case.found.get("tracking", {"candidates": [], "key_frame": None})
    chosen = [sampled[at] for at in spread(min(_SHEET_FRAMES, len(sampled)), len(sampled))]
    if tracking["key_frame"] is not None:
        chosen = sorted({*chosen, tracking["key_frame"]})
    numbers = {each["number"]: each["number"] for each in tracking["candidates"]}
    if matched := case.found.get("matching"):
        numbers = {number: place for place, number in enumerate(matched["numbers"], start=1)}
    columns = []
    for frame, picture in zip(chosen, read_frames(case.item.clip.path, chosen), strict=True):
        marks = [
            mark(numbers[each["number"]], entry, str(numbers[each["number"]]))
            for each in tracking["candidates"]
            for entry in each["entries"]
            if entry["frame"] == frame and each["number"] in numbers
        ]
        drawn = draw_marks(picture.convert("RGB"), marks)
        label = ["key frame"] if frame == tracking["key_frame"] else []
        columns.append(Column(f"{case.item.info.time_of(frame):.2f} s", f"frame {frame}", [np.asarray(drawn)], label))
    return draw_tiles(columns, (case.item.info.height, case.item.info.width), ())


def _decision(case: Case) -> dict[str, Any]:
    about = {"id": case.item.id, "question": case.item.question}
    if case.failed:
        return about | {"failed": case.failed}
    if case.rejected:
        step, reason, detail = case.rejected
        return about | {"rejected": reason, "step": step, "detail": detail}
    return about | {"kept": case.found["matching"]["question"]}
