# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d cache-teacher`, and training from what it wrote, on tiny models."""

import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from rgpt4d_plugin.cache import command
from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher
from rgpt4d_plugin.cli import main
from rgpt4d_plugin.teachers.cached import store as store_module
from rgpt4d_plugin.teachers.cached.store import CacheStore, open_cache
from rgpt4d_plugin.teachers.depth_anything_3 import save_depth_anything_3
from rgpt4d_plugin.teachers.l4p.teacher import L4PTeacher
from tests.e2e.launch import forks, in_processes, run_together
from tests.harness import Assets, logs, train_here
from tests.teachers.depth_anything_3 import seeded


pytestmark = pytest.mark.slow


TERMS = ("loss_sft", "loss_latent", "loss_depth", "loss_flow", "loss_motion", "loss_camray")


@pytest.fixture(autouse=True)
def fresh():
    """A process opens a cache once; tests change caches on disk."""
    open_cache.cache_clear()


@pytest.fixture(scope="module")
def made(assets, tmp_path_factory) -> Path:
    """The cache of the assets' recipe; tests that change it copy it first."""
    return make(assets, tmp_path_factory.mktemp("made"))


def written(recipe: dict, path: Path) -> Path:
    path.write_text(yaml.safe_dump(recipe))
    return path


def make(assets: Assets, folder: Path, options: CacheOptions | None = None, **changes) -> Path:
    options = options or CacheOptions(workers=0)
    recipe = assets.recipe(folder / "out", **changes)
    run_cache_teacher(written(recipe, folder / "recipe.yaml"), folder / "cache", options)
    return folder / "cache"


def cached(assets: Assets, cache: Path, **teacher) -> dict:
    """A block whose teacher is cached."""
    block = assets.p4d()
    return {**block, "teacher": {**block["teacher"], "cache": str(cache), **teacher}}


