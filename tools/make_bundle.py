# SPDX-License-Identifier: Apache-2.0
"""Packs this plugin and the pinned libraries for a machine without a network: `make bundle`.

Writes dist/bundle/: site.tar.gz, what `pip install '.[llamafactory]'` would bring for the Python of that machine, but
for torch and CUDA, which its image has; versions.txt; and enter.sh, which runs a command with it. Versions are those
installed here, so the environment that passed the tests is the one that travels.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "dist" / "bundle"
PACKAGE = "rgpt4d-plugin"
EXTRAS = frozenset({"llamafactory"})

THERE = ("torch", "torchvision", "torchaudio", "triton", "setuptools", "pip")
"""What an image for training has: it fits the driver there, and is large."""

UNUSED = ("gradio",)
"""What the host requires for its web page alone."""

PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (35, 34, 31, 28, 27, 24, 17)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def closure(name: str, python: str, left_out: set[str]) -> dict[str, str]:
    """Every distribution that `name` needs under that Python, with the version installed here."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found: dict[str, str] = {}
    waiting = [(name, EXTRAS)]
    seen = set(waiting)
    while waiting:
        current, extras = waiting.pop()
        for line in distribution(current).requires or []:
            requirement = Requirement(line)
            wanted = canonicalize_name(requirement.name)
            marker = requirement.marker
            applies = marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in ("", *extras))
            if not applies or wanted in left_out or wanted.startswith(("nvidia-", "cuda-")):
                continue
            found[wanted] = distribution(wanted).version
            step = (wanted, frozenset(requirement.extras))
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return dict(sorted(found.items()))


def pip(*arguments: str) -> None:
    """Runs pip; its own message says what is wrong."""
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments], check=True)


def pack(versions: dict[str, str], python: str) -> None:
    """Downloads, unpacks and packs the libraries and the plugin."""
    target = ["--only-binary=:all:", "--no-deps", "--implementation", "cp", "--python-version", python]
    target += [part for platform in PLATFORMS for part in ("--platform", platform)]
    with tempfile.TemporaryDirectory() as folder:
        wheels, site = Path(folder, "wheels"), Path(folder, "site")
        wanted = [f"{name}=={version}" for name, version in versions.items()]
        pip("download", *target, "--dest", str(wheels), *wanted)
        pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT))
        found = sorted(map(str, wheels.glob("*.whl")))
        pip("install", "--no-index", "--no-compile", *target, "--target", str(site), *found)
        with tarfile.open(OUT / "site.tar.gz", "w:gz", compresslevel=5) as archive:
            archive.add(site, ".")


def main() -> None:
    """Reads the options and packs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}", help="of the machine")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="what the machine has besides torch")
    args = parser.parse_args()
    left_out = {canonicalize_name(name) for name in (*THERE, *UNUSED, *args.without)}
    versions = closure(PACKAGE, args.python, left_out)
    OUT.mkdir(parents=True, exist_ok=True)
    pack(versions, args.python)
    (OUT / "versions.txt").write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
    shutil.copy(ROOT / "tools" / "enter.sh", OUT / "enter.sh")
    size = (OUT / "site.tar.gz").stat().st_size / 1e6
    print(f"{OUT}: {len(versions)} packages for Python {args.python}, {size:.0f} MB; there: bash enter.sh COMMAND")


if __name__ == "__main__":
    main()
