# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d doctor`: is everything there that a run needs? Each check is a generator of findings."""

from collections.abc import Iterator, Sequence

from rgpt4d_plugin.doctor.finding import Finding


__all__ = ["Finding", "examine"]


def examine(recipe_path: str | None = None, overrides: Sequence[str] = (), media: int = 16) -> Iterator[Finding]:
    """Checks the environment, and a recipe if one is given.

    Args:
        recipe_path: YAML file; None: the environment alone.
        overrides: KEY=VALUE, as `llamafactory-cli` takes them.
        media: Number of videos and images to open.
    """
    from rgpt4d_plugin.doctor.environment import check_environment
    from rgpt4d_plugin.doctor.recipe_checks import check_recipe

    yield from check_environment(training=recipe_path is not None)
    if recipe_path is not None:
        yield from check_recipe(recipe_path, overrides, media)
