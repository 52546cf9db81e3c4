# SPDX-License-Identifier: Apache-2.0
"""The `rgpt4d` command. Training itself is `llamafactory-cli train RECIPE`, with a `p4d:` block in the recipe."""

import argparse
import os
import sys

from rgpt4d_plugin._version import __version__
from rgpt4d_plugin.cli_curation import add_curation
from rgpt4d_plugin.cli_eval import add_eval
from rgpt4d_plugin.cli_evidence import add_evidence
from rgpt4d_plugin.cli_model import add_convert_model
from rgpt4d_plugin.cli_start import add_start
from rgpt4d_plugin.cli_values import positive, whole
from rgpt4d_plugin.convert import SOURCES, source_name


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and runs one command; returns the exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    overrides = getattr(arguments, "overrides", None)
    if overrides is not None:  # argparse ends a list of positional arguments at the first option
        overrides += [override for override in rest if override[:1] != "-"]
        rest = [option for option in rest if option[:1] == "-"]
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if hasattr(sys.stdout, "reconfigure"):  # files may hold halves of surrogate pairs, which no terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return arguments.run(arguments) or 0
    except RecursionError as err:
        problem = f"a file or a value is nested too deeply to be read ({err})"
    except MemoryError as err:
        problem = f"not enough memory: {str(err) or 'an allocation failed'}"
    except (OSError, RuntimeError, ValueError) as err:
        problem = str(err) or type(err).__name__
    except KeyboardInterrupt:
        print(f"rgpt4d {arguments.command}: interrupted", file=sys.stderr)
        return 130  # as a shell counts a process that Ctrl-C ends
    print(f"rgpt4d {arguments.command}: {problem}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rgpt4d",
        description="Perceptual 4D Distillation for LLaMA-Factory. To train: llamafactory-cli train RECIPE, with a "
        "`p4d:` block in the recipe.",
    )
    parser.add_argument("--version", action="version", version=f"rgpt4d-plugin {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    cache = commands.add_parser(
        "cache-teacher",
        help="compute a recipe's teacher once, so that training loads no encoder and runs none",
        description="Runs the teacher of a recipe over all clips of its datasets, those for evaluation included, on "
        "exactly the frames that training samples, and keeps the latents and maps that the recipe's loss terms need. "
        "Says first how large it will be. May be stopped at any time: run again, it computes what is missing. On "
        "several GPUs: torchrun --nproc-per-node N --no-python rgpt4d cache-teacher ... "
        "Example: rgpt4d cache-teacher recipes/4drgpt_p4d_lora.yaml --out caches/l4p, then "
        "llamafactory-cli train recipes/4drgpt_p4d_lora.yaml p4d.teacher.cache=caches/l4p",
    )
    cache.add_argument("recipe", metavar="RECIPE", help="YAML file with a `p4d:` block")
    cache.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, as llamafactory-cli takes them")
    cache.add_argument("--out", required=True, metavar="DIR", help="folder of the cache")
    cache.add_argument(
        "--latents",
        choices=["bf16", "fp8", "int8", "none"],
        help="precision of the teacher's features (default: bf16, or none where p4d.loss.latent is 0)",
    )
    cache.add_argument(
        "--maps",
        choices=["native", "half", "quarter", "none"],
        help="resolution of the maps, in float16 (default: native); none: training makes them from the latents",
    )
    cache.add_argument(
        "--key",
        choices=["content", "stat"],
        help="recognize a video by its content (default), or by path, size and time of change, which reads no file",
    )
    cache.add_argument(
        "--workers", type=whole(0, 256), default=2, help="processes that decode, per GPU (default %(default)s)"
    )
    cache.add_argument(
        "--shard-mb",
        type=positive(100_000),
        default=256.0,
        metavar="MB",
        help="size of a file, and what a process computes anew after it was killed (default %(default)g)",
    )
    cache.add_argument("--strict", action="store_true", help="a clip that cannot be decoded is an error")
    cache.add_argument(
        "--verify", action="store_true", help="compute nothing: read every byte back, and look for every clip"
    )
    cache.set_defaults(run=_cache_teacher)

    convert = commands.add_parser(
        "convert",
        help="turn downloaded training data or a benchmark into datasets for LLaMA-Factory",
        description="Reads a downloaded folder, writes records with the source's own prompts and registers them in "
        "OUT/dataset_info.json. Training data: robofac; sat (its images are written below OUT); vsti (VLM-3R-DATA "
        "with its vstibench_train and the videos; files from before 2026-07-13 have wrong answers, and nothing in "
        "them shows it); wolf. Benchmarks: r4d_bench (R4D-Bench), vlm4d (VLM4D). Regions from annotation "
        "tools: label_studio (video JSON), cvat (for video, XML 1.1), coco (with `videos`). A broken record or a "
        "missing media file is an error unless --skip-bad allows it; everything left out is listed in "
        "OUT/NAME.summary.json. The last line printed says what to put into the recipe. To train on several sources "
        "at once, convert them with the same --out and the same --media-root, a folder above all their media. "
        "Example: rgpt4d convert wolf --src data/Wolf --out data/converted --media-root data",
    )
    convert.add_argument("source", type=source_name, choices=SOURCES, metavar="SOURCE", help=", ".join(SOURCES))
    convert.add_argument("--src", required=True, metavar="DIR", help="the downloaded folder")
    convert.add_argument("--out", required=True, metavar="DIR", help="folder to write; dataset_dir of the recipe")
    convert.add_argument(
        "--media-root",
        metavar="DIR",
        help="media_dir of the recipe, to which the paths in the records are relative (default: --src; for sat --out)",
    )
    convert.add_argument(
        "--skip-bad",
        type=whole(0),
        default=0,
        metavar="N",
        help="leave out up to N broken records instead of stopping at the first (default %(default)s)",
    )
    convert.set_defaults(run=_convert)

    add_convert_model(commands)
    add_eval(commands)
    add_curation(commands)
    add_start(commands)
    add_evidence(commands)

    preview = commands.add_parser(
        "preview",
        help="draw a recipe's samples as the model gets them, before training",
        description="Writes one PNG per sample, made from the tensors of LLaMA-Factory's own collator: images and "
        "video frames after all resizing, with their times and marks; all tokens, and which of them are trained on; "
        "with --teacher the teacher's maps. Works with and without a `p4d:` block; without --teacher no weights are "
        "loaded and the teacher's checkpoint may be missing. "
        "Example: rgpt4d preview recipes/4drgpt_p4d_lora.yaml cutoff_len=8192 --n 4 --out preview",
    )
    preview.add_argument("recipe", metavar="RECIPE", help="YAML file")
    preview.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, as llamafactory-cli takes them")
    preview.add_argument("--out", required=True, metavar="DIR", help="folder for the PNGs")
    preview.add_argument(
        "--n", type=whole(1), default=8, help="samples, spread over the recipe's datasets (default %(default)s)"
    )
    preview.add_argument("--dataset", metavar="NAME", help="one dataset of dataset_info.json, instead of the recipe's")
    preview.add_argument("--teacher", action="store_true", help="show the teacher's maps below the frames")
    preview.set_defaults(run=_preview)

    synth = commands.add_parser(
        "synth",
        help="render synthetic clips with exact depth, flow, motion and cameras; a benchmark of them",
        description="Writes mp4 clips, their ground truth (.npz) and a dataset of questions for LLaMA-Factory: a few "
        "clips of balls, or with --preset a benchmark, which has training conversations and held-out questions that "
        "`rgpt4d eval` scores. Examples: rgpt4d synth --out data/synth4d --count 200; "
        "rgpt4d synth --preset tiny --out data/tiny",
    )
    synth.add_argument("--out", required=True, metavar="DIR", help="folder to write; dataset_dir of the recipe")
    synth.add_argument(
        "--seed", type=whole(0), default=0, help="the same seed gives the same files (default %(default)s)"
    )
    few = synth.add_argument_group("without --preset")
    few.add_argument("--count", type=whole(1, 1_000_000), help="clips (default 48)")
    few.add_argument("--frames", type=whole(2, 10_000), help="frames per clip (default 16)")
    few.add_argument("--size", type=whole(16, 2048), nargs=2, metavar=("H", "W"), help="pixels (default 64 64)")
    few.add_argument("--fps", type=positive(1000), help="frames per second (default 2)")
    preset = synth.add_argument_group("a benchmark")
    preset.add_argument(
        "--preset",
        choices=("tiny", "simple", "small", "gpu"),
        help="tiny: 8 frames of 48 x 48 pixels; simple: 4, with one or two fast objects; small and gpu: 16 frames "
        "of about 112 and 224 pixels a side",
    )
    preset.add_argument("--train", type=whole(1, 1_000_000), help="training clips (default: the preset's)")
    preset.add_argument("--test", type=whole(1, 1_000_000), help="held-out clips (default: the preset's)")
    preset.add_argument("--workers", type=whole(1, 256), help="processes that render (default: one per core)")
    preset.add_argument(
        "--refer",
        choices=("colour", "mark"),
        help="objects are named by their colours, as tiny and simple do, or by marks on the first frame, <obj_1>",
    )
    preset.add_argument(
        "--style",
        choices=("word", "letter"),
        help="answers are words, as of tiny and simple, or letters of options as in R4D-Bench",
    )
    synth.set_defaults(run=_synth)
    return parser


