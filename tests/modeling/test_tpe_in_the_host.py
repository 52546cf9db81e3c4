# SPDX-License-Identifier: Apache-2.0
"""`p4d.tpe` through the host: which type is loaded and trained, what the model gets, and what is refused."""

import json
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from llamafactory.chat import ChatModel
from llamafactory.hparams import get_infer_args, get_train_args
from llamafactory.model import load_config, load_model, load_tokenizer
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText

from rgpt4d_plugin import modeling, patches
from rgpt4d_plugin.arguments import P4DConfigError, TimestampEncoding, parse_p4d
from rgpt4d_plugin.modeling.marker import MARKER_FILE, read_marker
from tests.harness import DATA, largest_relative_difference, logs, train_here, weights
from tests.host_parts import host_parts
from tests.tiny_models import FAMILIES, TEMPLATES, build_tiny_student


pytestmark = pytest.mark.slow


CLIP = str(DATA / "clips/4.mp4")


@pytest.mark.parametrize("text, expected", [("off", "off"), ("'off'", "off"), ("add", "add"), ("text", "text")])
def test_yaml_reads_off_as_false(text, expected):
    assert parse_p4d(yaml.safe_load(f"{{preset: none, tpe: {text}}}")).tpe == expected


@pytest.mark.parametrize("value", [True, "on", "sine", 3])
def test_other_values_are_refused(value):
    with pytest.raises(P4DConfigError, match=r"p4d.tpe: expected one of 'off', 'add', 'text'"):
        parse_p4d({"preset": "none", "tpe": value})


# --- the model -------------------------------------------------------------------------------------------------------


def loaded(recipe):
    """The model of a recipe, ready to be trained."""
    model_args, _, _, finetuning_args, _ = get_train_args(dict(recipe))
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    return load_model(tokenizer, model_args, finetuning_args, is_trainable=True)


@pytest.mark.parametrize(
    "method",
    [
        {"finetuning_type": "full"},
        {"finetuning_type": "full", "freeze_vision_tower": False, "freeze_language_model": True},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1},
        {"finetuning_type": "lora", "lora_target": "all", "lora_rank": 4},
        {"finetuning_type": "lora", "lora_target": "all", "lora_rank": 4, "freeze_vision_tower": False},
    ],
    ids=["full", "vision", "freeze", "lora", "lora_vision"],
)
def test_what_is_trained_is_what_is_trained_of_the_base(assets, tmp_path, method):
    plain = loaded(assets.recipe(tmp_path, **method))
    timed = loaded(assets.recipe(tmp_path, p4d=assets.p4d(tpe="add"), **method))

    assert timed.config.model_type == "rgpt4d_qwen2_5_vl" and plain.config.model_type == "qwen2_5_vl"
    trained = [{n: p.requires_grad for n, p in model.named_parameters()} for model in (plain, timed)]
    assert trained[0] == trained[1] and any(trained[0].values())
    first, second = plain.state_dict(), timed.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first if "lora_" not in name)


