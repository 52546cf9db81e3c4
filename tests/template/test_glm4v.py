# SPDX-License-Identifier: Apache-2.0
"""GLM-4.1V to GLM-4.6V in the host: tokens, positions and logits are those of transformers' own processor and model.

The host's batches hold the steps of clips as images: the model (transformers 5.5) takes no images beside clips.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, Glm46VConfig

from rgpt4d_plugin import RegionPrompt
from rgpt4d_plugin.students.glm4v import order
from rgpt4d_plugin.synth4d.clips import encode_mp4
from rgpt4d_plugin.template.square import clips_of
from rgpt4d_plugin.trainers.trl import Sampling
from rgpt4d_plugin.trainers.trl_collator import P4DVisionCollator
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import TEMPLATES, build_tiny_student


pytestmark = pytest.mark.slow

REAL = str(DATA / "clips/4.mp4")  # 5 s
WRITTEN = {
    "<image>": "<|begin_of_image|><|image|><|end_of_image|>",
    "<video>": "<|begin_of_video|><|video|><|end_of_video|>",
}


@pytest.fixture(scope="module", params=["glm4v", "glm4v_moe"])
def parts(request, assets, tmp_path_factory):
    """Of GLM-4.1V, and of GLM-4.6V, which has experts and writes tenths of seconds."""
    root = tmp_path_factory.mktemp(request.param)
    student = build_tiny_student(root / "student", request.param, hidden=32, layers=2, vision_hidden=32)
    recipe = {"model_name_or_path": str(student), "template": TEMPLATES[request.param], "video_maxlen": None}
    found = host_parts(assets.recipe(root / "out", p4d=assets.p4d(frames=5), **recipe))
    found.model.eval()
    return found


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """An image, and a short clip whose times are no whole seconds."""
    root = tmp_path_factory.mktemp("media")
    noise = np.random.default_rng(0)
    image, clip = root / "image.png", root / "clip.mp4"
    Image.fromarray(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(image)
    clip.write_bytes(encode_mp4(noise.integers(0, 255, (7, 64, 48, 3), dtype=np.uint8), 4.0))
    return str(image), str(clip)


def hosts(parts, text, images=(), videos=()):
    """The host's batch of one question; and the processor's inputs for the same frames at the same times."""
    template, processor = parts.run_template, parts.processor
    batch = parts.collator(template)([parts.encode(template, text, list(images), list(videos))])
    metadata = [
        {"fps": 1.0, "frames_indices": times, "total_num_frames": len(times)} for times in batch["p4d"].timestamps
    ]
    read = clips_of(template.mm_plugin, videos, processor)  # the last frame twice, where their number is odd
    clips = [frames[: len(times)] for frames, times in zip(read, batch["p4d"].timestamps, strict=True)]
    for placeholder, written in WRITTEN.items():
        text = text.replace(placeholder, written)
    given = {"videos": clips, "video_metadata": metadata, "do_sample_frames": False} if clips else {}
    given |= {"images": [Image.open(path) for path in images]} if images else {}
    inputs = processor(text=[f"[gMASK]<sop><|user|>\n{text}<|assistant|>"], return_tensors="pt", **given)
    inputs.pop("video_metadata", None)
    return batch, inputs


def test_two_clips_are_as_transformers_has_them(parts, media):
    """The answer's tokens follow in the host's batch."""
    batch, inputs = hosts(parts, "Which is nearer, <video>this or <video>that?", videos=[REAL, media[1]])
    length = inputs["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:, :length], inputs["input_ids"])
    said = parts.tokenizer.decode(inputs["input_ids"][0])
    times = ("0", "2", "4", "0", "0", "1") if parts.config.model_type == "glm4v" else ("0.0 seconds", "2.5 seconds")
    assert all(f"<|end_of_image|>{time}<" in said for time in times), said
    assert torch.equal(batch["pixel_values"], inputs["pixel_values_videos"])

    positions, _ = parts.model.model.get_rope_index(
        inputs["input_ids"], inputs["mm_token_type_ids"], video_grid_thw=inputs["video_grid_thw"]
    )
    assert torch.equal(batch["position_ids"][1:, :, :length], positions)
    with torch.no_grad():
        found = parts.model(**{key: value for key, value in batch.items() if key not in ("p4d", "labels")}).logits
        torch.testing.assert_close(found[:, :length], parts.model(**inputs).logits, rtol=1e-5, atol=1e-5)


def test_images_behind_a_clip(parts, media):
    """transformers' processor writes them, and its model numbers their positions; only its forward refuses them."""
    text, given = "Is <video>this <image>or <image>?", ([media[0]] * 2, [media[1]])
    batch, inputs = hosts(parts, text, *given)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:, :length], inputs["input_ids"])
    grids = {key: inputs[key] for key in ("image_grid_thw", "video_grid_thw")}
    positions, _ = parts.model.model.get_rope_index(inputs["input_ids"], inputs["mm_token_type_ids"], **grids)
    assert torch.equal(batch["position_ids"][1:, :, :length], positions)
    with pytest.raises(ValueError, match="Image features and image tokens do not match"):
        parts.model(**inputs)