def digests(cache: Path) -> dict[str, str]:
    files = [path for path in sorted(cache.rglob("*")) if path.is_file()]
    return {str(path.relative_to(cache)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_training_from_the_cache_has_the_losses_of_the_teacher(assets, made, tmp_path, monkeypatch):
    train_here(assets.recipe(tmp_path / "online", max_steps=3))

    def load(*args, **kwargs):
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr(L4PTeacher, "load", load)
    monkeypatch.setattr(L4PTeacher, "features", load)
    train_here(assets.recipe(tmp_path / "cached", max_steps=3, p4d=cached(assets, made)))
    for online, offline in zip(logs(tmp_path / "online"), logs(tmp_path / "cached"), strict=True):
        for term in TERMS:
            # bfloat16 latents are off by at most 2^-9 of a value, float16 maps by 2^-12.
            assert offline[term] == pytest.approx(online[term], rel=2e-3), term


def test_the_summary_says_what_is_stored_and_how_exactly(made):
    summary = json.loads((made / "summary.json").read_text())
    assert summary["clips"] == 6 and summary["unreadable"] == []
    assert summary["bytes"] == sum(path.stat().st_size for path in (made / "shards").iterdir())
    assert 0 < summary["errors"]["maps.depth"]["relative"] < 2**-11
    latents = [error for name, error in summary["errors"].items() if name.startswith("latents.")]
    assert latents and all(0 < error["relative"] < 2**-8 for error in latents)


@pytest.mark.parametrize(
    ("options", "alike"),
    [
        # Half maps lose detail, of which the random teacher's flow and motion mostly consist.
        ({"latents": "int8", "maps": "half"}, ("loss_sft", "loss_latent", "loss_depth", "loss_camray")),
        ({"latents": "fp8", "maps": "none"}, TERMS),
    ],
)
def test_training_from_a_coarser_cache(assets, tmp_path, options, alike):
    cache = make(assets, tmp_path, CacheOptions(workers=0, **options))
    train_here(assets.recipe(tmp_path / "online"))
    train_here(assets.recipe(tmp_path / "cached", p4d=cached(assets, cache)))
    for online, offline in zip(logs(tmp_path / "online"), logs(tmp_path / "cached"), strict=True):
        assert all(offline[term] == pytest.approx(online[term], rel=0.1) for term in alike)


def test_depth_anything_3(assets, tmp_path):
    save_depth_anything_3(seeded.network(), tmp_path / "da3.safetensors")
    teacher = {"type": "depth_anything_3", "checkpoint": str(tmp_path / "da3.safetensors"), "dtype": "float32"}
    block = assets.p4d(preset="none", loss={"latent": 0.1, "depth": 0.1, "camray": 0.1}, teacher=teacher)
    cache = make(assets, tmp_path, p4d=block)
    train_here(assets.recipe(tmp_path / "online", p4d=block))
    train_here(assets.recipe(tmp_path / "cached", p4d={**block, "teacher": {**teacher, "cache": str(cache)}}))
    for online, offline in zip(logs(tmp_path / "online"), logs(tmp_path / "cached"), strict=True):
        for term in ("loss_sft", "loss_latent", "loss_depth", "loss_camray"):
            assert offline[term] == pytest.approx(online[term], rel=5e-3), term


def test_a_second_run_computes_nothing(assets, made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "cache")
    before = digests(made)
    monkeypatch.setattr(L4PTeacher, "load", None)
    make(assets, tmp_path)
    assert digests(tmp_path / "cache") == before


def test_a_damaged_shard_is_named_and_computed_again(assets, made, tmp_path):
    cache = Path(shutil.copytree(made, tmp_path / "cache"))
    before = digests(cache)
    (shard,) = (cache / "shards").iterdir()
    flip(shard)
    with pytest.raises(ValueError, match=rf"{shard.name} is damaged: the bytes of .*mp4 are not those"):
        train_here(assets.recipe(tmp_path / "out", max_steps=6, p4d=cached(assets, cache)))
    recipe = written(assets.recipe(tmp_path / "out"), tmp_path / "recipe.yaml")
    assert main(["cache-teacher", str(recipe), "--out", str(cache), "--verify"]) == 1

    shard.write_bytes(shard.read_bytes()[:-100])
    open_cache.cache_clear()
    with pytest.raises(ValueError, match=f"{shard.name} is damaged: it cannot be read"):
        train_here(assets.recipe(tmp_path / "out", p4d=cached(assets, cache)))
    shard.unlink()
    make(assets, tmp_path)
    assert digests(cache) == before
    assert main(["cache-teacher", str(recipe), "--out", str(cache), "--verify"]) == 0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"video_maxlen": 6}, "has no entry for this clip with its 6 frames at 0, 1"),
        ({"p4d": {"teacher": {"dtype": "bfloat16"}}}, 'p4d.teacher.dtype: it was made with "float32", the recipe has'),
    ],
)
def test_what_does_not_fit_the_run_is_refused(assets, made, tmp_path, changes, complaint):
    block = cached(assets, made)
    given = changes.pop("p4d", {})
    block = {**block, **given, "teacher": {**block["teacher"], **given.get("teacher", {})}}
    with pytest.raises(ValueError) as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=block, **changes))
    assert complaint in str(caught.value)


def test_terms_that_the_cache_was_not_made_for_are_refused(assets, tmp_path):
    cache = make(assets, tmp_path, p4d=assets.p4d(preset="none", loss={"depth": 1}))
    assert all(name.endswith(".maps.depth") for name in load_file(next((cache / "shards").iterdir())))
    with pytest.raises(ValueError) as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=cached(assets, cache)))
    assert "p4d.loss.latent: it has latents at hooks none" in str(caught.value)
    assert "p4d.loss.flow: it has the maps ['depth'], and no latents to make this one from" in str(caught.value)


