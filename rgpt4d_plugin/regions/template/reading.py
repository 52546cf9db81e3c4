# SPDX-License-Identifier: Apache-2.0
"""Puts a reader in front of a host plugin: the classes are made at run time, of the host's class and what we add."""

import functools
from typing import Any

from rgpt4d_plugin.regions.template.gemma3 import Gemma3Reader
from rgpt4d_plugin.regions.template.internvl import InternVLReader
from rgpt4d_plugin.regions.template.llava import LlavaNextVideoReader
from rgpt4d_plugin.regions.template.reader import ClipReader
from rgpt4d_plugin.regions.template.square import SquareReader


READERS: dict[str, type[ClipReader]] = {
    "Gemma3Plugin": Gemma3Reader,
    "InternVLPlugin": InternVLReader,
    "LlavaNextVideoPlugin": LlavaNextVideoReader,
    "LlavaOnevisionPlugin": SquareReader,
}
"""Where a plugin class needs more than `ClipReader`, by its name."""


class _Rebuilt:
    """How the made classes are pickled."""

    def __reduce__(self) -> tuple:
        # Rebuild the class in preprocessing workers. What a reading holds is left out, so that the datasets library
        # finds the same fingerprint, and its cache, in every run.
        state = {key: value for key, value in self.__dict__.items() if not key.startswith("_p4d_")}
        return rebuild, (self.mixin, self.host_class, state, self._p4d_frames)


@functools.cache
def reading_class(mixin: type, host_class: type) -> type:
    """The class that puts `mixin`, a `ClipReader`, and the host class's own reader in front of a host plugin class."""
    reader = READERS.get(host_class.__name__, ClipReader)
    bases = (reader,) if issubclass(reader, mixin) else (mixin, reader)
    members = {"mixin": mixin, "host_class": host_class}
    return type(f"{mixin.__name__}{host_class.__name__}", (_Rebuilt, *bases, host_class), members)


def rebuild(mixin: type, host_class: type, state: dict[str, Any], frames: int | None) -> Any:
    """A plugin of `reading_class` with the attributes of a host plugin."""
    cls = reading_class(mixin, host_class)
    plugin = cls.__new__(cls)
    plugin.__dict__.update(state)
    plugin._p4d_frames = frames
    return plugin


def with_reader(plugin: Any, mixin: type = ClipReader, frames: int | None = None) -> Any:
    """A copy of a template's plugin with `mixin` in front of its host class; the given object stays as it is."""
    state = {key: value for key, value in plugin.__dict__.items() if not key.startswith("_p4d_")}
    return rebuild(mixin, getattr(plugin, "host_class", type(plugin)), state, frames)
