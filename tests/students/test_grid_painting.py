# SPDX-License-Identifier: Apache-2.0
"""Invariant 3: painting one block of a video changes the decoder's input most at the token that stands for it."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from llamafactory.data.template import TEMPLATES
from PIL import Image

from rgpt4d_plugin.distill import DistillBatch
from rgpt4d_plugin.students import get_family
from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.synth4d.clips import decode_mp4, encode_mp4
from rgpt4d_plugin.teachers import ClipKey
from rgpt4d_plugin.template.plugin_classes import with_recorder
from rgpt4d_plugin.video import VideoError
from tests.host_parts import host_parts
from tests.tiny_models import FAMILIES, build_tiny_student
from tests.tiny_models import TEMPLATES as TEMPLATE_OF


pytestmark = pytest.mark.slow


CROPPED = ("llava_next_video", "video_llava")
"""Families that see the middle square of a frame."""


def pairs_frames(family):
    """Qwen and GLM, whose grids have the shape of the video."""
    return family.startswith(("qwen", "glm"))


def miscounted(family):
    """Whether the host's plugin takes all clips of a sample to be as long as the first."""
    return get_family(family).counts_each_clip


def grid_of(family, frames, height, width):
    """(t, h, w) of the tiny students: Qwen's and GLM's tokens are 16 x 16 pixels of two frames; others have 4 x 4.

    Gemma 4 has as many in its shape as 70 allow.
    """
    if family == "gemma4":
        return frames, math.floor(math.sqrt(70 * height / width)), math.floor(math.sqrt(70 * width / height))
    return ((frames + 1) // 2, height // 16, width // 16) if pairs_frames(family) else (frames, 4, 4)


def seen_of(family, height, width):
    """(left, top, right, bottom) of what of a frame is seen."""
    side = min(height, width)
    left, top = ((width - side) // 2, (height - side) // 2) if family in CROPPED else (0, 0)
    return left, top, width - left, height - top


@pytest.fixture(scope="module", params=FAMILIES)
def parts(request, assets, tmp_path_factory):
    """Host objects and model of one family."""
    root = tmp_path_factory.mktemp(request.param)
    student = build_tiny_student(root / "student", request.param, hidden=32, layers=2, vision_hidden=32)
    template = TEMPLATE_OF[request.param]
    recipe = assets.recipe(root / "out", model_name_or_path=str(student), template=template, video_maxlen=16)
    found = host_parts(recipe)
    assert found.model.config.model_type == request.param
    return found


@pytest.fixture
def family(parts):
    """Model type."""
    return parts.model.config.model_type


@pytest.fixture
def template(parts):
    return parts.recording()


def noise(seed, frames, height, width):
    """A grey clip with faint noise, (T, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(110, 140, (frames, height, width, 3), dtype=np.uint8)


def save(path, pixels):
    path.write_bytes(encode_mp4(pixels, 2.0, crf=0))  # at the host's own rate, so that it keeps every frame
    return str(path)


def paint(family, pixels, grid, place):
    """The clip with the block of the token at a place (t, y, x) in black and white."""
    pixels = pixels.copy()
    (steps, rows, columns), (t, y, x) = grid, place
    left, top, right, bottom = seen_of(family, *pixels.shape[1:3])
    height, width = (bottom - top) / rows, (right - left) / columns
    above, before = round(top + height * y), round(left + width * x)
    below, behind = round(top + height * (y + 1)), round(left + width * (x + 1))
    block = pixels[frames_of(pixels, steps, t), above:below, before:behind]
    block[..., : (behind - before) // 2, :] = 0
    block[..., (behind - before) // 2 :, :] = 255
    return pixels


def frames_of(frames, steps, t):
    """Returns the frames of a step of the grid."""
    pair = -(-len(frames) // steps)
    return slice(pair * t, pair * (t + 1))


def decoder_input(model, batch):
    """Returns the input (B, L, C) of the text decoder in the model's own forward."""
    caught = []
    handle = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: caught.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    try:
        with torch.no_grad():
            model(**{key: value for key, value in batch.items() if key not in ("p4d", "labels")})
    finally:
        handle.remove()
    (embeds,) = caught
    return embeds


def positions(grid):
    """Corners and two inner tokens of a grid (t, h, w)."""
    t, h, w = (size - 1 for size in grid)
    places = [(0, 0, 0), (t, h, w), (0, h, 0), (t, 0, w), (t // 2, h // 2, w // 2), (t // 2 + 1, 1, w - 1)]
    return sorted({(min(a, t), min(b, h), min(c, w)) for a, b, c in places})


def assert_painting_is_seen(parts, template, features, clips, grids):
    """Paints blocks of each clip in turn.

    Args:
        features: makes the batch's features.
        clips: path and pixels of each clip, in the order of the batch.
        grids: (t, h, w) expected of each.
    """
    parts.model.eval()
    collator = parts.collator(template)
    plain = collator(features())
    before = decoder_input(parts.model, plain)
    family = parts.model.config.model_type
    assert [clip.grid for clip in plain["p4d"].tokens] == grids
    known = get_family(family)
    if known.clip_token != known.image_token:
        token = parts.tokenizer.convert_tokens_to_ids(known.clip_token)
        every = torch.cat([clip.index for clip in plain["p4d"].tokens]).unique()
        found = (plain["input_ids"].flatten() == token).nonzero().flatten()
        assert np.isin(every, found).all() and len(found) == sum(map(known.clip_length, grids))
    for clip, (path, pixels) in enumerate(clips):
        for place in positions(grids[clip]):
            save(path, paint(family, pixels, grids[clip], place))
            batch = collator(features())
            change = (decoder_input(parts.model, batch) - before).norm(dim=-1).flatten()
            token = batch["p4d"].tokens[clip].index.view(grids[clip])[place].item()
            assert change.argmax().item() == token, f"clip {clip}, token {place}"
            # And the teacher sees it there, in that clip alone, for those frames alone.
            for other, (old, new) in enumerate(zip(plain["p4d"].frames, batch["p4d"].frames)):
                changed = (old.int() - new.int()).abs().amax((1, 2, 3)) > 20  # the codec's own noise is far less
                expected = torch.zeros(len(old), dtype=torch.bool)
                if other == clip:
                    expected[frames_of(old, grids[clip][0], place[0])] = True
                assert torch.equal(changed, expected), f"clip {clip}, token {place}, frames of clip {other}"
        save(path, pixels)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (96, 32)])
def test_one_clip(parts, family, template, tmp_path, height, width):
    """Not square, and seven frames: where two make a token, the last one is alone."""
    path, pixels = tmp_path / "clip.mp4", noise(0, 7, height, width)
    save(path, pixels)
    assert_painting_is_seen(
        parts,
        template,
        lambda: [parts.encode(template, "<video>What?", videos=[str(path)])],
        [(path, pixels)],
        [grid_of(family, 7, height, width)],
    )


def test_a_batch_of_everything(parts, family, template, tmp_path):
    """Text alone, images around a video, two videos of other shapes in one sample, and padding."""
    # Some of the host's plugins miscount samples whose clips differ in length.
    shapes = [(5, 48, 80), (7, 48, 80), (7 if miscounted(family) else 4, 80, 48)]
    paths = [tmp_path / f"{index}.mp4" for index in range(3)]
    clips = [(path, noise(index, *shape)) for index, (path, shape) in enumerate(zip(paths, shapes))]
    for path, pixels in clips:
        save(path, pixels)
    image = Image.fromarray(noise(9, 1, 64, 64)[0])

    def features():
        names = [str(path) for path in paths]
        return [
            parts.encode(template, "How many balls are there?"),
            parts.encode(template, "Is <image> in <video>or <image>?", images=[image] * 2, videos=names[:1]),
            parts.encode(template, "Which is nearer?"),
            parts.encode(template, "<video>Is it in this one? <video>Which?", videos=names[1:]),
            parts.encode(template, "<image>What?", images=[image]),
        ]

    grids = [grid_of(family, *shape) for shape in shapes]
    assert_painting_is_seen(parts, template, features, clips, grids)


@pytest.mark.parametrize("lengths", [(4, 7), (7, 4)])
def test_two_clips_of_different_length_in_one_sample(parts, family, template, tmp_path, lengths):
    """Right where they are counted right; never a wrong grid, and never a StopIteration, which ends an epoch."""
    paths = [save(tmp_path / f"{index}.mp4", noise(index, frames, 48, 80)) for index, frames in enumerate(lengths)]
    features = [parts.encode(template, "<video><video>Which?", videos=paths)]
    collator = parts.collator(template)
    if not miscounted(family):
        grids = [clip.grid for clip in collator(features)["p4d"].tokens]
        assert grids == [grid_of(family, frames, 48, 80) for frames in lengths]
        return
    with pytest.raises(VideoError, match=r"\.mp4.* several clips of different length"):
        collator(features)


@pytest.mark.parametrize("lengths", [(4, 7), (7, 4)])
def test_a_twin_counts_clips_of_different_length_in_any_turn(parts, family, tmp_path, lengths):
    """As the family's own processor in transformers does, which knows each clip's own times."""
    twin = TEMPLATES["rgpt4d_" + TEMPLATE_OF[family].removeprefix("rgpt4d_")]
    paths = [save(tmp_path / f"{index}.mp4", noise(index, frames, 48, 80)) for index, frames in enumerate(lengths)]
    template = with_recorder(twin, None)
    feature = parts.encode(template, "Which of <video>and <video>is it?", videos=paths)
    # Three turns, the second clip in the last of them.
    turns = [("user", "<video>What?"), ("assistant", "A"), ("user", "And <video>?"), ("assistant", "B")]
    record = {
        "_prompt": [{"role": role, "content": content} for role, content in turns[:-1]],
        "_response": [{"role": "assistant", "content": "B"}],
        **dict.fromkeys(("_system", "_tools", "_images", "_audios")),
        "_videos": paths,
    }
    batch = parts.collator(template)([feature, parts.tokenise(template, record)])
    grids = [grid_of(family, frames, 48, 80) for frames in lengths]
    assert [clip.grid for clip in batch["p4d"].tokens] == grids * 2
    parts.model(**{key: value for key, value in batch.items() if torch.is_tensor(value)})

    text = parts.tokenizer.decode(feature["input_ids"])
    known = get_family(family)
    for path, grid in zip(paths, grids):
        alone = parts.tokenizer.decode(parts.encode(template, "A@<video>@", videos=[path])["input_ids"])
        expansion = alone.split("@")[1]
        assert expansion in text and expansion.count(known.clip_token) == known.clip_length(grid)


@pytest.mark.parametrize("lengths", [(4, 7, 2), (7, 4, 4)])
def test_a_clip_is_answered_as_alone_beside_clips_of_other_length(parts, family, template, tmp_path, lengths):
    paths = [save(tmp_path / f"{index}.mp4", noise(index, frames, 48, 80)) for index, frames in enumerate(lengths)]
    texts = ["<video>What?", "<video>And this one?", "<video>Hm?"]
    features = [parts.encode(template, text, videos=[path]) for text, path in zip(texts, paths)]
    collator = parts.collator(template)
    together, *alone = (
        {key: value for key, value in collator(list(map(dict, each))).items() if torch.is_tensor(value)}
        for each in (features, *zip(features))
    )
    with torch.no_grad():
        rows = parts.model(**together).logits
        for row, mask, batch in zip(rows, together["attention_mask"], alone):
            own = batch["attention_mask"][0].bool()
            torch.testing.assert_close(row[mask.bool()], parts.model(**batch).logits[0][own], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("with_image", [False, True])
def test_a_batch_without_video(parts, template, with_image):
    """Without images either the host appends one of its own; no token of it is taken for a clip."""
    image = Image.fromarray(noise(9, 1, 64, 64)[0])
    features = [parts.encode(template, "Hello?"), parts.encode(template, "How are you?")]
    if with_image:
        features[1] = parts.encode(template, "<image>What?", images=[image])
    batch = parts.collator(template)(features)
    assert batch.keys() & {"pixel_values", "pixel_values_images"}
    assert len(batch["p4d"]) == 0 and batch["p4d"].frames == [] and batch["p4d"].left_out == 0


def test_the_teacher_gets_the_same_frames_at_its_own_size(parts, family, template, tmp_path):
    path = tmp_path / "clip.mp4"
    save(path, noise(0, 7, 48, 80))
    batch = parts.collator(template)([parts.encode(template, "<video>What?", videos=[str(path)])])["p4d"]

    (frames,) = batch.frames
    assert frames.shape == (7, 3, 32, 32) and frames.dtype == torch.uint8 and frames.is_contiguous()
    for found, pixels in zip(frames, decode_mp4(path)):
        seen = seen_of(family, 48, 80)
        expected = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR, box=seen))
        assert np.array_equal(found.permute(1, 2, 0), expected)
    assert batch.timestamps == [[frame / 2 for frame in range(7)]]


# --- the record between collator and trainer -------------------------------------------------------------------------


def tensors_of(value):
    """Every tensor in a nest of dataclasses and lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        return [found for field in dataclasses.fields(value) for found in tensors_of(getattr(value, field.name))]
    return [found for item in value for found in tensors_of(item)] if isinstance(value, (list, tuple)) else []


def a_batch():
    tokens = [ClipTokens(torch.arange(4), (1, 2, 2)), ClipTokens(torch.arange(4, 6), (2, 1, 1))]
    frames = [torch.zeros(count, 3, 8, 8, dtype=torch.uint8) for count in (2, 3)]
    keys = [ClipKey("a.mp4", (0.0, 0.5)), ClipKey("b.mp4", (0.0, 0.5, 1.0))]
    return DistillBatch(tokens, keys, frames, left_out=1)


def test_to_moves_every_tensor():
    batch = a_batch()
    moved = batch.to("meta", non_blocking=True)
    assert [tensor.device.type for tensor in tensors_of(moved)] == ["meta"] * 4
    assert [tensor.device.type for tensor in tensors_of(batch)] == ["cpu"] * 4
    assert (len(moved), moved.timestamps, moved.left_out) == (2, batch.timestamps, 1)
    assert [clip.grid for clip in moved.tokens] == [clip.grid for clip in batch.tokens]


def test_pin_memory_pins_every_tensor(monkeypatch):
    """As the data loader's pinning thread calls it, on a batch as the collator returns it."""
    pinned = []

    def pin(tensor, *args):
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    found = torch.utils.data._utils.pin_memory.pin_memory({"p4d": a_batch()})["p4d"]
    assert isinstance(found, DistillBatch) and len(pinned) == 4
    assert {id(tensor) for tensor in tensors_of(found)} == {id(tensor) for tensor in pinned}
    assert replace(found, tokens=[], frames=[]) == replace(a_batch(), tokens=[], frames=[])
