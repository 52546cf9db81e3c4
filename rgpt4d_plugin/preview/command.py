# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d preview`: a contact sheet per sample, made from what the host's collator gives the model."""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llamafactory.extras.constants import IGNORE_INDEX
from PIL.Image import DecompressionBombError

from rgpt4d_plugin.preview import map_figure
from rgpt4d_plugin.preview.contact_sheet import MapRow, Piece, SheetClip, SheetImage, SheetSample, save_sheet
from rgpt4d_plugin.preview.recipe_pipeline import RecipePipeline
from rgpt4d_plugin.recipe import read_recipe
from rgpt4d_plugin.regions.media_entries import decode_image_entry
from rgpt4d_plugin.regions.region import RegionError
from rgpt4d_plugin.students import RowMedia, get_family
from rgpt4d_plugin.students.tokens import Grid
from rgpt4d_plugin.teachers import teacher_class
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.video import SeenClip


def run_preview(
    recipe_path: str | os.PathLike,
    out: str | os.PathLike,
    count: int = 8,
    dataset: str | None = None,
    teacher: bool = False,
    overrides: Sequence[str] = (),
) -> list[Path]:
    """Writes the sheets of a recipe's first samples, prints a line for each and returns the files.

    Args:
        recipe_path: YAML file, with or without a `p4d:` block.
        out: Folder for the PNGs.
        count: Samples, spread over the recipe's datasets.
        dataset: One dataset of dataset_info.json in place of the recipe's.
        teacher: Show the teacher's maps too.
        overrides: KEY=VALUE, as `llamafactory-cli` takes them.

    Raises:
        ValueError, OSError, RuntimeError: recipe, dataset, record or teacher cannot be used.
    """
    if count < 1:
        raise ValueError(f"--n: expected at least 1, got {count}")
    recipe = read_recipe(recipe_path, overrides)
    if dataset is not None:
        recipe.setdefault("dataset", dataset)
    pipeline = RecipePipeline.from_recipe(recipe, needs_teacher=teacher)
    if pipeline.finetuning_args.stage != "sft":
        raise ValueError(f"stage: {pipeline.finetuning_args.stage!r}: only the samples of stage: sft can be previewed")
    names = [dataset] if dataset is not None else list(dict.fromkeys(pipeline.data_args.dataset or []))
    if not names:
        raise ValueError("the recipe names no dataset: add `dataset:` or give --dataset NAME")
    maps = TeacherMaps(pipeline) if teacher else None

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, number, record in _records(pipeline, names, count):
        with _naming(name, number):
            sample = describe(pipeline, name, number, record, maps)
        if sample is None:
            print(f"{name}, record {number}: left out, as LLaMA-Factory does: its turns do not alternate as they must")
            continue
        path = folder / f"{re.sub(r'[^-.0-9A-Za-z_]+', '_', name)}_{number:05d}.png"
        save_sheet(sample, path)
        written.append(path)
        print(f"{path}  {_summary(sample)}")
    if not written:
        raise ValueError(f"no record of {', '.join(names)} could be shown")
    return written


