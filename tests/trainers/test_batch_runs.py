# SPDX-License-Identifier: Apache-2.0
"""The host's kinds of runs: packing, streams, evaluation, generation, accuracy, resuming; with and without `p4d:`."""

import json

import pytest
import torch
from PIL import Image

from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from tests.harness import LOG_KEYS, largest_relative_difference, logs, train_here, weights
from tests.training import PLAIN_SGD, gradients


pytestmark = pytest.mark.slow


STILL = PLAIN_SGD | {"learning_rate": 0.0, "save_strategy": "no"}
"""A step that changes nothing."""


@pytest.fixture(scope="module")
def kinds(assets, tmp_path_factory):
    """Recipe keys of a dataset with clips, several in a record, images and text."""
    root = tmp_path_factory.mktemp("kinds")
    clips = [record["videos"][0] for record in json.loads((assets.clips / "synth4d.json").read_text())]
    picture = root / "picture.png"
    Image.new("RGB", (48, 32), (200, 30, 30)).save(picture)

    def record(prompt, images=(), videos=()):
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": "yes"}]
        return {"messages": turns, "images": list(images), "videos": list(videos)}

    mixed = [
        record("<video>How many?", videos=clips[:1]),
        record("How many?"),
        record("<video>Here or <video>there?", videos=clips[1:3]),
        record("<image>Red?", images=[str(picture)]),
        record("<image>Is it in <video>this?", images=[str(picture)], videos=clips[3:4]),
    ]
    info = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    info["columns"] = {**info["columns"], "images": "images"}
    for name, records in (("mixed", mixed), ("text", [mixed[1]] * 3)):
        (root / f"{name}.json").write_text(json.dumps(records))
    names = {name: {**info, "file_name": f"{name}.json"} for name in ("mixed", "text")}
    (root / "dataset_info.json").write_text(json.dumps(names))
    return {"dataset": "mixed", "dataset_dir": str(root)}


