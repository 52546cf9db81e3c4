# SPDX-License-Identifier: Apache-2.0
"""`RegionPrompt`: at inference the model gets what it got in training, by every way of asking."""

import base64
import io
import os

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from llamafactory.chat import ChatModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from rgpt4d_plugin import RegionPrompt
from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.files import ImageError
from rgpt4d_plugin.regions.masks import encode_rle
from rgpt4d_plugin.regions.region import RegionError
from tests.benchmark_folders import EPS, bomb
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import build_tiny_student


VIDEO = str(DATA / "clips/4.mp4")  # 224 x 224, 150 frames at 30 per second
REGIONS = [
    {"id": "obj_1", "time": 0.5, "box": [20, 30, 90, 120]},
    {"id": "obj_2", "time": 0.5, "point": [200, 200]},
]
QUESTION = "Which of <obj_1> and <obj_2> moves?"


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def student(request, assets, tmp_path_factory):
    """Folder of a model, and its template."""
    if request.param == "qwen2_5_vl":
        return assets.student, "rgpt4d_qwen2_vl"
    folder = tmp_path_factory.mktemp("qwen3_vl")
    return build_tiny_student(folder, "qwen3_vl", hidden=32, layers=2, vision_hidden=32), "rgpt4d_qwen3_vl_nothink"


@pytest.fixture(scope="module")
def parts(student, assets, tmp_path_factory):
    folder, template = student
    recipe = assets.recipe(tmp_path_factory.mktemp("out") / "o", model_name_or_path=str(folder), template=template)
    return host_parts(recipe | {"video_maxlen": 128})


@pytest.fixture(scope="module")
def chat_model(student):
    folder, template = student
    return ChatModel(
        {"model_name_or_path": str(folder), "template": template, "infer_backend": "huggingface", "do_sample": False}
    )


PROMPTS = {
    "som": RegionPrompt(VIDEO, QUESTION, REGIONS),
    "som_image": RegionPrompt(VIDEO, QUESTION, REGIONS, style="som_image", time_sentence=True),
    "text": RegionPrompt(VIDEO, QUESTION, REGIONS, style="text"),
    "none": RegionPrompt(VIDEO, QUESTION, REGIONS, style="none"),
    "part": RegionPrompt(VIDEO, QUESTION, REGIONS, start=0.3, end=2.9),
    "plain": RegionPrompt(VIDEO, "What?"),
}


@pytest.mark.parametrize("style", ["som", "text"])
@pytest.mark.parametrize("name", ["eps.png", "bomb.png"])
def test_images_that_are_not_opened(name, style, tmp_path):
    """EPS would start an external program; the other says that it has 3.6 gigapixels."""
    (tmp_path / name).write_bytes(EPS if name == "eps.png" else bomb())
    region = {"id": "obj_1", "box": [2, 2, 9, 9]}
    with pytest.raises(ImageError, match=f"{name}: .*(cannot identify|3600000000 pixels)"):
        assert RegionPrompt(str(tmp_path / name), "What is <obj_1>?", [region], style=style).images


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMPTS)
def test_a_plain_transformers_model_gets_what_the_template_gives(parts, student, name):
    prompt = PROMPTS[name]
    inputs = prompt.inputs(AutoProcessor.from_pretrained(student[0]))

    asked = prompt.styled
    plugin, tokenizer = parts.template.mm_plugin, parts.tokenizer
    messages = plugin.process_messages(asked.messages, asked.images, asked.videos, [], parts.processor)
    ids, _ = parts.template.encode_oneturn(tokenizer, [*messages, {"role": "assistant", "content": ""}])
    assert inputs["input_ids"][0].tolist() == ids
    expected = plugin._get_mm_inputs(asked.images, asked.videos, [], parts.processor)
    for key in ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw", "second_per_grid_ts"):
        assert (key in inputs) == (key in expected), key
        if key in inputs:
            torch.testing.assert_close(inputs[key], torch.as_tensor(expected[key]), rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["som", "som_image", "part"])
def test_generation_by_transformers_and_by_the_hosts_chat_model_agree(chat_model, student, name):
    prompt = PROMPTS[name]
    processor = AutoProcessor.from_pretrained(student[0])
    model = AutoModelForImageTextToText.from_pretrained(student[0]).eval()
    inputs = prompt.inputs(processor)
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    (response,) = chat_model.chat(**prompt.chat(), max_new_tokens=8)
    assert response.response_text == processor.decode(tokens, skip_special_tokens=True)


@pytest.mark.slow
def test_a_template_that_shows_no_regions_is_refused_in_chat(student):
    folder, template = student
    plain = template.removeprefix("rgpt4d_")
    chat_model = ChatModel({"model_name_or_path": str(folder), "template": plain, "infer_dtype": "float32"})
    for name in ("som", "som_image", "part"):
        with pytest.raises(ValueError, match="shows no regions, cuts no clips .* use the template: rgpt4d_"):
            chat_model.chat(**PROMPTS[name].chat(), max_new_tokens=2)
    if plain == "qwen2_vl":  # the host's own chat of Qwen3-VL fails on the metadata of a video
        assert chat_model.chat(**PROMPTS["plain"].chat(), max_new_tokens=2)


