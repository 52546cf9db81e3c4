# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d doctor`, `recipes`, `init` and `demo`: parsers, which import nothing heavy, and calls."""

import argparse
import contextlib
import json
import os
import sys

from rgpt4d_plugin import recipes
from rgpt4d_plugin.cli_values import whole


def add_start(commands: argparse._SubParsersAction) -> None:
    """Adds the commands."""
    _add_doctor(commands)
    _add_recipes(commands)
    _add_init(commands)
    _add_demo(commands)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="check this environment, and a recipe, before a run",
        description="Checks versions, activation, GPU and disk; with a recipe also its model, template, teacher, data "
        "and a sample of the media, and estimates memory and time of a step. Every line is fine, a warning, or what "
        "would stop a run and how to mend it; then the exit code is 1. No weights are loaded. "
        "Example: rgpt4d doctor recipes/4drgpt_p4d_lora.yaml",
    )
    doctor.add_argument("recipe", nargs="?", metavar="RECIPE", help="YAML file (default: the environment alone)")
    doctor.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, as llamafactory-cli takes them")
    doctor.add_argument(
        "--media", type=whole(1), default=16, metavar="N", help="videos and images to open (default %(default)s)"
    )
    doctor.add_argument("--json", action="store_true", help="print a JSON list instead of lines")
    doctor.set_defaults(run=_doctor)


def _add_recipes(commands: argparse._SubParsersAction) -> None:
    listing = commands.add_parser(
        "recipes",
        help="list the recipes that come with the package, or copy them",
        description="Without a name lists them; with names, or `all`, copies them and the DeepSpeed files they name. "
        "Example: rgpt4d recipes 4drgpt_p4d_lora",
    )
    listing.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(recipes.names())}, or all")
    listing.add_argument("--out", default="recipes", metavar="DIR", help="folder to write (default: %(default)s)")
    listing.set_defaults(run=_recipes)


def _add_init(commands: argparse._SubParsersAction) -> None:
    init = commands.add_parser(
        "init",
        help="write a commented recipe for a model, a dataset and a teacher",
        description="Writes a recipe with comments, made from those that come with the package; it asks nothing. The "
        "template is chosen by the model's config.json. "
        "Example: rgpt4d init --model Qwen/Qwen2.5-VL-7B-Instruct --dataset mine --dataset-dir data "
        "--teacher checkpoints/l4p.ckpt --out mine.yaml",
    )
    init.add_argument("--model", required=True, help="name on the hub, or folder")
    init.add_argument("--dataset", required=True, metavar="NAMES", help="names in dataset_info.json, with commas")
    init.add_argument("--dataset-dir", default="data", metavar="DIR", help="folder of it (default: %(default)s)")
    init.add_argument("--teacher", required=True, metavar="FILE", help="checkpoint of the teacher")
    init.add_argument(
        "--teacher-type", choices=recipes.BY_TEACHER, default="l4p", help="kind of teacher (default: %(default)s)"
    )
    init.add_argument(
        "--method", choices=recipes.BY_METHOD, default="lora", help="what is trained (default: %(default)s)"
    )
    init.add_argument("--template", metavar="NAME", help="where the model's config.json cannot be read")
    init.add_argument("--frames", type=whole(1, 10_000), default=16, help="frames per clip (default: %(default)s)")
    init.add_argument("--out", required=True, metavar="FILE", help="recipe to write")
    init.set_defaults(run=_init)


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        "demo",
        help="build tiny assets, train them through LLaMA-Factory on a CPU, draw the maps",
        description="Builds a tiny student, a tiny teacher and synthetic clips at the paths of the recipe, runs "
        "`llamafactory-cli train RECIPE`, prints the loss terms and draws teacher's and student's maps of a held-out "
        "clip. Everything is written below the folder it is started in. Example: rgpt4d demo",
    )
    demo.add_argument("recipe", nargs="?", help="default: the package's demo_cpu, copied to demo/")
    demo.set_defaults(run=_demo)


def _doctor(arguments: argparse.Namespace) -> int:
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    from rgpt4d_plugin.doctor import examine

    with contextlib.redirect_stdout(sys.stderr):  # DeepSpeed for one prints when it is imported
        findings = list(examine(arguments.recipe, arguments.overrides, arguments.media))
    if arguments.json:
        print(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            print(finding)
    return int(any(finding.state == "wrong" for finding in findings))


def _recipes(arguments: argparse.Namespace) -> None:
    if not arguments.names:
        for name in recipes.names():
            print(f"{name:<24}{recipes.summary_of(name)}")
        return
    wanted = recipes.names() if arguments.names == ["all"] else arguments.names
    for path in recipes.copy(wanted, arguments.out):
        print(path)


def _init(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.init_recipe import init_recipe

    for path in init_recipe(arguments):
        print(path)
    print(f"Next: rgpt4d doctor {arguments.out}; rgpt4d preview {arguments.out} --out preview")


def _demo(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.preview.demo import run_demo
    from rgpt4d_plugin.seams import need_host

    need_host("the demo")

    run_demo(arguments.recipe)
