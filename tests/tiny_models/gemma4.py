# SPDX-License-Identifier: Apache-2.0
"""Configuration and processor of a tiny Gemma 4."""

from transformers import (
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4VideoProcessor,
    PreTrainedConfig,
    ProcessorMixin,
)

from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from tests.tiny_models.square import chat_template, gemma_tokenizer, text_config


_TOKENS = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
}
_TURNS = ["<|turn>", "<turn|>", "<|video|>", "<|channel>", "<channel|>", "<|think|>"]
_CHAT = """{{- bos_token }}{%- for message in messages %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<|turn>' + role + '\\n' + parts(message['content']) + '<turn|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|turn>model\\n' }}{%- endif %}"""


def build_gemma4(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """As the larger models, whose images see themselves both ways, with the per-layer inputs of the smaller ones.

    A token is 3 x 3 patches; a frame has at most 70 of them, the fewest that the library allows.
    """
    tokenizer = gemma_tokenizer(_TURNS, extra_special_tokens=_TOKENS)
    heads = {"head_dim": sizes.hidden // sizes.heads, "global_head_dim": 2 * sizes.hidden // sizes.heads}
    text = text_config(sizes, tokenizer) | heads
    text |= {
        "bos_token_id": tokenizer.bos_token_id,
        "sliding_window": 64,
        "layer_types": ["sliding_attention"] * (sizes.layers - 1) + ["full_attention"],
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": len(tokenizer),
        "use_bidirectional_attention": "vision",
    }
    vision = {
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": 2 * sizes.vision_hidden,
        "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": sizes.vision_heads,
        "num_key_value_heads": sizes.vision_heads,
        "head_dim": sizes.vision_hidden // sizes.vision_heads,
        "patch_size": sizes.patch,
        "position_embedding_size": 256,
        "initializer_range": sizes.initializer_range,
    }
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    ids["eoa_token_index"] = ids.pop("eoa_token_id")
    config = Gemma4Config(
        text_config=text,
        vision_config=vision,
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        initializer_range=sizes.initializer_range,
        tie_word_embeddings=False,
        **ids,
    )
    pictures = {"patch_size": sizes.patch, "max_soft_tokens": 70}
    processor = Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(**pictures),
        tokenizer=tokenizer,
        video_processor=Gemma4VideoProcessor(**pictures),
        chat_template=chat_template(_CHAT, "<|image|>", "<|video|>"),
        image_seq_length=70,
    )
    return config, processor