@pytest.mark.slow
def test_the_openai_messages_hold_the_marked_frames_and_the_hosts_server_takes_them(chat_model):
    from llamafactory.api.app import create_app

    prompt = RegionPrompt(VIDEO, QUESTION, REGIONS, frames=4, time_sentence=True)
    messages = prompt.openai_messages()
    (content,) = (message["content"] for message in messages)
    assert [part["type"] for part in content] == ["image_url"] * 4 + ["text"]
    assert content[-1]["text"] == f"These images are uniformly sampled from a video of 5.0 seconds.\n\n{QUESTION}"
    for part, frame in zip(content, prompt.clip.frames):
        png = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/png;base64,"))
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), np.asarray(frame))

    client = TestClient(create_app(chat_model))
    reply = client.post("/v1/chat/completions", json={"model": "m", "messages": messages, "max_tokens": 4})
    assert reply.status_code == 200, reply.text
    assert reply.json()["usage"]["prompt_tokens"] > 4 * 4


def test_frames_times_and_marks():
    prompt = RegionPrompt(VIDEO, QUESTION, REGIONS, fps=1.0, max_pixels=112 * 112)
    clean = RegionPrompt(VIDEO, QUESTION, REGIONS, fps=1.0, max_pixels=112 * 112, style="none")
    assert prompt.clip.indices == [0, 37, 74, 111, 149]
    assert prompt.clip.seconds == pytest.approx([index / 30 for index in prompt.clip.indices])
    assert {frame.size for frame in prompt.clip.frames} == {(112, 112)}
    changed = [
        bool((np.asarray(a) != np.asarray(b)).any())
        for a, b in zip(prompt.clip.frames, clean.clip.frames, strict=True)
    ]
    assert changed == [True, False, False, False, False]
    assert len(RegionPrompt(VIDEO, "?", frames=7).clip.frames) == 7


def test_an_image(tmp_path, student):
    path = os.path.join(tmp_path, "a.png")
    Image.new("RGB", (120, 80)).save(path)
    prompt = RegionPrompt(path, "What is <obj_1>?", [{"id": "obj_1", "box": [10, 10, 60, 60]}])
    assert prompt.clip is None and np.asarray(prompt.images[0]).any()
    inputs = prompt.inputs(AutoProcessor.from_pretrained(student[0]))
    assert "pixel_values" in inputs and "pixel_values_videos" not in inputs
    assert list(prompt.chat()) == ["messages", "images"]
    with pytest.raises(RegionError, match="is an image, which has no time"):
        RegionPrompt(path, "What?", start=1.0)


NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"fps": NAN}, "fps: expected a finite number, got nan"),
        ({"fps": -1.0}, "fps: expected a value > 0, got -1.0"),
        ({"fps": "2"}, "fps: expected a valid number, got '2'"),
        ({"start": NAN}, "start: expected a finite number"),
        ({"start": -1.0}, "start: expected a value >= 0"),
        ({"end": True}, "end: expected a valid number, got True"),
        ({"max_frames": 0}, "max_frames: expected a value >= 1, got 0"),
        ({"frames": 2.5}, "frames: expected a valid integer, got 2.5"),
        ({"max_pixels": -4, "image_max_pixels": None}, "max_pixels: .* got -4; image_max_pixels: .* got None"),
        ({"time_sentence": "no"}, "time_sentence: expected a valid boolean, got 'no'"),
        ({"question": None}, "question: expected text, got None"),
        ({"path": None}, "path: expected the path of a video or an image, got None"),
        ({"path": ""}, "path: expected the path of a video or an image, got ''"),
    ],
)
def test_arguments_that_mean_nothing(arguments, complaint):
    with pytest.raises(P4DConfigError, match=f"RegionPrompt: {complaint}"):
        RegionPrompt(**{"path": VIDEO, "question": "What?"} | arguments)


def test_arrays_and_tensors_are_lists(tmp_path):
    """As detectors give them."""
    mask = np.zeros((224, 224), dtype=bool)
    mask[30:120, 20:90] = True
    forms = [
        {"box": np.array([20, 30, 90, 120], np.float32), "time": np.float32(0.5)},
        {"box": torch.tensor([20, 30, 90, 120]), "frame": np.int64(15)},
        {"box": tuple(np.array([20, 30, 90, 120])), "time": 0.5},
    ]
    expected, *others = (
        RegionPrompt(VIDEO, "<obj_1>?", [{"id": "obj_1", **form}], frames=4).clip.frames[0]
        for form in [{"box": [20, 30, 90, 120], "time": 0.5}, *forms]
    )
    assert all(np.array_equal(np.asarray(frame), np.asarray(expected)) for frame in others)
    masks = [{"mask": mask, "frame": 15}, {"mask": encode_rle(mask), "frame": 15}]
    first, second = (RegionPrompt(VIDEO, "<obj_1>?", [{"id": "obj_1", **form}]).clip.frames[0] for form in masks)
    assert np.array_equal(np.asarray(first), np.asarray(second))
    with pytest.raises(RegionError, match=r"regions\[0\].mask: the mask is empty: no pixel of 224 x 224"):
        RegionPrompt(VIDEO, "<obj_1>?", [{"id": "obj_1", "frame": 0, "mask": torch.zeros(224, 224)}])


def test_what_is_wrong_is_said_at_once():
    with pytest.raises(P4DConfigError, match="p4d.regions.style: expected one of 'som'"):
        RegionPrompt(VIDEO, "What?", style="circle")
    with pytest.raises(RegionError, match="<obj_2> is named"):
        RegionPrompt(VIDEO, QUESTION, REGIONS[:1])
    with pytest.raises(RegionError, match="regions: expected a list of regions, got {'id': 'obj_1'"):
        RegionPrompt(VIDEO, "<obj_1>?", REGIONS[0])
    with pytest.raises(RegionError, match=r"regions\[0\].box: .* leaves the frame of 224 x 224"):
        RegionPrompt(VIDEO, "<obj_1>?", [{"id": "obj_1", "time": 0, "box": [0, 0, 225, 9]}]).clip  # noqa: B018
