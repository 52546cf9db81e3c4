# SPDX-License-Identifier: Apache-2.0
"""Puts a reader in front of a host plugin: the classes are made at run time, of the host's class and the plugin's."""

import copy
import functools
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import multiprocess
import torch
from llamafactory.extras import logging
from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER

from rgpt4d_plugin.arguments import VideoArguments
from rgpt4d_plugin.seams import require
from rgpt4d_plugin.students import FAMILIES
from rgpt4d_plugin.template.clip_reader import HOST_NAMES, ClipReader, P4DSettings, asked_media
from rgpt4d_plugin.template.record_lookup import where_used
from rgpt4d_plugin.video.entries import with_time_sentences


logger = logging.get_logger(__name__)

READERS = {plugin: family.reader for family in FAMILIES.values() if family.reader for plugin in family.plugins}
"""The reader ('module:Class') of a host plugin class that needs more than `ClipReader`, by the name of that class."""


class _GeneratedPlugin:
    """Behavior shared by all generated plugin classes: time sentences and pickling."""

    def process_messages(self, messages: list, images: list, videos: list, audios: list, processor: Any) -> list:
        if self.settings.sentences:
            messages = with_time_sentences(messages, videos, (IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER))
        return super().process_messages(messages, images, videos, audios, processor)

    def __reduce__(self) -> tuple:
        # Preprocessing workers rebuild the class. The state is that of every run with these settings, so that the
        # datasets library finds the same fingerprint, and its cache.
        state = {key: value for key, value in self.__dict__.items() if key != "settings"}
        return rebuild, (self.host_class, state, self.settings)


@functools.cache
def reading_class(host_class: type) -> type:
    """Returns the class that puts the reader of a host plugin class in front of it."""
    name = READERS.get(host_class.__name__)
    reader = pkgutil.resolve_name(name) if name else ClipReader
    bases = (_GeneratedPlugin, reader, host_class)
    return type(f"{reader.__name__}{host_class.__name__}", bases, {"host_class": host_class})


def rebuild(host_class: type, state: dict[str, Any], settings: P4DSettings) -> Any:
    """Returns an object of `reading_class` with the attributes of a host plugin."""
    cls = reading_class(host_class)
    plugin = cls.__new__(cls)
    plugin.__dict__.update(state, settings=settings)
    return plugin


def with_reader(
    plugin: Any, frames: int | None = None, sentences: bool | None = None, video: VideoArguments | None = None
) -> Any:
    """Returns a copy of a host plugin, or of one that this function made, with a reader in front of its host class.

    `frames` are `p4d.frames`, `sentences` stand for `p4d.tpe: text`, `video` is `p4d.video`; None keeps the plugin's.
    """
    state = dict(plugin.__dict__)
    settings = replace(state.pop("settings", P4DSettings()), frames=frames)
    if sentences is not None:
        settings = replace(settings, sentences=sentences)
    if video is not None:
        settings = replace(settings, video=video)
    return rebuild(getattr(plugin, "host_class", type(plugin)), state, settings)


def with_recorder(
    template: Any, frames: int | None, sentences: bool | None = None, video: VideoArguments | None = None
) -> Any:
    """Returns a copy of a host template whose multimodal plugin reads and records clips; see `with_reader`."""
    require(type(template.mm_plugin), *HOST_NAMES, "_get_video_token_metadata")
    template = copy.copy(template)
    template.mm_plugin = with_reader(template.mm_plugin, frames, sentences, video)
    return template


def template_of_run(template: Any, data_args: Any) -> Any:
    """Returns the template that shows and says what the `p4d:` block of a parsed recipe wants; without one, the
    given one."""
    p4d = getattr(data_args, "p4d", None)
    if p4d is None:
        return template
    return with_recorder(template, p4d.frames, p4d.sentences)


def token_types(input_ids: torch.Tensor, config: Any) -> torch.Tensor:
    """Returns 0 for text, 1 for image and 2 for video tokens, as the host's collator numbers them."""
    types = torch.zeros_like(input_ids)
    for number, name in ((1, "image_token_id"), (2, "video_token_id")):
        token = getattr(config, name, None)
        if token is not None:
            types[input_ids == token] = number
    return types


def saying_cut_prompts(infer_seqlen: Callable[..., tuple[int, int]], data_args: Any) -> Callable[..., tuple[int, int]]:
    """Wraps the host's `infer_seqlen`, which divides `cutoff_len` between prompt and answer, to warn of the first
    prompt that loses its end: the question stands there, behind the clip, and the answer is trained without it."""
    said = multiprocess.Value("b", 0)  # shared with the preprocessing workers, which are forked

    @functools.wraps(infer_seqlen)
    def wrapped(source_len: int, target_len: int, cutoff_len: int) -> tuple[int, int]:
        kept, answer = infer_seqlen(source_len, target_len, cutoff_len)
        if kept < source_len and answer:
            with said.get_lock():
                first, said.value = not said.value, 1
            if first:
                entry = next(iter(asked_media), None)
                where = where_used(entry, data_args) or where_used(entry, folder=True) if asked_media else ""
                logger.warning(
                    f"cutoff_len: {data_args.cutoff_len} cuts the last {source_len - kept} of {source_len} tokens off "
                    f"a prompt, and with them its question{f' ({where})' if where else ''}; more prompts may be cut. "
                    "Raise cutoff_len, or lower video_max_pixels or p4d.frames."
                )
        return kept, answer

    return wrapped
