# SPDX-License-Identifier: Apache-2.0
"""Training through TRL: the same batches and losses as through the host, and what TRL's users expect of a trainer."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from rgpt4d_plugin import RegionPrompt
from rgpt4d_plugin.arguments import P4DConfigError, RegionArguments, parse_p4d
from rgpt4d_plugin.regions.region import RegionError
from rgpt4d_plugin.students import UnsupportedFamilyError
from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from rgpt4d_plugin.trainers.setup import P4DSetup
from rgpt4d_plugin.trainers.trl import P4DSFTTrainer, P4DVisionCollator, Sampling, VideoSFTTrainer
from rgpt4d_plugin.trainers.trl_records import RecordError
from rgpt4d_plugin.video import VideoError
from tests.harness import ALL_LOG_KEYS, DATA, LOG_KEYS, largest_relative_difference, weights
from tests.tiny_models import build_tiny_student
from tests.trl_runs import LORA, SAMPLING, config, dataset_of, logged, train


ROOT = Path(__file__).parents[2]
VIDEO = str(DATA / "clips/4.mp4")  # 224 x 224, 150 frames at 30 per second
PLAIN_SGD = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0, "max_steps": 1}


@pytest.fixture(scope="module")
def dataset(assets):
    return dataset_of(assets)


@pytest.fixture(scope="module")
def processor(assets):
    return AutoProcessor.from_pretrained(assets.student)


# Batches and losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "reason"),
    [("gemma3", "Gemma3Processor takes no videos"), ("video_llava", "VideoLlavaProcessor takes neither times")],
)
def test_a_model_without_videos_is_refused(assets, dataset, tmp_path, family, reason):
    student = build_tiny_student(tmp_path / "student", family)
    with pytest.raises(VideoError, match=f"{reason}.*LLaMA-Factory with "):
        P4DSFTTrainer(str(student), config(tmp_path / "out"), train_dataset=dataset, p4d=assets.p4d())
    prompt = RegionPrompt(VIDEO, "What?")
    with pytest.raises(VideoError, match=reason):
        prompt.inputs(AutoProcessor.from_pretrained(student))


@pytest.mark.slow
def test_the_sft_loss_is_that_of_plain_trl(assets, dataset, tmp_path):
    plain = train(assets, tmp_path / "plain", dataset, cls=VideoSFTTrainer, max_steps=1)
    distilled = train(assets, tmp_path / "p4d", dataset, max_steps=1)

    assert logged(distilled)[0]["loss_sft"] == logged(plain)[0]["loss"]
    assert weights(tmp_path / "p4d" / save(distilled)).keys() == weights(tmp_path / "plain" / save(plain)).keys()


@pytest.mark.slow
@pytest.mark.parametrize("peft", [None, LORA], ids=["full", "lora"])
def test_the_times_reach_the_trained_model(assets, dataset, tmp_path, peft):
    """TRL 1 computes its loss from the model below the head, past the model's own `forward`."""
    p4d = assets.p4d(tpe="add")
    timed = train(assets, tmp_path / "timed", dataset, peft=peft, given={"p4d": p4d}, max_steps=1)
    plain = train(assets, tmp_path / "plain", dataset, peft=peft, max_steps=1)
    again = P4DSFTTrainer(
        str(assets.student), config(tmp_path), train_dataset=dataset, p4d=p4d, sampling=SAMPLING, peft_config=peft
    )
    batch = next(iter(again.get_train_dataloader()))
    del batch["p4d"]
    with torch.no_grad():
        expected = again.model(**batch).loss.item()

    assert logged(timed)[0]["loss_sft"] == pytest.approx(expected, rel=1e-5)
    assert logged(plain)[0]["loss_sft"] != pytest.approx(expected, rel=1e-4)


def save(trainer) -> str:
    trainer.save_model()
    return "."


