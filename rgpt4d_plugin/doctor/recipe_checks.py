# SPDX-License-Identifier: Apache-2.0
"""Checks of a recipe: all that a run reads before its first step, without loading any weight."""

import json
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.arguments import P4DArguments, P4DConfigError, parse_p4d
from rgpt4d_plugin.doctor.estimate import RunSizes, seconds, sizes_of
from rgpt4d_plugin.doctor.finding import Finding
from rgpt4d_plugin.files import read_registry
from rgpt4d_plugin.recipe import read_recipe
from rgpt4d_plugin.seams import installed, switched_on
from rgpt4d_plugin.teachers import TeacherSpec, teacher_class
from rgpt4d_plugin.validation import hint


FAILURES = (ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What configuration, host and files raise when something is wrong with them."""


def check_recipe(path: str, overrides: Sequence[str], media: int) -> Iterator[Finding]:
    """Goes through a recipe in the order in which a run reads it."""
    try:
        recipe = read_recipe(path, overrides)
    except (OSError, ValueError) as err:
        yield Finding(
            "wrong", "recipe", str(err), "`rgpt4d recipes` copies recipes that work, `rgpt4d init` writes one"
        )
        return
    p4d, problems = _block(recipe)
    yield from problems
    spec = None
    if p4d is not None and p4d.loss.active:
        spec, finding = check_teacher(p4d)
        yield finding
        if spec is not None and finding.state == "fine" and p4d.teacher.cache is not None:
            yield check_cache(p4d, spec)
    yield from check_launch(recipe)
    yield from check_packages(recipe)
    unusable = list(check_dataset_files(recipe))
    yield from unusable
    if installed("llamafactory"):
        yield from _with_host(recipe, p4d, spec, 0 if unusable else media)


def _block(recipe: Mapping[str, Any]) -> tuple[P4DArguments | None, list[Finding]]:
    """The parsed `p4d:` block, also where only a teacher's file is not there, and what is wrong with it."""
    if "p4d" not in recipe or recipe["p4d"] in (False, "off"):
        return None, [Finding("warning", "p4d", "no `p4d:` block: this is plain SFT", "see docs/training.md for one")]
    try:
        return parse_p4d(recipe["p4d"], recipe), [Finding("fine", "p4d", "the block is well-formed")]
    except P4DConfigError as err:
        lines = str(err).split("\n  - ")[1:]
        problems = [Finding("wrong", "p4d", line, "correct the key; docs/reference.md has them all") for line in lines]
    try:
        block = parse_p4d(recipe["p4d"], training=False)
        return block, [problem for problem in problems if not problem.found.startswith("p4d.teacher.checkpoint")]
    except P4DConfigError:
        return None, problems


def check_teacher(p4d: P4DArguments) -> tuple[TeacherSpec | None, Finding]:
    """Reads the head of the teacher's file, and compares what it gives with the terms that have weights."""
    try:
        teacher = teacher_class(p4d.teacher.type)
        problems = teacher.problems(p4d.teacher)
        spec = None if problems else teacher.read_spec(p4d.teacher)
    except FAILURES as err:
        problems, spec = [str(err)], None
    if spec is None:
        return None, Finding("wrong", "teacher", "; ".join(problems), "docs/teachers.md says where the weights are")
    wanted = [term for term in p4d.loss.active if term not in spec.terms]
    size = f"{spec.input_size[0]} x {spec.input_size[1]}"
    text = f"{spec.name}: {spec.window} frames of {size}; gives {', '.join(spec.terms)}"
    if wanted:
        mend = f"set p4d.loss.{wanted[0]}: 0 (and so for each), or name another checkpoint"
        return spec, Finding("wrong", "teacher", f"{text}; not {', '.join(wanted)}, which p4d.loss weighs", mend)
    return spec, Finding("fine", "teacher", text)


def check_cache(p4d: P4DArguments, spec: TeacherSpec) -> Finding:
    """Compares `p4d.teacher.cache` with the teacher and the terms; reads all of the teacher's files, as a run does."""
    from rgpt4d_plugin.teachers.cached.teacher import cache_problems

    compared = p4d.hooks_in(spec) if "latent" in p4d.loss.active else ()
    problems = cache_problems(p4d.teacher, spec, compared, p4d.loss.maps)
    if problems:
        return Finding("wrong", "cache", "; ".join(problems), "see docs/caching.md")
    return Finding("fine", "cache", f"{p4d.teacher.cache} has this teacher's results; --verify looks at every clip")


def check_dataset_files(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    """Looks for the recipe's datasets in dataset_info.json, and for their files."""
    names = recipe.get("dataset") or []
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    folder = recipe.get("dataset_dir", "data")
    if not names:
        yield Finding(
            "wrong", "data", "the recipe names no dataset", "dataset: NAME, one in dataset_dir's dataset_info.json"
        )
    if not names or not isinstance(folder, str) or folder == "ONLINE" or folder.startswith("REMOTE:"):
        return
    path = Path(folder, "dataset_info.json")
    try:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        entries = read_registry(path)
    except (OSError, ValueError) as err:
        yield Finding("wrong", "data", str(err), "dataset_dir is the folder that has dataset_info.json")
        return
    for name in names:
        if name not in entries:
            mend = hint(name, entries, "it has") if entries else "it has none"
            yield Finding("wrong", "data", f"{path} has no {name!r}", mend)
            continue
        file = entries[name].get("file_name") if isinstance(entries[name], dict) else None
        if file is not None and not Path(folder, file).exists():
            yield Finding(
                "wrong", "data", f"{name}: no such file: {Path(folder, file)}", f"correct file_name in {path}"
            )


def check_launch(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    """Looks at how the run must be started."""
    import torch

    gpus = torch.cuda.device_count()
    for key in ("deepspeed", "fsdp"):
        if recipe.get(key) and gpus <= 1 and not switched_on("FORCE_TORCHRUN"):
            yield Finding(
                "wrong",
                "launch",
                f"{key} needs torchrun, which llamafactory-cli starts for several GPUs only; here is {gpus or 'none'}",
                "FORCE_TORCHRUN=1 llamafactory-cli train ...",
            )
    config = recipe.get("deepspeed")
    if isinstance(config, str):
        try:
            json.loads(Path(config).read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            yield Finding(
                "wrong", "launch", f"deepspeed: {config}: {err}", "`rgpt4d recipes 4drgpt_p4d` copies the files"
            )
    if gpus == 0 and not recipe.get("use_cpu"):
        yield Finding("warning", "launch", "no GPU: this run would use the CPU", "CUDA_VISIBLE_DEVICES and the driver")


def check_packages(recipe: Mapping[str, Any]) -> Iterator[Finding]:
    """Looks for the optional packages that the recipe asks for."""
    needed = {
        "deepspeed": ("deepspeed", bool(recipe.get("deepspeed"))),
        "bitsandbytes": ("quantization_bit", recipe.get("quantization_bit") is not None),
        "flash-attn": ("flash_attn: fa2", recipe.get("flash_attn") == "fa2"),
        "liger-kernel": ("enable_liger_kernel", bool(recipe.get("enable_liger_kernel"))),
    }
    for package, (key, wanted) in needed.items():
        if wanted and installed(package) is None:
            yield Finding("wrong", "packages", f"{key}: {package} is not installed", f"pip install {package}")


def _with_host(
    recipe: Mapping[str, Any], p4d: P4DArguments | None, spec: TeacherSpec | None, media: int
) -> Iterator[Finding]:
    """Checks that need the host's parser, tokenizer and template; `media` is 0 where the data cannot be read."""
    os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "ERROR")
    try:
        from rgpt4d_plugin.preview.recipe_pipeline import RecipePipeline

        pipeline = RecipePipeline.from_recipe(recipe, needs_teacher=False)
        config = pipeline.config
    except FAILURES as err:
        if p4d is not None or not isinstance(err, P4DConfigError):  # its faults stand above already
            yield Finding(
                "wrong", "model", _first_lines(err), "name a model on the hub, or a folder with config and tokenizer"
            )
        return
    usable = yield from check_model(pipeline)
    longest = (yield from check_data(pipeline, media)) if usable and media else None
    if longest is not None:
        yield from check_sizes(recipe, pipeline, config, spec, *longest)


def check_model(pipeline: Any) -> Generator[Finding, None, bool]:
    """Looks at the model's family, its files and its template; returns whether they can show the data."""
    from rgpt4d_plugin.students import get_family
    from rgpt4d_plugin.trainers.setup import P4DSetup

    name = pipeline.model_args.model_name_or_path
    try:
        family = get_family(pipeline.config.model_type)
    except ValueError as err:
        yield Finding("wrong", "model", str(err), "docs/training.md lists the bases; docs/adding_a_family.md adds one")
        return False
    if os.path.isdir(name) and not any(Path(name).glob("*.safetensors")) and not any(Path(name).glob("*.bin")):
        yield Finding("wrong", "model", f"{name} has no weights (*.safetensors)", "download the whole model again")
    else:
        yield Finding("fine", "model", f"{name}: {family.name}")
    setup = P4DSetup(pipeline.p4d or P4DArguments(), family, None, (), None)
    template = pipeline.data_args.template
    try:
        setup.check_template(template, pipeline.template.mm_plugin, pipeline.tokenizer)
    except P4DConfigError as err:
        yield Finding("wrong", "template", str(err).partition("\n  - ")[2], f"template: {family.templates[0]}")
        return False
    yield Finding("fine", "template", f"{template} fits {family.name}")
    return True


def check_data(pipeline: Any, media: int) -> Generator[Finding, None, tuple[int, tuple[int, ...]] | None]:
    """Reads the first records of every dataset, opens their media and counts their tokens.

    Returns:
        Tokens of the longest record, and frames of its clips; None if nothing could be read.
    """
    cutoff, longest, opened = pipeline.data_args.cutoff_len, None, 0
    names = pipeline.data_args.dataset
    share = max(1, media // len(names))
    for name in names:
        try:
            records = pipeline.records(name, share)
            lengths = []
            for number, record in enumerate(records):
                frames = []
                with pipeline.run_template.mm_plugin.recording(
                    lambda clip, kept=frames: kept.append(len(clip.frames))
                ):
                    feature = pipeline.tokenise(pipeline.run_template, record, cutoff_len=2**31)
                    if feature is not None and (feature["videos"] or feature["images"]):
                        pipeline.plain_collator(pipeline.run_template)([dict(feature)])
                        opened += len(feature["videos"] or []) + len(feature["images"] or [])
                if feature is not None:
                    lengths.append((len(feature["input_ids"]), tuple(frames), number))
        except FAILURES as err:
            yield Finding(
                "wrong",
                "data",
                f"{name}: {_first_lines(err)}",
                "correct the record or the entry; media_dir is the folder of relative paths",
            )
            continue
        if not lengths:
            yield Finding(
                "wrong",
                "data",
                f"{name}: none of its first {len(records)} records can be used",
                "`rgpt4d preview` says why",
            )
            continue
        length, frames, number = max(lengths)
        longest = max(longest or (0, ()), (length, frames))
        text = f"{name}: {len(lengths)} records read, at most {length} tokens"
        if length > cutoff:
            mend = f"cutoff_len: {-(-length // 1024) * 1024}, or lower p4d.frames or video_max_pixels"
            yield Finding(
                "warning" if not frames else "wrong",
                "cutoff_len",
                f"{name}: record {number} has {length} tokens with {sum(frames)} frames, and cutoff_len keeps "
                f"{cutoff}: clips are cut and give no terms",
                mend,
            )
        else:
            yield Finding("fine", "data", f"{text} of {cutoff}")
    if longest is not None:
        yield Finding("fine", "media", f"{opened} videos and images opened and decoded")
    return longest


def check_sizes(
    recipe: Mapping[str, Any], pipeline: Any, config: Any, spec: TeacherSpec | None, tokens: int, frames: Sequence[int]
) -> Iterator[Finding]:
    """Estimates memory, time and disk; see `estimate`."""
    import torch

    gpus = max(1, torch.cuda.device_count())
    model = sizes_of(config, pipeline.finetuning_args, recipe)
    teacher = {}
    if spec is not None:
        windows = sum(len(spec.window_starts(count)[1]) for count in frames)
        teacher = {
            "teacher_parameters": 12 * spec.width**2 * len(spec.features),
            "teacher_tokens": windows * spec.tokens,
        }
    training = pipeline.training_args
    sizes = RunSizes(
        tokens=min(tokens, pipeline.data_args.cutoff_len),
        batch=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        gpus=gpus,
        zero=_zero_stage(recipe.get("deepspeed")),
        **model,
        **teacher,
    )
    memory, operations = sizes.memory(), sizes.operations()
    counts = f"{_count(model['parameters'])} parameters, {_count(model['trained'])} trained"
    text = f"about {memory:.3g} GiB a GPU for {counts}"
    if torch.cuda.is_available():
        card = torch.cuda.get_device_name(0)
        there = torch.cuda.get_device_properties(0).total_memory / 2**30
        state = "warning" if memory > there else "fine"
        mend = "more GPUs with deepspeed ZeRO-3, QLoRA, or fewer tokens: p4d.frames, video_max_pixels" * (
            memory > there
        )
        yield Finding(state, "memory", f"{text}; {card} has {there:.0f}", mend)
        time = seconds(operations, card)
        rate = f"about {time:.3g} s on {card}" if time is not None else f"{card} is not in the table of speeds"
    else:
        yield Finding("fine", "memory", text)
        rate = f"about {seconds(operations, 'H100'):.3g} s on an H100, {seconds(operations, 'A100'):.3g} s on an A100"
    steps = training.per_device_train_batch_size * training.gradient_accumulation_steps * gpus
    yield Finding("fine", "time", f"{operations:.3g} TFLOP a step of {steps} records and GPU: {rate}")
    yield check_disk(recipe, training, sizes)


def check_disk(recipe: Mapping[str, Any], training: Any, sizes: RunSizes) -> Finding:
    """Compares a checkpoint, weights in bfloat16 and 12 bytes of optimizer a trained parameter, with what is free."""
    folder = Path(recipe.get("output_dir", ".")).absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 2**30
    weights = sizes.parameters if sizes.full else sizes.trained
    each = (2 * weights + (0 if training.save_only_model else 12 * sizes.trained)) / 2**30
    text = f"{free:.0f} GiB free below {there}, a checkpoint needs about {each:.2g}"
    limit = "save_total_limit, save_only_model: true, or another output_dir"
    if free < each:
        return Finding("wrong", "disk", text, limit)
    if training.save_total_limit is None and free < 10 * each:
        return Finding("warning", "disk", f"{text}, and all are kept", limit)
    return Finding("fine", "disk", text)


def _count(number: int) -> str:
    return f"{number / 1e9:.3g} B" if number >= 1e9 else f"{number / 1e6:.3g} M"


def _zero_stage(config: Any) -> int:
    try:
        config = json.loads(Path(config).read_text(encoding="utf-8")) if isinstance(config, str) else config
        return int(config["zero_optimization"]["stage"]) if config else 0
    except (KeyError, OSError, TypeError, ValueError):  # `check_launch` has said so
        return 0


def _first_lines(err: BaseException) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return " ".join(lines[:3]) or type(err).__name__
