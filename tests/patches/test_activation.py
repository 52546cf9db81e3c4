# SPDX-License-Identifier: Apache-2.0
"""Activation: lazy, reversible, absent without a `p4d:` block, and one clear error where the host does not fit."""

import configparser
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import peft
import pytest
import transformers
import yaml
from llamafactory.hparams import get_train_args

import rgpt4d_plugin
from _rgpt4d_boot import TARGETS, HostFinder, activate
from rgpt4d_plugin import modeling, patches, seams
from rgpt4d_plugin.patches import log_callback, p4d_block, parser, v1, workflow
from rgpt4d_plugin.seams import HostSeamError
from rgpt4d_plugin.template.plugin_classes import with_recorder
from tests.harness import train_cli


ROOT = Path(__file__).parents[2]

WRAPPED = {
    "llamafactory.hparams.parser": ("_parse_train_args", "_parse_infer_args", "get_train_args", "get_ray_args"),
    "llamafactory.model.loader": ("load_config", "load_tokenizer"),
    "llamafactory.train.sft.workflow": ("run_sft",),
    "llamafactory.train.tuner": ("export_model",),
    "llamafactory.v1.config.arg_parser": ("get_args",),
    "transformers.models.auto.processing_auto": ("processor_class_from_name",),
}

REGISTRIES = {
    "llamafactory.data.converter": ("DATASET_CONVERTERS", {"rgpt4d", "rgpt4d_openai"}),
    "llamafactory.data.template": (
        "TEMPLATES",
        {
            "rgpt4d_dots_ocr",
            "rgpt4d_gemma3",
            "rgpt4d_intern_s1",
            "rgpt4d_gemma4",
            "rgpt4d_gemma4n",
            "rgpt4d_glm4_5v",
            "rgpt4d_glm4v",
            "rgpt4d_glm_ocr",
            "rgpt4d_intern_vl",
            "rgpt4d_keye_vl",
            "rgpt4d_llava_next_video",
            "rgpt4d_llava_next_video_mistral",
            "rgpt4d_llava_next_video_yi",
            "rgpt4d_llava_onevision",
            "rgpt4d_mimo_vl",
            "rgpt4d_nvila",
            "rgpt4d_qwen2_vl",
            "rgpt4d_qwen3_5",
            "rgpt4d_qwen3_5_nothink",
            "rgpt4d_qwen3_6",
            "rgpt4d_qwen3_vl",
            "rgpt4d_qwen3_vl_nothink",
            "rgpt4d_video_llava",
        },
    ),
    "transformers.models.auto.configuration_auto": (
        "CONFIG_MAPPING",
        {f"rgpt4d_{base}" for base in modeling.BASES} | set(modeling.OWN_BASES),
    ),
    "llamafactory.model.model_utils.visual": ("COMPOSITE_MODELS", {"llava_onevision", "nvila", "glm46v"}),
}
"""What is added to registries."""

IMPORTERS = (
    ("llamafactory.hparams", "get_train_args"),
    ("llamafactory.hparams", "get_ray_args"),
    ("llamafactory.train.tuner", "get_train_args"),
    ("llamafactory.train.tuner", "run_sft"),
    ("llamafactory.model", "load_config"),
    ("llamafactory.train.sft.workflow", "load_tokenizer"),
    ("llamafactory.train.sft", "run_sft"),
)
"""Host modules that have from-imported a wrapped name."""

NAKED = """
import json, sys
finders = [getattr(finder, "__name__", "") for finder in sys.meta_path]
print(json.dumps({"finders": finders, "modules": [*sys.modules]}))
"""

EVERYTHING = """
import importlib, pkgutil, sys
import datasets, peft, transformers, trl
import llamafactory.data.mm_plugin, llamafactory.train.tuner, llamafactory.v1.config.arg_parser

def look():
    packages = ("accelerate", "av", "datasets", "llamafactory", "peft", "torch", "transformers", "trl")
    return {
        (key, name): id(value)
        for key, module in list(sys.modules.items()) if key.partition(".")[0] in packages
        for name, value in list(vars(module).items())
    }

import rgpt4d_plugin
before = look()
names = [module.name for module in pkgutil.walk_packages(rgpt4d_plugin.__path__, "rgpt4d_plugin.")]
names += [f"rgpt4d_plugin.patches.{module.name}" for module in pkgutil.iter_modules(
    importlib.import_module("rgpt4d_plugin.patches").__path__)]
assert "rgpt4d_plugin.patches.workflow" in names and "rgpt4d_plugin.trainers.mixin" in names, names
for name in names:
    if ".modeling_rgpt4d_" not in name:  # these say to transformers how their base's checkpoints are read
        importlib.import_module(name)
after = look()
changed = [key for key in before if after.get(key) != before[key]]
assert not changed, changed
"""


