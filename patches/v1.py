# SPDX-License-Identifier: Apache-2.0
"""Seam: the host's v1 tree (`USE_V1=1`) has its own parser and trainer; a `p4d:` block there is refused in words.

Host name: `llamafactory.v1.config.arg_parser.get_args`. To be removed when the plugin supports v1.
"""

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.seams import require, wrap


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps `get_args` of `module`; returns the undo function."""
    require(module, "get_args")
    get_args = module.get_args

    @functools.wraps(get_args)
    def checked_get_args(args: Any = None) -> Any:
        from rgpt4d_plugin import patches

        in_mapping = bool(patches.used_blocks(args))
        if in_mapping or (args is None and len(sys.argv) > 1 and patches.command_line_uses_p4d()):
            raise P4DConfigError(
                "`p4d:` does not work with the host's v1 tree: unset USE_V1 or remove `p4d:` and `p4d_eval:`."
            )
        return get_args(args)

    return wrap(module, get_args=checked_get_args)
