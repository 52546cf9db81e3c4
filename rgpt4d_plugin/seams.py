# SPDX-License-Identifier: Apache-2.0
"""The base of every seam: the supported hosts, the check that a name is there, and its reversible replacement."""

import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any


logger = logging.getLogger(__name__)

SUPPORTED_HOSTS = ">=0.9.5,<=0.9.6.dev0"
"""LLaMA-Factory versions that the test suite was run on: the release, and its main branch of August 2026."""
SUPPORTED_TRANSFORMERS = ">=5.2,<5.6"
"""The same for transformers; docs/install.md has the table."""


class HostSeamError(RuntimeError):
    """LLaMA-Factory is a version, or has lost a name, that the plugin cannot work with."""


def host_version() -> str:
    """The installed LLaMA-Factory version."""
    try:
        return version("llamafactory")
    except PackageNotFoundError:  # run from its source tree
        from llamafactory.extras.env import VERSION

        return VERSION


def installed(name: str) -> str | None:
    """The version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def need_host(command: str) -> None:
    """Raises HostSeamError if LLaMA-Factory is not installed, before a command has done half its work."""
    if importlib.util.find_spec("llamafactory") is None:
        raise HostSeamError(
            f"{command} goes through LLaMA-Factory, which is not installed: pip install 'rgpt4d-plugin[llamafactory]'"
        )


def beyond_the_tested_hosts() -> str | None:
    """Says which installed version lies outside the tested ranges; None if both are inside."""
    from packaging.specifiers import SpecifierSet

    found = {
        "LLaMA-Factory": (host_version(), SUPPORTED_HOSTS),
        "transformers": (version("transformers"), SUPPORTED_TRANSFORMERS),
    }
    beyond = [
        f"{name} {number} ({supported})"
        for name, (number, supported) in found.items()
        if not SpecifierSet(supported).contains(number, prereleases=True)
    ]
    return f"not in the range that rgpt4d-plugin is tested with: {', '.join(beyond)}" if beyond else None


@functools.cache
def check_host() -> None:
    """Warns, once in a process, of versions that the seams were not run on. Call it when every seam has fitted."""
    beyond = beyond_the_tested_hosts()
    if beyond is not None:
        logger.warning(f"{beyond}. All names that it hooks are there, so the run goes on; compare its first losses.")


def switched_on(variable: str) -> bool:
    """The host's own reading of an environment switch."""
    return os.environ.get(variable, "0").lower() in ("true", "y", "1")


def require(owner: Any, *names: str) -> None:
    """Raises HostSeamError if `owner` (a module, class or table of host or transformers) lacks one of `names`."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        kind = owner if hasattr(owner, "__name__") else type(owner)
        package = getattr(kind, "__module__", kind.__name__).partition(".")[0]
        others = {"transformers": SUPPORTED_TRANSFORMERS, "peft": "0.18"}
        if package in others:
            found, supported = f"{package} {version(package)}", others[package]
        else:
            found, supported = f"LLaMA-Factory {host_version()}", SUPPORTED_HOSTS
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