def test_images_are_collated_as_trl_does(processor):
    """But for the labels of the tokens that stand for images."""
    pictures = [Image.new("RGB", (64, 48), "red"), Image.new("RGB", (48, 48), "blue")]
    examples = [
        {"images": [picture], "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "yes"}]}
        for picture, q in zip(pictures, ("Is it red?", "Is the picture blue, or is it green?"), strict=True)
    ]
    batch = P4DVisionCollator(processor)(examples)
    expected = DataCollatorForVisionLanguageModeling(processor)(json_copy(examples))

    assert batch.keys() == expected.keys()
    for key in batch.keys() - {"labels"}:
        torch.testing.assert_close(batch[key], expected[key])
    image = expected["input_ids"] == processor.image_token_id
    assert torch.equal(batch["labels"][~image], expected["labels"][~image])
    assert (batch["labels"][image] == -100).all() and image.sum() == 12 + 9


def json_copy(examples):
    """TRL's collator changes the messages it is given."""
    return [{**example, "messages": [dict(message) for message in example["messages"]]} for example in examples]


# Training


@pytest.mark.slow
@pytest.mark.parametrize("peft", [None, LORA], ids=["full", "lora"])
def test_resume_continues_the_same_trajectory(assets, dataset, tmp_path, peft):
    steps = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "lr_scheduler_type": "cosine"}
    whole = train(assets, tmp_path / "whole", dataset, peft=peft, **steps)
    resumed = train(
        assets, tmp_path / "resumed", dataset, peft=peft, resume=str(tmp_path / "whole/checkpoint-2"), **steps
    )

    for name in ("model.safetensors" if peft is None else "adapter_model.safetensors", DECODER_FILE):
        first, again = (tmp_path / run / "checkpoint-4" / name for run in ("whole", "resumed"))
        assert first.read_bytes() == again.read_bytes()
    assert logged(resumed)[-1]["loss"] == logged(whole)[-1]["loss"]


@pytest.mark.slow
def test_gradients_and_logs_do_not_depend_on_accumulation(assets, dataset, tmp_path):
    two = dataset.select(range(2))
    batch = train(assets, tmp_path / "batch", two, **PLAIN_SGD)
    ways = {"mean": False, "sum": True}  # of the micro-batches' losses, as the model's class says
    for name, accepts in ways.items():
        model = AutoModelForImageTextToText.from_pretrained(assets.student)
        model.accepts_loss_kwargs = accepts
        one_by_one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2}
        trainer = train(assets, tmp_path / name, two, model=model, **PLAIN_SGD, **one_by_one)
        for key in ("loss", *LOG_KEYS.values(), "loss_sft"):
            assert logged(trainer)[0][key] == pytest.approx(logged(batch)[0][key], rel=1e-5), (name, key)
        initial = AutoModelForImageTextToText.from_pretrained(assets.student).state_dict()
        moved = [
            {key: initial[key] - value for key, value in run.model.state_dict().items() if key in initial}
            for run in (batch, trainer)
        ]
        assert largest_relative_difference(*moved) < 1e-4


@pytest.mark.slow
def test_training_lowers_every_term(assets, dataset, tmp_path):
    trainer = train(assets, tmp_path / "out", dataset.select(range(2)), learning_rate=3e-3, max_steps=8)

    first, *_, last = logged(trainer)
    assert last["loss"] < 0.9 * first["loss"]
    assert all(math.isfinite(last[key]) for key in ALL_LOG_KEYS)
    assert last["loss_sft"] < first["loss_sft"] and last["loss_depth"] < first["loss_depth"]


@pytest.mark.slow
def test_a_saved_adapter_is_a_plain_one(assets, dataset, tmp_path, processor):
    trainer = train(assets, tmp_path / "out", dataset, peft=LORA, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.save_model()

    for folder in (tmp_path / "out", tmp_path / "out/checkpoint-1"):
        assert all("lora_" in name for name in weights(folder, "adapter_model.safetensors"))
    assert not (tmp_path / "out" / DECODER_FILE).exists()
    assert (tmp_path / "out/checkpoint-1" / DECODER_FILE).exists()
    base = AutoModelForImageTextToText.from_pretrained(assets.student)
    reloaded = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    batch = P4DVisionCollator(processor, sampling=SAMPLING)([dataset[0]])
    with torch.no_grad(), trainer._p4d_tap.detached():
        expected = trainer.model.eval()(**batch).loss
        assert reloaded(**batch).loss == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at the end", "while training"])
def test_what_is_pushed_has_a_card_and_no_decoder(assets, dataset, tmp_path, monkeypatch, when):
    pushed = {}

    def upload(folder_path, **given):
        pushed.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir() if path.is_file()})
        return SimpleNamespace(done=lambda: True)

    monkeypatch.setattr("transformers.trainer.create_repo", lambda *args, **kwargs: SimpleNamespace(repo_id="me/mine"))
    monkeypatch.setattr("transformers.trainer.upload_folder", upload)
    saving = {"push_to_hub": True, "save_strategy": "steps", "save_steps": 1} if when == "while training" else {}
    trainer = train(assets, tmp_path / "out", dataset, peft=LORA, max_steps=1, **saving)
    if when == "at the end":
        trainer.push_to_hub()
    assert "| loss | SFT + mse of latent x 0.1" in pushed["README.md"].decode()
    assert "adapter_model.safetensors" in pushed and DECODER_FILE not in pushed


