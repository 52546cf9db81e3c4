# SPDX-License-Identifier: Apache-2.0
"""The `rgpt4d` command. Training itself is `llamafactory-cli train RECIPE`, with a `p4d:` block in the recipe."""

import argparse
import sys

from rgpt4d_plugin._version import __version__


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and runs one command; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, RuntimeError, ValueError) as err:
        print(f"rgpt4d {arguments.command}: {err}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rgpt4d",
        description="Perceptual 4D Distillation for LLaMA-Factory. To train: llamafactory-cli train RECIPE, with a "
        "`p4d:` block in the recipe.",
    )
    parser.add_argument("--version", action="version", version=f"rgpt4d-plugin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="build tiny assets, train them through the host on a CPU, draw the maps",
        description="Builds a tiny student, a tiny expert and synthetic clips at the paths of the recipe, runs "
        "`llamafactory-cli train RECIPE`, prints the loss terms and draws teacher's and student's maps of a held-out "
        "clip. Example: rgpt4d demo recipes/demo_cpu.yaml",
    )
    demo.add_argument("recipe", nargs="?", default="recipes/demo_cpu.yaml", help="default: %(default)s")
    demo.set_defaults(run=_demo)

    synth = commands.add_parser(
        "synth",
        help="render synthetic clips with exact depth, flow, motion and cameras",
        description="Writes mp4 clips, their ground truth (.npz) and a dataset of questions for LLaMA-Factory. "
        "Example: rgpt4d synth --out data/synth4d --count 200",
    )
    synth.add_argument("--out", required=True, help="folder to write; the host's dataset_dir")
    synth.add_argument("--count", type=int, default=48, help="clips (default %(default)s)")
    synth.add_argument("--frames", type=int, default=16, help="frames per clip (default %(default)s)")
    synth.add_argument(
        "--size", type=int, nargs=2, default=(64, 64), metavar=("H", "W"), help="pixels (default 64 64)"
    )
    synth.add_argument("--fps", type=float, default=2.0, help="frames per second (default %(default)s)")
    synth.add_argument("--seed", type=int, default=0, help="same seed, same files (default %(default)s)")
    synth.set_defaults(run=_synth)
    return parser


# Imports are inside the commands: `rgpt4d --help` should not wait for torch.


def _demo(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.trainers.demo import run_demo

    run_demo(arguments.recipe)


def _synth(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.synth4d.clips import write_clips

    height, width = arguments.size
    folder = write_clips(
        arguments.out,
        arguments.count,
        arguments.seed,
        frames=arguments.frames,
        height=height,
        width=width,
        fps=arguments.fps,
    )
    print(f"{arguments.count} clips in {folder}")