def _records(pipeline: RecipePipeline, names: Sequence[str], count: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Returns the first records of each dataset with their numbers, `count` in all."""
    share = math.ceil(count / len(names))
    numbered = (
        (name, number, record) for name in names for number, record in enumerate(pipeline.records(name, share))
    )
    return itertools.islice(numbered, count)


@contextmanager
def _naming(dataset: str, record: int) -> Iterator[None]:
    """Errors name the record."""
    try:
        yield
    except RegionError:  # does so itself
        raise
    except (LookupError, OSError, TypeError, ValueError, DecompressionBombError) as err:
        is_message = isinstance(err, (OSError, ValueError, DecompressionBombError))
        message = str(err) if is_message else f"LLaMA-Factory fails with {type(err).__name__}: {err}"
        raise ValueError(f"{message} (dataset {dataset!r}, record {record})") from err


def describe(
    pipeline: RecipePipeline, dataset: str, number: int, record: dict[str, Any], maps: "TeacherMaps | None" = None
) -> SheetSample | None:
    """Returns the contents of the sheet of one of `RecipePipeline.records`; None if the host drops the record."""
    template = pipeline.run_template
    feature = pipeline.tokenise(template, record)
    if feature is None:
        return None
    ids, cutoff_len = feature["input_ids"], pipeline.data_args.cutoff_len
    full_length = len(ids)
    if full_length >= cutoff_len:
        full_length = len(pipeline.tokenise(template, record, cutoff_len=2**31)["input_ids"])

    plugin = template.mm_plugin
    clips, images, notes = [], [], []
    visual = {token for token in (plugin.image_token, plugin.video_token, plugin.audio_token) if token}
    if feature["images"] or feature["videos"]:
        family = get_family(pipeline.config.model_type)
        seen: list[SeenClip] = []
        with plugin.recording(seen.append):
            batch = pipeline.plain_collator(template)([dict(feature)])
        rows = [RowMedia(len(feature["images"] or []), tuple(len(clip.frames) for clip in seen))]
        of_clips, of_images = family.visual_tokens(torch.tensor([ids]), rows, pipeline.tokenizer)
        grids = family.video_grids(batch, pipeline.processor, rows)
        kept = _kept(int(of_clips.sum()), grids, family.clip_length)
        pixels = family.frames(batch, pipeline.processor, rows)
        for clip, frames, grid, tokens in zip(seen, pixels, grids, kept, strict=True):
            rows_of_maps = maps.of(clip) if maps is not None and tokens == math.prod(grid) else ()
            name = _media_name(pipeline, clip.source)
            clips.append(SheetClip(name, frames, clip.timestamps, grid, tokens, clip.marked, rows_of_maps))
        grids = family.image_grids(batch, pipeline.processor, rows) if feature["images"] else []
        kept = _kept(int(of_images.sum()), grids)
        pixels = family.images(batch, pipeline.processor, rows)
        for image, array, grid, tokens in zip(feature["images"] or [], pixels, grids, kept):
            images.append(SheetImage(_image_name(pipeline, image), array, grid, tokens))
        notes = _media_notes(pipeline, clips, images, cut=full_length > len(ids))
        visual |= {family.image_token, family.clip_token}

    pieces = _pieces(ids, feature["labels"], pipeline.tokenizer, visual)
    if not any(piece.trained for piece in pieces):
        notes.append("No token of this sample contributes to the loss: all labels are masked.")
    return SheetSample(
        dataset=dataset,
        record=number,
        template=pipeline.data_args.template,
        model=os.path.basename(pipeline.model_args.model_name_or_path.rstrip("/")),
        cutoff_len=cutoff_len,
        full_length=full_length,
        pieces=pieces,
        clips=clips,
        images=images,
        notes=notes,
    )


def _kept(tokens: int, grids: Sequence[Grid], length: Callable[[Grid], int] = math.prod) -> list[int]:
    """Returns the number of tokens that each clip or image has in the sequence, of `tokens` in all.

    One of a given grid has `length` tokens; more than the grid has are not counted. The last one also has those that
    are too many.
    """
    kept = []
    for grid in grids:
        kept.append(min(tokens, math.prod(grid)))
        tokens -= min(tokens, length(grid))
    if kept:
        kept[-1] += tokens
    return kept


def _media_notes(
    pipeline: RecipePipeline, clips: Sequence[SheetClip], images: Sequence[SheetImage], cut: bool
) -> list[str]:
    """Returns sentences about clips and images whose tokens are not all there."""
    if not cut:
        wrong = [medium.name for medium in (*clips, *images) if medium.tokens != math.prod(medium.grid)]
        if not wrong:
            return []
        return [
            f"The tokens of {wrong[-1]} are not as many as its grid has: LLaMA-Factory miscounts them. Training stops "
            "with an error here; the rgpt4d_... template derived from it counts several clips right."
        ]
    notes = []
    stops = "training stops with an error here"
    left_out = "it is left out of the batch, and what is left of its tokens is masked"
    for kind, media, outcome, remedy in (
        ("video", clips, left_out if pipeline.distils else stops, "use fewer frames"),
        ("image", images, stops, "lower image_max_pixels"),
    ):
        cut_ones = [str(n) for n, medium in enumerate(media, 1) if medium.tokens < math.prod(medium.grid)]
        if cut_ones:
            which = f"{kind} {' and '.join(cut_ones)}"
            notes.append(f"cutoff_len cuts tokens of {which}: {outcome}. Raise it or {remedy}.")
    return notes


def _pieces(ids: Sequence[int], labels: Sequence[int], tokenizer: Any, visual: set[str]) -> list[Piece]:
    """Returns the sequence cut into text and runs of one special token, each trained on as a whole or not at all."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)

    def look(pair: tuple[int, int]) -> tuple[int | None, bool]:
        token, label = pair
        return (token if token in special else None), label != IGNORE_INDEX

    pieces = []
    for (token, trained), run in itertools.groupby(zip(ids, labels, strict=True), key=look):
        run = [token for token, _ in run]
        if token is None:
            text = tokenizer.decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            pieces.append(Piece(text, len(run), "text", trained))
        else:
            text = tokenizer.convert_ids_to_tokens(token)
            pieces.append(Piece(text, len(run), "visual" if text in visual else "special", trained))
    return pieces


def _media_name(pipeline: RecipePipeline, path: str) -> str:
    """Returns a file as the dataset names it: below media_dir."""
    return path.removeprefix(os.path.join(pipeline.data_args.media_dir, ""))


def _image_name(pipeline: RecipePipeline, image: Any) -> str:
    if isinstance(image, dict):
        image = image.get("path")
    still = decode_image_entry(image)
    return "image in the dataset's own file" if still is None else _media_name(pipeline, still.path)


def _summary(sample: SheetSample) -> str:
    parts = [f"{sample.count():,} tokens", f"{sample.count('visual'):,} visual", f"{sample.trained:,} trained on"]
    return ", ".join(parts) + "".join(f"\n  ! {note}" for note in sample.notes)


class TeacherMaps:
    """The recipe's teacher and its maps that can be drawn.

    Raises:
        ValueError: the recipe has no teacher, or gives no such map a weight.
    """

    def __init__(self, pipeline: RecipePipeline) -> None:
        if not pipeline.distils:
            raise ValueError("--teacher: the recipe has no `p4d:` block whose loss terms have weights, so no teacher")
        self._terms = [term for term in TERMS.values() if term.colors and term.name in pipeline.p4d.loss.active]
        if not self._terms:
            drawn = ", ".join(term.name for term in TERMS.values() if term.colors)
            raise ValueError(f"--teacher: p4d.loss gives none of {drawn} a weight: nothing to show")
        self._run, self._processor = pipeline.run, pipeline.processor
        options = pipeline.p4d.teacher
        device = options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        names = tuple(term.name for term in self._terms)
        self._teacher = teacher_class(options.type).load(options, torch.device(device), names)

    def of(self, clip: SeenClip) -> list[MapRow]:
        """Returns the maps of a clip, in color; all windows as one."""
        frames, key = self._run.teacher_frames(clip, self._processor), self._run.clip_key(clip, self._processor)
        rows = []
        for term in self._terms:
            values = self._teacher.maps(frames, key, term.name, self._run.hooks).float().numpy()
            colored = map_figure.COLOURS[term.colors](values, values)
            # The flow of the first frame is not known.
            first = 1 if term.owns == "flow_frames" else 0
            colored = (colored[..., :3] * 255).round().astype(np.uint8)
            rows.append(MapRow(term.name, term.legend, colored, first))
        return rows