@pytest.mark.slow
def test_text_and_images_take_part_without_clips(assets, tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    records = [asked("Is it?", images=None), asked("Is it?", images=[str(tmp_path / "red.png")])]
    trainer = train(assets, tmp_path / "out", Dataset.from_list(records))

    for entry in logged(trainer):
        assert entry["p4d_videos"] == 0 and entry["loss"] == entry["loss_sft"]
        assert not LOG_KEYS.values() & entry.keys()
    decoder = trainer._p4d_tap.decoder
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in decoder.parameters())


@pytest.mark.slow
def test_evaluation_and_streaming(assets, dataset, tmp_path):
    evaluation = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 4, "max_steps": 1}
    trainer = train(
        assets, tmp_path / "out", dataset.to_iterable_dataset(), given={"eval_dataset": dataset}, **evaluation
    )

    (line,) = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    assert all(line[f"eval_{key}"] > 0 for key in ("loss_sft", *LOG_KEYS.values()))
    assert line["eval_p4d_videos"] == 3  # six clips in batches of four and two
    assert logged(trainer)[0]["p4d_videos"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("clips", [0, 1])
def test_ddp_may_search_for_unused_parameters(assets, dataset, tmp_path, clips):
    """Its default for adapters. It rebuilds the model's output, and waits for the decoder with and without a clip."""
    model = AutoModelForImageTextToText.from_pretrained(assets.student)
    adapted = LoraConfig(r=4, target_modules="all-linear")  # the vision tower too, which a batch of text does not use
    trainer = P4DSFTTrainer(
        model, config(tmp_path), train_dataset=dataset, p4d=assets.p4d(), sampling=SAMPLING, peft_config=adapted
    )
    trainer.current_gradient_accumulation_steps = 1  # set by the training loop otherwise
    record = dataset[0] if clips else asked("What?")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(trainer.model, find_unused_parameters=True).train()
        for _ in range(2):  # the second forward fails if the first left a parameter without its gradient
            trainer.get_batch_samples(iter([batch := trainer.data_collator([record])]), 1, trainer.args.device)
            loss = trainer.compute_loss(wrapped, batch)
            loss.backward()
    finally:
        torch.distributed.destroy_process_group()
    grads = [parameter.grad for parameter in trainer._p4d_tap.decoder.parameters()]
    assert all((grad != 0).any() == bool(clips) for grad in grads)


# Records


def asked(content, **columns):
    return {
        "prompt": [{"role": "user", "content": content}],
        "completion": [{"role": "assistant", "content": "yes"}],
    } | columns


def parts(*media):
    return [*media, {"type": "text", "text": "What moves?"}]


@pytest.fixture(scope="module")
def collator(processor):
    return P4DVisionCollator(processor, sampling=Sampling(frames=4, max_pixels=64 * 64))


@pytest.mark.slow
@pytest.mark.parametrize(
    "record",
    [
        asked(parts({"type": "video", "path": VIDEO})),
        asked(parts({"type": "video", "video": VIDEO, "image": None, "text": None})),  # as Arrow gives it
        asked(parts({"type": "video"}), videos=[VIDEO]),
        asked("What moves?", videos=[VIDEO]),
        asked("<video>What moves?", videos=[VIDEO]),
        asked("<video>What moves?", videos=[{"path": VIDEO, "start": None, "end": None}], images=None, regions=None),
    ],
)
def test_ways_to_give_a_video(collator, record):
    expected = collator([asked(parts({"type": "video", "video": VIDEO}))])
    batch = collator([record])
    assert batch.keys() == expected.keys()
    for key in batch:
        assert torch.equal(batch[key], expected[key]), key


def test_part_of_a_video_and_a_list_of_frames(collator, assets, processor):
    whole = collator([asked(parts({"type": "video", "video": VIDEO}))])
    part = collator([asked(parts({"type": "video", "video": VIDEO, "start": 1.0, "end": 2.0}))])
    assert torch.equal(part["input_ids"], whole["input_ids"])  # four frames, too
    assert not torch.equal(part["pixel_values_videos"], whole["pixel_values_videos"])
    assert part["second_per_grid_ts"].item() == pytest.approx(2 * 1.0 / 4)

    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    listed = collator([asked("What moves?", videos=[frames])])
    assert listed["video_grid_thw"].tolist() == [[2, 4, 4]]
    assert listed["second_per_grid_ts"].item() == pytest.approx(2 / 2.0)  # two frames a step, two a second


def test_words_and_texts_that_look_like_media_are_text(collator, processor):
    """Without a column, <video> is what the user wrote; in a text part it always is."""
    plain = collator([asked("What is a <video>?")])
    assert "What is a <video>?" in processor.decode(plain["input_ids"][0])
    part = collator([asked([{"type": "text", "text": "What is a <video>?"}, {"type": "video"}], videos=[VIDEO])])
    assert "What is a <video>?" in processor.decode(part["input_ids"][0])
    assert len(part["video_grid_thw"]) == 1


def test_labels_are_trls(processor):
    messages = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "yes"}]
    dialogue = {"messages": messages, "videos": [VIDEO]}
    split = {"prompt": messages[:1], "completion": messages[1:], "videos": [VIDEO]}

    def labels(record, **settings):
        batch = P4DVisionCollator(processor, sampling=Sampling(frames=2, max_pixels=32 * 32), **settings)([record])
        ids, marked = batch["input_ids"][0], batch["labels"][0]
        assert torch.equal(ids[marked != -100], marked[marked != -100])
        return processor.decode(marked[marked != -100])

    assert labels(split) == "yes<|im_end|>\n"
    everything = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    everything += "<|vision_end|>What?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
    assert labels(dialogue) == labels(split, completion_only_loss=False) == everything
    with pytest.raises(RecordError, match="completion_only_loss needs"):
        labels(dialogue, completion_only_loss=True)


