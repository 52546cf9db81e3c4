# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d preview` through its command line function: sheets that show what the host's collator gives the model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.preview import command, recipe_pipeline
from rgpt4d_plugin.preview.contact_sheet import MARK
from rgpt4d_plugin.synth4d.clips import decode_mp4, encode_mp4
from rgpt4d_plugin.teachers.l4p import load_l4p
from rgpt4d_plugin.template.clip_reader import ClipReader
from tests.benchmark_folders import bomb
from tests.harness import DATA
from tests.tiny_models import build_tiny_student


pytestmark = pytest.mark.slow


RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("4drgpt_*.yaml"))
ANSWER = "<|im_end|>"


@pytest.fixture(scope="module")
def students(assets, tmp_path_factory):
    """Folder and template of each family."""
    folder = build_tiny_student(tmp_path_factory.mktemp("qwen3"), "qwen3_vl", hidden=32, layers=2, vision_hidden=32)
    return {"qwen2_5_vl": (assets.student, "qwen2_vl"), "qwen3_vl": (folder, "qwen3_vl_nothink")}


@pytest.fixture(params=["qwen2_5_vl", "qwen3_vl"])
def student(request, students):
    """Recipe keys of one family."""
    folder, template = students[request.param]
    return {"model_name_or_path": str(folder), "template": template}


@pytest.fixture
def rgpt4d(tmp_path, monkeypatch, capfd):
    """Returns the function that previews a recipe (None: no file) and gives exit code, samples, output and errors."""
    monkeypatch.setenv("LLAMAFACTORY_VERBOSITY", "WARN")
    samples = []
    save = command.save_sheet
    monkeypatch.setattr(command, "save_sheet", lambda sample, path: (samples.append(sample), save(sample, path)))

    def run(recipe, *arguments):
        path = tmp_path / "recipe.yaml"
        if recipe is not None:
            path.write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe))
        code = main(["preview", str(path), "--out", str(tmp_path / "sheets"), *arguments])
        return code, samples, *capfd.readouterr()

    return run


@pytest.fixture
def nothing_loaded(monkeypatch):
    """Fails the test if weights of student or teacher are loaded."""
    for module, name in ((recipe_pipeline, "load_model"), (command, "teacher_class")):
        monkeypatch.setattr(module, name, lambda *args, name=name, **kwargs: pytest.fail(f"{name} was called"))


