# SPDX-License-Identifier: Apache-2.0
"""Grounding and tracking by the real classes of transformers, with tiny random weights."""

import json

import numpy as np
import pytest
import torch
import transformers as tf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

from rgpt4d_plugin.curation.models import Detector, Tracker
from rgpt4d_plugin.curation.recipe import Grounding, Model


pytestmark = pytest.mark.slow

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "blue", "ball", ".", "a"]


def bert_tokenizer(folder):
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return tf.BertTokenizerFast(vocab=str(folder / "vocab.txt"))


def grounding_dino(folder, kind="GroundingDino"):
    torch.manual_seed(0)
    text = tf.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    backbone = tf.SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = getattr(tf, f"{'MM' if kind.startswith('MM') else ''}GroundingDinoConfig")(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
        num_feature_levels=4, max_text_len=16, encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    model = getattr(tf, f"{'MM' if kind.startswith('MM') else ''}GroundingDinoForObjectDetection")(config)
    model.save_pretrained(folder)
    image = tf.GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 256})
    tf.GroundingDinoProcessor(image, bert_tokenizer(folder)).save_pretrained(folder)


def owlv2(folder):
    torch.manual_seed(0)
    config = tf.Owlv2Config(
        text_config={"vocab_size": 600, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )  # fmt: skip
    tf.Owlv2ForObjectDetection(config).save_pretrained(folder)
    image = tf.Owlv2ImageProcessor(size={"height": 32, "width": 32})
    tf.Owlv2Processor(image, clip_tokenizer()).save_pretrained(folder)


def clip_tokenizer():
    vocabulary = {token: number for number, token in enumerate(["<|startoftext|>", "<|endoftext|>", "!", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="!", bos_token="<|startoftext|>", eos_token="<|endoftext|>",
        model_max_length=16,
    )  # fmt: skip


def sam3_vision(hidden):
    backbone = tf.Sam3ViTConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14,
        window_size=2, global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    return tf.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=hidden, backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]]
    )


def sam3(folder):
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_attention_heads": 2}
    layers = small | {"num_layers": 1, "intermediate_size": 16}
    config = tf.Sam3Config(
        vision_config=sam3_vision(32),
        text_config={"vocab_size": 600, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                     "num_attention_heads": 2, "max_position_embeddings": 32, "projection_dim": 16,
                     "bos_token_id": 0, "eos_token_id": 1},
        geometry_encoder_config=layers, detr_encoder_config=layers, detr_decoder_config=layers | {"num_queries": 5},
        mask_decoder_config=small,
    )  # fmt: skip
    tf.Sam3Model(config).save_pretrained(folder)
    image = tf.Sam3ImageProcessor(size={"height": 56, "width": 56}, mask_size={"height": 16, "width": 16})
    tf.Sam3Processor(image, clip_tokenizer()).save_pretrained(folder)


@pytest.mark.parametrize(
    "build",
    [grounding_dino, lambda folder: grounding_dino(folder, "MM"), owlv2, sam3],
    ids=["dino", "mm_dino", "owlv2", "sam3"],
)
def test_detectors(build, tmp_path):
    build(tmp_path)
    options = Grounding(model=Model(model=str(tmp_path), licence="none"), threshold=0.0, text_threshold=0.0)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    found = Detector(options)(picture, ["the red ball", "the blue ball"])
    assert {each.phrase for each in found} == {"the red ball", "the blue ball"}
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert all(len(each.box) == 4 for each in found)
    strict = Detector(options.model_copy(update={"threshold": 1.0}))
    assert strict(picture, ["the red ball"]) == []


DECODER = {"hidden_size": 128, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 128}
MEMORY = {
    "memory_attention_hidden_size": 128,
    "memory_attention_num_layers": 1,
    "memory_attention_num_attention_heads": 1,
    "memory_attention_feed_forward_hidden_size": 16,
    "memory_attention_rope_feat_sizes": [4, 4],
    "memory_encoder_hidden_size": 128,
    "memory_encoder_output_channels": 64,
    "mask_downsampler_embed_dim": 128,
    "memory_fuser_embed_dim": 128,
    "memory_fuser_intermediate_dim": 16,
    "num_maskmem": 3,
}
"""Of the trackers of SAM 2 and SAM 3."""


def sam2(folder):
    torch.manual_seed(0)
    backbone = tf.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[64, 64], blocks_per_stage=[1, 1, 1, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = tf.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=128,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]], num_feature_levels=3,
    )  # fmt: skip
    config = tf.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(
            hidden_size=128, image_size=64, patch_size=16, mask_input_channels=4
        ),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(**DECODER),
        image_size=64, **MEMORY,
    )  # fmt: skip
    tf.Sam2VideoModel(config).save_pretrained(folder)
    size = {"height": 64, "width": 64}
    image = tf.Sam2ImageProcessor(size=size, mask_size={"height": 16, "width": 16})
    tf.Sam2VideoProcessor(image, tf.Sam2VideoVideoProcessor(size=size)).save_pretrained(folder)


def sam3_tracker(folder):
    torch.manual_seed(0)
    config = tf.Sam3TrackerVideoConfig(
        vision_config=sam3_vision(128),
        prompt_encoder_config={"hidden_size": 128, "image_size": 56, "patch_size": 14, "mask_input_channels": 4},
        mask_decoder_config=DECODER,
        image_size=56, **MEMORY,
    )  # fmt: skip
    tf.Sam3TrackerVideoModel(config).save_pretrained(folder)
    size = {"height": 56, "width": 56}
    image = tf.Sam3ImageProcessor(size=size, mask_size={"height": 16, "width": 16})
    tf.Sam3TrackerVideoProcessor(image, tf.Sam2VideoVideoProcessor(size=size)).save_pretrained(folder)


@pytest.mark.parametrize("build", [sam2, sam3_tracker])
def test_tracker(build, tmp_path):
    build(tmp_path)
    frames = [Image.fromarray(np.full((48, 80, 3), 40 * number, np.uint8)) for number in range(4)]
    masks = Tracker(Model(model=str(tmp_path), licence="none"))(frames, 2, [[10, 10, 30, 30], [40, 10, 70, 40]])
    assert [len(each) for each in masks] == [4, 4]
    assert all(mask.shape == (48, 80) and mask.dtype == bool for each in masks for mask in each)


def test_models_without_the_needed_head(tmp_path):
    tf.BertConfig().save_pretrained(tmp_path)
    model = Model(model=str(tmp_path), licence="none")
    with pytest.raises(ValueError, match="is a bert, which finds no phrases; known types: grounding-dino"):
        Detector(Grounding(model=model))
    with pytest.raises(ValueError, match="is a bert, which follows no boxes; known types: sam2_video"):
        Tracker(model)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "grounding-dino"}))
    with pytest.raises(ValueError, match="must be a folder with a model"):
        Detector(Grounding(model=model))


def test_a_checkpoint_without_the_tracker_is_refused(tmp_path):
    """SAM 3's image model alone: the tracker's weights would be random."""
    sam3(tmp_path)
    with pytest.raises(ValueError, match=r"lacks \d+ weights of Sam3TrackerVideoModel, the first "):
        Tracker(Model(model=str(tmp_path), licence="none"))