def test_another_checkpoint_is_refused(assets, made, tmp_path):
    flip(Path(shutil.copy(assets.teacher, tmp_path / "other.safetensors")))
    block = cached(assets, made, checkpoint=str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match=r"p4d.teacher.checkpoint: it was made with weights sha256:"):
        train_here(assets.recipe(tmp_path / "out", p4d=block))
    recipe = assets.recipe(tmp_path / "out", p4d=block)
    with pytest.raises(ValueError, match="holds another cache: p4d.teacher.checkpoint"):
        run_cache_teacher(written(recipe, tmp_path / "recipe.yaml"), made, CacheOptions(workers=0))
    with pytest.raises(ValueError, match="holds another cache: latents is bf16, this would be int8"):
        run_cache_teacher(made.parent / "recipe.yaml", made, CacheOptions(latents="int8"))


def test_a_file_of_the_same_content_has_the_same_entry(assets, made, tmp_path):
    """Moved and touched, it is read once more and recognized; with other content it is another file."""
    shutil.copytree(assets.clips, tmp_path / "moved")
    records = json.loads((tmp_path / "moved" / "synth4d.json").read_text())[:1]
    (video,) = records[0]["videos"]
    records[0]["videos"] = [str(shutil.copy(video, tmp_path / "moved" / "new.mp4"))]
    os.utime(tmp_path / "moved" / "new.mp4", (1, 1))
    (tmp_path / "moved" / "synth4d.json").write_text(json.dumps(records))
    recipe = assets.recipe(
        tmp_path / "out", dataset_dir=str(tmp_path / "moved"), p4d=cached(assets, made), max_steps=1
    )
    train_here(recipe)


def test_missing_clips_are_computed_and_added(assets, made, tmp_path):
    cache = Path(shutil.copytree(made, tmp_path / "cache"))
    for shard in (cache / "shards").iterdir():
        shard.unlink()
    recipe = assets.recipe(tmp_path / "first", max_steps=6, p4d=cached(assets, cache, cache_missing="compute"))
    train_here(recipe)
    assert len(CacheStore(cache)) == 6
    open_cache.cache_clear()
    train_here(assets.recipe(tmp_path / "second", max_steps=6, p4d=cached(assets, cache)))
    for first, second in zip(logs(tmp_path / "first"), logs(tmp_path / "second"), strict=True):
        assert all(first[term] == second[term] for term in TERMS)


def test_training_that_computes_goes_on_when_the_disk_is_full(assets, made, tmp_path, monkeypatch, caplog):
    cache = Path(shutil.copytree(made, tmp_path / "cache"))
    for shard in (cache / "shards").iterdir():
        shard.unlink()
    full_disk(monkeypatch)
    train_here(assets.recipe(tmp_path / "out", p4d=cached(assets, cache, cache_missing="compute")))
    assert [path for path in (cache / "shards").iterdir()] == []
    assert caplog.text.count("No space left on device. What is there already stays valid. Training goes on") == 1


def full_disk(monkeypatch) -> None:
    def save(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "save", save)


def test_a_full_disk(assets, tmp_path, monkeypatch):
    """Said before anything is computed; where it fills up meanwhile, nothing of what is there is lost."""
    with monkeypatch.context() as patch:
        patch.setattr(command.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 10))
        with pytest.raises(ValueError, match=r"MB are needed and 0.0 MB free. Give --out on another disk"):
            make(assets, tmp_path)
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(OSError, match="No space left on device. What is there already stays valid"):
            make(assets, tmp_path)
    assert len(CacheStore(make(assets, tmp_path))) == 6


def test_a_clip_that_cannot_be_decoded(assets, tmp_path, capsys):
    folder = Path(shutil.copytree(assets.clips, tmp_path / "clips"))
    records = json.loads((folder / "synth4d.json").read_text())
    broken, gone = folder / "broken.mp4", folder / "gone.mp4"
    content = Path(records[0]["videos"][0]).read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    records[1]["videos"], records[2]["videos"] = [str(broken)], [str(gone)]
    (folder / "synth4d.json").write_text(json.dumps(records))
    cache = make(assets, tmp_path, dataset_dir=str(folder))
    assert len(CacheStore(cache)) == 4
    summary = json.loads((cache / "summary.json").read_text())
    assert len(summary["unreadable"]) == 2 and "(dataset 'synth4d', record 2)" in summary["unreadable"][1]
    assert f"left out: no such video: {gone}" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"broken.mp4 .*\(dataset 'synth4d', record 1\); 2 clip\(s\) cannot be read"):
        make(assets, tmp_path, CacheOptions(workers=0, strict=True), dataset_dir=str(folder))