def test_regions_are_drawn_for_the_student_alone(assets, processor):
    regions = [{"id": "obj_1", "time": 0.0, "box": [20, 30, 90, 120]}]
    run = P4DSetup.prepare(parse_p4d(assets.p4d()), AutoConfig.from_pretrained(assets.student))

    def collate(**record):
        collator = P4DVisionCollator(
            processor, p4d=run, sampling=Sampling(frames=4), regions=RegionArguments(style="som")
        )
        return collator([asked("Does <obj_1> move?", videos=[VIDEO], **record)])

    marked, plain = collate(regions=regions), collate()
    assert torch.equal(marked["input_ids"], plain["input_ids"])
    steps = (marked["pixel_values_videos"] != plain["pixel_values_videos"]).any(-1).view(2, -1).any(-1)
    assert steps.tolist() == [True, False]  # the first frame has the mark
    assert torch.equal(marked["p4d"].frames[0], plain["p4d"].frames[0])


def test_the_teachers_frames_are_those_of_the_file(assets, processor):
    run = P4DSetup.prepare(parse_p4d(assets.p4d()), AutoConfig.from_pretrained(assets.student))
    collator = P4DVisionCollator(processor, p4d=run, sampling=Sampling(frames=3, max_pixels=16 * 16))
    batch = collator([asked("What?", videos=[VIDEO])])
    (frames,) = batch["p4d"].frames
    height, width = run.teacher.input_size
    assert frames.shape == (3, 3, height, width)
    assert batch["p4d"].timestamps == [[0.0, pytest.approx(74 / 30), pytest.approx(149 / 30)]]
    # Not from the student's 16 x 16 pixels: those have no detail left at the teacher's size.
    small = Image.fromarray(frames[0].permute(1, 2, 0).numpy()).resize((16, 16)).resize((width, height))
    assert np.abs(np.asarray(small, dtype=int) - frames[0].permute(1, 2, 0).numpy()).mean() > 1


@pytest.mark.parametrize(
    "record, error, message",
    [
        ({"text": "yes"}, RecordError, "expected `messages`, or `prompt` and `completion`; the record has text"),
        (asked("What?", videos=["no.mp4"]), VideoError, r"no such video: no.mp4 \(in the record that begins 'What\?'"),
        (asked("<video>and<video>", videos=[VIDEO]), RecordError, "videos: the messages show more of them"),
        (asked("<video>", videos=[VIDEO, VIDEO]), RecordError, "videos: 2 in the column, but the messages show 1"),
        (asked([{"type": "audio"}]), RecordError, "expected parts of type text, image or video, got {'type': 'audio'"),
        (asked([{"type": "video", "url": "x"}]), RecordError, "expected 'video' or 'path' with the file"),
        (
            asked([{"type": "video", "video": VIDEO, "fps": 3}]),
            RegionError,
            r"videos\[0\].fps: unknown key; expected a path or",
        ),
        (asked("<obj_2>?", videos=[VIDEO], regions=[]), RegionError, "<obj_2> is named, but the record has no such"),
        (
            asked("?", videos=[VIDEO], regions=[{"id": "obj_1", "time": 0, "box": [0, 0, 500, 9]}]),
            RegionError,
            r"regions\[0\].box: .*in the record that begins '\?'",
        ),
    ],
)
def test_bad_records_are_named(collator, record, error, message):
    with pytest.raises(error, match=message):
        collator([record])


