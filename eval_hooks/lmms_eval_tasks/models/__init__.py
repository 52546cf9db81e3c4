# SPDX-License-Identifier: Apache-2.0
"""The module that LMMS_EVAL_PLUGINS makes lmms-eval import first; the last moment for the tasks beside it.

lmms-eval 0.7.3 adds the folder of `<plugin>.tasks` to those it searches only after it has searched them, so a plugin's
tasks would not be found. To be removed when a version does it in time; `--include_path` needs none of this.
"""

from pathlib import Path

from lmms_eval.tasks import TaskManager


AVAILABLE_MODELS: dict[str, str] = {}

_search = TaskManager.initialize_tasks


def _search_here_too(
    self: TaskManager, include_path: str | list[str] | None = None, include_defaults: bool = True
) -> dict:
    given = [include_path] if isinstance(include_path, str) else list(include_path or ())
    return _search(self, [*given, str(Path(__file__).parents[1] / "tasks")], include_defaults)


TaskManager.initialize_tasks = _search_here_too
