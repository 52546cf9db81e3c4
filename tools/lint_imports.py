# SPDX-License-Identifier: Apache-2.0
"""Checks the direction of imports: import-linter with the contracts of pyproject.toml.

`patches/` and `eval_hooks/` stand at the top of the repository but are installed as `rgpt4d_plugin.patches` and
`rgpt4d_plugin.eval_hooks`. An editable install only maps them, and import-linter searches a package's own folder, so
that it would pass over both. This script gives it a temporary copy of the package as a wheel lays it out.
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

from importlinter.cli import lint_imports
from setuptools.config.setupcfg import read_configuration


ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Returns import-linter's exit code."""
    folders = read_configuration(ROOT / "setup.cfg")["options"]["package_dir"]
    with tempfile.TemporaryDirectory() as tree:
        for package, folder in sorted(folders.items()):  # a package comes before what is mapped into it
            shutil.copytree(ROOT / folder, Path(tree, *package.split(".")))
        with contextlib.chdir(tree):  # the folder that import-linter searches first
            return lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)


if __name__ == "__main__":
    sys.exit(main())