def test_the_batch_holds_the_times_of_the_frames(assets, tmp_path):
    parts = host_parts(assets.recipe(tmp_path, p4d=assets.p4d(tpe="add", frames=5), video_maxlen=None))
    template = parts.run_template
    features = [
        parts.encode(template, "<video>What?", videos=[CLIP]),
        parts.encode(template, "No video?"),
        parts.encode(template, "<video><video>Which?", videos=[CLIP, CLIP]),
    ]
    batch = parts.collator(template)(features)
    stamps = batch["video_timestamps"]
    assert stamps.shape == batch["input_ids"].shape and stamps.dtype == torch.int64
    video = batch["input_ids"] == parts.tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert torch.equal(stamps >= 0, video)
    (first,) = batch["p4d"].timestamps[:1]
    pairs = [round((a + b) / 2 * 1e6) for a, b in zip(first[::2], [*first[1::2], first[-1]], strict=True)]
    assert stamps[0][video[0]].unique_consecutive().tolist() == pairs
    assert stamps[2][video[2]].unique_consecutive().tolist() == pairs * 2


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_answers_with_it(assets, tmp_path, family):
    """Times at the tokens of clips, also beside images; a step of training; the same answer by chat and by batch."""
    student = build_tiny_student(tmp_path / "student", family, hidden=32, layers=2, vision_hidden=32)
    recipe = assets.recipe(
        tmp_path / "out",
        model_name_or_path=str(student),
        template=f"rgpt4d_{TEMPLATES[family].removeprefix('rgpt4d_')}",
        p4d=assets.p4d(tpe="add", frames=4),
        video_maxlen=None,
    )
    image = str(tmp_path / "a.png")
    Image.new("RGB", (64, 64), "red").save(image)

    parts = host_parts(recipe)
    template = parts.run_template
    asked = [
        ("<video>What?", [], [CLIP]),
        ("<image>Is it in <video>or <video>?", [image], [CLIP, CLIP]),
        ("Hm?", [], []),
    ]
    features = [parts.encode(template, text, images=images, videos=videos) for text, images, videos in asked]
    batch = parts.collator(template)(features)
    stamps = batch["video_timestamps"]
    placed = torch.full_like(stamps, -1).flatten()
    per_step = parts.run.family.frames_per_step(parts.processor)
    for tokens, seconds in zip(batch["p4d"].tokens, batch["p4d"].timestamps, strict=True):
        steps = [sum(seconds[i : i + per_step]) / per_step for i in range(0, 4, per_step)]
        placed[tokens.index] = torch.tensor(
            [round(time * 1e6) for time in steps for _ in range(len(tokens.index) // len(steps))]
        )
    assert torch.equal(stamps.flatten(), placed) and len(batch["p4d"]) == 3

    train_here(recipe)
    assert logs(tmp_path / "out")[1]["loss"] < logs(tmp_path / "out")[0]["loss"]
    trained = {**recipe, "model_name_or_path": str(tmp_path / "out"), "infer_dtype": "float32", "do_sample": False}
    trained["max_new_tokens"] = 4
    engine = ChatModel(trained).engine
    messages = [{"role": "user", "content": "<image>Is it in <video>or <video>?"}]
    arguments = (engine.model, engine.tokenizer, engine.processor, engine.template, engine.generating_args, messages)
    generate, length = engine._process_args(*arguments, images=[image], videos=[CLIP, CLIP])
    assert sorted(generate["video_timestamps"].unique().tolist()) == sorted(stamps[1].unique().tolist())
    assert len(engine.model.generate(**generate)[0]) > length


def test_the_encoding_reaches_the_loss(assets, tmp_path):
    losses = {}
    for name, block in {
        "off": {"tpe": "off"},
        "add": {"tpe": "add"},
        "large": {"tpe": "add", "tpe_scale": 3.0},
    }.items():
        train_here(assets.recipe(tmp_path / name, p4d=assets.p4d(**block), max_steps=1))
        losses[name] = logs(tmp_path / name)[0]["loss"]
    assert len(set(losses.values())) == 3


def test_the_encoding_alone_needs_no_teacher(assets, tmp_path):
    """Without a loss term the run is SFT of the timed model: `loss_sft` of the run that distils is its loss."""
    train_here(assets.recipe(tmp_path / "alone", p4d={"preset": "none", "tpe": "add"}))
    train_here(assets.recipe(tmp_path / "both", p4d=assets.p4d(tpe="add"), max_steps=1))
    alone, both = logs(tmp_path / "alone"), logs(tmp_path / "both")
    assert alone[0]["loss"] == pytest.approx(both[0]["loss_sft"], rel=1e-6) and alone[1]["loss"] < alone[0]["loss"]
    assert not [key for key in alone[0] if key.startswith("loss_")]
    assert json.loads((tmp_path / "alone/config.json").read_text())["model_type"] == "rgpt4d_qwen2_5_vl"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_resumed_run_goes_on_as_the_uninterrupted_one(assets, tmp_path, method):
    lora = {"lora_rank": 4, "lora_target": "all"} if method == "lora" else {}
    recipe = assets.recipe(
        tmp_path / "whole",
        finetuning_type=method,
        p4d=assets.p4d(tpe="add"),
        max_steps=3,
        save_strategy="steps",
        save_steps=2,
        **lora,
    )
    train_here(recipe)
    again = {**recipe, "output_dir": str(tmp_path / "again")}
    train_here({**again, "resume_from_checkpoint": str(tmp_path / "whole/checkpoint-2")})
    file = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert largest_relative_difference(weights(tmp_path / "whole", file), weights(tmp_path / "again", file)) == 0.0


# --- adapters and checkpoints say what they are ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(assets, tmp_path_factory):
    """An adapter trained with the encoding, and its recipe."""
    output = tmp_path_factory.mktemp("adapter") / "out"
    recipe = assets.recipe(
        output, finetuning_type="lora", lora_rank=4, lora_target="all", p4d=assets.p4d(tpe="add", tpe_scale=0.5)
    )
    train_here({**recipe, "save_strategy": "steps", "save_steps": 2})
    return recipe


def test_an_adapter_is_marked(adapter):
    for folder in (adapter["output_dir"], adapter["output_dir"] + "/checkpoint-2"):
        assert read_marker(folder) == TimestampEncoding(0.5, 10000.0)


def test_an_adapter_brings_its_encoding_along(adapter):
    """Also without a `p4d:` block: the base without the encoding would be another model."""
    keys = ("model_name_or_path", "template", "finetuning_type")
    model_args = get_infer_args(
        {**{key: adapter[key] for key in keys}, "adapter_name_or_path": adapter["output_dir"]}
    )[0]
    config = load_config(model_args)
    assert (config.model_type, config.tpe_scale) == ("rgpt4d_qwen2_5_vl", 0.5)
    assert type(load_tokenizer(model_args)["processor"]).__name__ == "RGPT4DQwen2_5_VLProcessor"


def test_plain_peft_refuses_the_adapter(assets, adapter, host_modules):
    """On the base; on the timed model it loads without a warning. Without the plugin, PEFT warns."""
    config = json.loads(Path(adapter["output_dir"], "adapter_config.json").read_text())
    assert config["exclude_modules"] == ["rgpt4d_timestamps"]
    base = AutoModelForImageTextToText.from_pretrained(assets.student)
    with pytest.raises(ValueError, match="fits rgpt4d_qwen2_5_vl only.*export it merged"):
        PeftModel.from_pretrained(base, adapter["output_dir"])
    timed = modeling.load("qwen2_5_vl").model.from_pretrained(
        assets.student, config=modeling.timestamped_config(base.config, 0.5, 10000.0)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PeftModel.from_pretrained(timed, adapter["output_dir"])
    patches.undo_all()
    with pytest.warns(UserWarning, match="exclude_modules={'rgpt4d_timestamps'} but no modules were excluded"):
        PeftModel.from_pretrained(base, adapter["output_dir"])


def test_an_adapter_of_another_encoding_is_refused(assets, adapter, tmp_path):
    recipe = {**adapter, "adapter_name_or_path": adapter["output_dir"], "output_dir": str(tmp_path)}
    with pytest.raises(P4DConfigError, match="scale=1.0.*but the adapter .* was trained with .*scale=0.5"):
        load_config(get_train_args({**recipe, "p4d": assets.p4d(tpe="add")})[0])
    plain = assets.recipe(tmp_path / "plain", finetuning_type="lora", lora_rank=4, lora_target="all", p4d=None)
    train_here(plain)
    assert not (tmp_path / "plain" / MARKER_FILE).exists()
    with pytest.raises(P4DConfigError, match="was trained without it"):
        load_config(get_train_args({**recipe, "adapter_name_or_path": str(tmp_path / "plain")})[0])


@pytest.fixture(scope="module")
def checkpoint(assets, tmp_path_factory):
    """A whole model trained with the encoding."""
    output = tmp_path_factory.mktemp("checkpoint") / "out"
    train_here(assets.recipe(output, p4d={"preset": "none", "tpe": "add"}))
    return str(output)


def test_a_checkpoint_of_another_encoding_is_refused(assets, checkpoint, tmp_path):
    recipe = assets.recipe(tmp_path, model_name_or_path=checkpoint, p4d=assets.p4d(tpe="add", tpe_base=500.0))
    with pytest.raises(P4DConfigError, match="base=500.0.*was trained with .*base=10000.0"):
        load_config(get_train_args(recipe)[0])


def test_a_run_without_the_block_does_not_forget_the_encoding(assets, checkpoint, tmp_path):
    recipe = assets.recipe(tmp_path, model_name_or_path=checkpoint, p4d=None)
    with pytest.raises(ValueError, match="needs `video_timestamps`"):
        train_here(recipe)


def test_a_distilling_run_goes_on_from_such_a_checkpoint(assets, checkpoint, tmp_path):
    """`tpe` may be left out: the model has it."""
    train_here(assets.recipe(tmp_path / "out", model_name_or_path=checkpoint, p4d=assets.p4d()))
    assert json.loads((tmp_path / "out/config.json").read_text())["model_type"] == "rgpt4d_qwen2_5_vl"


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
def test_an_engine_that_does_not_know_the_type_is_refused(assets, tmp_path, backend):
    recipe = assets.recipe(tmp_path, p4d=assets.p4d(tpe="add"), infer_backend=backend)
    with pytest.raises(P4DConfigError, match=f"infer_backend: {backend} knows no rgpt4d_ models"):
        get_infer_args(recipe)


# --- the sentence ----------------------------------------------------------------------------------------------------


def test_the_sentence_is_said_in_training_and_chat(assets, tmp_path):
    """In any of the host's formats and templates, and before the question."""
    recipe = assets.recipe(tmp_path, p4d=assets.p4d(tpe="text", frames=4), video_maxlen=None)
    parts = host_parts(recipe)
    feature = parts.encode(parts.run_template, "<video>Which way?", videos=[CLIP])
    text = parts.tokenizer.decode(feature["input_ids"])
    said = "These images are uniformly sampled from a video of 5.0 seconds.\n\nWhich way?"
    assert f"<|vision_end|>{said}<|im_end|>" in text

    chat = ChatModel({**recipe, "infer_dtype": "float32"})
    engine = chat.engine
    messages = [{"role": "user", "content": "Which way?"}]
    arguments = (engine.model, engine.tokenizer, engine.processor, engine.template, engine.generating_args, messages)
    generate, _ = engine._process_args(*arguments, videos=[CLIP])
    asked = engine.tokenizer.decode(generate["inputs"][0])
    assert f"{said}<|im_end|>" in asked
    assert generate["video_grid_thw"][0, 0] == 2  # p4d.frames: 4, in pairs
