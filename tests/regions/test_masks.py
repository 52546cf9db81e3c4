# SPDX-License-Identifier: Apache-2.0
"""Run lengths against strings of pycocotools 2.0.11, masks from PNG files, and what is refused."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from rgpt4d_plugin.regions.masks import decode_rle, encode_rle, read_mask_png


def _mask(height, width, *boxes):
    mask = np.zeros((height, width), dtype=bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def _disc():
    y, x = np.ogrid[:24, :32]
    return (x - 15) ** 2 + (y - 11) ** 2 < 64


# pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
GOLDENS = {
    "one pixel": (_mask(3, 4, (2, 1, 3, 2)), "714"),
    "the whole frame, from the first pixel on": (_mask(2, 3, (0, 0, 3, 2)), "06"),
    "the last pixel of a large frame": (_mask(1080, 1920, (1919, 1079, 1920, 1080)), "ooXo11"),
    "a disc": (_disc(), "X67?4M2O0O2O000000000001N101N3Lb6"),
    "a grid of pixels": (
        _mask(5, 5, *((x, y, x + 1, y + 1) for x in (0, 2, 4) for y in (0, 2, 4))),
        "01100040L00040L000",
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_compressed_strings_are_those_of_the_coco_api(name):
    mask, text = GOLDENS[name]
    assert encode_rle(mask) == {"size": list(mask.shape), "counts": text}
    for counts in (text, text.encode()):
        decoded = decode_rle({"size": list(mask.shape), "counts": counts})
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


def test_uncompressed_runs_go_down_the_columns():
    mask = decode_rle({"size": [2, 3], "counts": [1, 2, 3]})
    np.testing.assert_array_equal(mask, [[0, 1, 0], [1, 0, 0]])


@settings(deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)).filter(np.any))
def test_round_trip(mask):
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 600_000), min_size=2, max_size=8).filter(lambda counts: any(counts[1::2])))
def test_round_trip_of_long_runs(counts):
    """Differences of every size and sign; a frame one pixel high makes any lengths fit."""
    mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts)[None]
    compressed = encode_rle(mask)
    assert np.array_equal(decode_rle(compressed), mask)
    assert np.array_equal(decode_rle({"size": [1, sum(counts)], "counts": counts}), mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ("714", "size and counts, found str"),
        ({"size": [3, 4]}, r"size and counts, found \['size'\]"),
        ({"size": [3, 4], "counts": "714", "area": 1}, r"found \['area', 'counts', 'size'\]"),
        ({"size": [3], "counts": "714"}, r"two positive integers, found \[3\]"),
        ({"size": [0, 4], "counts": []}, r"two positive integers, found \[0, 4\]"),
        ({"size": [3.0, 4], "counts": "714"}, r"two positive integers, found \[3.0, 4\]"),
        ({"size": [True, 4], "counts": [0, 4]}, r"two positive integers, found \[True, 4\]"),
        ({"size": [3, 4], "counts": None}, "list of integers or compressed text, found NoneType"),
        ({"size": [3, 4], "counts": [7, 1.0, 4]}, "must be integers, found float"),
        ({"size": [3, 4], "counts": [7, True, 4]}, "must be integers, found bool"),
        ({"size": [3, 4], "counts": [7, 2**64, 4]}, "fit 64 bits, found 18446744073709551616"),
        ({"size": [3, 4], "counts": [7, 1, 3]}, "sum to 11, expected 12 for 4 x 3"),
        ({"size": [3, 4], "counts": [2**62, 2**62, 2**62, 2**62 + 12]}, "sum to 18446744073709551628, expected 12"),
        ({"size": [3, 4], "counts": [7, -1, 6]}, "not be negative, found -1"),
        ({"size": [3, 4], "counts": []}, "sum to 0"),
        ({"size": [3, 4], "counts": ""}, "sum to 0"),
        ({"size": [3, 4], "counts": "71"}, "sum to 8, expected 12"),
        ({"size": [3, 4], "counts": "717N"}, "not be negative, found -1"),
        ({"size": [1080, 1920], "counts": "ooXo1"}, "sum to 2073599"),
        ({"size": [1080, 1920], "counts": "ooX"}, "truncated"),
        ({"size": [3, 4], "counts": "7 4"}, "'0' to 'o', found b' ' at 1"),
        ({"size": [3, 4], "counts": "71é"}, "'0' to 'o', found .* at 2"),
        ({"size": [3, 4], "counts": "o" * 20 + "1"}, "number of 21 characters"),
        ({"size": [3, 4], "counts": "oo1"}, "differ by 2047, in a frame of 12 pixels"),
        ({"size": [3, 4], "counts": [12]}, "empty"),
        ({"size": [3, 4], "counts": [5, 0, 7]}, "empty"),
    ],
)
def test_broken_run_lengths_are_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12), st.integers(1, 9), st.integers(1, 9))
def test_any_text_gives_a_mask_or_a_value_error(text, height, width):
    try:
        mask = decode_rle({"size": [height, width], "counts": text})
    except ValueError:
        return
    assert mask.shape == (height, width)
    assert mask.any()


REGION = _mask(6, 8, (2, 1, 5, 4))


def _coloured(*channels):
    return Image.merge("RGBA"[: len(channels)], [Image.fromarray(np.uint8(channel)) for channel in channels])


def _palette_image():
    # Object 3 of a label map, black in the palette.
    image = Image.fromarray(np.uint8(3 * REGION)).convert("P")
    image.putdata((3 * REGION).ravel().tolist())
    image.putpalette([0] * 768)
    return image


NOTHING, OPAQUE = 0 * REGION, 255 + 0 * REGION
IMAGES = {
    "bilevel": Image.fromarray(REGION),
    "grey": Image.fromarray(np.uint8(REGION)),
    "16 bit, low byte and high": Image.fromarray(np.uint16(REGION * (1 + 255 * (np.arange(8) % 2)))),
    "palette": _palette_image(),
    "faint blue": _coloured(NOTHING, NOTHING, REGION),
    "alpha decides": _coloured(OPAQUE, OPAQUE, OPAQUE, 7 * REGION),
    "opaque, so colour decides": _coloured(NOTHING, 9 * REGION, NOTHING, OPAQUE),
    "transparent, so colour decides": _coloured(NOTHING, 9 * REGION, NOTHING, NOTHING),
    "grey with alpha": Image.merge("LA", [Image.fromarray(np.uint8(c)) for c in (OPAQUE, 255 * REGION)]),
    "grey, opaque": Image.merge("LA", [Image.fromarray(np.uint8(c)) for c in (255 * REGION, OPAQUE)]),
}


@pytest.mark.parametrize("name", IMAGES)
def test_png_of_every_mode(name, tmp_path):
    path = tmp_path / "mask.png"
    IMAGES[name].save(path)
    mask = read_mask_png(path)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, REGION)


def test_unreadable_pngs_are_named(tmp_path):
    path = tmp_path / "mask.png"
    with pytest.raises(ValueError, match="mask.png is not a readable PNG: .*No such file"):
        read_mask_png(path)
    path.write_text("no picture")
    with pytest.raises(ValueError, match="mask.png is not a readable PNG"):
        read_mask_png(str(path))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (99, 99), dtype=np.uint8)).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 20, len(whole) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="mask.png is not a readable PNG"):
            read_mask_png(path)
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    with pytest.raises(ValueError, match="mask.png is not a readable PNG"):
        read_mask_png(path)
    Image.fromarray(np.uint8(REGION)).save(path, format="BMP")
    with pytest.raises(ValueError, match="mask.png is not a readable PNG"):
        read_mask_png(path)


def test_an_empty_png_is_named(tmp_path):
    path = tmp_path / "mask.png"
    Image.new("L", (8, 6)).save(path)
    with pytest.raises(ValueError, match="mask.png is empty: no pixel of 8 x 6"):
        read_mask_png(path)


def test_a_pipe_is_no_mask(tmp_path):
    os.mkfifo(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="mask.png is not a readable PNG: it is no regular file"):
        read_mask_png(tmp_path / "mask.png")
