# SPDX-License-Identifier: Apache-2.0
"""Training on a composite through the host: every term of it at once, and what is refused before anything loads."""

import math

import pytest
import yaml

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher
from rgpt4d_plugin.teachers.composite import CompositeTeacher
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from tests.harness import logs, train_here, weights
from tests.teachers.composite.networks import save_all, save_depth_model


pytestmark = pytest.mark.slow


def block(assets, networks, *terms):
    teacher = {"type": "composite", "dtype": "float32", "window": 8, "pixels": 2, **networks}
    return assets.p4d(preset="none", teacher=teacher, loss=dict.fromkeys(terms, 0.1))


def test_every_term_and_the_total(assets, tmp_path, trainers):
    networks = save_all(tmp_path) | {"depth_model": save_depth_model(tmp_path / "metric", "metric")}
    p4d = block(assets, networks, *CompositeTeacher.terms)
    recipe = {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 2}
    train_here(assets.recipe(tmp_path / "out", p4d=p4d, **recipe))
    keys = [TERMS[term].log_key for term in CompositeTeacher.terms]
    for line in logs(tmp_path / "out"):
        assert all(math.isfinite(line[key]) and line[key] > 0 for key in keys)
        assert line["loss"] == pytest.approx(line["loss_sft"] + 0.1 * sum(line[key] for key in keys), rel=1e-5)
    (trainer,) = trainers
    teacher = trainer._p4d_distiller.teacher
    networks = [teacher._vjepa2.model, teacher._anything, teacher._depth_model.model, teacher._raft.model]
    frozen = {id(parameter): parameter for network in networks for parameter in network.parameters()}
    assert not any(parameter.requires_grad for parameter in frozen.values())
    assert not frozen.keys() & {id(parameter) for parameter in trainer.model.parameters()}
    heads = {name.split(".")[1] for name in weights(tmp_path / "out/checkpoint-2", DECODER_FILE) if "heads." in name}
    assert heads == {term for term in CompositeTeacher.terms if term != "latent"}
    assert weights(tmp_path / "out").keys() == weights(assets.student).keys()


def test_a_cache_has_the_losses_of_the_networks(assets, tmp_path, monkeypatch):
    p4d = block(assets, save_all(tmp_path), *(term for term in CompositeTeacher.terms if term != "scale"))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(assets.recipe(tmp_path / "out", p4d=p4d)))
    run_cache_teacher(tmp_path / "recipe.yaml", tmp_path / "cache", CacheOptions(workers=0))
    train_here(assets.recipe(tmp_path / "online", p4d=p4d, max_steps=3))

    monkeypatch.setattr(CompositeTeacher, "load", None)
    cached = {**p4d, "teacher": {**p4d["teacher"], "cache": str(tmp_path / "cache")}}
    train_here(assets.recipe(tmp_path / "cached", p4d=cached, max_steps=3))
    for online, offline in zip(logs(tmp_path / "online"), logs(tmp_path / "cached"), strict=True):
        for term in p4d["loss"]:
            # bfloat16 features are off by at most 2^-9 of a value, float16 maps by 2^-12.
            assert offline[TERMS[term].log_key] == pytest.approx(online[TERMS[term].log_key], rel=2e-3), term


def test_terms_that_its_networks_do_not_give_are_refused(assets, tmp_path):
    p4d = block(assets, {"depth_model": save_depth_model(tmp_path / "depth")}, "depth", "flow", "latent", "scale")
    (tmp_path / "depth/model.safetensors").unlink()  # not looked at by then
    with pytest.raises(P4DConfigError, match="3 problem") as error:
        train_here(assets.recipe(tmp_path / "out", p4d=p4d))
    for term, remedy in (
        ("flow", "raft would give it"),
        ("latent", "vjepa2 or depth_anything_3 would give it"),
        ("scale", "a metric depth_model would give it"),
    ):
        assert (
            f"p4d.loss.{term}: the teacher composite gives no {term}; it gives depth. Under p4d.teacher, {remedy}"
            in str(error.value)
        )
