# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d doctor`: a set-up that works, and broken ones, each named by its cause."""

import json
import os
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from rgpt4d_plugin.arguments import parse_p4d
from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher
from rgpt4d_plugin.cli import main
from rgpt4d_plugin.doctor import environment, recipe_checks
from rgpt4d_plugin.doctor.estimate import RunSizes, seconds
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return build_tiny_student(tmp_path_factory.mktemp("llava"), "llava_next_video")


def diagnose(recipe, folder):
    """Returns the findings on a recipe that are not fine."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return [finding for finding in recipe_checks.check_recipe(str(path), [], 4) if finding.state == "wrong"]


def test_a_recipe_that_trains_has_nothing_wrong(assets, tmp_path, capsys):
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(assets.recipe(tmp_path / "out", use_cpu=True)))
    found = list(recipe_checks.check_recipe(str(tmp_path / "good.yaml"), [], 4))
    assert {finding.state for finding in found} == {"fine"}
    lines = {finding.about: finding.found for finding in found}
    assert lines.keys() == {"p4d", "teacher", "model", "template", "data", "media", "memory", "time", "disk"}
    assert "gives latent, depth, flow, motion, camray" in lines["teacher"]
    assert "4 records read" in lines["data"] and lines["media"].startswith("4 videos")


BROKEN = {
    "key": ({"p4d": {"teachr": {}}}, "p4d", "p4d.teachr: unknown key"),
    "teacher file": ({"p4d": {"teacher": {"checkpoint": "no.ckpt"}}}, "teacher", "no such file: no.ckpt"),
    "no teacher": ({"p4d": {"teacher": {"checkpoint": "FOLDER/torn.safetensors"}}}, "teacher", "torn.safetensors"),
    "model folder": ({"model_name_or_path": "FOLDER/none"}, "model", "none"),
    "model family": ({"model_name_or_path": "FOLDER/llama"}, "model", "llama"),
    "no weights": ({"model_name_or_path": "FOLDER/empty"}, "model", "has no weights"),
    "template": ({"template": "rgpt4d_intern_vl"}, "template", "for Qwen2.5-VL use qwen2_vl"),
    "unknown template": ({"template": "qwen2_vll"}, "model", "did you mean 'qwen2_vl'?"),
    "dataset name": ({"dataset": "synth4"}, "data", "has no 'synth4'"),
    "dataset folder": ({"dataset_dir": "nowhere"}, "data", "nowhere/dataset_info.json"),
    "cutoff": ({"cutoff_len": 64}, "cutoff_len", "and cutoff_len keeps 64: clips are cut"),
    "torchrun": ({"deepspeed": "FOLDER/zero.json"}, "launch", "deepspeed needs torchrun"),
    "deepspeed file": ({"deepspeed": "no.json"}, "launch", "No such file or directory: 'no.json'"),
    "flash attention": ({"flash_attn": "fa2"}, "packages", "flash-attn is not installed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_broken_recipes(assets, tmp_path, case):
    changes, about, message = BROKEN[case]
    (tmp_path / "torn.safetensors").write_bytes(b"0123")
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 3}}')
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama/config.json").write_text('{"model_type": "llama"}')
    shutil.copytree(assets.student, tmp_path / "empty", ignore=shutil.ignore_patterns("*.safetensors"))
    text = yaml.safe_dump(assets.recipe(tmp_path / "out", use_cpu=True) | changes).replace("FOLDER", str(tmp_path))
    wrong = diagnose(yaml.safe_load(text), tmp_path)
    assert any(finding.about == about and message in finding.found and finding.mend for finding in wrong), wrong
    causes = {finding.about for finding in wrong}
    assert causes == {about}  # one cause, and no others in its train


def test_a_registry_that_is_a_list(assets, tmp_path):
    (tmp_path / "dataset_info.json").write_text('[{"a": 1}]')
    (finding,) = diagnose(assets.recipe(tmp_path / "out", use_cpu=True, dataset_dir=str(tmp_path)), tmp_path)
    assert finding.about == "data" and "dataset_info.json should be one JSON object" in finding.found


def test_latents_of_a_teacher_that_has_none(assets, tmp_path):
    teacher = {"type": "ground_truth", "files": "{stem}.npz"}
    block = {"preset": "none", "teacher": teacher, "loss": {"latent": 1.0, "depth": 1.0}}
    spec, finding = recipe_checks.check_teacher(parse_p4d(block, training=False))
    assert spec is not None and finding.state == "wrong" and "not latent" in finding.found


@pytest.mark.slow
def test_a_teacher_cache_is_compared_with_the_recipe(assets, tmp_path):
    recipe = assets.recipe(tmp_path / "out", use_cpu=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run_cache_teacher(tmp_path / "recipe.yaml", tmp_path / "cache", CacheOptions(workers=0))
    recipe["p4d"]["teacher"]["cache"] = str(tmp_path / "cache")
    assert diagnose(recipe, tmp_path) == []
    recipe["p4d"]["teacher"]["dtype"] = "bfloat16"
    (wrong,) = diagnose(recipe, tmp_path)
    assert wrong.about == "cache" and 'it was made with "float32", the recipe has "bfloat16"' in wrong.found
    recipe["p4d"]["teacher"]["cache"] = str(tmp_path / "none")
    (wrong,) = diagnose(recipe, tmp_path)
    assert wrong.about == "cache" and f"{tmp_path / 'none'} is no teacher cache" in wrong.found


def test_a_missing_video_is_named_with_its_record(assets, tmp_path):
    clips = tmp_path / "clips"
    shutil.copytree(assets.clips, clips)
    records = json.loads((clips / "synth4d.json").read_text())
    records[1]["videos"] = ["gone.mp4"]
    (clips / "synth4d.json").write_text(json.dumps(records))
    (wrong,) = diagnose(assets.recipe(tmp_path / "out", dataset_dir=str(clips)), tmp_path)
    assert wrong.about == "data" and "gone.mp4" in wrong.found


def test_a_term_that_the_teacher_does_not_give(assets, tmp_path, monkeypatch):
    from rgpt4d_plugin.teachers.l4p import teacher

    whole = teacher.l4p_spec

    def without_flow(config, name):
        spec = whole(config, name)
        maps = {term: entry for term, entry in spec.maps.items() if term != "flow"}
        return type(spec)(**{**vars(spec), "maps": maps})

    monkeypatch.setattr(teacher, "l4p_spec", without_flow)
    wrong = [f for f in diagnose(assets.recipe(tmp_path / "out"), tmp_path) if f.about == "teacher"]
    assert "gives latent, depth, motion, camray; not flow" in wrong[0].found
    assert "p4d.loss.flow: 0" in wrong[0].mend


def test_a_recipe_that_is_not_there(capsys):
    (wrong,) = recipe_checks.check_recipe("none.yaml", [], 4)
    assert wrong.state == "wrong" and "none.yaml: no such recipe" in wrong.found


# The environment


def states(findings):
    return [(finding.state, finding.found) for finding in findings]


def test_tested_versions_are_those_of_the_constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    assert environment.TESTED.items() <= pinned.items()


@pytest.mark.slow
def test_activation_in_a_child(monkeypatch, tmp_path):
    assert states(environment.check_activation())[0][0] == "fine"

    monkeypatch.setenv("RGPT4D_DISABLE", "1")
    assert states(environment.check_activation()) == [("wrong", "RGPT4D_DISABLE switches the plugin off")]
    monkeypatch.delenv("RGPT4D_DISABLE")

    without_site = tmp_path / "python"
    without_site.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    without_site.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(without_site))
    ((state, found),) = states(environment.check_activation())
    assert state == "wrong" and "does not have the import hook" in found


def test_commands_of_another_environment(monkeypatch, tmp_path):
    for command in ("llamafactory-cli", "torchrun"):
        (tmp_path / command).write_text("#!/bin/sh\n")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    wrong = states(environment.check_commands())
    assert [state for state, _ in wrong] == ["wrong", "wrong"]
    assert f"torchrun on PATH is that of another environment: {tmp_path}/torchrun" in wrong[1][1]
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{tmp_path}")
    assert not list(environment.check_commands())


def test_versions_that_contradict_each_other(monkeypatch):
    versions = {**environment.TESTED, "trl": "1.16.0", "transformers": "5.6.0"}
    real = environment.installed
    monkeypatch.setattr(environment, "installed", lambda name: versions.get(name) or real(name))
    found = list(environment.check_versions())
    wrong = [finding.found for finding in found if finding.state == "wrong"]
    assert any("llamafactory requires trl" in text and text.endswith("found 1.16.0") for text in wrong)
    assert "transformers 5.6.0 has a broken flash-attention path" in wrong
    assert found[0].found == "transformers 5.6.0 (tested: 5.5.4)"


def test_no_host(monkeypatch):
    monkeypatch.setattr(environment, "installed", lambda name: None)
    for training, state in ((True, "wrong"), (False, "warning")):
        (finding,) = environment.check_host(training)
        assert finding.state == state and "neither LLaMA-Factory nor TRL" in finding.found


def test_a_full_disk(assets, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(recipe_checks.shutil, "disk_usage", lambda path: usage(1, 1, 0))
    (wrong,) = diagnose(assets.recipe(tmp_path / "out"), tmp_path)
    assert wrong.about == "disk" and "0 GiB free" in wrong.found


# The estimates


def sizes(**changes):
    """A 7B model, 16 frames of 448 x 448."""
    given = {
        "parameters": 8_290_000_000,
        "language": 7_610_000_000,
        "trained": 40_000_000,
        "layers": 28,
        "width": 3584,
        "vocabulary": 152_064,
        "tokens": 2100,
        "batch": 1,
        "accumulation": 1,
        "gpus": 1,
        "four_bits": False,
        "full": False,
        "checkpointed": True,
        "zero": 0,
    }
    return RunSizes(**given | changes)


def test_the_lock_of_a_killed_compilation(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert not list(environment.check_locks())
    os.utime(lock, (0, 0))
    (finding,) = environment.check_locks()
    assert finding.state == "warning" and str(lock) in finding.mend


def test_estimates_follow_the_stated_rules():
    gib = 2**30
    assert sizes(tokens=0).memory() == pytest.approx((2 * 8.29e9 + 16 * 4e7) / gib)
    assert sizes(tokens=0, four_bits=True).memory() == pytest.approx((0.6 * 8.29e9 + 16 * 4e7) / gib)
    full = {"trained": 7_610_000_000, "full": True, "tokens": 0}
    assert sizes(**full).memory() == pytest.approx((2 * 8.29e9 + 16 * 7.61e9) / gib)
    assert sizes(**full, zero=3, gpus=8).memory() == pytest.approx((2 * 8.29e9 + 16 * 7.61e9) / 8 / gib)
    assert sizes(batch=2).operations() == pytest.approx(2 * sizes().operations())
    assert sizes(full=True).operations() > sizes().operations() > sizes(checkpointed=False).operations()
    assert seconds(989 * 0.4, "NVIDIA H100 80GB HBM3") == pytest.approx(1)
    assert seconds(1, "Voodoo 2") is None


# The command


@pytest.mark.slow
def test_json_and_exit_code(assets, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(assets.recipe(tmp_path / "out", dataset="synth4")))
    assert main(["doctor", str(tmp_path / "bad.yaml"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert ("wrong", "data") in {(line["state"], line["about"]) for line in report}
    assert all(set(line) == {"state", "about", "found", "mend"} for line in report)
