# SPDX-License-Identifier: Apache-2.0
"""SAT: spatial questions on one or two images, two or more options.

The published folder (array/SAT): `SAT_train.parquet`, `SAT_static.parquet`, `SAT_val.parquet`, `SAT_test.parquet`,
each a dataset of its own if it is there. The train file contains the static one's questions. The images are embedded;
they are written below OUT/sat_images under the hash of their bytes, so equal images are one file.

The published order of the options says which one is right, so they are shuffled; the prompt is that of lmms-eval, the
answer a letter.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import UnidentifiedImageError

from rgpt4d_plugin.convert.files import nothing_found
from rgpt4d_plugin.convert.records import IMAGE, LETTERS, BadRecord, Dataset, Record, Row, exchange, gold_letter, take
from rgpt4d_plugin.eval_hooks.benchmarks.sat import question_text, without_stray_phrase
from rgpt4d_plugin.files import open_image, write_whole


FILES = {
    "sat_train": "SAT_train.parquet",
    "sat_static": "SAT_static.parquet",
    "sat_val": "SAT_val.parquet",
    "sat_test": "SAT_test.parquet",
}
_COLUMNS = ("image_bytes", "question", "answers", "question_type", "correct_answer")
_BATCH = 64


def datasets(src: Path, out: Path) -> list[Dataset]:
    """One dataset for each file that is there."""
    images = out / "sat_images"
    found = [
        Dataset(
            name,
            (src / file,),
            read_rows,
            lambda row: records(row, images),
            media_dir=out,
            media=("images",),
            training=name in ("sat_train", "sat_static"),
            notes=_notes(name),
        )
        for name, file in FILES.items()
        if (src / file).is_file()
    ]
    if not found:
        raise nothing_found(src, "SAT", FILES.values())
    return found


def _notes(name: str) -> list[str]:
    if name == "sat_static":
        return ["sat_train contains these questions as well: use one of the two."]
    if name == "sat_test":
        return ["Each question comes once, in one order of its options; the paper asks it once per order."]
    return []


def read_rows(path: Path) -> tuple[int, Iterator[dict[str, Any]]]:
    """Number of rows, and the rows, a small batch at a time."""
    try:
        # The train file is one row group of 5 GB. Only both settings together keep pyarrow from holding all of it.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except pa.ArrowException as err:
        raise ValueError(f"{path} is not a readable parquet file ({err}): download it again.") from err
    missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}.")
    return file.metadata.num_rows, _rows(path, file)


def _rows(path: Path, file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    done = 0
    try:
        with file:
            for batch in file.iter_batches(_BATCH, columns=list(_COLUMNS)):
                yield from batch.to_pylist()
                done += batch.num_rows
    except (pa.ArrowException, OSError) as err:
        # Nothing after the damage can be found, so this is no matter for --skip-bad.
        raise ValueError(f"{path}, record {done} or soon after, cannot be read ({err}): download it again.") from err


def records(row: Row, images: Path) -> list[Record]:
    """The question with shuffled options; `option_order[i]` is the published place of the option shown at i."""
    question = take(row.value, "question", str)
    published = take(row.value, "answers", list)
    if not 2 <= len(published) <= len(LETTERS) or not all(isinstance(option, str) for option in published):
        raise BadRecord("wrong type", "answers", f"expected a list of two or more texts, found {shortened(published)}")
    order = shuffled(row.number, len(published))
    options = [without_stray_phrase(published[place]) for place in order]
    gold = without_stray_phrase(take(row.value, "correct_answer", str))
    if not all(options):
        raise BadRecord("empty text", "answers", f"an option is empty: {shortened(published)}")
    letter, remarks = gold_letter(gold, options)
    if letter is None:
        raise BadRecord("answer is not an option", "correct_answer", f"{gold!r} is not among {options}")
    kind = take(row.value, "question_type", str)
    embedded = take(row.value, "image_bytes", list)
    if not 1 <= len(embedded) <= 2:
        raise BadRecord("wrong number of images", "image_bytes", f"expected one or two, found {len(embedded)}")
    paths = [_write_image(image, images, f"image_bytes[{i}]") for i, image in enumerate(embedded)]
    messages = exchange(IMAGE * len(paths) + question_text(question, options), letter)
    name, more = f"{row.file.stem}/{row.number}", {"option_order": order}
    return [Record(name, kind, messages, images=paths, more=more, remarks=remarks)]


def shuffled(row: int, count: int) -> list[int]:
    """An order of `count` options that depends on the row only: on no library's random numbers, now or later."""
    return sorted(range(count), key=lambda place: hashlib.sha256(f"{row}/{place}".encode()).digest())


def _write_image(image: Any, folder: Path, name: str) -> Path:
    """Writes an image that can be decoded to its end, unless it is there already."""
    data = image.get("bytes") if isinstance(image, dict) else image  # plain, or as `datasets` stores its Image type
    if not isinstance(data, bytes):
        raise BadRecord("unreadable image", name, f"expected the bytes of an image, found {type(data).__name__}")
    digest = hashlib.sha256(data).hexdigest()[:32]
    try:
        with open_image(data) as decoded:
            path = folder / digest[:2] / f"{digest}.{decoded.format.lower()}"
            if path.is_file():
                return path
            decoded.draft("RGB", (1, 1))  # a JPEG is then read to its end, but at an eighth of its size
            decoded.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as err:
        raise BadRecord("unreadable image", name, f"{len(data)} bytes that are no image: {err}") from err
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data, durable=False)
    return path
