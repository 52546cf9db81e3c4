# SPDX-License-Identifier: Apache-2.0
"""Chat and export take the very recipe that a model was trained with."""

import json

import pytest
import torch
from llamafactory.chat import ChatModel
from llamafactory.train.tuner import export_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from rgpt4d_plugin import RegionPrompt, patches
from tests.harness import DATA, train_here


pytestmark = pytest.mark.slow


CLIP = str(DATA / "clips/4.mp4")


@pytest.mark.parametrize("tpe", ["off", "add", "text"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_chat_and_export_take_the_recipe(assets, tmp_path, method, tpe):
    lora = {"lora_rank": 4, "lora_target": "all"} if method == "lora" else {}
    recipe = assets.recipe(
        tmp_path / "out",
        template="rgpt4d_qwen2_vl",
        finetuning_type=method,
        save_strategy="steps",
        save_steps=2,
        p4d=assets.p4d(frames=4, tpe=tpe),
        video_maxlen=None,
        **lora,
    )
    train_here(recipe)

    trained = {"adapter_name_or_path" if method == "lora" else "model_name_or_path": str(tmp_path / "out")}
    exported = {"export_dir": str(tmp_path / "exported"), "export_device": "cpu", "infer_dtype": "float32"}
    export_model({**recipe, **trained, **exported})
    chat = ChatModel({**recipe, **trained, "do_sample": False, "infer_dtype": "float32"})

    regions = [{"id": "obj_1", "time": 0.5, "box": [20, 30, 90, 120]}]
    asked = {"question": "What is <obj_1>?", "regions": regions, "frames": 4}
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "exported").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "exported")
    ours = "rgpt4d_" if tpe == "add" else ""
    assert model.config.model_type == ours + "qwen2_5_vl"
    inputs = RegionPrompt(CLIP, **asked, time_sentence=tpe == "text").inputs(processor)
    assert ("video_timestamps" in inputs) == (tpe == "add")
    with torch.no_grad():
        expected = chat.engine.model(**inputs).logits
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-5, atol=1e-5)
    tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    (response,) = chat.chat(**RegionPrompt(CLIP, **asked).chat(), max_new_tokens=6)
    assert response.response_text == processor.decode(tokens, skip_special_tokens=True)


def test_without_tpe_the_export_is_the_hosts_to_the_byte(assets, tmp_path, host_modules):
    train_here(assets.recipe(tmp_path / "out"))
    shared = {"template": "qwen2_vl", "export_device": "cpu", "infer_dtype": "float32"}
    shared["model_name_or_path"] = str(tmp_path / "out")
    export_model({**assets.recipe(tmp_path), **shared, "export_dir": str(tmp_path / "ours")})
    patches.undo_all()
    export_model({**shared, "export_dir": str(tmp_path / "plain")})

    files = {path.name: path.read_bytes() for path in (tmp_path / "ours").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "plain").iterdir()}
    config, base = json.loads(files["config.json"]), json.loads((assets.student / "config.json").read_text())
    assert all(config[key] == base[key] for key in ("model_type", "architectures"))