def evaluations(folder):
    lines = (folder / "trainer_log.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "eval_loss" in line]


def assert_terms(one, two, prefix=""):
    for key in LOG_KEYS.values():
        assert two[f"{prefix}{key}"] == pytest.approx(one[key], rel=1e-5), key


def test_neat_packing_trains_as_the_batch_does(assets, kinds, tmp_path):
    """The whole step: SFT and terms, model and decoder."""
    train_here(assets.recipe(tmp_path / "batch", **kinds, **PLAIN_SGD, per_device_train_batch_size=5))
    train_here(assets.recipe(tmp_path / "packed", **kinds, **PLAIN_SGD, neat_packing=True, cutoff_len=1024))

    one, two = (logs(tmp_path / run)[0] for run in ("batch", "packed"))
    assert two["p4d_videos"] == one["p4d_videos"] == 4
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert_terms(one, two)
    one, two = (gradients(assets, tmp_path / run) for run in ("batch", "packed"))
    assert largest_relative_difference(one, two) < 1e-5


@pytest.mark.parametrize("packing", ["packing", "neat_packing"])
@pytest.mark.parametrize("flash_attn", ["sdpa", "disabled"])
def test_packed_rows_have_the_sft_loss_of_plain_sft(assets, kinds, tmp_path, packing, flash_attn):
    packed = {packing: True, "cutoff_len": 512, "flash_attn": flash_attn, "max_steps": 1, **kinds}
    train_here(assets.recipe(tmp_path / "plain", p4d=None, **packed))
    train_here(assets.recipe(tmp_path / "p4d", **packed))
    assert logs(tmp_path / "p4d")[0]["loss_sft"] == logs(tmp_path / "plain")[0]["loss"]


def test_packed_rows_of_text(assets, kinds, tmp_path):
    """The host alone fails here: its mask is longer than the row."""
    packed = {**kinds, "neat_packing": True, "cutoff_len": 256, "max_steps": 1, "dataset": "text"}
    train_here(assets.recipe(tmp_path / "packed", **packed))
    train_here(assets.recipe(tmp_path / "batch", **packed | {"neat_packing": False}, per_device_train_batch_size=3))
    assert logs(tmp_path / "packed")[0]["p4d_videos"] == 0
    assert logs(tmp_path / "packed")[0]["loss"] == pytest.approx(logs(tmp_path / "batch")[0]["loss"], rel=1e-5)


def test_streaming_gives_what_a_read_dataset_gives(assets, kinds, tmp_path):
    """Batches of every kind, from a process of the data loader's."""
    recipe = STILL | kinds | {"per_device_train_batch_size": 2, "max_steps": 2}
    train_here(assets.recipe(tmp_path / "read", **recipe))
    stream = {"streaming": True, "buffer_size": 1, "dataloader_num_workers": 1}
    train_here(assets.recipe(tmp_path / "stream", **recipe, **stream))
    for one, two in zip(logs(tmp_path / "read"), logs(tmp_path / "stream"), strict=True):
        for key in ("loss", "loss_sft", "p4d_videos", *LOG_KEYS.values()):
            assert two[key] == one[key], key


def test_evaluation_terms_are_means_over_clips(assets, kinds, tmp_path, trainers):
    """Whatever the batches of the evaluation are: against each record alone, by hand."""
    recipe = kinds | {"eval_dataset": "mixed", "max_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    train_here(assets.recipe(tmp_path / "out", **STILL | recipe, per_device_eval_batch_size=2))
    (trainer,) = trainers
    (logged,) = evaluations(tmp_path / "out")
    assert logged["eval_p4d_videos"] == pytest.approx(4 / 3)

    terms, clips = torch.zeros(len(LOG_KEYS)), 0
    model = trainer.model.eval()
    for feature in trainer.eval_dataset:
        inputs = trainer.data_collator([feature])
        batch = inputs.pop("p4d")
        with torch.no_grad(), trainer._p4d_tap.listen(batch) as tap:
            model(**inputs)
            sums = trainer._p4d_distiller(tap.latents(), batch)
        terms, clips = terms + sums.terms, clips + sums.clips
    assert clips == 4
    by_hand = dict(zip(LOG_KEYS.values(), (terms / clips).tolist(), strict=True))
    assert_terms(by_hand, logged, "eval_")
    for size in (1, 3, 5):
        trainer.args.per_device_eval_batch_size = size
        assert_terms(by_hand, trainer.evaluate(), "eval_")


def test_validation_split(assets, kinds, tmp_path):
    recipe = {"val_size": 2, "eval_strategy": "steps", "eval_steps": 1, "max_steps": 1, "compute_accuracy": True}
    train_here(assets.recipe(tmp_path / "p4d", **STILL | recipe))
    train_here(assets.recipe(tmp_path / "plain", p4d=None, **STILL | recipe))
    (one,), (two,) = (evaluations(tmp_path / run) for run in ("plain", "p4d"))
    assert two["eval_loss"] == one["eval_loss"] and two["eval_loss_depth"] > 0

    def accuracy(run):
        history = json.loads((tmp_path / run / "trainer_state.json").read_text())["log_history"]
        return [entry["eval_accuracy"] for entry in history if "eval_accuracy" in entry]

    assert accuracy("p4d") == accuracy("plain") != []


def test_evaluating_without_training_is_the_hosts(assets, tmp_path, trainers):
    """The decoder is not there, so there are no terms; the clips are sampled as for training."""
    recipe = {"do_train": False, "do_eval": True, "eval_dataset": "synth4d"}
    train_here(assets.recipe(tmp_path / "plain", p4d=None, video_maxlen=6, **recipe))
    train_here(assets.recipe(tmp_path / "p4d", p4d=assets.p4d(frames=6), video_maxlen=None, **recipe))

    assert trainers == []
    plain, p4d = (json.loads((tmp_path / run / "eval_results.json").read_text()) for run in ("plain", "p4d"))
    assert plain["eval_loss"] == p4d["eval_loss"] and not any("depth" in key for key in p4d)


@pytest.mark.parametrize("cutoff_len", [2048, 80])
def test_generation_is_the_hosts(assets, kinds, tmp_path, cutoff_len):
    """With left padding, after a step; and with a clip that `cutoff_len` cuts, where the host alone fails."""
    recipe = {"predict_with_generate": True, "do_predict": True, "eval_dataset": "synth4d", "max_new_tokens": 4}
    recipe |= {"per_device_eval_batch_size": 2, "cutoff_len": cutoff_len, "eval_strategy": "steps", "eval_steps": 1}
    recipe |= {"generation_max_length": 120}
    train_here(assets.recipe(tmp_path / "p4d", **STILL | recipe))
    predictions = (tmp_path / "p4d/generated_predictions.jsonl").read_text()
    assert len(predictions.splitlines()) == 6
    if cutoff_len == 2048:
        train_here(assets.recipe(tmp_path / "plain", p4d=None, **STILL | recipe))
        assert predictions == (tmp_path / "plain/generated_predictions.jsonl").read_text()


@pytest.mark.parametrize(
    ("way", "name"),
    [
        pytest.param({"finetuning_type": "lora", "per_device_train_batch_size": 2}, "adapter_model", id="lora"),
        pytest.param({"neat_packing": True, "cutoff_len": 256}, "model", id="neat packing"),
        pytest.param({"gradient_accumulation_steps": 2, "dataloader_num_workers": 1}, "model", id="accumulation"),
    ],
)
def test_resuming_a_shuffled_run_is_bit_equal(assets, tmp_path, way, name):
    """Invariant 7, through the end of an epoch."""
    recipe = {"save_strategy": "steps", "save_steps": 2, "max_steps": 5, "lr_scheduler_type": "cosine"}
    recipe |= {"disable_shuffling": False, **way}
    train_here(assets.recipe(tmp_path / "whole", **recipe))
    checkpoint = str(tmp_path / "whole/checkpoint-2")
    train_here(assets.recipe(tmp_path / "resumed", **recipe, resume_from_checkpoint=checkpoint))

    for file in (f"{name}.safetensors", DECODER_FILE):
        whole, again = (weights(tmp_path / run / "checkpoint-4", file) for run in ("whole", "resumed"))
        assert all(torch.equal(whole[key], again[key]) for key in whole | again), file
    assert [line["loss"] for line in logs(tmp_path / "resumed")] == [
        line["loss"] for line in logs(tmp_path / "whole")[2:]
    ]
