# SPDX-License-Identifier: Apache-2.0
"""Model cards: every saved and exported model says what was distilled, and how to ask it."""

import ast
import re

import pytest
import yaml
from huggingface_hub import HfApi, ModelCard
from llamafactory.train.tuner import export_model

from rgpt4d_plugin.trainers.model_card import CardFacts, read_card, write_card
from tests.harness import train_here


def facts(**changes):
    given = {
        "rows": {"base model": "Qwen/Qwen2.5-VL-7B-Instruct (Qwen2.5-VL)", "data": "wolf"},
        "base": "Qwen/Qwen2.5-VL-7B-Instruct",
        "template": "rgpt4d_qwen2_vl",
        "adapter": False,
        "takes_videos": True,
        "timed": False,
        "tpe": "off",
        "frames": 16,
        "style": "som",
    }
    return CardFacts(**given | changes)


def code_of(card):
    (code,) = re.findall(r"```python\n(.*?)```", str(card), re.S)
    ast.parse(code)
    return code


# The section


def test_the_section_is_renewed_in_the_card_that_is_there(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: other\ntags:\n- lora\n---\n\n# Mine\n\nWords.\n")
    write_card(tmp_path, facts())
    write_card(tmp_path, facts(evaluation={"eval_r4d_avg": 46.25}))
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.tags == ["lora", "4d-rgpt", "p4d"] and card.data.license == "other"
    assert card.text.count("## Perceptual 4D Distillation") == 1 and "Words." in card.text
    assert "| eval_r4d_avg | 46.25 |" in card.text
    assert read_card(tmp_path) == facts(evaluation={"eval_r4d_avg": 46.25})


def test_facts_survive_any_value(tmp_path):
    odd = facts(base='a --> b\n"c" | 4D', rows={"data": "x -->\n<!-- y"})
    write_card(tmp_path, odd)
    assert read_card(tmp_path) == odd


def test_no_card_and_a_changed_one(tmp_path):
    assert read_card(tmp_path) is None
    write_card(tmp_path, facts())
    path = tmp_path / "README.md"
    path.write_text(path.read_text().replace('"frames":16', '"frames":"many"'))
    with pytest.raises(ValueError, match=r"README.md: the comment .* was changed \(frames: expected"):
        read_card(tmp_path)


@pytest.mark.parametrize(
    ("changes", "has", "lacks"),
    [
        ({}, ['from_pretrained("THIS_MODEL"', "frames=16", 'style="som"'], ["Peft", "trust_remote", "time_sentence"]),
        ({"timed": True, "tpe": "add"}, ["trust_remote_code=True"], ["PeftModel", "ChatModel"]),
        ({"adapter": True}, ['PeftModel.from_pretrained(model, "THIS_MODEL")'], ["ChatModel"]),
        ({"tpe": "text"}, ["time_sentence=True"], []),
        ({"adapter": True, "timed": True, "tpe": "add"}, ["ChatModel(", '"adapter_name_or_path": "THIS_MODEL"'], []),
        ({"takes_videos": False}, ["ChatModel(", "rgpt4d_qwen2_vl"], ["adapter_name"]),
    ],
)
def test_how_to_ask_it(changes, has, lacks):
    code = code_of(facts(**changes).section())
    assert all(word in code for word in has) and not any(word in code for word in lacks)


# Through the host


@pytest.mark.slow
def test_every_save_and_the_export_have_a_card(assets, tmp_path, monkeypatch):
    recipe = assets.recipe(
        tmp_path / "out",
        finetuning_type="lora",
        lora_rank=4,
        save_strategy="steps",
        save_steps=1,
        max_steps=1,
        val_size=2,
        eval_strategy="steps",
        eval_steps=1,
    )
    train_here(recipe)
    for folder in (tmp_path / "out", tmp_path / "out/checkpoint-1"):
        card = ModelCard.load(folder / "README.md")
        assert {"4d-rgpt", "p4d"} <= set(card.data.tags)
        for words in (
            "| loss | SFT + mse of latent x 0.1, depth x 0.1, flow x 0.1, motion x 0.1, camray x 0.1 |",
            "| teacher | l4p (teacher.safetensors). NVlabs/L4P's weights are under CC BY-NC-SA 4.0",
            "| data | synth4d |",
            "(Qwen2.5-VL)",
            "llamafactory 0.9.5",
        ):
            assert words in card.text, words
        assert read_card(folder).adapter
        assert "PeftModel" in code_of(card)
    assert "| eval_loss_depth |" in (tmp_path / "out/README.md").read_text()
    assert "llama-factory" in ModelCard.load(tmp_path / "out/README.md").data.tags  # the host's own card goes on

    pushed = []
    monkeypatch.setattr(HfApi, "upload_file", lambda self, **given: pushed.append(given))
    monkeypatch.setattr("transformers.PreTrainedModel.push_to_hub", lambda self, *args, **kwargs: None)
    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.push_to_hub", lambda self, *args, **kwargs: None)
    monkeypatch.setattr("transformers.ProcessorMixin.push_to_hub", lambda self, *args, **kwargs: None)
    export_model(
        {
            "model_name_or_path": str(assets.student),
            "adapter_name_or_path": str(tmp_path / "out"),
            "template": "qwen2_vl",
            "export_dir": str(tmp_path / "merged"),
            "export_hub_model_id": "me/mine",
        }
    )
    merged = read_card(tmp_path / "merged")
    assert merged == read_card(tmp_path / "out").model_copy(update={"adapter": False})
    assert "PeftModel" not in code_of((tmp_path / "merged/README.md").read_text())
    assert [(entry["repo_id"], entry["path_in_repo"]) for entry in pushed] == [("me/mine", "README.md")]


@pytest.mark.slow
def test_a_run_for_the_timestamps_alone(assets, tmp_path):
    block = yaml.safe_load("{tpe: add, preset: none}")
    train_here(assets.recipe(tmp_path / "out", p4d=block, max_steps=1))
    found = read_card(tmp_path / "out")
    assert found.timed and "teacher" not in found.rows
    assert found.rows["timestamps"] == "added to the video tokens (`p4d.tpe: add`, scale 1, base 10000)"


@pytest.mark.slow
def test_a_run_without_a_block_gets_none(assets, tmp_path):
    train_here(assets.recipe(tmp_path / "out", p4d=None, max_steps=1))
    assert read_card(tmp_path / "out") is None
