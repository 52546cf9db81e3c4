# SPDX-License-Identifier: Apache-2.0
"""The host's engine: it asks what training shows, in batches that change nothing, and counts what it cannot read."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rgpt4d_plugin.eval_hooks.benchmark_task import BenchmarkTask, ItemMedia, Question
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.benchmarks.records import Medium
from rgpt4d_plugin.eval_hooks.engines.host import HostEngine, _rounds
from rgpt4d_plugin.eval_hooks.engines.load import load_host_engine
from rgpt4d_plugin.eval_hooks.engines.model_fingerprint import weights_fingerprint
from rgpt4d_plugin.regions.media_entries import Clip
from rgpt4d_plugin.template.plugin_classes import with_recorder
from tests.benchmark_folders import EPS, bomb, image, put, video, write_folder
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import FAMILIES, TEMPLATES, build_tiny_student


REAL = DATA / "clips/2.avi"


@pytest.fixture(scope="module")
def square(tmp_path_factory) -> Path:
    """A small video of four seconds."""
    return put(tmp_path_factory.mktemp("video") / "square.mp4", video(1))


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """Engines of one model, by family and batch size; a family's model is built once."""
    loaded = {}

    def engine(family="qwen2_5_vl", batch_size=1, workers=0, tpe="off") -> HostEngine:
        if (family, tpe) not in loaded:
            folder = tmp_path_factory.mktemp(family)
            build_tiny_student(folder, family, hidden=32, layers=2, vision_hidden=32)
            recipe = {"model_name_or_path": str(folder), "template": TEMPLATES[family], "infer_dtype": "float32"}
            loaded[family, tpe] = load_host_engine({**recipe, "p4d": {"preset": "none", "tpe": tpe}})
        made = copy.copy(loaded[family, tpe])
        made._batch_size, made._workers = batch_size, workers
        return made

    return engine


def question(key, *media, prompt="What moves?", frames=4, max_new_tokens=5) -> Question:
    return Question(key, prompt, media, frames, max_new_tokens)


def clip(path, start=None, end=None) -> Medium:
    return Medium("video", Path(path), start=start, end=end)


@pytest.fixture
def mixed(tmp_path, square):
    """Questions of every kind: clips, parts of clips, images from files and from bytes, several, none."""
    picture = Medium("image", put(tmp_path / "picture.png", image(3)))
    return [
        question("clip", clip(square)),
        question("marked", picture, clip(REAL), prompt="Which way does it go? Answer with one word."),
        question("part", clip(square, 1.0, 3.0), prompt="Is the camera moving?"),
        question("bytes", Medium("image", data=image(3)), frames=4),
        question("images", picture, Medium("image", data=image(5)), prompt="Which is nearer?"),
        question("text", prompt="How many balls are there?"),
        question("longer", clip(square), max_new_tokens=9),
        question("frames", clip(square), frames=6),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("tpe", ["off", "add"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_single_questions_do(engines, mixed, family, tpe):
    single = dict(engines(family, tpe=tpe).ask(mixed))
    assert single.keys() == {q.key for q in mixed} and all(reply.error is None for reply in single.values())
    assert dict(engines(family, batch_size=3, tpe=tpe).ask(mixed)) == single
    # The replies are made of what is shown.
    assert len({single[key].text for key in ("clip", "marked", "part", "images", "text")}) > 2


@pytest.mark.slow
def test_workers_change_nothing(engines, mixed):
    # In this process too something has decoded videos by now, which forked workers must not stumble over.
    assert dict(engines(batch_size=2, workers=2).ask(mixed)) == dict(engines(batch_size=2).ask(mixed))


@pytest.mark.slow
def test_an_embedded_image_is_the_image(engines, tmp_path):
    file = Medium("image", put(tmp_path / "same.png", image(3)))
    replies = dict(engines().ask([question("file", file), question("bytes", Medium("image", data=image(3)))]))
    assert replies["file"].text == replies["bytes"].text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "template"),
    [("qwen2_vl", "qwen2_vl"), ("qwen2_5_vl", "rgpt4d_qwen2_vl"), ("qwen3_vl", "rgpt4d_qwen3_vl_nothink")],
)
def test_a_question_is_shown_as_training_shows_it(tmp_path, square, family, template):
    """Tokens, pixels and positions: the first token of the reply is what the trained forward says at that place."""
    folder = build_tiny_student(tmp_path / "student", family, hidden=32, layers=2, vision_hidden=32)
    recipe = {
        "model_name_or_path": str(folder),
        "template": template,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset": "none",
        "cutoff_len": 4096,
        "report_to": "none",
        "output_dir": str(tmp_path / "out"),
    }
    host = host_parts(recipe)
    picture = str(put(tmp_path / "picture.png", image(3)))
    part = template.startswith("rgpt4d_")
    asked = question("q", Medium("image", Path(picture)), clip(square, *(1.0, 4.0) if part else ()), frames=5)
    shown = with_recorder(host.template, frames=5)
    videos = [Clip(str(square), *(1.0, 4.0) if part else ()).encode()]
    feature = host.encode(shown, "<image><video>What moves?", [picture], videos)
    trained = host.plain_collator(shown, host.model)([feature])

    model = host.model.eval()
    engine = HostEngine(
        model, host.tokenizer, host.processor, host.template, dtype=torch.float32, description={}, batch_size=2
    )
    batch = engine._encoder([asked]).inputs
    prompt = batch["input_ids"][0].tolist()
    assert trained["input_ids"][0, : len(prompt)].tolist() == prompt
    assert (trained["labels"][0, : len(prompt)] == -100).all() and trained["labels"][0, len(prompt)] != -100
    for name in ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw"):
        assert torch.equal(batch[name], trained[name]), name
    assert batch["video_grid_thw"][0, 0] == 3  # five frames, filled up to six

    with torch.no_grad():
        logits = model(**{key: value for key, value in trained.items() if key not in ("labels", "video_metadata")})
    expected = logits.logits[0, len(prompt) - 1].argmax().item()
    # Next to a longer question, so that it is padded on the left.
    other = question("other", clip(square), prompt="What moves? " * 20, frames=5)
    replies = []
    engine._read = lambda row: replies.append(row) or ("", True)
    assert len(list(engine.ask([asked, other]))) == 2
    assert replies[0][0] == expected


@pytest.mark.slow
def test_what_the_models_own_generation_config_says_is_not_used(engines, mixed):
    engine = engines()
    plain = dict(engine.ask(mixed[:3]))
    config = engine._model.generation_config
    kept = config.to_dict()
    try:
        config.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1, max_length=3)
        assert dict(engine.ask(mixed[:3])) == plain
    finally:
        config.update(**kept)