@pytest.mark.slow
def test_bad_records_are_found_before_training(assets, dataset, tmp_path):
    """Nothing is decoded for it, and it can be left out as TRL's preparation can."""
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(VIDEO).read_bytes()[:-20000])

    def build(record, **settings):
        records = Dataset.from_list([*[dict(dataset[0]) for _ in range(3)], record])
        given = {"p4d": assets.p4d(), "sampling": SAMPLING}
        return P4DSFTTrainer(str(assets.student), config(tmp_path, **settings), train_dataset=records, **given)

    with pytest.raises(VideoError, match=r"no such video: no.mp4 \(record 3, which begins 'What\?'\)"):
        build(asked("What?", videos=["no.mp4"]))
    with pytest.raises(VideoError, match=r"cut.mp4 is not a readable video.*record 3"):
        build(asked("What?", videos=[str(cut)]))
    with pytest.raises(RecordError, match="videos: 2 in the column.*record 3"):
        build(asked("<video>What?", videos=[VIDEO, VIDEO]), dataset_num_proc=2)
    build(asked("What?", videos=["no.mp4"]), dataset_kwargs={"skip_prepare_dataset": True})


def test_a_missing_image_is_named(collator):
    with pytest.raises(RecordError, match=r"images: .*No such file.*no.png.*in the record that begins 'What\?'"):
        collator([asked("What?", images=["no.png"])])


def test_a_clip_is_never_cut(processor):
    settings = {"sampling": Sampling(frames=4, max_pixels=64 * 64)}
    record = asked("What?", videos=[VIDEO])
    length = P4DVisionCollator(processor, **settings)([record])["input_ids"].shape[1]
    kept = P4DVisionCollator(processor, max_length=length - 2, **settings)([record])
    assert kept["input_ids"].shape[1] == length - 2  # of the answer, as TRL does
    with pytest.raises(RecordError, match=r"max_length=40 cuts the tokens of .*4.mp4: .*max_length=None"):
        P4DVisionCollator(processor, max_length=40, **settings)([record])


# Refusals, and the example


def test_what_cannot_work_is_refused(assets, dataset, tmp_path):
    def build(model=str(assets.student), **given):
        return P4DSFTTrainer(model, config(tmp_path), train_dataset=dataset, **{"p4d": assets.p4d(), **given})

    with pytest.raises(P4DConfigError, match="every weight is 0.*VideoSFTTrainer"):
        build(p4d=assets.p4d(loss=dict.fromkeys(LOG_KEYS, 0)))
    with pytest.raises(P4DConfigError, match="p4d.teachr: unknown key"):
        build(p4d={"teachr": {}})
    with pytest.raises(P4DConfigError, match="p4d.frames: 4 and sampling.frames: 8 both choose"):
        build(p4d=assets.p4d(frames=4), sampling=Sampling(frames=8))
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama/config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UnsupportedFamilyError, match="'llama'"):
        build(str(tmp_path / "llama"))


@pytest.mark.slow
def test_the_example_runs_without_the_host(assets, tmp_path):
    """The very file, by its command line, in a process in which LLaMA-Factory cannot be imported."""
    script = ROOT / "examples/trl_p4d.py"
    assert len(script.read_text().splitlines()) <= 60
    runner = f"""
import runpy, sys
sys.modules["llamafactory"] = None  # importing it, or anything in it, raises ImportError
sys.argv[0] = {str(script)!r}
runpy.run_path({str(script)!r}, run_name="__main__")
"""
    arguments = ["--model", assets.student, "--data", assets.clips / "synth4d.json", "--expert", assets.teacher]
    arguments += ["--output", tmp_path / "out", "--steps", "1", "--frames", "4"]
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    result = subprocess.run(
        [sys.executable, "-c", runner, *map(str, arguments)], env=environment, capture_output=True, text=True
    )

    assert result.returncode == 0, result.stderr[-4000:]
    state = json.loads((tmp_path / "out/checkpoint-1/trainer_state.json").read_text())
    assert set(ALL_LOG_KEYS) <= set(state["log_history"][0])
    assert all("lora_" in name for name in weights(tmp_path / "out", "adapter_model.safetensors"))