def python(code, cwd, **environment):
    """Runs `python -c` outside the repository, so that only what is installed is found."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def fresh(monkeypatch):
    """Makes `patches` believe that no seam has been applied yet; the real ones stay in place."""
    monkeypatch.setattr(patches, "_undo", {})
    monkeypatch.setattr(patches, "_failures", [])
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli"])


@pytest.fixture
def plain(tmp_path):
    """A recipe without `p4d:` that parses; nothing in it exists."""
    return {
        "model_name_or_path": "none",
        "stage": "sft",
        "do_train": True,
        "dataset": "none",
        "template": "qwen2_vl",
        "output_dir": str(tmp_path / "out"),
        "report_to": "none",
    }


@pytest.fixture
def distilled(plain):
    """The same with a block."""
    return {**plain, "p4d": {"preset": "none"}}


# The import hook


def test_a_bare_interpreter_has_the_finder_and_nothing_else(tmp_path):
    enabled = json.loads(python(NAKED, tmp_path))
    disabled = json.loads(python(NAKED, tmp_path, RGPT4D_DISABLE="1"))

    assert enabled["finders"][0] == "HostFinder"
    assert enabled["finders"][1:] == disabled["finders"]
    assert set(enabled["modules"]) == set(disabled["modules"])
    assert "_rgpt4d_boot" in enabled["modules"]
    packages = {name.partition(".")[0] for name in enabled["modules"]}
    assert not packages & {"rgpt4d_plugin", "llamafactory", "torch", "numpy", "yaml"}


@pytest.mark.parametrize(("value", "active"), [("1", False), ("true", False), ("YES", False), ("0", True), ("", True)])
def test_the_kill_switch(monkeypatch, value, active):
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder is not HostFinder])
    monkeypatch.setenv("RGPT4D_DISABLE", value)
    before = [*sys.meta_path]
    activate()
    activate()  # the second time changes nothing
    assert sys.meta_path == ([HostFinder] if active else []) + before


def test_the_finder_looks_at_its_targets_only():
    others = {
        "llamafactory.chat.hf_engine",
        "llamafactory.data.loader",
        "llamafactory.extras.constants",
        "peft.tuners.tuners_utils",
        "transformers.models.llava_onevision.modeling_llava_onevision",
    }
    assert TARGETS == WRAPPED.keys() | REGISTRIES.keys() | others == patches._SEAMS.keys()
    for name in ("json", "llamafactory", "llamafactory.hparams", "llamafactory.train.dpo.workflow"):
        assert HostFinder.find_spec(name) is None


@pytest.mark.slow
def test_a_disabled_plugin_leaves_the_block_to_the_host_which_refuses_it(assets, tmp_path):
    result = train_cli(assets.recipe(tmp_path / "out"), RGPT4D_DISABLE="1")

    assert result.returncode != 0
    assert "Some keys are not used by the HfArgumentParser: ['p4d']" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_importing_the_package_changes_nothing_elsewhere(tmp_path):
    python(EVERYTHING, tmp_path, RGPT4D_DISABLE="1")


# Apply and undo


def test_undo_restores_the_very_objects(host_modules):
    wrappers = {(key, name): getattr(host_modules[key], name) for key, names in WRAPPED.items() for name in names}
    originals = {key: inspect.unwrap(wrapper) for key, wrapper in wrappers.items()}
    by_name = {name: original for (_, name), original in originals.items()}
    for (key, name), original in originals.items():
        assert (original.__module__, original.__name__) == (key, name)
        assert not hasattr(original, "__wrapped__")
    held = {pair: getattr(importlib.import_module(pair[0]), pair[1]) for pair in IMPORTERS}
    assert all(inspect.unwrap(value) is by_name[name] for (_, name), value in held.items())

    patches.undo_all()
    for (key, name), original in originals.items():
        assert getattr(host_modules[key], name) is original
    for key, name in IMPORTERS:
        assert getattr(importlib.import_module(key), name) is by_name[name], key
    patches.undo_all()  # nothing left to undo

    for module in host_modules.values():
        patches.apply(module)
    for key, name in IMPORTERS:
        assert inspect.unwrap(getattr(importlib.import_module(key), name)) is by_name[name], key


def test_registries_gain_the_plugins_names_and_lose_them_again(host_modules):
    patches.undo_all()  # some names are added when a model is loaded
    for module in host_modules.values():
        patches.apply(module)
    for key, (registry, names) in REGISTRIES.items():
        found = {name for name in getattr(host_modules[key], registry) if name.startswith("rgpt4d")}
        assert found | (names & set(getattr(host_modules[key], registry))) == names
    plugins = host_modules["llamafactory.data.template"].get_mm_plugin.__globals__["PLUGINS"]
    assert {"rgpt4d_llava_onevision", "rgpt4d_nvila"} <= plugins.keys()
    patches.undo_all()
    for key, (registry, names) in REGISTRIES.items():
        assert not [
            name for name in getattr(host_modules[key], registry) if name.startswith("rgpt4d") or name in names
        ]
    assert not [name for name in plugins if name.startswith("rgpt4d")]


def test_the_chat_engine_gets_its_own_function_back(host_modules):
    engine = host_modules["llamafactory.chat.hf_engine"].HuggingfaceEngine
    original = engine._process_args.__wrapped__
    patches.undo_all()
    assert engine._process_args is original


def test_applying_twice_is_a_no_op(host_modules):
    before = {key: dict(vars(module)) for key, module in host_modules.items()}
    for module in host_modules.values():
        patches.apply(module)
    assert {key: dict(vars(module)) for key, module in host_modules.items()} == before


def test_without_the_seams_the_host_refuses_the_block(host_modules, distilled):
    patches.undo_all()
    with pytest.raises(ValueError, match=r"Some keys are not used .*\['p4d'\]"):
        host_modules["llamafactory.hparams.parser"].get_train_args(distilled)


@pytest.mark.parametrize("arguments", [{"stage": "sft"}, ["--stage", "sft"], None], ids=["dict", "list", "none"])
def test_without_a_block_the_host_gets_the_callers_very_arguments(arguments):
    calls = []

    def record(name):
        def function(args=None):
            calls.append((name, args))
            return name

        return function

    module = ModuleType("llamafactory.hparams.parser")
    module.read_args = lambda args=None: {"stage": "sft"} if args is None else args
    module._TRAIN_ARGS = module._INFER_ARGS = []
    for name in WRAPPED[module.__name__]:
        setattr(module, name, record(name))
    undo = parser.patch(module)

    for name in WRAPPED[module.__name__]:
        assert getattr(module, name)(arguments) == name
        assert calls[-1][0] == name and calls[-1][1] is arguments
    undo()


def test_run_sft_without_a_block_is_the_hosts_own_call():
    calls = []
    module = ModuleType("llamafactory.train.sft.workflow")
    module.run_sft = lambda *args: calls.append((args, dict(vars(module))))
    for name in p4d_block.GLOBALS:
        setattr(module, name, object())
    untouched = {name: vars(module)[name] for name in p4d_block.GLOBALS}
    undo = workflow.patch(module)
    arguments = (object(), object(), object(), SimpleNamespace(), object(), [])
    module.run_sft(*arguments)

    ((seen, names),) = calls
    assert all(a is b for a, b in zip(seen, arguments, strict=True))
    assert {name: names[name] for name in untouched} == untouched
    undo()


# A host that does not fit


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_lost_name_stops_runs_with_a_block_only(fresh, plain, distilled, name):
    patches.apply(ModuleType(name))  # a host that has none of the names

    get_train_args(plain)
    with pytest.raises(HostSeamError) as caught:
        get_train_args(distilled)
    message = str(caught.value)
    package, supported = {
        "llamafactory": (f"LLaMA-Factory {seams.host_version()}", seams.SUPPORTED_HOSTS),
        "transformers": (f"transformers {transformers.__version__}", seams.SUPPORTED_TRANSFORMERS),
        "peft": (f"peft {peft.__version__}", "0.18"),
    }[name.partition(".")[0]]
    assert f"{package} has no {', '.join(_first_required(name))} in {name}, which rgpt4d-plugin hooks" in message
    assert f"it supports {supported}" in message


def _first_required(name):
    return {
        "llamafactory.chat.hf_engine": ("HuggingfaceEngine", "get_template_and_fix_tokenizer"),
        "llamafactory.data.converter": ("register_dataset_converter", "DATASET_CONVERTERS"),
        "llamafactory.data.loader": ("_load_single_dataset", "load_dataset"),
        "llamafactory.data.template": ("TEMPLATES", "register_template", "get_mm_plugin", "StringFormatter"),
        "llamafactory.extras.constants": (
            "register_model_group",
            "SUPPORTED_MODELS",
            "DEFAULT_TEMPLATE",
            "MULTIMODAL_SUPPORTED_MODELS",
        ),
        "llamafactory.hparams.parser": ("read_args", *WRAPPED.get(name, ())),
        "llamafactory.model.loader": ("load_config", "load_tokenizer", "apply_liger_kernel", "patch_model"),
        "llamafactory.model.model_utils.visual": ("COMPOSITE_MODELS",),
        "llamafactory.train.sft.workflow": ("run_sft", *p4d_block.GLOBALS),
        "llamafactory.train.tuner": ("export_model", "get_infer_args"),
        "llamafactory.v1.config.arg_parser": ("get_args",),
        "peft.tuners.tuners_utils": ("BaseTuner",),
        "transformers.models.auto.configuration_auto": ("CONFIG_MAPPING",),
        "transformers.models.auto.processing_auto": ("processor_class_from_name",),
        "transformers.models.llava_onevision.modeling_llava_onevision": ("LlavaOnevisionModel",),
    }[name]


@pytest.mark.parametrize("argument", ["p4d.loss.depth=0.5", "p4d={preset:none}", "RECIPE"])
def test_a_lost_name_is_reported_at_import_when_the_command_line_has_a_block(
    fresh, distilled, monkeypatch, tmp_path, argument
):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(distilled))
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli", argument.replace("RECIPE", str(tmp_path / "recipe.yaml"))])
    with pytest.raises(HostSeamError, match="in llamafactory.hparams.parser"):
        patches.apply(ModuleType("llamafactory.hparams.parser"))


@pytest.mark.parametrize("content", [None, "stage: sft", "[1, 2", "- p4d", "\x00"], ids=repr)
def test_other_command_lines_are_left_alone(fresh, monkeypatch, tmp_path, content):
    path = tmp_path / "some.yaml"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(sys, "argv", ["tool", "--out", str(path)])
    assert not patches.command_line_uses_p4d()
    patches.apply(ModuleType("llamafactory.hparams.parser"))


def test_the_seams_of_a_run_are_checked_too(monkeypatch):
    from llamafactory.train.callbacks import LogCallback

    class Plugin:
        pass

    with pytest.raises(HostSeamError, match="has no .*_regularize_videos, .* in Plugin"):
        with_recorder(SimpleNamespace(mm_plugin=Plugin()), None)
    monkeypatch.delattr(LogCallback, "_write_log")
    with pytest.raises(HostSeamError, match="has no _write_log in LogCallback"):
        log_callback.extend([], ())
    with pytest.raises(HostSeamError, match="has no get_args in llamafactory.v1.config.arg_parser"):
        v1.patch(ModuleType("llamafactory.v1.config.arg_parser"))


@pytest.mark.parametrize(
    ("number", "beyond"), [("0.9.5", False), ("0.9.6.dev0", False), ("0.9.4", True), ("0.9.6", True), ("1.0", True)]
)
def test_a_version_beyond_the_tested_range_is_named_once_by_runs_with_a_block(
    monkeypatch, caplog, plain, distilled, number, beyond
):
    monkeypatch.setattr(seams, "host_version", lambda: number)
    monkeypatch.setattr(seams, "version", lambda name: "5.5.4")
    seams.check_host.cache_clear()
    get_train_args(plain)
    assert not any("not in the range" in message for message in caplog.messages)
    for _ in range(2):
        get_train_args(distilled)
    named = [message for message in caplog.messages if "not in the range" in message]
    assert len(named) == beyond
    if beyond:
        assert f"LLaMA-Factory {number} (>=0.9.5,<=0.9.6.dev0)" in named[0]
    seams.check_host.cache_clear()


def test_the_host_may_run_from_its_source_tree(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    def version(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(seams, "version", version)
    assert seams.host_version().startswith("0.9.")


# Packaging


def installed_sources():
    """Every Python file of the package: where it is here -> where it is once installed."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    mapped = dict(entry.split(" = ") for entry in config["options"]["package_dir"].strip().splitlines())
    return {
        path: Path(*package.split("."), path.relative_to(ROOT / folder))
        for package, folder in mapped.items()
        for path in (ROOT / folder).rglob("*.py")
    }


