# SPDX-License-Identifier: Apache-2.0
"""Puts a reader in front of a host plugin: the classes are made at run time, of the host's class and what we add."""

import functools
from typing import Any

from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER

from rgpt4d_plugin.regions.prompt_styles import with_time_sentences
from rgpt4d_plugin.template.clip_reader import ClipReader
from rgpt4d_plugin.template.gemma3 import Gemma3Reader
from rgpt4d_plugin.template.internvl import InternVLReader
from rgpt4d_plugin.template.llava import LlavaNextVideoReader
from rgpt4d_plugin.template.square import SquareReader


READERS: dict[str, type[ClipReader]] = {
    "Gemma3Plugin": Gemma3Reader,
    "InternVLPlugin": InternVLReader,
    "LlavaNextVideoPlugin": LlavaNextVideoReader,
    "LlavaOnevisionPlugin": SquareReader,
}
"""Where a plugin class needs more than `ClipReader`, by its name."""


class _Made:
    """What all made classes do before any other: sentences, and how they are pickled."""

    def process_messages(
        self, messages: list[Any], images: list[Any], videos: list[Any], audios: list[Any], processor: Any
    ) -> list[Any]:
        if self._p4d_sentences:
            messages = with_time_sentences(messages, videos, IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER)
        return super().process_messages(messages, images, videos, audios, processor)

    def __reduce__(self) -> tuple:
        # Rebuild the class in preprocessing workers. What a reading holds is left out, so that the datasets library
        # finds the same fingerprint, and its cache, in every run.
        state = {key: value for key, value in self.__dict__.items() if not key.startswith("_p4d_")}
        return rebuild, (self.mixin, self.host_class, state, self._p4d_frames, self._p4d_sentences)


@functools.cache
def reading_class(mixin: type, host_class: type) -> type:
    """The class that puts `mixin`, a `ClipReader`, and the host class's own reader in front of a host plugin class."""
    reader = READERS.get(host_class.__name__, ClipReader)
    bases = (reader,) if issubclass(reader, mixin) else (mixin, reader)
    members = {"mixin": mixin, "host_class": host_class}
    return type(f"{mixin.__name__}{host_class.__name__}", (_Made, *bases, host_class), members)


def rebuild(mixin: type, host_class: type, state: dict[str, Any], frames: int | None, sentences: bool) -> Any:
    """A plugin of `reading_class` with the attributes of a host plugin."""
    cls = reading_class(mixin, host_class)
    plugin = cls.__new__(cls)
    plugin.__dict__.update(state)
    plugin._p4d_frames = frames
    plugin._p4d_sentences = sentences
    return plugin


def with_reader(
    plugin: Any, mixin: type = ClipReader, frames: int | None = None, sentences: bool | None = None
) -> Any:
    """A copy of a template's plugin with `mixin` in front of its host class; the given object stays as it is.

    Args:
        plugin: the host's or one of ours.
        mixin: `ClipReader` or a subclass.
        frames: `p4d.frames`.
        sentences: `p4d.tpe: text`; None: as the plugin has it.
    """
    if sentences is None:
        sentences = getattr(plugin, "_p4d_sentences", False)
    state = {key: value for key, value in plugin.__dict__.items() if not key.startswith("_p4d_")}
    return rebuild(mixin, getattr(plugin, "host_class", type(plugin)), state, frames, sentences)
