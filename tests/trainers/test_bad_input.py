# SPDX-License-Identifier: Apache-2.0
"""Bad input through the host's real path: one clear error that says where, before anything is trained.

The host's `load_model` is replaced by one that fails the test, so that each error is seen to come before it.
"""

import json
import os
import pickle
import re
import shutil
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import LlamaConfig

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.students import UnsupportedFamilyError
from rgpt4d_plugin.teachers.l4p import L4P, L4PCheckpointError, read_l4p_config, save_l4p
from rgpt4d_plugin.template import plugin_classes
from rgpt4d_plugin.trainers import mixin
from rgpt4d_plugin.video import VideoError
from tests.harness import logs, train_here


@pytest.fixture
def host(monkeypatch):
    """The host's SFT workflow."""
    from llamafactory.train.sft import workflow

    def forbid(*names):
        for name in names:
            monkeypatch.setattr(workflow, name, lambda *args, name=name, **kwargs: pytest.fail(f"{name} was called"))

    return forbid


@pytest.fixture
def nothing_loaded(host):
    """Fails the test if the student is loaded."""
    host("load_model")


@pytest.fixture
def nothing_read(host):
    """Fails the test if the dataset is read or the student is loaded."""
    host("get_dataset", "load_model")


# Videos


@pytest.fixture
def dataset(assets, tmp_path):
    """Returns the function that makes a dataset of the given `videos` fields and a recipe for it."""
    folder = tmp_path / "data"
    folder.mkdir()
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    info = {"formatting": "sharegpt", "columns": {"messages": "messages", "videos": "videos"}, "tags": tags}

    def make(*fields, file="mine.json", **overrides):
        answer = {"role": "assistant", "content": "yes"}
        records = [
            {"messages": [{"role": "user", "content": "<video>" * len(videos)}, answer], "videos": videos}
            for videos in fields
        ]
        lines = "\n".join(map(json.dumps, records))
        (folder / file).write_text(lines + "\n" if file.endswith(".jsonl") else json.dumps(records))
        (folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": file, **info}}))
        return assets.recipe(tmp_path / "out", **{"dataset": "mine", "dataset_dir": str(folder), **overrides})

    make.folder = folder
    return make


def encode(path, frames=12, options=None, codec="libx264"):
    """Writes a video of noise, so that its size is spread evenly over the file."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        container.start_encoding()
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def cut_in_the_index(path):
    encode(path)
    cut(path)


def cut_in_the_frames(path):
    encode(path, options={"movflags": "faststart"})
    cut(path)


def sound_only(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


BROKEN = {
    "missing": (lambda path: None, "no such video: "),
    "empty file": (lambda path: path.touch(), " is not a readable video: "),
    "text": (lambda path: path.write_text("no video\n" * 100), " is not a readable video: "),
    "folder": (lambda path: path.mkdir(), "no such video: "),
    "cut in the index": (cut_in_the_index, " is not a readable video: "),
    "cut in the frames": (cut_in_the_frames, " is cut off"),
    "sound only": (sound_only, " has no video stream"),
    "no stream": (lambda path: encode(path, frames=0), " has no video stream"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_video_is_named_with_its_record(assets, dataset, kind):
    make, complaint = BROKEN[kind]
    fine = str(next((assets.clips / "videos").glob("*.mp4")))
    make(dataset.folder / "broken.mp4")
    recipe = dataset([fine], ["broken.mp4"], [fine])

    with pytest.raises(VideoError) as caught:
        train_here(recipe)
    check_message(str(caught.value), dataset, complaint)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("kind", ["missing", "cut in the frames"])
def test_a_broken_video_is_named_by_preprocessing_workers_too(assets, dataset, kind):
    make, complaint = BROKEN[kind]
    fine = str(next((assets.clips / "videos").glob("*.mp4")))
    make(dataset.folder / "broken.mp4")
    recipe = dataset([fine], ["broken.mp4"], [fine], [fine], preprocessing_num_workers=2)

    with pytest.raises(VideoError) as caught:
        train_here(recipe)
    check_message(str(caught.value), dataset, complaint)


def check_message(message, dataset, complaint):
    assert complaint in message
    assert "broken.mp4" in message
    where = (
        f"dataset 'mine', file {dataset.folder / 'mine.json'}, record 1, field 'videos', media_dir {dataset.folder}"
    )
    assert message.count(f" ({where})") == 1


@pytest.mark.usefixtures("nothing_loaded")
def test_a_stream_without_frames(dataset):
    encode(dataset.folder / "broken.avi", frames=0, codec="mpeg4")
    with pytest.raises(VideoError, match="broken.avi has no frames .*record 0"):
        train_here(dataset(["broken.avi"]))


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize(
    ("name", "complaint"),
    [("drawing.mp4", "drawing.mp4 is not a readable video: FFmpeg has no decoder"), ("a\0b.mp4", "no such video: a")],
)
def test_a_video_that_nothing_decodes_and_a_name_that_no_file_has(dataset, name, complaint):
    """FFmpeg finds a stream in an SVG; decoding it ended the process."""
    (dataset.folder / "drawing.mp4").write_text("<svg/>")
    with pytest.raises(VideoError, match=complaint):
        train_here(dataset([name]))


@pytest.mark.usefixtures("nothing_loaded")
def test_the_record_is_not_one_whose_video_has_a_similar_name(assets, dataset):
    # "1.mp4" is the end of "11.mp4", and the error about the latter must not name the record of the former.
    shutil.copy(next((assets.clips / "videos").glob("*.mp4")), dataset.folder / "1.mp4")
    (dataset.folder / "11.mp4").touch()
    with pytest.raises(VideoError, match="11.mp4 is not a readable video: .*record 1,"):
        train_here(dataset(["1.mp4"], ["11.mp4"]))


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("form", ["mine.jsonl", "lines in mine.json", "folder"])
def test_the_second_video_of_a_record_in_json_lines(assets, dataset, form):
    fine = str(next((assets.clips / "videos").glob("*.mp4")))
    recipe = dataset([fine], [fine], [fine, "gone.mp4"], file="mine.jsonl")
    file, info = dataset.folder / "mine.jsonl", dataset.folder / "dataset_info.json"
    if form == "lines in mine.json":
        file = file.rename(dataset.folder / "mine.json")
    if form == "folder":
        (dataset.folder / "parts").mkdir()
        file = file.rename(dataset.folder / "parts/mine.jsonl")
    info.write_text(info.read_text().replace("mine.jsonl", "parts" if form == "folder" else file.name))
    with pytest.raises(VideoError) as caught:
        train_here(recipe)
    assert f"no such video: gone.mp4 (dataset 'mine', file {file}, record 2, field 'videos'" in str(caught.value)


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("entry", [123, None, {"path": "a.mp4"}], ids=str)
def test_an_entry_that_is_no_video(assets, dataset, entry):
    expected = "expected the name of a video file or a list of frames, got .*record 0, field 'videos'"
    with pytest.raises(VideoError, match=expected):
        train_here(dataset([entry]))


@pytest.mark.slow
@pytest.mark.parametrize("formatting", ["sharegpt", "rgpt4d"])
def test_a_prompt_that_loses_its_question_is_said(assets, dataset, monkeypatch, formatting):
    """Once, with the record and the tokens that are gone, whatever the format; a longer cutoff_len says nothing."""
    said = []
    monkeypatch.setattr(plugin_classes.logger, "warning", said.append)
    for name in ("short.mp4", "long.mp4", "longer.mp4"):
        encode(dataset.folder / name, frames={"short.mp4": 2}.get(name, 12))
    info = {"template": "rgpt4d_qwen2_vl", "max_steps": 1, "cutoff_len": 42, "overwrite_cache": True}
    recipe = dataset(["short.mp4"], ["long.mp4"], ["longer.mp4"], **info)
    path = dataset.folder / "dataset_info.json"
    path.write_text(path.read_text().replace("sharegpt", formatting))
    train_here(recipe)
    (message,) = said
    cut = re.match(r"cutoff_len: 42 cuts the last (\d+) of (\d+) tokens off a prompt", message)
    assert 0 < int(cut[1]) < int(cut[2])
    assert f"mine.json, record 1, field 'videos', media_dir {dataset.folder})" in message
    train_here({**recipe, "cutoff_len": 512})
    assert len(said) == 1


@pytest.mark.usefixtures("nothing_loaded")
def test_a_missing_video_of_region_records_names_the_folder_that_was_searched(dataset):
    recipe = dataset(["gone.mp4"], template="rgpt4d_qwen2_vl")
    path = dataset.folder / "dataset_info.json"
    path.write_text(path.read_text().replace("sharegpt", "rgpt4d"))
    with pytest.raises(VideoError) as caught:
        train_here(recipe)
    assert f"record 0, field 'videos', media_dir {dataset.folder}: no such video: gone.mp4" in str(caught.value)


@pytest.mark.usefixtures("nothing_loaded")
def test_a_broken_video_of_the_evaluation_set(assets, dataset):
    recipe = dataset(["gone.mp4"], eval_dataset="mine", dataset="synth4d")
    info = dataset.folder / "dataset_info.json"
    fine = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    fine["file_name"] = str(assets.clips / "synth4d.json")
    info.write_text(json.dumps({**json.loads(info.read_text()), "synth4d": fine}))
    with pytest.raises(VideoError, match="no such video: gone.mp4 .dataset 'mine', .*record 0, field 'videos'"):
        train_here(recipe)


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize(
    ("name", "complaint"), [("gone.png", "no such video frame: "), ("text.png", "cannot be deco")]
)
def test_a_broken_frame_of_a_list(dataset, name, complaint):
    for fine in ("0.png", "1.png"):
        Image.new("RGB", (64, 64)).save(dataset.folder / fine)
    (dataset.folder / "text.png").write_text("no image")
    with pytest.raises(VideoError, match="record 1, field 'videos'") as caught:
        train_here(dataset([["0.png", "0.png"]], [["1.png", name]]))
    assert complaint in str(caught.value) and name in str(caught.value)


@pytest.mark.slow
def test_a_video_that_breaks_after_it_was_checked(assets, dataset):
    encode(dataset.folder / "late.mp4", options={"movflags": "faststart"})
    recipe = dataset(["late.mp4"], video_maxlen=8, tokenized_path=str(dataset.folder / "tokenized"))
    train_here({**recipe, "max_steps": 1})
    cut(dataset.folder / "late.mp4")
    with pytest.raises(VideoError, match=r"late.mp4 is cut off"):
        train_here(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [None, 4], ids=["host's frames", "p4d.frames"])
def test_a_file_that_does_not_say_its_length_is_fine(assets, dataset, frames):
    """Matroska: fewer frames than the host asks for are no sign of damage, and `p4d.frames` spread over the clip."""
    encode(dataset.folder / "clip.mkv")
    seen = []
    maxlen = None if frames else 16
    recipe = dataset(["clip.mkv"], p4d=assets.p4d(frames=frames), video_maxlen=maxlen, max_steps=1)
    with pytest.MonkeyPatch.context() as patch:
        compute_loss = mixin.P4DTrainerMixin.compute_loss
        patch.setattr(
            mixin.P4DTrainerMixin,
            "compute_loss",
            lambda self, model, inputs, *args, **kwargs: (
                seen.append(inputs[mixin.BATCH_KEY].timestamps),
                compute_loss(self, model, inputs, *args, **kwargs),
            )[1],
        )
        train_here(recipe)

    expected = [0, 3, 7, 11] if frames else range(12)
    assert seen == [[[index / 4 for index in expected]]]
    assert logs(dataset.folder.parent / "out")[0]["p4d_videos"] == 1


# The teacher


@pytest.mark.usefixtures("nothing_read")
@pytest.mark.parametrize("name", ["gone.safetensors", "gone.ckpt"])
def test_a_missing_checkpoint(assets, tmp_path, name):
    teacher = {"checkpoint": str(tmp_path / name)}
    with pytest.raises(P4DConfigError, match=f"p4d.teacher.checkpoint: no such file: .*{name}"):
        train_here(assets.recipe(tmp_path / "out", p4d=assets.p4d(teacher=teacher)))


@pytest.mark.usefixtures("nothing_read")
@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("l4p.safetensors", b"not one", "is not a readable safetensors file"),
        ("l4p.bin", b"", "is not a known kind of checkpoint"),
        ("l4p.ckpt", b"not a zip file", "l4p.ckpt"),
    ],
)
def test_a_file_that_is_no_checkpoint(assets, tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(L4PCheckpointError, match=complaint) as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=assets.p4d(teacher={"checkpoint": str(tmp_path / name)})))
    assert str(tmp_path / name) in str(caught.value)
    assert "https://github.com/NVlabs/L4P" in str(caught.value)


@pytest.mark.slow
def test_a_checkpoint_of_something_else(assets, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"model.weight": torch.zeros(2)}, path)
    with pytest.raises(L4PCheckpointError) as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=assets.p4d(teacher={"checkpoint": str(path)})))
    message = str(caught.value)
    assert f"{path} does not hold the expected L4P weights" in message
    assert "unexpected (1):\n    model.weight" in message and "missing (" in message
    assert not (tmp_path / "out/trainer_log.jsonl").exists()


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_code_in_a_checkpoint_is_never_run(assets, tmp_path, form):
    content = {"state_dict": {"l4p_model.weight": Payload(tmp_path / "executed")}}
    path = tmp_path / "evil.ckpt"
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(L4PCheckpointError, match="evil.ckpt") as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=assets.p4d(teacher={"checkpoint": str(path)})))
    assert not (tmp_path / "executed").exists()
    if form == "torch":
        assert "was not loaded, since that could run code; refused: posix.mkdir" in str(caught.value)


@pytest.mark.usefixtures("nothing_read")
@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ({"hooks": [0, 9]}, r"p4d.hooks: \[9\] do not exist in .*: its feature list has the indices 0 to 2"),
        (
            {"hooks": [0, 1]},
            r"p4d.hooks: \[0, 1\], but the teacher's maps are made from \[0, 1, 2\]; add these, leave",
        ),
        ({"loss": {"depth": -0.1}}, "p4d.loss.depth: expected a value >= 0, got -0.1"),
        ({"loss": {"depht": 0.1}}, "p4d.loss.depht: unknown key; did you mean 'depth'?"),
    ],
)
def test_a_block_that_does_not_fit_the_teacher(assets, tmp_path, block, complaint):
    with pytest.raises(P4DConfigError, match=complaint):
        train_here(assets.recipe(tmp_path / "out", p4d=assets.p4d(**block)))


@pytest.mark.usefixtures("nothing_read")
def test_a_term_whose_head_the_teacher_lacks(assets, tmp_path):
    config = read_l4p_config(assets.teacher)
    config = replace(config, tasks={"depth": config.tasks["depth"]})
    save_l4p(L4P.from_config(config, 0), tmp_path / "depth.safetensors")
    block = assets.p4d(teacher={"checkpoint": str(tmp_path / "depth.safetensors")})
    with pytest.raises(P4DConfigError) as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=block))
    message = str(caught.value)
    assert "3 problem(s)" in message and "p4d.loss.depth" not in message
    assert (
        f"p4d.loss.flow: the teacher {tmp_path / 'depth.safetensors'} gives no flow; it gives latent, depth. It is"
        in message
    )


# The student


@pytest.mark.usefixtures("nothing_read")
def test_an_unsupported_base_model(assets, tmp_path):
    LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).save_pretrained(tmp_path / "llama")
    with pytest.raises(UnsupportedFamilyError) as caught:
        train_here(assets.recipe(tmp_path / "out", model_name_or_path=str(tmp_path / "llama"), template="llama3"))
    message = str(caught.value)
    assert "model_name_or_path: `p4d:` does not support base models of type 'llama'. Supported" in message
    assert "Video-LLaVA (video_llava)" in message and "docs/adding_a_family.md says how to add one" in message


@pytest.mark.usefixtures("nothing_read")
@pytest.mark.parametrize("template", ["default", "llama3", "llava_next_video"])
def test_a_template_without_the_models_video_token(assets, tmp_path, template):
    with pytest.raises(P4DConfigError) as caught:
        train_here(assets.recipe(tmp_path / "out", template=template))
    assert f"template: {template!r} has no video token that the model's tokenizer knows" in str(caught.value)
    assert "for Qwen2.5-VL use qwen2_vl" in str(caught.value)
