# SPDX-License-Identifier: Apache-2.0
"""NVILA-Lite in the host: how an image is shown in tiles. Its rows are those of VILA in `modeling/test_nvila.py`."""

import pytest
import torch
from llamafactory.data.template import TEMPLATES
from PIL import Image

from rgpt4d_plugin.template.nvila import _tiled
from tests.host_parts import host_parts
from tests.tiny_models import build_tiny_student


@pytest.fixture(scope="module")
def parts(assets, tmp_path_factory):
    root = tmp_path_factory.mktemp("nvila")
    student = build_tiny_student(root / "student", "nvila", hidden=32, layers=2, vision_hidden=32)
    return host_parts(assets.recipe(root / "out", model_name_or_path=str(student), template="rgpt4d_nvila"))


def picture(level, size):
    return Image.new("RGB", size, (level,) * 3)


WIDE, SQUARE, TALL = ((128, 64), (64, 64), (64, 192))
"""Two tiles and the whole, one, three and the whole."""


def test_an_answer_ends_with_one_token(parts):
    template = TEMPLATES["rgpt4d_nvila"]
    assert parts.tokenizer.convert_ids_to_tokens(template.get_stop_token_ids(parts.tokenizer)) == ["<|im_end|>"]
    assert template.default_system == "You are a helpful assistant"


def test_an_only_image_is_shown_in_tiles_with_a_newline_of_the_text_behind_each(parts):
    text = parts.tokenizer.decode(parts.encode(parts.template, "A|<image>\nB", [picture(9, WIDE)])["input_ids"])
    tile = "<image>" * 16 + "\n"
    assert f"A|{tile}\n{tile}\n{tile}\n\nB" in text


@pytest.mark.parametrize("sizes", [(WIDE,), (SQUARE,), (WIDE, TALL), (SQUARE, WIDE, SQUARE)])
def test_the_host_shows_images_as_the_processor_does(parts, sizes):
    pictures = [picture(40 * n, size) for n, size in enumerate(sizes)]
    feature = parts.encode(parts.template, "<image>" * len(sizes) + "\nWhat?", pictures)
    batch = parts.plain_collator(parts.template)([feature])
    inputs = parts.processor(text="<image>" * len(sizes) + "\nWhat?", images=pictures, return_tensors="pt")
    assert torch.equal(batch["pixel_values"], inputs["pixel_values"])
    assert torch.equal(batch["image_tiles"], inputs["image_tiles"])
    assert ",".join(map(str, inputs["input_ids"][0].tolist())) in ",".join(map(str, feature["input_ids"]))


def test_a_packed_row_keeps_the_images_of_its_records_apart(parts):
    """A record's only image is in tiles, several are not: in a packed row their tokens say so."""
    sizes = (WIDE, WIDE, SQUARE, TALL, SQUARE, TALL)
    pictures = [picture(20 * n, size) for n, size in enumerate(sizes)]
    alone = [parts.encode(parts.template, "<image>?", pictures[:1])]
    alone.append(parts.encode(parts.template, "<image>\n<image>\n<image>?", pictures[1:4]))
    alone += [parts.encode(parts.template, "<image>?", [image]) for image in pictures[4:]]
    packed = {key: [item for feature in alone for item in feature[key]] for key in ("input_ids", "labels", "images")}
    packed["attention_mask"] = [1] * len(packed["input_ids"])
    batch = parts.plain_collator(parts.template)([packed])
    assert batch["image_tiles"].tolist() == [3, 1, 1, 1, 1, 4]
    apart = parts.plain_collator(parts.template)([dict(feature) for feature in alone])
    assert torch.equal(batch["pixel_values"], apart["pixel_values"])
    parts.model(**batch)


@pytest.mark.parametrize(
    ("counts", "joined", "expected"),
    [
        ([3], "110", [True]),
        ([3], "0", [False]),
        ([3, 3, 1], "110", [False, False, False]),
        ([3, 1], "1100", [True, False]),
        ([1, 3], "0110", [False, True]),
        ([3], "10", None),
        ([1], "", None),
        ([], "", []),
    ],
)
def test_which_images_of_a_row_are_in_tiles(counts, joined, expected):
    assert _tiled(counts, [mark == "1" for mark in joined]) == expected
