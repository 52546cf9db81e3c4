# SPDX-License-Identifier: Apache-2.0
"""VLM4D: questions on motion in real and synthetic videos, four options. A benchmark, with no training split.

The published folder (shijiezhou/VLM4D): `real_mc.json` and `synthetic_mc.json`, at the top, in `QA/` or in `data/`;
the videos under `videos_real/<source>/` and `videos_synthetic/`. The field `video` has the URL to download from. The
prompt is the one for direct output.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from rgpt4d_plugin.convert.files import find_media, nothing_found, read_list
from rgpt4d_plugin.convert.records import LETTERS, VIDEO, BadRecord, Dataset, Record, Row, exchange, gold_letter, take
from rgpt4d_plugin.eval_hooks.benchmarks import vlm4d


_FILES = {"vlm4d_real": "real_mc.json", "vlm4d_synthetic": "synthetic_mc.json"}
_FOLDERS = ("", "QA/", "data/")


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`vlm4d_real` and `vlm4d_synthetic`."""
    found = []
    for name, file in _FILES.items():
        path = next((src / f"{folder}{file}" for folder in _FOLDERS if (src / f"{folder}{file}").is_file()), None)
        if path:
            found.append(Dataset(name, (path,), read_list, lambda row: records(row, src), src, training=False))
    if not found:
        looked_for = (folder + file for folder in _FOLDERS for file in _FILES.values())
        raise nothing_found(src, "VLM4D", looked_for)
    return found


def records(row: Row, src: Path) -> list[Record]:
    """The item with its gold letter. Its ids start anew in each file, so the file is part of the record's."""
    item = row.value
    options = _options(item)
    gold = str(take(item, "answer", (str, int)))
    letter, remarks = gold_letter(gold, options)
    if letter is None:
        raise BadRecord("answer is not an option", "answer", f"{gold!r} is not among {options}")
    url = take(item, "video", str)
    local = re.search(r"videos_(?:real|synthetic)/.+", unquote(url))
    if not local:
        raise BadRecord("unknown video URL", "video", f"expected videos_real/ or videos_synthetic/ in {url!r}")
    path = find_media(src, [local.group()], "video")
    prompt = vlm4d.question_text(take(item, "question", str), dict(zip(LETTERS, options)))
    messages = exchange(f"{VIDEO}{prompt}", letter)
    name = f"{row.file.stem}/{take(item, 'id', str)}"
    return [Record(name, local.group().rsplit("/", 1)[0], messages, [path], remarks=remarks)]


def _options(item: dict[str, Any]) -> list[str]:
    choices = take(item, "choices", dict)
    if len(choices) < 2 or "".join(choices) != LETTERS[: len(choices)]:
        raise BadRecord("wrong type", "choices", f"expected the letters from A on in order, found {list(choices)}")
    # Whole numbers and texts with trailing blanks: shown as they are, compared as texts.
    return [str(take(choices, letter, (str, int), "choices")) for letter in choices]