def test_images_before_a_clip_move_no_token(parts, media):
    """transformers' processor would give the clip's tokens to the image."""
    alone, _ = hosts(parts, "Is it <video>?", videos=[media[1]])
    batch, inputs = hosts(parts, "Is it <image><video>?", [media[0]], [media[1]])
    (clip,), (of_alone,) = batch["p4d"].tokens, alone["p4d"].tokens
    assert (clip.grid, (clip.index - clip.index[0]).tolist()) == (
        of_alone.grid,
        (of_alone.index - of_alone.index[0]).tolist(),
    )
    assert not torch.equal(batch["input_ids"][:, : inputs["input_ids"].shape[1]], inputs["input_ids"])


def test_trl_batches_of_images_and_clips(parts, media):
    """And a region prompt: as the model takes them, or refused where transformers' processor writes them wrong."""
    image, clip = media
    answer = {"role": "assistant", "content": "yes"}

    def record(*kinds):
        content = [*({"type": kind} for kind in kinds), {"type": "text", "text": "Is it?"}]
        pictures = {"images": [image]} if "image" in kinds else {}
        clips = {"videos": [clip]} if "video" in kinds else {}
        return {"messages": [{"role": "user", "content": content}, answer], **pictures, **clips}

    collator = P4DVisionCollator(parts.processor, p4d=parts.run, sampling=Sampling(frames=5))
    batch = collator([record("image"), record("video", "image"), record("video")])
    tokens = batch.pop("p4d").tokens
    assert [clip.grid for clip in tokens] == [(3, 4, 3)] * 2
    first, second = (index.index - batch["input_ids"].shape[1] * row for index, row in zip(tokens, (1, 2)))
    assert torch.equal(first, second) and len(batch["image_grid_thw"]) == 2 + 2 * 3
    assert parts.model(**batch).logits.isfinite().all()
    with pytest.raises(ValueError, match="writes the tokens of an image that stands before a clip wrong"):
        collator([record("image", "video")])


def test_a_region_prompt_with_an_image_of_its_key_frame(parts):
    prompt = RegionPrompt(REAL, "What is <obj_1>?", [{"id": "obj_1", "time": 1.0, "box": [9, 9, 99, 99]}], frames=4)
    assert parts.model(**prompt.inputs(parts.processor)).logits.isfinite().all()


def test_an_order_is_that_of_the_markers(parts):
    """Of a row that was cut, what is left of its media comes last."""
    ids = parts.tokenizer("".join(["<|begin_of_video|><|begin_of_image|><|end_of_video|>", "<|begin_of_image|>"]))
    for (images, clips), expected in {
        (1, 1): [True, False],
        (3, 1): [True, False, False, False],
        (1, 2): [True, False, True],
        (1, 0): [False],
    }.items():
        assert order(ids["input_ids"], images, clips, parts.tokenizer) == expected


def test_the_type_glm46v_is_glm41v_under_another_name(parts, media, assets, tmp_path):
    """transformers has it, though the released GLM-4.6V are of the other two: its weights, and its timed type."""
    if parts.config.model_type != "glm4v":
        return
    values = parts.config.to_dict()
    text, vision = ({**values[key], "model_type": None} for key in ("text_config", "vision_config"))
    ids = {key: value for key, value in values.items() if key.endswith("_token_id")}
    for part in (text, vision):
        del part["model_type"]
    model = AutoModelForImageTextToText.from_config(Glm46VConfig(text_config=text, vision_config=vision, **ids))
    model.load_state_dict(parts.model.state_dict())
    batch, inputs = hosts(parts, "<video>What?", videos=[media[1]])
    with torch.no_grad():
        assert torch.equal(model.eval()(**inputs).logits, parts.model(**inputs).logits)

    model.save_pretrained(tmp_path / "student")
    parts.processor.save_pretrained(tmp_path / "student")
    recipe = {"model_name_or_path": str(tmp_path / "student"), "template": "rgpt4d_glm4v", "video_maxlen": None}
    timed = host_parts(assets.recipe(tmp_path / "out", p4d=assets.p4d(frames=5, tpe="add"), **recipe))
    assert (timed.model.config.model_type, timed.run.family) == ("rgpt4d_glm46v", parts.run.family)
    again, _ = hosts(timed, "<video>What?", videos=[media[1]])
    assert torch.equal(again["input_ids"], batch["input_ids"]) and (again["video_timestamps"] >= 0).sum() == 36
    trained = [
        {name for name, weight in found.model.named_parameters() if weight.requires_grad} for found in (timed, parts)
    ]
    assert trained[0] == trained[1]
