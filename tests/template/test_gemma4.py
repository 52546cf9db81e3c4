# SPDX-License-Identifier: Apache-2.0
"""Gemma 4 in the host: the template of the small models, which hear too, shows clips as that of the large ones."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, Gemma4AudioConfig

from rgpt4d_plugin.synth4d.tiny_model import random_model
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import build_tiny_student


pytestmark = pytest.mark.slow

CLIPS = [str(DATA / "clips/2.avi"), str(DATA / "clips/4.mp4")]


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A model with an audio tower, as E2B and E4B have it."""
    folder = build_tiny_student(tmp_path_factory.mktemp("gemma4"), "gemma4", hidden=32, layers=2, vision_hidden=32)
    config = AutoConfig.from_pretrained(folder)
    config.audio_config = Gemma4AudioConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        output_proj_dims=32,
        subsampling_conv_channels=[128, 8],
        initializer_range=0.1,
    )
    random_model(config, seed=0).save_pretrained(folder)
    return str(folder)


def test_gemma4n_reads_clips_as_gemma4_does(assets, student, tmp_path):
    image = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(image)
    asked = [
        ("How many?", [], []),
        ("<video>Which is nearer?", [], CLIPS[:1]),
        ("<image>Is it in <video>or <video>?", [str(image)], CLIPS),
    ]
    found = {}
    for template in ("gemma4", "gemma4n"):
        recipe = assets.recipe(tmp_path / template, model_name_or_path=student, template=template, video_maxlen=None)
        parts = host_parts(recipe | {"p4d": assets.p4d(frames=3)})
        batch = parts.collator(parts.run_template)([parts.encode(parts.run_template, *given) for given in asked])
        clips = batch.pop("p4d").tokens
        assert [clip.grid[0] for clip in clips] == [3, 3, 3]
        with torch.no_grad():
            logits = parts.model.eval()(**batch).logits
        found[template] = batch, clips, logits
    (large, of_large, wanted), (small, of_small, given) = found["gemma4"], found["gemma4n"]
    # The host adds a silent recording to a batch without any, which no token of a record sees.
    assert small.keys() - large.keys() == {"input_features", "input_features_mask"}
    for one, two in zip(of_large, of_small, strict=True):
        assert one.grid == two.grid and torch.equal(one.index, two.index)
    for row in range(len(asked)):
        seen, kept = (batch["attention_mask"][row].bool() for batch in (large, small))
        assert torch.equal(large["input_ids"][row][seen], small["input_ids"][row][kept])
        torch.testing.assert_close(given[row][kept], wanted[row][seen], rtol=1e-4, atol=1e-4)