def test_every_package_folder_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {".".join(path.parent.parts) for path in installed_sources().values()}
    assert sorted(config["options"]["packages"].split()) == sorted(folders)


@pytest.mark.slow
def test_the_wheel_carries_the_activation_file(tmp_path):
    """Needs the network: pip fetches setuptools for the build."""
    litter = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "saves", "demo")
    shutil.copytree(ROOT, tmp_path / "source", ignore=litter)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path / "wheels", tmp_path / "source"],
        check=True,
    )

    (wheel,) = (tmp_path / "wheels").glob("rgpt4d_plugin-*.whl")
    release = f"rgpt4d_plugin-{rgpt4d_plugin.__version__}"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        activation = archive.read(f"{release}.data/purelib/rgpt4d_plugin.pth")
    assert activation == (ROOT / "rgpt4d_plugin.pth").read_bytes()
    top = {name.split("/")[0] for name in names}
    assert top == {"_rgpt4d_boot.py", "rgpt4d_plugin", f"{release}.data", f"{release}.dist-info"}
    sources = {str(path) for path in installed_sources().values()}
    assert {name for name in names if name.endswith(".py")} == sources | {"_rgpt4d_boot.py"}
    tasks = ROOT / "eval_hooks/lmms_eval_tasks/tasks"
    assert {f"rgpt4d_plugin/{path.relative_to(ROOT)}" for path in tasks.iterdir() if path.is_file()} <= names