def test_parts_of_a_file_and_lists_of_frames_have_entries_of_their_own(assets, tmp_path):
    from PIL import Image

    folder = Path(shutil.copytree(assets.clips, tmp_path / "clips"))
    pictures = []
    for number in range(4):
        pictures.append(str(folder / f"{number}.png"))
        Image.new("RGB", (64, 64), (60 * number,) * 3).save(pictures[-1])
    video = json.loads((folder / "synth4d.json").read_text())[0]["videos"][0]
    turns = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "yes"}]
    records = [
        {"messages": turns, "videos": [{"path": video, "start": 0.0, "end": 2.0}]},
        {"messages": turns, "videos": [{"path": video, "start": 2.0, "end": 4.0}]},
    ]
    info = json.loads((folder / "dataset_info.json").read_text())
    info["parts"] = {**info["synth4d"], "file_name": "parts.json", "formatting": "rgpt4d"}
    info["lists"] = {**info["synth4d"], "file_name": "lists.json"}
    (folder / "parts.json").write_text(json.dumps(records))
    (folder / "lists.json").write_text(json.dumps([{"messages": turns, "videos": [pictures]}]))
    (folder / "dataset_info.json").write_text(json.dumps(info))
    changes = {"dataset_dir": str(folder), "max_steps": 3, "template": "rgpt4d_qwen2_vl"}
    for name, count in (("parts", 2), ("lists", 1)):
        part = tmp_path / name
        part.mkdir()
        cache = make(assets, part, dataset=name, **changes)
        assert len(CacheStore(cache)) == count
        train_here(assets.recipe(part / "out", dataset=name, **changes, p4d=cached(assets, cache)))


@pytest.mark.distributed
def test_several_processes_write_the_shards_of_one(assets, tmp_path):
    recipe = written(assets.recipe(tmp_path / "out"), tmp_path / "recipe.yaml")
    run = ["cache-teacher", str(recipe), "--workers", "0", "--shard-mb", "0.01", "--out"]
    assert main([*run, str(tmp_path / "one")]) == 0
    in_processes(tmp_path / "ranks", main, [*run, str(tmp_path / "two")])
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(list((tmp_path / "one" / "shards").iterdir())) > 1


@pytest.mark.distributed
def test_training_in_two_processes_with_loader_workers(assets, made, tmp_path):
    changes = {"dataloader_num_workers": 1, "gradient_accumulation_steps": 2, "num_train_epochs": 2, "max_steps": None}
    changes |= {"disable_shuffling": None, "ddp_timeout": 180}
    run_together(
        tmp_path,
        assets.recipe(tmp_path / "online", **changes),
        assets.recipe(tmp_path / "cached", **changes, p4d=cached(assets, made)),
    )
    for online, offline in zip(logs(tmp_path / "online"), logs(tmp_path / "cached"), strict=True):
        assert all(offline[term] == pytest.approx(online[term], rel=5e-3) for term in TERMS)


def test_a_killed_run_goes_on_to_the_same_cache(assets, tmp_path):
    recipe = written(assets.recipe(tmp_path / "out"), tmp_path / "recipe.yaml")
    run = ["cache-teacher", str(recipe), "--workers", "0", "--shard-mb", "0.01", "--out"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*run, str(whole)]) == 0
    shards = len(list((whole / "shards").iterdir()))
    for count in range(1, shards):
        process = forks().Process(target=main, args=([*run, str(killed)],))
        process.start()
        while process.is_alive() and len(list(killed.glob("shards/*.safetensors"))) < count:
            time.sleep(0.01)
        process.kill()
        process.join()
    assert not (killed / "summary.json").exists()
    assert main([*run, str(killed)]) == 0
    assert digests(killed) == digests(whole)
