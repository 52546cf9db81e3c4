# SPDX-License-Identifier: Apache-2.0
"""NVILA-Lite against NVlabs/VILA: a tiny published folder is converted, and does what VILA's own code did with it.

`tests/data/nvila_parity.safetensors.gz` holds what VILA (commit b760c34, transformers 4.46.0, float32, CPU) was given
and gave back: the weights, configurations and tokenizer of a random model, pictures, the ids and last logits of
prompts, what was generated, training rows, and tables of tiles and frames.
"""

import gzip
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.convert_model.nvila import ModelFolderError, convert
from rgpt4d_plugin.convert_model.nvila_back import convert_back
from rgpt4d_plugin.synth4d.clips import decode_mp4
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import build_tiny_student


PARTS = ("llm", "vision_tower", "mm_projector")
CLIP = {"video": ["clip"], "line": ["clip"], "mixed": ["clip", "clip2"]}
IMAGE = {"image": ["image"], "wide": ["wide"], "mixed": ["image"]}


class Fixture:
    """VILA's numbers: `fixture["NAME"]` is a tensor, `metadata` the rest."""

    def __init__(self, path):
        self._file = safe_open(path, "pt")
        self.metadata = self._file.metadata()
        self.names = list(self._file.keys())
        self.texts = json.loads(self.metadata["texts"])

    def __getitem__(self, name):
        tensor = self._file.get_tensor(name)
        return tensor.long() if tensor.dtype == torch.int32 else tensor

    def published(self, folder, pixels=56):
        """Writes the published folder, of the tower for 56 or for 84 pixels."""
        for name, content in self.metadata.items():
            if name.startswith("file:"):
                path = folder / name.removeprefix("file:")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        for part in PARTS:
            prefixes = [f"weights.{part}."] + [f"weights84.{part}."] * (pixels == 84)
            tensors = {name.removeprefix(p): self[name] for p in prefixes for name in self.names if name.startswith(p)}
            if part == "vision_tower":
                tensors |= without_use(tensors)
            save_file(tensors, folder / part / "model.safetensors")
        if pixels == 84:
            edit(folder / "vision_tower/config.json", image_size=84)
            edit(folder / "vision_tower/preprocessor_config.json", size={"height": 84, "width": 84})
        return folder


def without_use(tensors):
    """The tower's last layer and norm, which are not in the file: they are published, and never run."""
    first = "vision_model.encoder.layers.0."
    last = {name.replace(".0.", ".1."): torch.full_like(w, 7) for name, w in tensors.items() if name.startswith(first)}
    norm = {f"vision_model.post_layernorm.{name}": torch.full((32,), 7.0) for name in ("weight", "bias")}
    return last | norm