@pytest.fixture
def dataset(tmp_path):
    """Returns the function that writes a dataset of (question, answer, images, videos) and gives its recipe keys."""

    def write(*samples):
        columns = {"messages": "messages", "images": "images", "videos": "videos"}
        tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
        records = [
            {
                "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
                "images": [str(image) for image in images],
                "videos": [str(video) for video in videos],
            }
            for question, answer, images, videos in samples
        ]
        info = {"file_name": "mine.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
        (tmp_path / "mine.json").write_text(json.dumps(records))
        (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": info}))
        return {"dataset": "mine", "dataset_dir": str(tmp_path)}

    return write


def sheets(tmp_path):
    return sorted(path.name for path in (tmp_path / "sheets").glob("*.png"))


def text_of(pieces):
    return "".join(piece.text for piece in pieces)


# --- what a sheet says -----------------------------------------------------------------------------------------------


def test_synthetic_clips(assets, student, rgpt4d, tmp_path, nothing_loaded):
    """The files' own frames: their size is one that nothing resizes."""
    code, samples, out, _ = rgpt4d(assets.recipe(tmp_path / "out", video_maxlen=16, **student), "--n", "2")

    assert code == 0
    assert sheets(tmp_path) == ["synth4d_00000.png", "synth4d_00001.png"]
    for name, sample in zip(sheets(tmp_path), samples):
        assert f"{tmp_path / 'sheets' / name}  {sample.count()} tokens" in out
    for sample, (video, count) in zip(
        samples, [("clips/videos/clip_00000.mp4", 12), ("wide/videos/clip_00000.mp4", 7)]
    ):
        (clip,) = sample.clips
        pixels = decode_mp4(assets.root / video)
        assert clip.timestamps == [index / 2 for index in range(count)]
        assert np.array_equal(clip.frames[:count], pixels)
        assert len(clip.frames) == count + count % 2 and np.array_equal(clip.frames[-1], pixels[-1])
        height, width = pixels.shape[1:3]
        assert clip.grid == (len(clip.frames) // 2, height // 16, width // 16)
        assert clip.tokens == np.prod(clip.grid) == sample.count("visual")
        assert text_of(piece for piece in sample.pieces if piece.trained).startswith(f"yes{ANSWER}")
        assert sample.trained == 3 and not sample.notes
        assert sample.full_length == sample.count() < sample.cutoff_len == 2048
        assert ("<0.2 seconds>" in text_of(sample.pieces)) == (student["template"] == "qwen3_vl_nothink")
    assert [sample.record for sample in samples] == [0, 1]
    assert "videos/clip_00000.mp4" == samples[0].clips[0].name.removeprefix(f"{assets.clips}/")


def test_real_clips(assets, student, rgpt4d, tmp_path):
    """Resized by the host and by the processor, of two shapes, several in one sample."""
    recipe = assets.recipe(tmp_path / "out", dataset="real_clips", dataset_dir=str(DATA), media_dir=str(DATA))
    code, samples, _, _ = rgpt4d(recipe | student | {"video_max_pixels": 96 * 96})
    assert code == 0
    assert [[clip.name for clip in sample.clips] for sample in samples] == [
        ["clips/2.avi"],
        ["clips/4.mp4"],
        ["clips/2.avi", "clips/4.mp4"],
    ]
    for sample in samples:
        for clip in sample.clips:
            assert clip.frames.shape == (8, clip.grid[1] * 16, clip.grid[2] * 16, 3)
            pixels = decode_mp4(DATA / clip.name)
            indices = np.linspace(0, len(pixels) - 1, 8).astype(int)
            size = clip.frames.shape[2], clip.frames.shape[1]
            for frame, index in zip(clip.frames, indices):
                expected = np.asarray(Image.fromarray(pixels[index]).resize(size, Image.Resampling.BICUBIC))
                # Resized in two steps, and not here: near, and nearer than to any other frame.
                assert np.abs(frame.astype(int) - expected).mean() < 6
    assert text_of(samples[2].pieces).count("Which of the two videos is longer?") == 1


def test_painted_frames_come_out_where_they_should(assets, student, rgpt4d, tmp_path, dataset):
    """In the PNG itself: a block that is painted in a video is seen at its place of its frame."""
    pixels = np.full((4, 48, 80, 3), 128, np.uint8)
    places = [(0, 0), (1, 3), (2, 1), (0, 4)]
    for frame, (y, x) in enumerate(places):
        pixels[frame, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16] = (255, 0, 0)
    (tmp_path / "clip.mp4").write_bytes(encode_mp4(pixels, 2.0, crf=0))
    keys = dataset(("<video>Where?", "there", [], [tmp_path / "clip.mp4"]))
    assert rgpt4d(assets.recipe(tmp_path / "out", **keys, **student))[0] == 0

    with Image.open(tmp_path / "sheets/mine_00000.png") as sheet:
        sheet = np.asarray(sheet).astype(int)
    is_red = (sheet[..., 0] > 200) & (sheet[..., 1:].max(-1) < 80)
    is_frame = is_red | (np.abs(sheet - 128).max(-1) < 12)
    is_frame &= is_frame.sum(1, keepdims=True) > 500  # rows of frames, not letters
    tops = np.flatnonzero(is_frame.any(1))
    lefts = np.flatnonzero(is_frame.any(0))
    starts = [lefts[0], *lefts[1:][np.diff(lefts) > 1]]
    assert len(starts) == 4
    for start, (y, x) in zip(starts, places):
        width = np.flatnonzero(~is_frame[tops[len(tops) // 2], start:])[0]
        rows, columns = np.nonzero(is_red[tops[0] : tops[-1] + 1, start : start + width])
        height = len(tops)
        assert (rows.mean() / height, columns.mean() / width) == pytest.approx(
            ((y + 0.5) / 3, (x + 0.5) / 5), abs=0.02
        )


def test_frames_that_carry_marks_are_highlighted(assets, rgpt4d, tmp_path, monkeypatch):
    recording = ClipReader.recording
    marked = {2: ["<obj_1>", "<obj_2>"]}

    def marking(self, on_clip):
        return recording(self, lambda clip: on_clip(replace(clip, marked=marked)))

    recipe = assets.recipe(tmp_path / "out")
    assert rgpt4d(recipe, "--n", "1")[0] == 0
    plain = Image.open(tmp_path / "sheets/synth4d_00000.png").convert("RGB")
    monkeypatch.setattr(ClipReader, "recording", marking)
    _, samples, _, _ = rgpt4d(recipe, "--n", "1")
    assert samples[-1].clips[0].marked == marked
    shown = Image.open(tmp_path / "sheets/synth4d_00000.png").convert("RGB")
    border = [sum((np.asarray(image) == MARK).all(-1).flatten()) for image in (plain, shown)]
    assert border[0] == 0 and border[1] > 1000


def test_region_prompts(assets, rgpt4d, tmp_path, dataset):
    """The marks are in the model's frames, where the sheet says, and in no other."""
    keys = dataset(("<video>What is <obj_1>?", "a cup", [], [DATA / "clips/4.mp4"]))
    records = json.loads((tmp_path / "mine.json").read_text())
    records[0]["regions"] = [{"id": "obj_1", "video": 0, "time": 0.5, "box": [20, 30, 90, 120]}]
    (tmp_path / "mine.json").write_text(json.dumps(records))
    recipe = assets.recipe(tmp_path / "out", **keys, template="rgpt4d_qwen2_vl", video_max_pixels=224 * 224)
    code, _, _, err = rgpt4d(recipe)
    assert code == 1 and "formatting: sharegpt reads none" in err
    assert rgpt4d({key: value for key, value in recipe.items() if key != "p4d"})[0] == 0
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    info["mine"]["formatting"] = "rgpt4d"
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    code, (plain, marked), _, _ = rgpt4d(recipe)
    assert code == 0 and marked.clips[0].marked == {1: ["<obj_1>"]} and not plain.clips[0].marked
    assert marked.clips[0].name == plain.clips[0].name
    differs = (marked.clips[0].frames != plain.clips[0].frames).any((1, 2, 3))
    assert np.flatnonzero(differs).tolist() == [1]


def test_images_and_text(assets, student, rgpt4d, tmp_path, dataset):
    """An image and a video in one sample; a sample without either shows none of the host's stand-in image."""
    Image.new("RGB", (64, 48), (200, 30, 60)).save(tmp_path / "red.png")
    keys = dataset(
        ("<image>Is it in <video>?", "no", [tmp_path / "red.png"], [DATA / "clips/4.mp4"]),
        ("How many?", "two", [], []),
    )
    code, (both, text), _, _ = rgpt4d(assets.recipe(tmp_path / "out", **keys, **student, p4d=None))
    assert code == 0
    (image,) = both.images
    assert (image.name, image.pixels.shape, image.tokens, image.grid) == ("red.png", (48, 64, 3), 12, (1, 3, 4))
    assert np.abs(image.pixels.astype(int) - (200, 30, 60)).max() <= 1
    assert both.count("visual") == 12 + both.clips[0].tokens and not both.notes
    assert not text.images and not text.clips and text.count("visual") == 0 and "How many?" in text_of(text.pieces)


def test_what_cutoff_len_cuts(assets, student, rgpt4d, tmp_path):
    """A run that distils leaves the clip out, any other stops; both are said, on the sheet and on the terminal."""
    for block, outcome in ((assets.p4d(), "left out of the batch"), (None, "training stops with an error")):
        recipe = assets.recipe(tmp_path / "out", **student, cutoff_len=60, p4d=block)
        code, samples, out, _ = rgpt4d(recipe, "--n", "1")
        sample = samples[-1]
        assert code == 0 and sample.count() == 60 < sample.full_length
        assert sample.clips[0].tokens == sample.count("visual") < np.prod(sample.clips[0].grid) == 64
        assert len(sample.notes) == 1 and outcome in sample.notes[0] and sample.notes[0] in out


def test_what_the_host_miscounts(assets, students, rgpt4d, tmp_path, dataset):
    """Its Qwen3-VL plugin gives every clip of a sample the length of the first."""
    for frames in (4, 7):
        pixels = np.random.default_rng(0).integers(0, 256, (frames, 48, 80, 3), dtype=np.uint8)
        (tmp_path / f"{frames}.mp4").write_bytes(encode_mp4(pixels, 2.0))
    folder, template = students["qwen3_vl"]
    keys = dataset(("<video><video>Which?", "one", [], [tmp_path / "4.mp4", tmp_path / "7.mp4"]))
    recipe = assets.recipe(tmp_path / "out", **keys, model_name_or_path=str(folder), template=template)
    code, (sample,), _, _ = rgpt4d(recipe)
    assert code == 0 and "LLaMA-Factory miscounts" in sample.notes[0] and "7.mp4" in sample.notes[0]


# --- which samples ---------------------------------------------------------------------------------------------------


def test_a_mixture_is_spread_over_its_datasets(assets, rgpt4d, tmp_path):
    info = {**json.loads((DATA / "dataset_info.json").read_text())}
    info["real_clips"]["file_name"] = str(DATA / "real_clips.json")
    info["synth4d"] = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    info["synth4d"]["file_name"] = str(assets.clips / "synth4d.json")
    info["synth4d"]["num_samples"] = 2  # a random draw for training
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    recipe = assets.recipe(
        tmp_path / "out", dataset="synth4d,real_clips", dataset_dir=str(tmp_path), media_dir=str(DATA)
    )
    recipe |= {"tokenized_path": str(tmp_path / "tokens"), "mix_strategy": "interleave_under"}
    code, samples, _, _ = rgpt4d(recipe, "--n", "3")
    assert code == 0
    assert [(sample.dataset, sample.record) for sample in samples] == [
        ("synth4d", 0),
        ("synth4d", 1),
        ("real_clips", 0),
    ]
    assert not (tmp_path / "tokens").exists()  # the run would take the preview's three samples for its data
    rgpt4d(recipe, "--dataset", "real_clips", "--n", "8")
    assert [(sample.dataset, sample.record) for sample in samples[3:]] == [("real_clips", n) for n in range(3)]


def test_a_record_that_the_host_drops_keeps_its_number(assets, rgpt4d, tmp_path, dataset):
    keys = dataset(("One?", "one", [], []), ("Two?", "two", [], []), ("Three?", "three", [], []))
    records = json.loads((tmp_path / "mine.json").read_text())
    records[1]["messages"].reverse()
    (tmp_path / "mine.json").write_text(json.dumps(records))
    code, samples, out, _ = rgpt4d(assets.recipe(tmp_path / "out", **keys))
    assert code == 0 and sheets(tmp_path) == ["mine_00000.png", "mine_00002.png"]
    assert [sample.record for sample in samples] == [0, 2]
    assert "mine, record 1: left out" in out


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [None, {"preset": "none"}, {}, {"teacher": {"checkpoint": "/not/there.ckpt"}}])
def test_with_and_without_a_block(assets, rgpt4d, tmp_path, block, nothing_loaded):
    """Without --teacher the expert's file need not be there."""
    assert rgpt4d(assets.recipe(tmp_path / "out", p4d=block), "--n", "1")[0] == 0


def test_overrides(assets, rgpt4d, tmp_path):
    """Wherever they stand; `p4d.frames` counts also in a run that does not distil, as there."""
    recipe = assets.recipe(tmp_path / "out", video_maxlen=None)
    code, samples, _, _ = rgpt4d(recipe, "--n", "1", "p4d.frames=5", "cutoff_len=999")
    assert code == 0 and len(samples[-1].clips[0].timestamps) == 5 and samples[-1].cutoff_len == 999
    rgpt4d(recipe | {"p4d": {"preset": "none", "frames": 5}}, "--n", "1")
    assert len(samples[-1].clips[0].timestamps) == 5


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipes(assets, rgpt4d, path, nothing_loaded, tmp_path):
    """On one CPU without DeepSpeed's launcher, a GPU for bfloat16, or the checkpoint."""
    student = build_tiny_student(tmp_path, "nvila") if "nvila" in path.stem else assets.student
    overrides = [f"model_name_or_path={student}", "dataset=real_clips"]
    overrides += [f"dataset_dir={DATA}", f"media_dir={DATA}"]
    code, samples, _, _ = rgpt4d(path.read_text(), *overrides, "--n", "1")
    assert code == 0 and len(samples[0].clips[0].frames) == 16


# --- the teacher -----------------------------------------------------------------------------------------------------


def test_teacher_maps(assets, student, rgpt4d, tmp_path):
    """Of the terms with a weight, in more windows than one, from frames as the file has them."""
    loss = {"latent": 0.1, "depth": 0.1, "flow": 0.0, "motion": 0.1, "camray": 0.1}
    recipe = assets.recipe(tmp_path / "out", dataset="real_clips", dataset_dir=str(DATA), **student)
    recipe |= {"video_maxlen": None, "video_max_pixels": 64 * 64, "p4d": assets.p4d(frames=18, loss=loss)}
    code, (sample,), _, _ = rgpt4d(recipe, "--teacher", "--n", "1")
    assert code == 0
    depth, motion = sample.clips[0].maps
    assert (depth.title, motion.title) == ("depth", "motion")
    assert depth.frames.shape == motion.frames.shape == (18, 32, 32, 3) and depth.frames.dtype == np.uint8

    expert = load_l4p(assets.teacher, torch.float32, "cpu", tasks=["dyn_mask"])
    pixels = decode_mp4(DATA / "clips/2.avi")
    indices = np.linspace(0, len(pixels) - 1, 18).astype(int)
    size = (32, 32)
    frames = [Image.fromarray(pixels[index]).resize(size, Image.Resampling.BILINEAR) for index in indices]
    frames = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    with torch.no_grad():
        moves = expert(expert.normalise(frames[None]), ["dyn_mask"])["dyn_mask"][0, 0].sigmoid().numpy()
    # Brighter where it is likelier: magma's lightness grows with the probability.
    lightness = motion.frames.astype(int).sum(-1)
    assert np.corrcoef(lightness.flatten(), moves.flatten())[0, 1] > 0.98


def test_flow_begins_with_the_second_frame(assets, rgpt4d, tmp_path):
    _, (sample,), _, _ = rgpt4d(assets.recipe(tmp_path / "out"), "--teacher", "--n", "1")
    assert [(row.title, row.first) for row in sample.clips[0].maps] == [("depth", 0), ("flow", 1), ("motion", 0)]


# --- errors ----------------------------------------------------------------------------------------------------------


BAD = {
    "unknown key": ({"colour": 1}, [], "colour"),
    "unknown p4d key": ({"p4d": {"loss": {"dpth": 1}}}, [], "p4d.loss.dpth: unknown key; did you mean 'depth'?"),
    "unknown dataset": ({"dataset": "nothing"}, [], "nothing"),
    "unknown dataset by option": ({}, ["--dataset", "nothing"], "nothing"),
    "no model": ({"model_name_or_path": "nobody/model"}, [], "model_name_or_path: nobody/model: "),
    "other stage": ({"stage": "dpo", "p4d": None}, [], "stage: 'dpo'"),
    "override": ({}, ["cutoff_len"], "'cutoff_len': expected an override KEY=VALUE"),
    "override that is no YAML": ({}, ["cutoff_len=[1,"], "recipe.yaml with cutoff_len=[1,: while parsing a flow"),
    "teacher without block": ({"p4d": None}, ["--teacher"], "--teacher: the recipe has no `p4d:` block"),
    "teacher without weights": ({"p4d": {"preset": "none"}}, ["--teacher"], "--teacher: the recipe has no `p4d:`"),
    "teacher without checkpoint": ({"p4d": {}}, ["--teacher"], "p4d.teacher.checkpoint: missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes(assets, rgpt4d, tmp_path, case):
    keys, arguments, message = BAD[case]
    code, samples, _, err = rgpt4d(assets.recipe(tmp_path / "out", **keys), *arguments)
    assert code == 1 and not samples
    assert "rgpt4d preview: " in err and message in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no such recipe"), ("a: [1,\nb: }", "is not a YAML file"), ("- a\n- b\n", "expected keys and values")],
)
def test_a_recipe_that_is_none(rgpt4d, text, message):
    code, _, _, err = rgpt4d(text)
    assert code == 1 and "recipe.yaml" in err and message in err and "Traceback" not in err


def test_no_visible_map_has_a_weight(assets, rgpt4d, tmp_path):
    loss = {"latent": 1, "depth": 0, "flow": 0, "motion": 0, "camray": 1}
    code, _, _, err = rgpt4d(assets.recipe(tmp_path / "out", p4d=assets.p4d(loss=loss)), "--teacher")
    assert code == 1 and "p4d.loss gives none of depth, flow, motion a weight" in err


def test_bad_records_are_named(assets, rgpt4d, tmp_path, dataset):
    (tmp_path / "text.mp4").write_text("no video")
    keys = dataset(("Fine?", "yes", [], []), ("<video>What?", "this", [], [tmp_path / "text.mp4"]))
    code, samples, _, err = rgpt4d(assets.recipe(tmp_path / "out", **keys))
    assert code == 1 and len(samples) == 1
    assert "text.mp4 is not a readable video" in err and "(dataset 'mine', record 1)" in err

    keys = dataset(("<video>What?", "this", [], []))
    _, _, _, err = rgpt4d(assets.recipe(tmp_path / "out", **keys))
    assert "number of videos does not match" in err and "(dataset 'mine', record 0)" in err


def test_an_image_that_is_a_decompression_bomb_is_named(assets, rgpt4d, tmp_path, dataset):
    (tmp_path / "bomb.png").write_bytes(bomb())
    keys = dataset(("<image>What?", "this", [tmp_path / "bomb.png"], []))
    code, _, _, err = rgpt4d(assets.recipe(tmp_path / "out", **keys))
    assert code == 1 and "pixels) exceeds limit" in err and "(dataset 'mine', record 0)" in err


@pytest.mark.parametrize("option", [["--tacher"], ["--n", "0"], ["--n", "many"]])
def test_an_unknown_option_is_refused(assets, rgpt4d, tmp_path, option):
    with pytest.raises(SystemExit):
        rgpt4d(assets.recipe(tmp_path / "out"), *option)
