# SPDX-License-Identifier: Apache-2.0
"""Checks of the environment: versions, activation, GPU, optional packages, video decoders."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from rgpt4d_plugin.doctor.finding import Finding
from rgpt4d_plugin.seams import installed


TESTED = {
    "torch": "2.11.0",
    "transformers": "5.5.4",
    "peft": "0.18.1",
    "accelerate": "1.11.0",
    "av": "16.0.0",
    "llamafactory": "0.9.5",
    "trl": "0.24.0",
    "datasets": "4.0.0",
}
"""The set that the test suite runs on; constraints.txt pins it."""
ALSO_TESTED = {"trl": {"1.16.0"}, "transformers": {"5.2.0"}, "datasets": {"5.2.0"}}
"""Versions that `make test-trl` and `make matrix` run on."""

_CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")

_CHILD = """
import sys
alive = any(getattr(finder, "__name__", "") == "HostFinder" for finder in sys.meta_path)
print("alive" if alive else "asleep")
if alive and "host" in sys.argv:
    import llamafactory.train.tuner, llamafactory.chat.hf_engine
    from rgpt4d_plugin import patches
    patches.raise_failures()
"""


def check_environment(training: bool) -> Iterator[Finding]:
    """Checks what every run of this environment meets.

    Args:
        training: Whether a run is to be made: without a host there is then something wrong.
    """
    yield from check_versions()
    yield from check_host(training)
    yield from check_activation()
    yield from check_commands()
    yield from check_gpu()
    yield from check_options()
    yield from check_locks()
    yield check_decoders()


def check_versions() -> Iterator[Finding]:
    """Compares versions with the tested set, and with what the packages themselves require."""
    versions = {name: version for name in TESTED if (version := installed(name)) is not None}
    others = [
        f"{name} {version} (tested: {TESTED[name]})"
        for name, version in versions.items()
        if version.partition("+")[0] not in {TESTED[name], *ALSO_TESTED.get(name, ())}
    ]
    text = f"Python {sys.version.partition(' ')[0]}, {', '.join(f'{name} {v}' for name, v in versions.items())}"
    if others:
        yield Finding("warning", "versions", ", ".join(others), "pip install with -c constraints.txt, the tested set")
    else:
        yield Finding("fine", "versions", text)
    broken = {
        f"{name} requires {requirement}, found {version}"
        for name in ("rgpt4d-plugin", "llamafactory", "trl", "peft", "transformers", "accelerate")
        for requirement, version in _unmet(name)
    }
    for problem in sorted(broken):
        yield Finding("wrong", "versions", problem, "install that version; `pip check` lists all such conflicts")
    if versions.get("transformers") == "5.6.0":
        yield Finding(
            "wrong",
            "versions",
            "transformers 5.6.0 has a broken flash-attention path",
            "pip install transformers==5.5.4",
        )


def _unmet(name: str) -> Iterator[tuple[Requirement, str]]:
    """Requirements of an installed package that an installed version does not meet, or nothing meets."""
    for text in (importlib.metadata.requires(name) if installed(name) else None) or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield requirement, version or "nothing"


def check_host(training: bool) -> Iterator[Finding]:
    """Looks for LLaMA-Factory and TRL."""
    from rgpt4d_plugin.seams import beyond_the_tested_hosts

    found = [f"{title} {version}" for title, name in HOSTS.items() if (version := installed(name))]
    if not found:
        yield Finding(
            "wrong" if training else "warning",
            "host",
            "neither LLaMA-Factory nor TRL is installed: evaluation and RegionPrompt work, training does not",
            "pip install 'rgpt4d-plugin[llamafactory]', or [trl]",
        )
    elif installed("llamafactory") and (beyond := beyond_the_tested_hosts()):
        yield Finding("warning", "host", beyond, "look at the first run's losses, or install a tested version")
    else:
        yield Finding("fine", "host", ", ".join(found))


HOSTS = {"LLaMA-Factory": "llamafactory", "TRL": "trl"}


def check_activation() -> Iterator[Finding]:
    """Starts a child process as torchrun does, and looks whether the import hook and all seams are in place."""
    if os.environ.get("RGPT4D_DISABLE", "").lower() in ("1", "true", "yes"):
        yield Finding("wrong", "activation", "RGPT4D_DISABLE switches the plugin off", "unset RGPT4D_DISABLE")
        return
    asked = ["host"] if installed("llamafactory") else []
    child = subprocess.run([sys.executable, "-u", "-c", _CHILD, *asked], capture_output=True, text=True)
    if not child.stdout.startswith("alive"):
        folder = sysconfig.get_path("purelib")
        yield Finding(
            "wrong",
            "activation",
            f"a new Python process of {sys.executable} does not have the import hook: rgpt4d_plugin.pth is not in "
            f"{folder}, or site-packages is switched off (-S)",
            "pip install --force-reinstall --no-deps rgpt4d-plugin",
        )
    elif child.returncode:
        reason = child.stderr.strip().rpartition("\n")[2]
        yield Finding(
            "wrong", "activation", reason, "install a LLaMA-Factory that is supported: pip install llamafactory==0.9.5"
        )
    else:
        yield Finding("fine", "activation", "the import hook is alive here and in child processes, all seams fit")


def check_commands() -> Iterator[Finding]:
    """Compares the environment of the commands on PATH with this one."""
    if not installed("llamafactory"):
        return
    here = Path(sys.executable).parent
    for command in ("llamafactory-cli", "torchrun"):
        found = shutil.which(command)
        if found is None:
            yield Finding(
                "wrong", "commands", f"{command} is not on PATH", f"activate the environment: PATH={here}:$PATH"
            )
        elif Path(found).resolve().parent != here.resolve():
            yield Finding(
                "wrong",
                "commands",
                f"{command} on PATH is that of another environment: {found}, and this is {here}",
                f"activate this environment: PATH={here}:$PATH",
            )


def check_gpu() -> Iterator[Finding]:
    """Looks at the GPUs that a run would use."""
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            text, mend = f"torch {torch.__version__} is built without CUDA", "for a GPU install torch's CUDA build"
        else:
            text = f"torch {torch.__version__} (CUDA {torch.version.cuda}) finds no GPU; CUDA_VISIBLE_DEVICES: "
            text += repr(os.environ.get("CUDA_VISIBLE_DEVICES"))
            mend = "for a GPU look at `nvidia-smi`: its driver must be made for that CUDA version"
        yield Finding("warning", "GPU", text, mend)
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        text = f"{index}: {properties.name}, {memory}, CUDA {torch.version.cuda}"
        if free < 0.9 * total:
            yield Finding("warning", "GPU", text, "another process uses it: see `nvidia-smi`")
        else:
            yield Finding("fine", "GPU", text)
        if properties.major < 8:
            yield Finding(
                "warning", "bf16", f"{properties.name} has no bfloat16 units", "use fp16: true instead of bf16"
            )


def check_options() -> Iterator[Finding]:
    """Lists the optional packages; a recipe that needs one which is missing is refused below."""
    options = ("deepspeed", "bitsandbytes", "flash-attn", "liger-kernel", "torchcodec", "decord")
    there = [f"{name} {version}" for name in options if (version := installed(name))]
    missing = [name for name in options if installed(name) is None]
    yield Finding("fine", "options", f"{', '.join(there) or 'none'}; not installed: {', '.join(missing) or 'none'}")


def check_locks() -> Iterator[Finding]:
    """Looks for locks that processes left behind that were killed while torch compiled an operator of DeepSpeed."""
    if installed("deepspeed") is None:
        return
    from torch.utils.cpp_extension import get_default_build_root

    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())
    for lock in folder.rglob("lock"):
        minutes = (time.time() - lock.stat().st_mtime) / 60
        if minutes > 10:
            found = f"{lock} is {minutes:.0f} minutes old: if its process was killed, every run waits for it for ever"
            yield Finding("warning", "DeepSpeed", found, f"rm {lock}, unless a compilation is going on")


def check_decoders() -> Finding:
    """Asks PyAV's FFmpeg for the usual codecs."""
    import av

    version = ".".join(map(str, av.library_versions["libavcodec"]))
    missing = [name for name in _CODECS if name not in av.codecs_available]
    text = f"PyAV {av.__version__}, libavcodec {version}: {', '.join(name for name in _CODECS if name not in missing)}"
    if missing:
        return Finding(
            "warning", "FFmpeg", f"{text}; no decoder for {', '.join(missing)}", "pip install --force-reinstall av"
        )
    return Finding("fine", "FFmpeg", text)