@pytest.mark.slow
def test_a_reply_ends_at_a_stop_token_or_is_cut(engines):
    engine = engines()
    word, stop = engine._tokenizer("yes no", add_special_tokens=False)["input_ids"], engine._stops[0]
    assert engine._read([*word, stop, *word]) == ("yes no", False)
    assert engine._read(word) == ("yes no", True)
    assert engine._read([stop, engine._tokenizer.pad_token_id]) == ("", False)


@pytest.mark.slow
def test_media_that_cannot_be_read_are_counted_failures(engines, mixed, square, tmp_path):
    broken = put(tmp_path / "broken.mp4", video(1)[:400])
    cut = put(tmp_path / "cut.mp4", video(1)[:-300])
    bad = [
        question("no video", clip(broken)),
        question("cut off", clip(cut), frames=16),
        question("gone", clip(tmp_path / "gone.mp4")),
        question("no image", Medium("image", put(tmp_path / "broken.png", image(1)[:40]))),
        question("no bytes", Medium("image", data=b"no image")),
        question("past the end", clip(square, 100.0, 101.0)),
        question("a bomb", Medium("image", data=bomb())),
        question("a program", Medium("image", put(tmp_path / "image.png", EPS))),
        replace(question("no images"), media=ItemMedia(get("mmsi_bench"), {"id": 3}, tmp_path)),
    ]
    readable = [mixed[0], mixed[3], mixed[4]]
    expected = dict(engines().ask(readable))
    replies = dict(engines(batch_size=3).ask([bad[0], readable[0], bad[1], *bad[2:], *readable[1:]]))

    assert {key: replies[key] for key in expected} == expected
    failed = {key: reply for key, reply in replies.items() if reply.error is not None}
    assert failed.keys() == {q.key for q in bad} and all(reply.text == "" for reply in failed.values())
    assert str(broken) in failed["no video"].error and failed["gone"].error.startswith("VideoError: ")
    assert "cannot identify image file" in failed["no bytes"].error
    assert "past the end" in failed["past the end"].error
    assert "exceeds limit" in failed["a bomb"].error and "cannot identify" in failed["a program"].error
    assert failed["no images"].error == "BenchmarkDataError: MMSI-Bench, item 3: there are no images."


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_asked(engines, tmp_path, name):
    write_folder(name, tmp_path, items=3)
    questionnaire = BenchmarkTask.prepare(get(name), tmp_path, frames=4, max_new_tokens=2)
    replies = dict(engines(batch_size=2).ask(questionnaire.questions))
    assert list(replies) == [q.key for q in questionnaire.questions]
    assert all(reply.error is None for reply in replies.values())


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize(("batch_size", "ranks"), [(1, 1), (2, 2), (3, 2), (1, 4)])
def test_processes_share_all_questions(mixed, batch_size, ranks, synced):
    rounds = list(_rounds(mixed, batch_size, ranks, synced))
    asked = [q.key for batches in rounds for batch in batches for q in batch]
    assert sorted(asked) == sorted(q.key for q in mixed)
    for batches in rounds:
        together = [q for batch in batches for q in batch]
        assert len(batches) == ranks and batches[0] and all(len(batch) <= batch_size for batch in batches)
        assert len({(q.frames, q.max_new_tokens) for q in together}) == 1
        if synced:
            assert len({frozenset(medium.kind for medium in q.media) for q in together}) == 1


def test_other_weights_have_another_fingerprint(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder, byte in zip(folders, (b"\0", b"\1")):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"\0" * 3_000_000 + byte)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/model.safetensors").write_bytes((folders[0] / "model.safetensors").read_bytes())
    a, b = (weights_fingerprint([folder]) for folder in folders)
    assert a != b and a == weights_fingerprint([tmp_path / "c"])
    assert weights_fingerprint(["Qwen/Qwen2.5-VL-7B-Instruct"]) is None
