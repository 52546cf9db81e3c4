# SPDX-License-Identifier: Apache-2.0
"""Clips of balls: their questions, their files against the host's format; tiny checkpoints against loading.

python -m pytest tests/synth4d/test_synth4d.py
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from rgpt4d_plugin.files import only_writer
from rgpt4d_plugin.students import get_family
from rgpt4d_plugin.synth4d import HELD_OUT, write_clips
from rgpt4d_plugin.synth4d.balls import sample_scene
from rgpt4d_plugin.synth4d.clips import DATASET, REGIONS, REGIONS_HELD_OUT, decode_mp4, encode_mp4
from rgpt4d_plugin.synth4d.questions import KINDS, ask
from rgpt4d_plugin.synth4d.render import render
from rgpt4d_plugin.synth4d.scene import Camera
from rgpt4d_plugin.teachers.l4p import load_l4p, read_l4p_config
from tests.synth4d.scenes import ball, scene
from tests.tiny_models import FAMILIES, build_tiny_student, write_random_teacher


@pytest.fixture(scope="module")
def clip():
    """A clip in which the camera and a ball move."""
    return render(sample_scene(np.random.default_rng(11), 48, 80), 8, 48, 80, fps=1.0, ray_grid=(6, 10))


def test_answers_follow_from_the_scene():
    right = ball((-1.2, 0.5, 4), (0.6, 0.1, 0.0))
    closer = ball((0.8, -0.8, 6), (0.0, 0.0, -0.6), colour="blue")
    still = ball((0.5, 1.0, 3), colour="green")
    clip = render(scene(right, closer, still), 9, 64, 64, fps=4.0)
    answers = {(q.kind, q.text): q.answer for q in ask(clip, np.random.default_rng(0))}
    assert answers["direction", "Which way does the red ball move?"] == "right"
    assert answers["approach", "Does the blue ball come closer or go away?"] == "closer"
    assert answers["moving", "Is the green ball moving by itself?"] == "no"
    assert answers["count", "How many balls are there?"] == "3"
    assert answers["camera", "Is the camera moving?"] == "no"
    assert {answer for (kind, text), answer in answers.items() if kind == "nearer" and "green" in text} == {"green"}
    assert not any("green" in text for kind, text in answers if kind in ("direction", "approach", "faster"))
    assert {kind for kind, _ in answers} <= set(KINDS)

    # The camera flies faster to the right than the ball does: in the picture the ball goes left, so do not ask.
    clip = render(replace(clip.scene, camera=Camera(np.array([1.2, 0.0, 0.0]))), 9, 64, 64, fps=4.0)
    assert not any(q.kind == "direction" and "red" in q.text for q in ask(clip, np.random.default_rng(0)))


def test_codec_keeps_frames_and_small_balls(clip):
    decoded = decode_mp4(encode_mp4(clip.frames, 2.0))
    assert decoded.shape == clip.frames.shape
    # 4:2:0 chroma blurs the outlines of coloured balls; 10 of 255 is what is left of it on average.
    assert np.abs(decoded.astype(int) - clip.frames).mean() < 10


def test_dataset_folder(tmp_path):
    out = write_clips(tmp_path / "data", 4, seed=1, frames=4, height=32, width=48, questions_per_clip=1)
    info = json.loads((out / "dataset_info.json").read_text())
    assert set(info) == {DATASET, HELD_OUT, REGIONS, REGIONS_HELD_OUT}
    train, held_out = (json.loads((out / info[name]["file_name"]).read_text()) for name in (DATASET, HELD_OUT))
    assert len(train) == 3 and len(held_out) > 1
    for record in train + held_out:
        user, assistant = record["messages"]
        assert user["role"] == "user" and user["content"].startswith("<video>") and assistant["role"] == "assistant"
        assert (out / record["videos"][0]).is_file()
    assert not {record["videos"][0] for record in train} & {record["videos"][0] for record in held_out}

    truth = np.load(out / "ground_truth/clip_00000.npz")
    assert truth["depth"].shape == (4, 32, 48) and truth["camray"].shape == (4, 6, 4, 6)
    assert {"colour", "shape", "size", "centre", "velocity"} < set(json.loads(str(truth["bodies"]))[0])
    assert decode_mp4(out / "videos/clip_00000.mp4").shape == (4, 32, 48, 3)


def test_dataset_is_written_once_and_the_same_each_time(tmp_path):
    settings = {"count": 2, "seed": 5, "frames": 4, "height": 32, "width": 32}
    first, second = (write_clips(tmp_path / name, **settings) for name in "ab")
    for path in sorted(p for p in first.rglob("*") if p.suffix in (".mp4", ".json")):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes(), path.name
    before = (first / "synth4d.json").stat().st_mtime_ns
    write_clips(first, **settings)
    assert (first / "synth4d.json").stat().st_mtime_ns == before
    write_clips(first, **settings | {"seed": 6})
    assert (first / "synth4d.json").stat().st_mtime_ns > before
    with pytest.raises(ValueError, match="even"):
        write_clips(tmp_path / "c", height=33)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"height": 0, "width": 0}, "from 16 to 2048, found 0 x 0"),
        ({"height": -64}, "from 16 to 2048, found -64 x 64"),
        ({"height": 100_000, "width": 100_000}, "from 16 to 2048, found 100000 x 100000"),
        ({"height": 64, "width": 256}, "at most 3 times the shorter, found 64 x 256"),
        ({"height": 2048, "width": 2048, "frames": 10_000}, "134,217,728 pixels in all, found 10000 frames of 2048 x"),
        ({"fps": float("nan")}, "fps must be from 0.01 to 1000, found nan"),
        ({"fps": float("inf")}, "fps must be from 0.01 to 1000, found inf"),
        ({"seed": -1}, "seed must be from 0 to .*, found -1"),
        ({"count": 0}, "count must be from 1 to .*, found 0"),
        ({"frames": 1}, "frames must be from 2 to .*, found 1"),
    ],
)
def test_settings_that_no_clip_can_have(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_clips(tmp_path / "a", **settings)
    assert not (tmp_path / "a").exists()


def test_the_least_size_can_be_rendered(tmp_path):
    write_clips(tmp_path, count=1, frames=2, height=16, width=48)


@pytest.mark.parametrize("torn", ["", '{"count": 2', "[" * 100_000, "[]"])
def test_a_folder_whose_settings_are_torn_is_made_again(torn, tmp_path):
    settings = {"count": 1, "frames": 2, "height": 16, "width": 16}
    whole = (write_clips(tmp_path, **settings) / "settings.json").read_text()
    (tmp_path / "settings.json").write_text(torn)
    (tmp_path / "synth4d_regions_heldout.json").unlink(missing_ok=True)
    write_clips(tmp_path, **settings)
    assert (tmp_path / "settings.json").read_text() == whole and not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    with only_writer(tmp_path), pytest.raises(ValueError, match="another process is writing there"):
        write_clips(tmp_path, count=1, frames=2, height=16, width=16)
    assert not list(tmp_path.iterdir())


def test_datasets_of_others_stay_registered(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}, "synth4d": {"file_name": "x"}}')
    write_clips(tmp_path, count=2, frames=2, height=16, width=16)
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["mine"] == {"file_name": "mine.json"} and info[DATASET]["file_name"] == "synth4d.json"
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset_info.json is not readable JSON .*mend it"):
        write_clips(tmp_path, count=3, frames=2, height=16, width=16)


def load_tiny_student(family, folder):
    layers = 2 if family.startswith(("qwen3_5", "glm4v_moe")) else 1  # one of each kind
    sizes = {"hidden": 32, "layers": layers, "heads": 4, "vision_hidden": 32, "vision_heads": 4}
    out = build_tiny_student(folder, family, **sizes | ({} if family.startswith("qwen") else {"vision_layers": 2}))
    processor = AutoProcessor.from_pretrained(out)
    return processor, AutoTokenizer.from_pretrained(out), AutoModelForImageTextToText.from_pretrained(out)


def asked(processor, media):
    content = [{"type": media}, {"type": "text", "text": "Which way does the red ball move?"}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILIES if family.startswith("qwen")])
def test_tiny_student_loads_offline_and_reads_a_clip(family, tmp_path):
    processor, tokenizer, model = load_tiny_student(family, tmp_path)
    # An answer is one token, and the special tokens are whole.
    for word in ("left", "right", "closer", "yes", "no", "purple", "<|video_pad|>", "<|im_end|>", "<think>"):
        assert len(tokenizer(word)["input_ids"]) == 1, word
    assert tokenizer.eos_token == "<|im_end|>"

    video = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    timing = {"fps": 2.0, "total_num_frames": 4, "frames_indices": [0, 1, 2, 3], "duration": 2.0}
    inputs = processor(
        text=[asked(processor, "video")],
        videos=[video],
        video_metadata=[timing],
        do_sample_frames=False,
        return_tensors="pt",
    )
    # 64 x 64 frames are not scaled up: 8 x 8 patches.
    assert inputs["video_grid_thw"].tolist() == [[2, 8, 8]]
    assert (inputs["input_ids"] == processor.video_token_id).sum() == 2 * 4 * 4
    assert model(**inputs).logits.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "special", "tokens"),
    [
        ("llava_next_video", ["<video>", "<image>", "<s>", "</s>"], 4 * 16),
        ("video_llava", ["<video>", "<image>", "<s>", "</s>"], 4 * (1 + 16)),
        ("llava_onevision", ["<video>", "<image>", "<|im_start|>", "<|im_end|>"], 4 * 16 + 1),
        ("nvila", ["<vila/video>", "<image>", "<vila/sentinel>", "<|im_start|>", "<|im_end|>"], 4 * 16),
        ("internvl", ["<video>", "<IMG_CONTEXT>", "<img>", "</img>", "<|im_end|>"], 4 * 16),
        ("gemma3", ["<image_soft_token>", "<start_of_image>", "<end_of_image>", "<end_of_turn>"], 16),
        ("gemma4", ["<|video|>", "<|image>", "<image|>", "<turn|>"], 4 * 64),
        ("glm4v", ["<|image|>", "<|begin_of_video|>", "<|user|>", "<think>"], 2 * 16),
        ("glm4v_moe", ["<|image|>", "<|begin_of_video|>", "<|user|>", "<think>"], 2 * 16),
    ],
)
def test_another_tiny_student_loads_offline_and_reads_a_clip(family, special, tokens, tmp_path):
    """By the library's own processor; Gemma 3 gets an image, the one thing that it knows."""
    processor, tokenizer, model = load_tiny_student(family, tmp_path)
    for word in special:
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word
    assert tokenizer.decode(tokenizer("A red ball,\n\nyes é", add_special_tokens=False)["input_ids"]) == (
        "A red ball,\n\nyes é"
    )
    media = {"videos": [torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)]}
    if family == "gemma3":
        media = {"images": [[Image.fromarray(np.zeros((48, 80, 3), dtype=np.uint8))]]}
    if family in ("gemma4", "nvila") or family.startswith("glm"):
        media["do_sample_frames"] = False  # they want more otherwise, or times
    inputs = processor(
        text=[asked(processor, "image" if family == "gemma3" else "video")], **media, return_tensors="pt"
    )
    token = tokenizer.convert_tokens_to_ids(get_family(family).clip_token)
    assert (inputs["input_ids"] == token).sum() == tokens
    assert model(**inputs).logits.isfinite().all()


def test_tiny_student_depends_on_its_seed_only(tmp_path):
    sizes = {"hidden": 32, "layers": 1, "vision_hidden": 32}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    weights = [
        (build_tiny_student(tmp_path / n, seed=s, **sizes) / "model.safetensors").read_bytes()
        for n, s in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert weights[0] == weights[1] != weights[2]
    torch.testing.assert_close(torch.rand(3), expected)
    with pytest.raises(ValueError, match="multiple of 8"):
        build_tiny_student(tmp_path / "d", hidden=20)
    with pytest.raises(ValueError, match="merge == temporal_patch"):
        build_tiny_student(tmp_path / "e", "qwen3_vl", merge=1)


def test_random_teacher_loads(tmp_path):
    path = tmp_path / "teacher.safetensors"
    config = write_random_teacher(path)
    assert read_l4p_config(path) == config and path.stat().st_size < 400_000
    teacher = load_l4p(path)
    maps = teacher(teacher.normalise(torch.zeros(1, 16, 3, 64, 64, dtype=torch.uint8)), config.tasks)
    assert maps["depth"].shape == (1, 1, 16, 64, 64) and maps["camray"].shape == (1, 6, 16, 8, 8)
