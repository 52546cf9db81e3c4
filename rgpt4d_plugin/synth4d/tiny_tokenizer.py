# SPDX-License-Identifier: Apache-2.0
"""Tokenizer of the tiny Qwen students: of the released models' class, with merges learned offline from a few words."""

import json
from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, trainers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer


# What the tokenizer's merges are learned from. A word has two forms, with and without a space before it: an answer
# begins a turn and so has none.
_ANSWERS = (
    "yes no left right up down closer away red green blue yellow purple orange cyan white system user assistant "
    "near far slow fast still static moving A B C D"
).split()
_SENTENCES = """
You are a helpful assistant. How many balls are there? Is the camera moving? Is the red ball moving by itself?
Which way does the green ball move? Does the blue ball come closer or go away? Which is nearer at the start, the yellow
ball or the purple ball? Which is faster, the orange ball or the cyan ball or the white ball?
What is the depth of the object? How far is it from the camera in metres? How fast does it move in the video? seconds
frame frames first last start end before after between near far slow fast still static moving object person car region
Answer with one word. option Options: These images are uniformly sampled from a video of 8.0 seconds.
"""
_MAX_VOCABULARY = 1024  # 256 bytes and at most as many merges as make every word above whole


def qwen_tokenizer(special: Sequence[str], added: Sequence[str] = (), **kwargs: object) -> Qwen2Tokenizer:
    """Byte-level BPE with Qwen's own text splitting; see `with_tokens`. `kwargs` are for the tokenizer's class."""
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    vocabulary, merges = learn(learner, initial_alphabet=sorted(ByteLevel.alphabet()))
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
        **kwargs,
    )
    return with_tokens(tokenizer, special, added)


def token_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Returns the special tokens that configurations and generation need to know."""
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}


def learn(
    learner: Tokenizer, texts: Sequence[str] = (), **kwargs: object
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learns vocabulary and merges from the words above and some more texts."""
    trainer = trainers.BpeTrainer(vocab_size=_MAX_VOCABULARY, min_frequency=1, show_progress=False, **kwargs)
    learner.train_from_iterator([*_ANSWERS, *_SENTENCES.strip().splitlines(), *texts], trainer)
    learned = json.loads(learner.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]


def with_tokens(tokenizer, special: Sequence[str], added: Sequence[str] = ()):
    """Adds special tokens, and others that are ordinary text to `skip_special_tokens`."""
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    return tokenizer
