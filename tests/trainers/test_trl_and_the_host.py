# SPDX-License-Identifier: Apache-2.0
"""TRL and the host train on the same batches, with the same losses."""

import pytest
import torch
import yaml
from transformers import AutoConfig

from rgpt4d_plugin.arguments import P4DConfigError, TimestampEncoding
from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher
from rgpt4d_plugin.modeling.marker import read_marker
from rgpt4d_plugin.students import FAMILIES
from rgpt4d_plugin.teachers.l4p.teacher import L4PTeacher
from rgpt4d_plugin.trainers.trl import P4DVisionCollator
from tests.harness import ALL_LOG_KEYS, logs, train_here
from tests.host_parts import host_parts
from tests.tiny_models import TEMPLATES, build_tiny_student
from tests.trl_runs import LORA, SAMPLING, dataset_of, host_records, logged, train


@pytest.fixture(scope="module")
def dataset(assets):
    return dataset_of(assets)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "qwen3_5_moe"])
@pytest.mark.parametrize("tpe", ["off", "add", "text"])
def test_a_batch_is_the_hosts(assets, dataset, tmp_path, family, tpe):
    """Token for token, pixel for pixel, time for time, and the same frames for the teacher."""
    recipe = assets.recipe(tmp_path / "out", p4d=assets.p4d(tpe=tpe))
    if family != "qwen2_5_vl":
        student = build_tiny_student(tmp_path / "student", family, hidden=32, layers=2, vision_hidden=32)
        recipe |= {"model_name_or_path": str(student), "template": f"rgpt4d_{TEMPLATES[family]}"}
    parts = host_parts(recipe)
    template = parts.run_template
    features = [parts.encode(template, r["messages"][0]["content"], videos=r["videos"]) for r in host_records(assets)]
    expected = parts.collator(template)(features)

    collator = P4DVisionCollator(
        parts.processor, p4d=parts.run, sampling=SAMPLING, pad_to_multiple_of=8, sentences=tpe == "text"
    )
    batch = collator([dataset[number] for number in range(len(dataset))])
    timed = ("video_timestamps",) if tpe == "add" else ()
    for key in ("input_ids", "attention_mask", "labels", "video_grid_thw", *timed):
        assert torch.equal(batch[key], torch.as_tensor(expected[key])), key
    torch.testing.assert_close(batch["pixel_values_videos"], expected["pixel_values_videos"], rtol=1e-6, atol=1e-6)
    ours, theirs = batch["p4d"], expected["p4d"]
    assert len(ours) == len(theirs) == 6
    for index in range(6):
        assert torch.equal(ours.frames[index], theirs.frames[index])
        assert torch.equal(ours.tokens[index].index, theirs.tokens[index].index)
        assert ours.tokens[index].grid == theirs.tokens[index].grid
        assert ours.timestamps[index] == theirs.timestamps[index]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava_next_video", "llava_onevision", "internvl", "gemma4"])
def test_clips_of_other_families_are_the_hosts(assets, dataset, tmp_path, family):
    """Their chat templates are not the host's to a word; pixels, grids and the teacher's frames are."""
    student = build_tiny_student(tmp_path / "student", family)
    template = f"rgpt4d_{FAMILIES[family].templates[0].removeprefix('rgpt4d_')}"
    parts = host_parts(assets.recipe(tmp_path / "out", model_name_or_path=str(student), template=template))
    short = host_records(assets)[::2]
    features = [parts.encode(parts.run_template, r["messages"][0]["content"], videos=r["videos"]) for r in short]
    expected = parts.collator(parts.run_template)(features)

    batch = P4DVisionCollator(parts.processor, p4d=parts.run, sampling=SAMPLING)([dataset[n] for n in (0, 2, 4)])
    pixels = "pixel_values" if family == "internvl" else "pixel_values_videos"
    # Clip by clip, or the frames of all clips in a row.
    found, wanted = (inputs[pixels].flatten(0, 1) for inputs in (batch, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)
    clip_token = parts.tokenizer.convert_tokens_to_ids(FAMILIES[family].clip_token)
    assert all((batch["input_ids"].flatten()[clip.index] == clip_token).all() for clip in batch["p4d"].tokens)
    assert [clip.grid for clip in batch["p4d"].tokens] == [clip.grid for clip in expected["p4d"].tokens]
    for ours, theirs in zip(batch["p4d"].frames, expected["p4d"].frames, strict=True):
        assert torch.equal(ours, theirs)
    assert not (batch["labels"] == clip_token).any()


@pytest.mark.slow
@pytest.mark.parametrize("way, tpe", [("full", "off"), ("lora", "off"), ("full", "add"), ("lora", "add")])
def test_losses_are_the_hosts(assets, dataset, tmp_path, way, tpe):
    one = {"max_steps": 1, "per_device_train_batch_size": 6}
    p4d = assets.p4d(tpe=tpe)
    train_here(assets.recipe(tmp_path / "host", finetuning_type=way, lora_rank=4, p4d=p4d, **one))
    (expected,) = logs(tmp_path / "host")
    peft = LORA if way == "lora" else None
    trainer = train(assets, tmp_path / "trl", dataset, peft=peft, given={"p4d": p4d}, **one)
    (found,) = logged(trainer)
    trainer.save_model()
    if tpe == "add" and way == "lora":
        assert read_marker(trainer.args.output_dir) == TimestampEncoding(1.0, 10000.0)
    elif tpe == "add":
        assert AutoConfig.from_pretrained(trainer.args.output_dir).model_type == "rgpt4d_qwen2_5_vl"

    for key in ("loss", *ALL_LOG_KEYS):
        assert found[key] == pytest.approx(expected[key], rel=1e-6), key


@pytest.mark.slow
def test_a_cache_of_the_hosts_recipe_serves_trl(assets, dataset, tmp_path, monkeypatch):
    """The frames and times are the same, so are the names of the clips."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(assets.recipe(tmp_path / "out")))
    run_cache_teacher(tmp_path / "recipe.yaml", tmp_path / "cache", CacheOptions(workers=0))
    online = train(assets, tmp_path / "online", dataset, max_steps=3)

    block = assets.p4d()
    block["teacher"] |= {"cache": str(tmp_path / "cache")}
    with monkeypatch.context() as patch:
        patch.setattr(L4PTeacher, "load", None)
        patch.setattr(L4PTeacher, "features", None)
        cached = train(assets, tmp_path / "cached", dataset, given={"p4d": block}, max_steps=3)
    for before, after in zip(logged(online), logged(cached), strict=True):
        for key in ALL_LOG_KEYS:
            # bfloat16 latents are off by at most 2^-9 of a value.
            assert after[key] == pytest.approx(before[key], rel=2e-3), key

    block["teacher"]["dtype"] = "bfloat16"
    with pytest.raises(P4DConfigError, match='it was made with "float32", the recipe has "bfloat16"'):
        train(assets, tmp_path / "refused", dataset, given={"p4d": block})