def edit(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


@pytest.fixture(scope="module")
def fixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("parity") / "parity.safetensors"
    path.write_bytes(gzip.decompress((DATA / "nvila_parity.safetensors.gz").read_bytes()))
    return Fixture(path)


@pytest.fixture(scope="module")
def published(fixture, tmp_path_factory):
    return fixture.published(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    convert(str(published), str(folder))
    return folder


@pytest.fixture(scope="module")
def model(converted):
    return AutoModelForImageTextToText.from_pretrained(converted).eval()


@pytest.fixture
def processor(converted):
    return AutoProcessor.from_pretrained(converted)


def inputs_of(fixture, processor, prompt):
    images = [Image.fromarray(fixture[f"{name}.uint8"].numpy()) for name in IMAGE.get(prompt, ())]
    clips = [fixture[f"{name}.uint8"].numpy() for name in CLIP.get(prompt, ())]
    media = {"images": images} if images else {}
    if clips:
        media |= {"videos": clips, "do_sample_frames": False}
    if prompt == "image":
        processor.image_processor.image_aspect_ratio = "resize"  # as the fixture was made for this one
    text = fixture.texts[prompt].replace("<image>\n" * 3, "<image>")  # the processor makes the tiles
    return processor(text=[text], return_tensors="pt", **media)


# --- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["text", "image", "wide", "video", "line", "mixed"])
def test_prompts(fixture, model, processor, prompt):
    """From pictures and text to what is generated; "line" has a blank line in the text, "mixed" clips and an image."""
    inputs = inputs_of(fixture, processor, prompt)
    assert inputs["input_ids"][0].tolist() == fixture[f"{prompt}.expanded_ids"].tolist()
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    torch.testing.assert_close(logits[-4:], fixture[f"{prompt}.logits"], rtol=0, atol=3e-5)
    said = model.generate(**inputs, min_new_tokens=8, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert said.tolist() == fixture[f"{prompt}.generated"].tolist()


def test_projected_frames(fixture, model, processor):
    pixels = inputs_of(fixture, processor, "video")["pixel_values_videos"]
    with torch.no_grad():
        torch.testing.assert_close(model.model.picture_features(pixels), fixture["clip.projected"], rtol=0, atol=1e-5)


def test_a_grid_that_needs_no_padding(fixture, tmp_path):
    """6 x 6 patches; the others have 4 x 4, which are filled up."""
    convert(str(fixture.published(tmp_path / "published", 84)), str(tmp_path / "out"))
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    frames = fixture["clip.uint8"][:2].numpy()
    inputs = processor(text=fixture.texts["video"], videos=[frames], do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        features = model.model.picture_features(inputs["pixel_values_videos"])
        torch.testing.assert_close(features, fixture["clip84.projected"], rtol=0, atol=1e-5)
        torch.testing.assert_close(model(**inputs).logits[0, -4:], fixture["video84.logits"], rtol=0, atol=3e-5)


@pytest.mark.slow
def test_tiles(fixture, processor):
    images = processor.image_processor
    images.size = {"height": 448, "width": 448}
    for width, height, columns, rows, count in fixture["tiles.table"].tolist():
        assert images.tile_grid(width, height) == (columns, rows)
        assert images.pictures_of(width, height) == count == len(images.tiles(Image.new("RGB", (width, height))))


def test_frame_numbers(fixture, processor):
    tables = [name for name in fixture.names if name.startswith("indices.")]
    assert len(tables) == 6
    for name in tables:
        total, count = (int(part.lstrip("oftake")) for part in name.split(".")[1:])
        metadata = SimpleNamespace(total_num_frames=total, fps=None)
        found = processor.video_processor.sample_frames(metadata, num_frames=count)
        assert found.tolist() == fixture[name].tolist()


def test_frames_a_second_from_the_first_on(processor):
    metadata = SimpleNamespace(total_num_frames=100, fps=25.0)
    assert processor.video_processor.sample_frames(metadata, num_frames=3, fps=2.0).tolist() == [0, 12, 25]
    assert processor.video_processor.sample_frames(metadata, num_frames=9, fps=1.0).tolist() == [0, 25, 50, 75]


def whole_clip():
    """A decoded file, from which the processor takes its frames."""
    frames = decode_mp4(DATA / "clips/4.mp4")
    metadata = {"fps": 25.0, "total_num_frames": len(frames), "frames_indices": list(range(len(frames)))}
    return {"videos": [np.stack(frames)], "video_metadata": [metadata]}


def test_frames_are_taken_from_the_first_to_the_last(processor):
    inputs = processor(text="<vila/video>\nWhat?", **whole_clip(), num_frames=3, return_tensors="pt")
    assert inputs["pixel_values_videos"].shape == (3, 3, 56, 56)
    assert (inputs["input_ids"] == processor.video_token_id).sum() == 3 * 4
    ends = whole_clip()["videos"][0][[0, -1]]
    shown = processor(text="<vila/video>", videos=[ends], do_sample_frames=False, return_tensors="pt")
    assert torch.equal(inputs["pixel_values_videos"][[0, -1]], shown["pixel_values_videos"])


@pytest.mark.parametrize("text", ["<image><image>", "none", "<vila/video>"])
def test_placeholders_that_do_not_fit_are_refused(fixture, processor, text):
    with pytest.raises(ValueError, match="the text has"):
        processor(text=text, images=[Image.new("RGB", (9, 9))])


def test_pictures_without_their_tokens_are_refused(fixture, model, processor):
    inputs = inputs_of(fixture, processor, "video")
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"][:4]
    with pytest.raises(ValueError, match="pixel_values_videos of 4 pictures need 16 tokens 63, found 20"):
        model(**inputs)


# --- training rows, as the host makes them ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host(assets, converted, tmp_path_factory):
    recipe = {"model_name_or_path": str(converted), "template": "rgpt4d_nvila", "image_max_pixels": 10**6}
    return host_parts(assets.recipe(tmp_path_factory.mktemp("host"), **recipe))


def test_rows_labels_and_loss(fixture, host, model, processor, tmp_path):
    """VILA's rows end with a newline without a label, which the host's do not have."""
    processor.image_processor.image_aspect_ratio = "resize"
    host.processor.image_processor.image_aspect_ratio = "resize"
    frames = [Image.fromarray(frame) for frame in fixture["clip.uint8"].numpy()]
    image = Image.fromarray(fixture["image.uint8"].numpy())
    turns = [
        ["<video>How far is the car?", "2.5 m", "And then?", "near the wall."],
        ["<image>What is this?", "A dog."],
    ]
    total, count = 0.0, 0
    for number, (words, media) in enumerate(zip(turns, ({"_videos": [frames]}, {"_images": [image]}))):
        messages = [{"role": role, "content": word} for role, word in zip(("user", "assistant") * 2, words)]
        empty = dict.fromkeys(("_system", "_tools", "_images", "_videos", "_audios"))
        feature = host.tokenise(
            host.template, {"_prompt": messages[:-1], "_response": messages[-1:], **empty, **media}
        )
        ids, labels = (fixture[f"row{number}.{name}"].tolist() for name in ("input_ids", "labels"))
        medium = next(at for at, token in enumerate(ids) if token in (62, 63))
        shown = len(feature["input_ids"]) - len(ids) + 2
        assert feature["input_ids"][:medium] + ids[medium : medium + 1] == ids[: medium + 1]
        assert feature["input_ids"][medium + shown :] == ids[medium + 1 : -1]
        assert feature["labels"][medium + shown :] == labels[medium + 1 : -1] and labels[-1] == -100
        assert set(feature["labels"][: medium + shown]) == {-100}
        batch = host.plain_collator(host.template)([feature])
        with torch.no_grad():
            found = model(**batch)
        trained = (batch["labels"][:, 1:] != -100).sum().item()
        total, count = total + found.loss.item() * trained, count + trained
    assert total / count == pytest.approx(fixture["batch.loss"].item(), abs=1e-5)


def test_the_newline_behind_a_frame_is_not_joined_with_one_of_the_text(fixture, host):
    """The tokenizer has a token for two of them."""
    frames = [Image.fromarray(frame) for frame in fixture["clip.uint8"].numpy()]
    feature = host.encode(host.template, "<video>\nHow far?\n\nsay.", videos=[frames])
    expected = fixture["line.expanded_ids"].tolist()
    assert feature["input_ids"][: len(expected)] == expected


def test_the_hosts_chat_format_is_the_processors(host):
    turns = [
        {"role": role, "content": word} for role, word in zip(("user", "assistant") * 2, ("A", "b", "c\n\n", "d"))
    ]
    record = {"_prompt": turns[:-1], "_response": turns[-1:]}
    record |= dict.fromkeys(("_system", "_tools", "_images", "_videos", "_audios"))
    feature = host.tokenise(host.template, record)
    expected = host.processor.apply_chat_template(turns, tokenize=False)
    assert host.tokenizer.decode(feature["input_ids"]) + "\n" == expected
    trained = [token for token, label in zip(feature["input_ids"], feature["labels"]) if label != -100]
    assert host.tokenizer.decode(trained) == "b<|im_end|>d<|im_end|>"


# --- conversion ------------------------------------------------------------------------------------------------------


def contents(folder):
    return {part: load_file(folder / part / "model.safetensors") for part in PARTS}


def test_there_and_back(published, converted, tmp_path):
    """Every tensor as it was; and what is written is read again as the same model."""
    convert_back(str(converted), str(tmp_path / "back"))
    before, after = contents(published), contents(tmp_path / "back")
    for part in PARTS:
        assert before[part].keys() == after[part].keys()
        assert all(torch.equal(before[part][name], after[part][name]) for name in before[part])
    for name in ("llm/config.json", "vision_tower/config.json", "vision_tower/preprocessor_config.json"):
        old, new = (json.loads((folder / name).read_text()) for folder in (published, tmp_path / "back"))
        assert {key: new.get(key) for key in old if key != "transformers_version"} == {
            key: value for key, value in old.items() if key != "transformers_version"
        }
    (line,) = convert(str(tmp_path / "back"), str(tmp_path / "again"))
    assert line.endswith("tokens added to the tokenizer: none")
    for path in converted.glob("*.json"):
        if path.name not in ("tokenizer_config.json",):
            assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    shards = sorted(path.name for path in converted.glob("*.safetensors"))
    assert all((converted / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in shards)


def test_a_projector_without_a_name_there_is_refused(tmp_path):
    """The tiny student's, of 2 x 2 patches."""
    student = build_tiny_student(tmp_path / "student", "nvila")
    with pytest.raises(ValueError, match="another projector than VILA's mlp_downsample_3x3_fix"):
        convert_back(str(student), str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()


@pytest.fixture
def copy(published, tmp_path):
    """A published folder to change."""
    return Path(shutil.copytree(published, tmp_path / "copy"))


def change(folder, part, **changes):
    """Replaces tensors of a part; None takes one away."""
    path = folder / part / "model.safetensors"
    tensors = {**load_file(path), **changes}
    save_file({name: weight.contiguous() for name, weight in tensors.items() if weight is not None}, path)


TABLE = "model.embed_tokens.weight"


@pytest.mark.parametrize("saved", [False, True])
def test_a_tied_head_and_a_table_without_rows_for_the_added_tokens(copy, tmp_path, saved):
    """As the 2B model has it: they get the mean row, and are never generated."""
    edit(copy / "llm/config.json", tie_word_embeddings=True, vocab_size=61, rope_theta=1e6)
    edit(copy / "llm/tokenizer_config.json", eos_token="<|endoftext|>")
    table = contents(copy)["llm"][TABLE][:61]
    change(copy, "llm", **{TABLE: table, "lm_head.weight": table.clone() if saved else None})
    convert(str(copy), str(tmp_path / "out"))
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight[:61], table) and len(model.lm_head.weight) == 64
    torch.testing.assert_close(model.lm_head.weight[61:], table.mean(0).expand(3, -1))
    assert model.config.text_config.rope_parameters["rope_theta"] == 1e6
    assert model.generation_config.suppress_tokens == [61, 62, 63] and model.generation_config.eos_token_id == 58


def test_a_model_in_several_files(copy, tmp_path):
    llm = contents(copy)["llm"]
    (copy / "llm/model.safetensors").unlink()
    halves = list(llm)[::2], list(llm)[1::2]
    for number, half in enumerate(halves, start=1):
        save_file({name: llm[name] for name in half}, copy / f"llm/model-{number:05d}-of-00002.safetensors")
    convert(str(copy), str(tmp_path / "out"))
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 4
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert torch.equal(model.model.language_model.norm.weight, llm["model.norm.weight"])
    convert_back(str(tmp_path / "out"), str(tmp_path / "back"))
    for number, half in enumerate(halves, start=1):
        found = load_file(tmp_path / f"back/llm/model-{number:05d}-of-00002.safetensors")
        assert found.keys() == set(half) and all(torch.equal(found[name], llm[name]) for name in half)


@pytest.mark.slow
@pytest.mark.parametrize("said", [True, False])
def test_4d_rgpt_has_timestamps(copy, tmp_path, said):
    """Where its configuration says so, and where the user does."""
    edit(copy / "config.json", use_time_pe=said)
    convert(str(copy), str(tmp_path / "out"), tpe=not said)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    assert (model.config.model_type, type(model).__name__) == ("rgpt4d_nvila", "RGPT4DNVILAForConditionalGeneration")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(text="<vila/video>", **whole_clip(), return_tensors="pt")
    times = inputs["video_timestamps"][inputs["input_ids"] == processor.video_token_id].view(5, 4)
    assert (times == times[:, :1]).all() and (times[:, 0].diff() > 0).all() and times[0, 0] == 0
    assert (inputs["video_timestamps"] >= 0).sum() == 5 * 4
    model(**inputs)
    convert_back(str(tmp_path / "out"), str(tmp_path / "back"))
    assert json.loads((tmp_path / "back/config.json").read_text())["use_time_pe"] is True


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("config.json", {"dynamic_s2": True}, "config.json.dynamic_s2: expected one of False, None, got True"),
        ("config.json", {"image_aspect_ratio": "dynamic_s2"}, "image_aspect_ratio: expected one of 'dynamic', 'res"),
        ("config.json", {"num_time_tokens": 100}, "config.json.num_time_tokens"),
        ("config.json", {"mm_vision_select_layer": -1}, "config.json.mm_vision_select_layer"),
        ("config.json", {"model_type": "nvila_lite"}, "config.json.model_type: expected one of 'llava_llama'"),
        ("config.json", {"video_encoder": {"_target_": "x.TSPVideoEncoder", "pool": 8}}, "BasicVideoEncoder"),
        ("llm/config.json", {"architectures": ["LlamaForCausalLM"]}, "llm/config.json.architectures"),
        ("vision_tower/config.json", {"vision_use_head": True}, "vision_tower/config.json.vision_use_head"),
        ("vision_tower/config.json", {"image_size": 70}, "size: expected the tower's 70"),
        ("mm_projector/config.json", {"mm_projector_type": "mlp_downsample"}, "of 'mlp_downsample_3x3_fix'"),
        ("llm/tokenizer_config.json", {"chat_template": "{{ messages[0].content }}"}, "expected a chat template"),
        ("llm/config.json", {"num_key_value_heads": 1}, r"k_proj.bias in .*: expected the shape \(8,\)"),
    ],
)
def test_other_models_are_refused(copy, tmp_path, name, changes, problem):
    edit(copy / name, **changes)
    with pytest.raises(ModelFolderError, match=problem):
        convert(str(copy), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "changes", "problem"),
    [
        ("llm", {"model.norm.weight": None}, "missing: model.norm.weight in llm/"),
        ("llm", {"lm_head.weight": None}, "missing: lm_head.weight in llm/"),
        (
            "llm",
            {TABLE: torch.zeros(61, 32)},
            f"{TABLE} in .*: expected a row for each of the 64 of vocab_size, got 61",
        ),
        ("llm", {"lm_head.weight": torch.zeros(63, 32)}, "lm_head.weight in .*: expected the shape"),
        ("llm", {"p4d_decoder.weight": torch.zeros(1)}, "p4d_decoder.weight in .*: not a tensor of"),
        ("mm_projector", {"layers.2.weight": torch.zeros(96, 128)}, r"the shape \(96, 288\), got \(96, 128\)"),
    ],
)
def test_every_tensor_is_accounted_for(copy, tmp_path, part, changes, problem):
    change(copy, part, **changes)
    with pytest.raises(ModelFolderError, match=problem):
        convert(str(copy), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_table_without_rows_for_words_is_refused(copy, tmp_path):
    """58 is the end of a turn: what comes after it is added on loading, if need be."""
    edit(copy / "llm/config.json", vocab_size=58)
    change(copy, "llm", **{name: torch.zeros(58, 32) for name in (TABLE, "lm_head.weight")})
    with pytest.raises(ModelFolderError, match=r"58 rows, but the tokenizer's words and <\|im_end\|> are 59"):
        convert(str(copy), str(tmp_path / "out"))


def test_parts_that_are_not_there_are_named(copy, tmp_path):
    index = {"metadata": {}, "weight_map": {TABLE: "model.safetensors", "model.norm.weight": "model-2.safetensors"}}
    (copy / "llm/model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFolderError, match="llm/model-2.safetensors: no such file, but the index names it"):
        convert(str(copy), str(tmp_path / "out"))
    shutil.rmtree(copy / "llm")
    edit(copy / "config.json", model_type="nvila_lite")
    with pytest.raises(ModelFolderError, match="of the form -hf; download the one without -hf"):
        convert(str(copy), str(tmp_path / "out"))


def test_a_head_that_only_claims_to_be_tied_is_refused(copy, tmp_path):
    edit(copy / "llm/config.json", tie_word_embeddings=True)
    with pytest.raises(ModelFolderError, match="tie_word_embeddings is true, but it is not tied"):
        convert(str(copy), str(tmp_path / "out"))


def test_the_command(copy, tmp_path, capsys):
    (copy / "trainer_state.json").write_text("{}")
    command = ["convert-model", "nvila", "--src", str(copy), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert "left out, as no part of the model: trainer_state.json" in capsys.readouterr().out
    assert main(command) == 1
    assert "has a model already" in capsys.readouterr().err
    assert main(["convert-model", "nvila", "--back", "--src", str(copy), "--out", str(tmp_path / "back")]) == 1
    assert "a model of type 'llava_llama': expected nvila or rgpt4d_nvila" in capsys.readouterr().err
    (copy / "mm_projector/config.json").unlink()
    assert main([*command[:-1], str(tmp_path / "other")]) == 1
    assert "mm_projector/config.json: no such file; download the folder again" in capsys.readouterr().err
