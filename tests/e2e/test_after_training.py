# SPDX-License-Identifier: Apache-2.0
"""What was trained is used with the very recipe it was trained with: chat and export."""

import pytest
import torch
from llamafactory.chat import ChatModel
from llamafactory.train.tuner import export_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from rgpt4d_plugin import RegionPrompt
from tests.harness import DATA, train_here


@pytest.mark.parametrize("method", ["full", "lora"])
def test_chat_and_export_take_the_recipe(assets, tmp_path, method):
    lora = {"lora_rank": 4, "lora_target": "all"} if method == "lora" else {}
    recipe = assets.recipe(
        tmp_path / "out",
        template="rgpt4d_qwen2_vl",
        finetuning_type=method,
        save_strategy="steps",
        save_steps=2,
        p4d=assets.p4d(frames=4),
        video_maxlen=None,
        **lora,
    )
    train_here(recipe)

    trained = {"adapter_name_or_path" if method == "lora" else "model_name_or_path": str(tmp_path / "out")}
    exported = {"export_dir": str(tmp_path / "exported"), "export_device": "cpu", "infer_dtype": "float32"}
    export_model({**recipe, **trained, **exported})
    chat = ChatModel({**recipe, **trained, "do_sample": False, "video_maxlen": 4, "infer_dtype": "float32"})

    regions = [{"id": "obj_1", "time": 0.5, "box": [20, 30, 90, 120]}]
    prompt = RegionPrompt(str(DATA / "clips/4.mp4"), "What is <obj_1>?", regions, frames=4)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "exported").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "exported")
    assert model.config.model_type == "qwen2_5_vl" and model.config.architectures == [
        "Qwen2_5_VLForConditionalGeneration"
    ]
    inputs = prompt.inputs(processor)
    with torch.no_grad():
        expected = chat.engine.model(**inputs).logits
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-5, atol=1e-5)
    tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    (response,) = chat.chat(**prompt.chat(), max_new_tokens=6)
    assert response.response_text == processor.decode(tokens, skip_special_tokens=True)
