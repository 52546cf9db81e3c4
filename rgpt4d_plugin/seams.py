# SPDX-License-Identifier: Apache-2.0
"""The base of every seam: the supported hosts, the check that a name is there, and its reversible replacement."""

import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any


SUPPORTED_HOSTS = ("0.9.5",)
"""LLaMA-Factory releases the seams were run on. Each seam names only what its main branch of August 2026 has too."""


class HostSeamError(RuntimeError):
    """LLaMA-Factory is a version, or has lost a name, that the plugin cannot work with."""


def host_version() -> str:
    """The installed LLaMA-Factory version."""
    try:
        return version("llamafactory")
    except PackageNotFoundError:  # run from its source tree
        from llamafactory.extras.env import VERSION

        return VERSION


def check_host() -> None:
    """Raises HostSeamError unless the installed host is one that the seams were run on."""
    found = host_version()
    if found not in SUPPORTED_HOSTS:
        raise HostSeamError(
            f"`p4d:` needs LLaMA-Factory {' or '.join(SUPPORTED_HOSTS)}, but {found} is installed: "
            f"`pip install llamafactory=={SUPPORTED_HOSTS[-1]}`, or upgrade rgpt4d-plugin."
        )


def switched_on(variable: str) -> bool:
    """The host's own reading of an environment switch."""
    return os.environ.get(variable, "0").lower() in ("true", "y", "1")


def require(owner: Any, *names: str) -> None:
    """Raises HostSeamError if `owner` (a module, class or table of host or transformers) lacks one of `names`."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        kind = owner if hasattr(owner, "__name__") else type(owner)
        package = getattr(kind, "__module__", kind.__name__).partition(".")[0]
        others = {"transformers": "5.2 to 5.5", "peft": "0.18"}
        if package in others:
            found, supported = f"{package} {version(package)}", others[package]
        else:
            found, supported = f"LLaMA-Factory {host_version()}", ", ".join(SUPPORTED_HOSTS)
        raise HostSeamError(
            f"{found} has no {', '.join(missing)} in {kind.__name__}, which rgpt4d-plugin hooks; it supports "
            f"{supported}."
        )


def replace(module: ModuleType, **new: Any) -> Callable[[], None]:
    """Sets the given names of `module` and returns the function that puts the originals back."""
    old = {name: getattr(module, name) for name in new}
    for name, value in new.items():
        setattr(module, name, value)

    def undo() -> None:
        for name, value in old.items():
            setattr(module, name, value)

    return undo


def wrap(module: ModuleType, **new: Any) -> Callable[[], None]:
    """Like `replace`, and in the host modules too that have from-imported the names: on undo, some have."""
    old = {name: getattr(module, name) for name in new}

    def swap(present: dict[str, Any], wanted: dict[str, Any]) -> None:
        importers = [other for key, other in list(sys.modules.items()) if key.startswith("llamafactory.")]
        for holder in (module, *importers):
            for name, value in present.items():
                if vars(holder).get(name) is value:
                    setattr(holder, name, wanted[name])

    swap(old, new)
    return lambda: swap(new, old)