# Imports are inside the commands: `rgpt4d --help` should not wait for torch.


def _cache_teacher(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "WARN")
    from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher

    options = CacheOptions(
        arguments.latents,
        arguments.maps,
        arguments.key,
        arguments.workers,
        arguments.strict,
        arguments.shard_mb,
    )
    run_cache_teacher(arguments.recipe, arguments.out, options, arguments.verify, arguments.overrides)


def _convert(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.convert.run import convert, report

    for line in report(
        convert(arguments.source, arguments.src, arguments.out, arguments.skip_bad, arguments.media_root)
    ):
        print(line)


def _preview(arguments: argparse.Namespace) -> None:
    os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "WARN")  # the lines that count here are ours
    from rgpt4d_plugin.seams import need_host

    need_host("a preview")
    from rgpt4d_plugin.preview.command import run_preview

    run_preview(
        arguments.recipe, arguments.out, arguments.n, arguments.dataset, arguments.teacher, arguments.overrides
    )


def _synth(arguments: argparse.Namespace) -> None:
    few, many = (
        {name: value for name in names if (value := getattr(arguments, name)) is not None}
        for names in (("count", "frames", "size", "fps"), ("train", "test", "workers", "refer", "style"))
    )
    if arguments.preset is None and many:
        raise ValueError(f"--{next(iter(many))} is for a benchmark: give --preset too")
    if arguments.preset is not None and few:
        raise ValueError(f"--{next(iter(few))} does not go with --preset, which decides what clips are like")
    if arguments.preset is None:
        from rgpt4d_plugin.synth4d.clips import ClipSettings, write_clips

        if "size" in few:
            few["height"], few["width"] = few.pop("size")
        folder = write_clips(arguments.out, seed=arguments.seed, **few)
        print(f"{few.get('count', ClipSettings.count)} clips in {folder}")
        return
    from rgpt4d_plugin.synth4d.benchmark import write_benchmark

    folder = write_benchmark(arguments.out, arguments.preset, seed=arguments.seed, **many)
    print(f"Benchmark in {folder}: dataset_dir {folder}; p4d_eval.benchmarks {{synth4d: {folder / 'test'}}}")
