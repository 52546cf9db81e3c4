# SPDX-License-Identifier: Apache-2.0
"""The host's web UI: models and templates in its lists, and a run with `p4d:` started as its Start button does."""

import importlib
import json
import logging
from pathlib import Path

import pytest
import yaml
from llamafactory.data import TEMPLATES
from llamafactory.extras import constants

from rgpt4d_plugin import patches
from rgpt4d_plugin.patches.model_groups import NAME_PREFIX
from rgpt4d_plugin.recipe import read_recipe
from rgpt4d_plugin.students import FAMILIES
from tests.harness import ALL_LOG_KEYS, logs, train_here, weights


MODELS = [model for family in dict.fromkeys(FAMILIES.values()) for model in family.public_models]
BASES = [model for model in MODELS if isinstance(model, str)]
ONEVISION = dict(model for model in MODELS if not isinstance(model, str))

MODEL = "Base-for-4D-RGPT-Qwen2.5-VL-7B-Instruct"


@pytest.fixture
def webui(tmp_path, monkeypatch):
    """The UI's modules, which take seconds to import, in an empty folder: it keeps its files in the working one."""
    import llamafactory.webui.components
    import llamafactory.webui.engine

    monkeypatch.chdir(tmp_path)
    return llamafactory.webui


@pytest.fixture
def engine(webui):
    """The UI without a server."""
    import gradio

    engine = webui.engine.Engine()
    with gradio.Blocks():
        engine.manager.add_elems("top", webui.components.create_top())
        engine.manager.add_elems("train", webui.components.create_train_tab(engine))
    return engine


def choices(engine, element):
    return [value for _, value in engine.manager.get_elem_by_id(element).choices]


def filled_in(engine, **values):
    """What the UI hands to its runner: every field's value; `top__lang` stands for the field top.lang."""
    fields = {key.replace("__", "."): value for key, value in values.items()}
    elements = {key: engine.manager.get_elem_by_id(key) for key in engine.manager._id_to_elem}
    return {element: fields.get(key, getattr(element, "value", None)) for key, element in elements.items()}


def test_lists_have_the_models_and_the_templates(engine):
    models = choices(engine, "top.model_name")
    expected = [NAME_PREFIX + (model if isinstance(model, str) else model[0]) for model in MODELS]
    assert [name for name in models if name.startswith(NAME_PREFIX)] == expected
    assert models.index(NAME_PREFIX + BASES[0]) > models.index("Qwen3-VL-8B-Instruct")  # behind the host's own
    templates = choices(engine, "top.template")
    names = {name.removeprefix("rgpt4d_") for family in FAMILIES.values() for name in family.templates}
    assert {f"rgpt4d_{name}" for name in names} <= set(templates)


@pytest.mark.parametrize("base", BASES)
def test_choosing_a_model_chooses_its_weights_and_the_twin_of_its_template(base, webui):
    path, template = webui.control.get_model_info(NAME_PREFIX + base)
    assert (path, template) == (webui.common.get_model_path(base), f"rgpt4d_{webui.common.get_template(base)}")
    assert path.count("/") == 1 and template in TEMPLATES
    assert constants.SUPPORTED_MODELS[NAME_PREFIX + base] == constants.SUPPORTED_MODELS[base]
    assert webui.common.is_multimodal(NAME_PREFIX + base)  # its fields for frozen parts and pixels count


@pytest.mark.parametrize("base", ONEVISION)
def test_models_that_the_host_does_not_have(base, webui):
    assert base not in constants.SUPPORTED_MODELS
    assert webui.control.get_model_info(NAME_PREFIX + base) == (ONEVISION[base], "rgpt4d_llava_onevision")
    assert "rgpt4d_llava_onevision" in TEMPLATES and webui.common.is_multimodal(NAME_PREFIX + base)


def test_the_models_are_taken_off_the_lists_again():
    tables = (constants.SUPPORTED_MODELS, constants.DEFAULT_TEMPLATE, constants.MULTIMODAL_SUPPORTED_MODELS)
    assert all(MODEL in table for table in tables)
    try:
        patches.undo_all()
        assert not any(name.startswith(NAME_PREFIX) for table in tables for name in table)
        assert all(base in table for table in tables for base in BASES)
    finally:
        for name in patches._SEAMS:
            patches.apply(importlib.import_module(name))
    assert all(MODEL in table for table in tables)


@pytest.fixture
def host_logs():
    """Takes the handler off again that the host gives its loggers for the page, and closes with the run."""
    loggers = [logging.getLogger(name) for name in ("llamafactory", "transformers")]
    before = [list(logger.handlers) for logger in loggers]
    yield
    for logger, handlers in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers


class TrainedHere:
    """In place of the runner's process: `llamafactory-cli train RECIPE` in this one, with the runner's environment."""

    pid = None
    returncode = 0

    def __init__(self, command, env, **_):
        assert command[:2] == ["llamafactory-cli", "train"]
        with pytest.MonkeyPatch.context() as patch:
            for key, value in env.items():
                patch.setenv(key, value)
            train_here(read_recipe(command[2]))

    def communicate(self, timeout):
        return "", ""


@pytest.mark.slow
def test_a_run_with_the_block_among_the_extra_arguments(assets, webui, engine, monkeypatch, host_logs):
    """What the Start button does, up to the process: the runner writes a recipe and starts a run of it."""
    monkeypatch.setattr(webui.runner, "Popen", TrainedHere)
    extra = {"optim": "adamw_torch", "max_steps": 2, "video_maxlen": 8, "p4d": assets.p4d()}
    extra["preprocessing_num_workers"] = None  # the UI's own 16 are slow to start
    data = filled_in(
        engine,
        top__lang="en",
        top__model_name=MODEL,
        top__model_path=str(assets.student),
        top__template=webui.control.get_model_info(MODEL)[1],
        train__dataset_dir=str(assets.clips),
        train__dataset=["synth4d"],
        train__output_dir="run",
        train__compute_type="fp32",
        train__logging_steps=1,
        train__extra_args=json.dumps(extra),
    )
    output = Path("saves") / MODEL / "lora" / "run"

    (preview,) = engine.runner.preview_train(data)
    assert f"--p4d {json.dumps(extra['p4d'])}" in next(iter(preview.values()))
    last = [*engine.runner.run_train(data)][-1]
    shown = last[engine.manager.get_elem_by_id("train.output_box")]
    assert shown.startswith("Finished"), shown
    assert yaml.safe_load((output / "training_args.yaml").read_text())["p4d"] == extra["p4d"]
    assert len(logs(output)) == 2 and all(line.keys() >= set(ALL_LOG_KEYS) for line in logs(output))
    assert all("lora_" in name for name in weights(output, "adapter_model.safetensors"))

    # The saved settings of the UI have the block, too: "Load arguments" brings it back.
    saved = yaml.safe_load((output / "llamaboard_config.yaml").read_text())
    assert json.loads(saved["train.extra_args"]) == extra
