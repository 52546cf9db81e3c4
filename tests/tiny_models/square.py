# SPDX-License-Identifier: Apache-2.0
"""Configurations and processors of the tiny students that see every frame as one square of tokens.

LLaVA-NeXT-Video, Video-LLaVA, LLaVA-OneVision, InternVL and Gemma 3. Two patches along a side become one token in all
but Video-LLaVA, whose patches are as large as two of theirs.
"""

from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Metaspace
from transformers import (
    Gemma3Config,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GemmaTokenizer,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaTokenizer,
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    VideoLlavaConfig,
    VideoLlavaImageProcessor,
    VideoLlavaProcessor,
    VideoLlavaVideoProcessor,
)

from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.synth4d.tiny_tokenizer import learn, qwen_tokenizer, token_ids, with_tokens


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_NEWLINES = ["\n" * count for count in (2, 4)]
_CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

_INTERNVL = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_GEMMA3 = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}

# Each puts the parts of a message where they stand, and nothing more than the host's template does.
_PARTS = """{%- macro parts(content) %}
{%- if content is string %}{{ content }}
{%- else %}
{%- for part in content %}
{%- if part['type'] == 'image' %}IMAGE
{%- elif part['type'] == 'video' %}VIDEO
{%- else %}{{ part['text'] }}
{%- endif %}
{%- endfor %}
{%- endif %}
{%- endmacro %}
"""
_CHATML_CHAT = """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + parts(message['content']) + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
_VICUNA_CHAT = """{%- for message in messages %}
{%- if message['role'] == 'user' %}{{- 'USER: ' + parts(message['content']) + ' ASSISTANT:' }}
{%- elif message['role'] == 'assistant' %}{{- parts(message['content']) + '</s>' }}
{%- else %}{{- parts(message['content']) }}
{%- endif %}
{%- endfor %}"""
_GEMMA_CHAT = """{{- bos_token }}{%- for message in messages %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + parts(message['content']) + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\\n' }}{%- endif %}"""


def build_llava_next_video(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """CLIP and a Llama, as Vicuna is. Frames are scaled to the square's side and their middle is cut out."""
    tokenizer = _llama_tokenizer(["<video>", "<image>"])
    crop = {"size": {"shortest_edge": sizes.image}, "crop_size": square(sizes)}
    config = LlavaNextVideoConfig(
        text_config={"model_type": "llama", **text_config(sizes, tokenizer)},
        vision_config={
            "model_type": "clip_vision_model",
            **vision_config(sizes),
            "projection_dim": sizes.vision_hidden,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_pinpoints(sizes),
        image_seq_length=(sizes.image // sizes.patch) ** 2,
        video_seq_length=(sizes.image // sizes.patch // 2) ** 2,
    )
    processor = LlavaNextVideoProcessor(
        video_processor=LlavaNextVideoVideoProcessor(**crop),
        image_processor=LlavaNextImageProcessor(**crop, image_grid_pinpoints=_pinpoints(sizes)),
        tokenizer=tokenizer,
        chat_template=chat_template(_VICUNA_CHAT, "<image>", "<video>"),
        patch_size=sizes.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token
    )
    return config, processor


def build_video_llava(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """CLIP twice, for images and for videos, and a Llama. A patch is a token, and so is 16 x 16 pixels here too."""
    tokenizer = _llama_tokenizer(["<video>", "<image>"])
    crop = {"size": {"shortest_edge": sizes.image}, "crop_size": square(sizes)}
    vision = vision_config(sizes) | {"patch_size": 2 * sizes.patch, "projection_dim": sizes.vision_hidden}
    config = VideoLlavaConfig(
        text_config={"model_type": "llama", **text_config(sizes, tokenizer)},
        vision_config={"model_type": "clip_vision_model", **vision},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )
    processor = VideoLlavaProcessor(
        image_processor=VideoLlavaImageProcessor(**crop),
        video_processor=VideoLlavaVideoProcessor(**crop),
        tokenizer=tokenizer,
        patch_size=2 * sizes.patch,
        chat_template=chat_template(_VICUNA_CHAT, "<image>", "<video>"),
    )
    return config, processor


def build_llava_onevision(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """SigLIP and a Qwen2."""
    tokenizer = qwen_tokenizer([*_CHATML, "<image>", "<video>"])
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text_config(sizes, tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **vision_config(sizes), "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_pinpoints(sizes),
    )
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=square(sizes), image_grid_pinpoints=_pinpoints(sizes)),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size=square(sizes)),
        num_image_tokens=(sizes.image // sizes.patch) ** 2,
        vision_feature_select_strategy="full",
        chat_template=chat_template(_CHATML_CHAT, "<image>", "<video>"),
    )
    return config, processor


def build_internvl(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """InternViT and a Qwen2."""
    tokenizer = qwen_tokenizer(_CHATML, extra_special_tokens=_INTERNVL)
    tokens = (sizes.image // sizes.patch // 2) ** 2
    vision = vision_config(sizes) | {"image_size": [sizes.image] * 2, "patch_size": [sizes.patch] * 2}
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **text_config(sizes, tokenizer)},
        vision_config=vision | {"initializer_range": sizes.initializer_range},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=tokens,
        tie_word_embeddings=False,
    )
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=square(sizes)),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=square(sizes)),
        image_seq_length=tokens,
        chat_template=chat_template(_CHATML_CHAT, "<IMG_CONTEXT>", "<video>"),
    )
    return config, processor


def build_gemma3(family: str, sizes: StudentSizes) -> tuple[PreTrainedConfig, ProcessorMixin]:
    """SigLIP and a Gemma 3 text model. Every second layer looks at a window of the past, as five of six do there."""
    tokenizer = gemma_tokenizer(["<start_of_turn>", "<end_of_turn>"], extra_special_tokens=_GEMMA3)
    tokens = (sizes.image // sizes.patch // 2) ** 2
    text = text_config(sizes, tokenizer) | {
        "bos_token_id": tokenizer.bos_token_id,
        "head_dim": sizes.hidden // sizes.heads,
        "query_pre_attn_scalar": sizes.hidden // sizes.heads,
        "sliding_window": 64,
        "sliding_window_pattern": 2,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config={**vision_config(sizes), "vision_use_head": False},
        mm_tokens_per_image=tokens,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        initializer_range=sizes.initializer_range,
        tie_word_embeddings=False,
    )
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size=square(sizes)),
        tokenizer=tokenizer,
        chat_template=chat_template(_GEMMA_CHAT, "<start_of_image>", "<start_of_image>"),
        image_seq_length=tokens,
    )
    return config, processor


def text_config(sizes: StudentSizes, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.hidden,
        "intermediate_size": 4 * sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "initializer_range": sizes.initializer_range,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        **token_ids(tokenizer),
    }


def vision_config(sizes: StudentSizes) -> dict[str, Any]:
    return {
        "hidden_size": sizes.vision_hidden,
        "intermediate_size": 2 * sizes.vision_hidden,
        "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": sizes.vision_heads,
        "image_size": sizes.image,
        "patch_size": sizes.patch,
    }


def square(sizes: StudentSizes) -> dict[str, int]:
    return {"height": sizes.image, "width": sizes.image}


def _pinpoints(sizes: StudentSizes) -> Sequence[list[int]]:
    """Sizes (height, width) of the tiled view of an image: one to three tiles."""
    side = sizes.image
    return [[side, 2 * side], [2 * side, side], [2 * side, 2 * side], [3 * side, side], [side, 3 * side]]


def chat_template(template: str, image: str, video: str) -> str:
    return _PARTS.replace("IMAGE", image).replace("VIDEO", video) + template


def _llama_tokenizer(special: Sequence[str]) -> LlamaTokenizer:
    """SentencePiece-like BPE with byte fallback, as Vicuna has it.

    Args:
        special: Tokens beside <unk>, <s> and </s>.
    """
    vocabulary, merges = _learn_pieces(["<unk>", "<s>", "</s>"])
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges, pad_token="<unk>", model_max_length=32768)
    return with_tokens(tokenizer, special)


def gemma_tokenizer(special: Sequence[str], **kwargs: object) -> GemmaTokenizer:
    """The same as Gemma has it: runs of line breaks are tokens.

    Args:
        special: Tokens beside <pad>, <eos>, <bos>, <unk> and <mask>.
        **kwargs: Arguments of the tokenizer's class.
    """
    vocabulary, merges = _learn_pieces(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges, model_max_length=32768, **kwargs)
    return with_tokens(tokenizer, special)


def _learn_pieces(first: Sequence[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The same of pieces that show a word's beginning, with single bytes for what the words do not have."""
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = Metaspace()
    return learn(learner, _NEWLINES, special_tokens=[*first, *_BYTES])
