# SPDX-License-Identifier: Apache-2.0
"""`formatting: rgpt4d`: records with regions and clips through the host's own loading, and what is refused there."""

import json
import logging

import datasets
import numpy as np
import pytest
from llamafactory.data import get_dataset
from llamafactory.data.converter import get_dataset_converter
from llamafactory.data.parser import get_dataset_list
from PIL import Image

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.regions.masks import encode_rle
from rgpt4d_plugin.regions.media_entries import decode_clip, decode_image_entry
from rgpt4d_plugin.regions.region import RegionError
from rgpt4d_plugin.video import MediaError, VideoError
from tests.harness import DATA, logs, train_here
from tests.host_parts import host_parts


VIDEO = "4.mp4"  # 224 x 224, 150 frames at 30 per second
TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
BOX = {"id": "obj_1", "video": 0, "time": 0.5, "box": [20, 30, 90, 120]}


def question(text="<video>What is <obj_1>?", videos=(VIDEO,), **columns):
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "a cup"}]
    return {"messages": messages, "videos": list(videos), **columns}


@pytest.fixture
def dataset(tmp_path):
    """Writes a dataset `d` of the given records and returns its recipe keys."""

    def write(records, formatting="rgpt4d", name="d", **columns):
        info = tmp_path / "dataset_info.json"
        entries = json.loads(info.read_text()) if info.exists() else {}
        entries[name] = {
            "file_name": f"{name}.json",
            "formatting": formatting,
            "columns": {"messages": "messages", "videos": "videos"} | columns,
            "tags": TAGS,
        }
        info.write_text(json.dumps(entries))
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
        return {"dataset": ",".join(entries), "dataset_dir": str(tmp_path), "media_dir": str(DATA / "clips")}

    return write


@pytest.fixture
def recipe(assets, tmp_path):
    """A recipe without `p4d:`, on a twin."""

    def make(keys, **overrides):
        overrides = {"template": "rgpt4d_qwen2_vl", "p4d": None} | overrides
        return assets.recipe(tmp_path / "out", **keys, **overrides)

    return make


def load(recipe):
    """The tokenised training set."""
    parts = host_parts(recipe)
    modules = {"tokenizer": parts.tokenizer, "processor": parts.processor}
    return get_dataset(parts.template, parts.model_args, parts.data_args, parts.training_args, stage="sft", **modules)[
        "train_dataset"
    ]


def converter(recipe, name="d"):
    parts = host_parts(recipe)
    (attributes,) = get_dataset_list([name], parts.data_args.dataset_dir)
    return get_dataset_converter(attributes.formatting, attributes, parts.data_args)


def test_records_without_regions_come_out_as_the_hosts_own_converter_makes_them(dataset, recipe):
    records = [
        question("<video>What?"),
        {**question("Hello?"), "videos": []},
    ]
    ours = converter(recipe(dataset(records)))
    hosts = converter(recipe(dataset(records, formatting="sharegpt")))
    for record in records:
        assert ours(record) == hosts(record)


def test_the_openai_format_too(dataset, recipe):
    record = question("<video>What is <obj_1>?", regions=[BOX])
    ours = converter(recipe(dataset([record], formatting="rgpt4d_openai")))(record)
    hosts = converter(recipe(dataset([record], formatting="openai")))(record)
    assert {key: value for key, value in ours.items() if key != "_videos"} == {
        key: value for key, value in hosts.items() if key != "_videos"
    }
    assert decode_clip(ours["_videos"][0]).regions[0].id == "obj_1"


def test_regions_reach_the_tokenised_dataset_and_columns_may_have_other_names(dataset, recipe):
    (sample,) = load(recipe(dataset([question(marks=[BOX])], regions="marks")))
    clip = decode_clip(sample["videos"][0])
    assert clip.path == str(DATA / "clips" / VIDEO)
    assert clip.regions[0].annotations[0].time == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides", [{}, {"preprocessing_num_workers": 2}, {"streaming": True, "dataloader_num_workers": 1}]
)
def test_workers_and_streaming_give_the_same(dataset, recipe, overrides):
    mask = np.zeros((224, 224), dtype=bool)
    mask[50:90, 60:100] = True
    records = [
        question(regions=[BOX]),
        question("<video>Hello?", regions=None),
        question("<video>And <obj_1>?", regions=[{"id": "obj_1", "video": 0, "frame": 30, "mask": encode_rle(mask)}]),
        question("<video>Which of <obj_2> and <obj_1>?", regions=[BOX, {**BOX, "id": "obj_2", "time": 3.0}]),
    ]
    keys = dataset(records)
    expected = list(load(recipe(keys)))
    samples = list(load(recipe(keys, **overrides)))
    samples.sort(key=lambda sample: [other["input_ids"] for other in expected].index(sample["input_ids"]))
    assert [sample["input_ids"] for sample in samples] == [other["input_ids"] for other in expected]
    regions = [[region.id for region in decode_clip(sample["videos"][0]).regions] for sample in samples]
    assert regions == [["obj_1"], [], ["obj_1"], ["obj_1", "obj_2"]]


def test_the_cache_is_found_again_and_another_style_is_another_dataset(dataset, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    keys = dataset([question(regions=[BOX]), question(regions=[BOX])])
    block = {"preset": "none"}

    def files(style):
        set_ = load(recipe(keys, overwrite_cache=False, p4d={**block, "regions": {"style": style}}))
        return [file["filename"] for file in set_.cache_files]

    first = files("som")
    assert first and files("som") == first
    assert files("text") != first


def test_it_mixes_with_plain_datasets(dataset, recipe):
    dataset([question("<video>Hello?")], formatting="sharegpt", name="plain")
    keys = dataset([question(videos=[{"path": VIDEO, "start": 1.0, "end": 2.0}], regions=[{**BOX, "time": 1.5}])])
    plain, ours = load(recipe(keys))
    assert plain["videos"] == [str(DATA / "clips" / VIDEO)]
    clip = decode_clip(ours["videos"][0])
    assert (clip.start, clip.end, clip.path) == (1.0, 2.0, plain["videos"][0])


@pytest.mark.slow
def test_the_styles_of_the_recipe(dataset, recipe):
    keys = dataset([question(regions=[BOX])])
    texts = {}
    for style in ("som", "som_image", "text", "none"):
        made = recipe(keys, p4d={"preset": "none", "regions": {"style": style}})
        (sample,) = load(made)
        texts[style] = host_parts(made).tokenizer.decode(sample["input_ids"])
        images = [decode_image_entry(image).of_video for image in sample["images"] or []]
        assert images == ([True] if style == "som_image" else [])
        assert bool(decode_clip(sample["videos"][0]).regions) == (style == "som")
    assert "The first image is a set-of-mark annotation" in texts["som_image"]
    assert "the box from (89, 134) to (402, 536) at 0.50 seconds" in texts["text"]
    assert texts["som"] == texts["none"]


def test_masks_are_looked_up_where_media_are(dataset, recipe, tmp_path):
    Image.new("L", (224, 224), 255).save(tmp_path / "mask.png")
    keys = dataset([question(regions=[{"id": "obj_1", "video": 0, "frame": 3, "mask": str(tmp_path / "mask.png")}])])
    (sample,) = load(recipe(keys))
    assert decode_clip(sample["videos"][0]).regions[0].annotations[0].value == str(tmp_path / "mask.png")


@pytest.mark.slow
def test_runs_with_and_without_the_block(dataset, recipe, assets):
    records = [question(regions=[{**BOX, "time": second / 2}]) for second in range(4)]
    keys = dataset(records)

    def losses(block, key):
        made = recipe(keys, p4d=block, per_device_train_batch_size=2)
        train_here(made)
        lines = logs(made["output_dir"])
        assert len(lines) == 2
        if block:
            assert [line["p4d_videos"] for line in lines] == [2, 2]
            assert all(line["loss"] > line["loss_sft"] for line in lines)
        return [line[key] for line in lines]

    som, image = (losses(assets.p4d(regions={"style": style}), "loss_sft") for style in ("som", "som_image"))
    plain = losses(None, "loss")
    # The first step is one of the same model: the default style shows what `som` shows, an image before it does not.
    assert plain[0] == som[0] != image[0]
    assert plain[1] != som[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "record, message",
    [
        (question("<video>What is <obj_3>?", regions=[BOX]), "messages: <obj_3> is named, but the record has no"),
        (question("<video>What is <obj_1>?"), "messages: <obj_1> is named, .*regions: none"),
        (question(regions=[BOX, BOX]), r"regions\[1\].id: 'obj_1' is there already"),
        (question(regions=[{**BOX, "box": [9, 0, 3, 5]}]), r"regions\[0\].box: .* x1 > x2"),
        (question(regions=[{**BOX, "box": [9, 0, 9, 5]}]), r"regions\[0\].box: .* no area"),
        (question(regions=[{**BOX, "box": [9, 0, 400, 5]}]), r"regions\[0\].box: .* leaves the frame of 224 x 224"),
        (question(regions=[{**BOX, "time": 99.0}]), r"regions\[0\].time: 99 s is past the end of .*4.mp4"),
        (question(regions=[{**BOX, "time": None, "frame": 150}]), r"regions\[0\].frame: frame 150 is past the end"),
        (
            question(regions=[{"id": "obj_1", "video": 0, "frame": 1, "mask": {"size": [224, 224], "counts": "zz"}}]),
            r"regions\[0\].mask: ",
        ),
        (
            question(regions=[{"id": "obj_1", "video": 0, "frame": 1, "mask": encode_rle(np.ones((9, 9), bool))}]),
            r"regions\[0\].mask: the mask is 9 x 9 pixels, the frame 224 x 224",
        ),
        (
            question(videos=[{"path": VIDEO, "start": 2.0, "end": 9.0}], regions=[{**BOX, "time": 2.5}]),
            r"videos: end 9 s is past the end of .*4.mp4 \(5.00 s\)",
        ),
        (
            question(videos=[{"path": VIDEO, "start": 2.0, "end": 3.0}], regions=[BOX]),
            r"regions\[0\]: obj_1 is seen at frame 15 .* p4d.regions.missing_frame: insert",
        ),
    ],
)
@pytest.mark.parametrize("workers", [None, 2])
def test_what_is_refused_names_file_record_and_field(dataset, recipe, tmp_path, record, message, workers):
    fine = question(videos=[{"path": VIDEO, "start": 0.0, "end": 1.0}] if isinstance(record["videos"][0], dict) else
                    [VIDEO], regions=[{**BOX}])  # fmt: skip
    text_only = {"messages": question("Hello?")["messages"]}  # Arrow fills its missing columns in
    records = [fine, text_only, record, fine]
    with pytest.raises(MediaError, match=rf"dataset 'd.json', file {tmp_path}/d.json, record 2: {message}"):
        load(recipe(dataset(records), preprocessing_num_workers=workers))


@pytest.mark.parametrize(
    ("regions", "columns"), [([BOX], {}), (json.dumps([BOX]), {}), (None, {"regions": "regions"})]
)
def test_regions_in_another_format_are_refused_in_a_run_with_the_block(dataset, recipe, assets, regions, columns):
    """The host would drop the column without a word."""
    records = [question("<video>What is it?"), question(regions=regions)]
    keys = dataset(records, formatting="sharegpt", **columns)
    expected = r"regions: dataset 'd' has some, but formatting: sharegpt reads none; write \"formatting\": \"rgpt4d\""
    with pytest.raises(RegionError, match=expected):
        host_parts(recipe(keys, p4d=assets.p4d())).records("d", 2)
    with pytest.raises(RegionError, match=expected):
        train_here(recipe(keys, p4d=assets.p4d()))


def test_columns_called_regions_that_are_none_are_the_hosts_business(dataset, recipe):
    keys = dataset([question("<video>What is it?", regions="Europe")], formatting="sharegpt")
    assert len(host_parts(recipe(keys, p4d={"preset": "none"})).records("d", 2)) == 1
    keys = dataset([question(regions=[BOX])], formatting="sharegpt")
    assert len(host_parts(recipe(keys)).records("d", 2)) == 1  # without the block: as if the plugin were not there


def test_a_nan_is_refused(dataset, recipe):
    keys = dataset([question("<video>What?")])
    with pytest.raises(RegionError, match=r"regions\[0\].box: .* not a number"):
        converter(recipe(keys))(question(regions=[{**BOX, "box": [0, 0, float("nan"), 5]}]))


def test_templates_that_cannot_show_regions(dataset, recipe):
    keys = dataset([question(regions=[BOX])])
    with pytest.raises(
        RegionError, match="record 0: template: 'qwen2_vl' shows no regions.*template: rgpt4d_qwen2_vl"
    ):
        load(recipe(keys, template="qwen2_vl"))
    with pytest.raises(RegionError, match="record 0: template: 'llama3' has no video support"):
        converter(recipe(keys, template="llama3"))(question(regions=[BOX]))


def test_an_unknown_style(dataset, recipe):
    keys = dataset([question(regions=[BOX])])
    with pytest.raises(P4DConfigError, match=r"p4d.regions.style: expected one of 'som', .* got 'circles'"):
        recipe_ = recipe(keys, p4d={"preset": "none", "regions": {"style": "circles"}})
        host_parts(recipe_)


def test_a_missing_video_of_a_record_with_a_clip_is_named(dataset, recipe, assets):
    lost = question(videos=[{"path": "lost.mp4", "start": 0.0, "end": 1.0}], regions=[BOX])
    keys = dataset([question(videos=[{"path": VIDEO, "start": 0.0, "end": 1.0}], regions=[BOX]), lost])
    with pytest.raises(VideoError, match="^dataset 'd.json', .* record 1.*: no such video: lost.mp4$"):
        train_here(recipe(keys, p4d=assets.p4d()))
    with pytest.raises(VideoError, match="^dataset 'd.json', .* record 1.*: no such video: lost.mp4$"):
        load(recipe(keys))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, 2])
def test_regions_that_nobody_names_are_said_once_with_their_count(dataset, recipe, tmp_path, workers):
    # A file, because what workers log never comes back to this process.
    handler = logging.FileHandler(tmp_path / "log.txt")
    logger = logging.getLogger("rgpt4d_plugin.template.converter")
    logger.addHandler(handler)
    spare = {**BOX, "id": "obj_7"}
    records = [question(regions=[BOX]), question(regions=[BOX, spare]), question(regions=[spare, BOX])] * 2
    try:
        load(recipe(dataset(records), preprocessing_num_workers=workers, overwrite_cache=True))
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert (tmp_path / "log.txt").read_text().splitlines() == [
        "dataset 'd.json': 4 region(s) are named in no message and shown all the same, first in record 1 (obj_7)."
    ]


WRONG = {
    "column": ({"conversations": [], "videos": []}, {}, "messages: expected a list of messages, got none, the record"),
    "entry": (question("<video>What?"), {"messages": "dialogue"}, "dialogue: expected a list .* has 'messages', 'vid"),
    "tags": (
        {"messages": [{"from": "human", "value": "Hi?"}]},
        {},
        "role: expected text, .*here 'from', 'value'",
    ),
    "null": ({"messages": None}, {}, "messages: expected a list of messages, got none"),
    "null inside": ({"messages": [None, None]}, {}, r"messages\[0\]: expected an object, got None"),
    "text": ({"messages": "Hello?"}, {}, "messages: expected a list of messages, got 'Hello\\?'"),
    "empty": ({"messages": []}, {}, "messages: expected messages of 'user' and 'assistant' in turn, got none"),
    "one": ({"messages": [{"role": "user", "content": "Hi"}]}, {}, "in turn, got user; dataset_info.json says how"),
    "system": (
        {"messages": [{"role": "system", "content": "Be brief."}, *question("Hello?")["messages"]]},
        {},
        "got system, user, assistant; .* system_tag",
    ),
    "content": (
        {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "y"}]},
        {},
        r"messages\[0\].content: expected text, got None",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_messages_that_cannot_be_read_are_named_with_their_record(dataset, recipe, name):
    """Those too that the host leaves out with a warning."""
    record, columns, expected = WRONG[name]
    keys = dataset([question("<video>What?"), record], **columns)
    where = rf"dataset 'd.json', file .*d.json, record {int(name != 'entry')}: .*{expected}"
    with pytest.raises(RegionError, match=where):
        converter(recipe(keys))(record)


@pytest.mark.parametrize("name", ["null", "one", "content", "no video"])
def test_so_are_those_of_other_formats_in_a_run_with_the_block(dataset, recipe, assets, name):
    """Where the host would end with an error of Python, once nothing else in the file could be trained on."""
    none = (question("What?"), {}, "the messages have 0 <video>, the record has 1 videos")
    record, columns, expected = {**WRONG, "no video": none}[name]
    records = [record] if name == "one" else [question("<video>What?"), record]
    where = rf"dataset 'd', file .*d.json, record {len(records) - 1}: .*{expected}"
    with pytest.raises(RegionError, match=where):
        train_here(recipe(dataset(records, formatting="sharegpt", **columns), p4d=assets.p4d()))


# Columns of several types


@pytest.mark.slow
def test_forms_of_masks_and_videos_may_be_mixed(dataset, recipe, tmp_path):
    """Also columns that nobody reads; what each record shows is what it shows alone."""
    mask = np.zeros((224, 224), dtype=bool)
    mask[30:120, 20:90] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    region = {"id": "obj_1", "video": 0, "frame": 15}
    part = [{"path": VIDEO, "start": 0.4, "end": 2.0}]
    records = [
        question(regions=[{**region, "mask": encode_rle(mask)}], id=1),
        question(regions=[{**region, "mask": str(tmp_path / "mask.png")}], id="one"),
        question("<video>What?", videos=part, regions=[], id=None),
        question(videos=part, regions=[{**region, "mask": json.dumps(encode_rle(mask))}]),
    ]
    together = load(recipe(dataset(records)))
    for record, sample in zip(records, together, strict=True):
        (alone,) = load(recipe(dataset([record])))
        assert alone == sample


MIXED = {
    "messages": ({"messages": "Hi"}, {}, "field messages: text, but in record 0 it is a list"),
    "content": (
        {"messages": [{"role": "user", "content": ["Hi"]}]},
        {},
        r"field messages\[\].content: a list, but in record 0 it is text",
    ),
    "frames": ({"videos": [["0.png", "1.png"]]}, {}, r"field videos\[\]: a list, but in record 0 it is text"),
    "parts for the host": (
        {"videos": [{"path": VIDEO, "start": 1.0}]},
        {"formatting": "sharegpt"},
        r"field videos\[\]: an object, but in record 0 it is text",
    ),
}


@pytest.mark.parametrize("kind", MIXED)
def test_a_column_that_must_be_of_one_type_is_named_with_its_record(dataset, recipe, kind):
    changes, entry, message = MIXED[kind]
    keys = dataset([question("<video>?"), {**question("<video>?"), **changes}], **entry)
    with pytest.raises(RegionError, match=f"dataset 'd.json', file .*d.json, record 1, {message}; write it in one"):
        load(recipe(keys, p4d={"preset": "none"}))


def test_without_the_block_and_our_formats_the_hosts_error_stands(dataset, recipe):
    keys = dataset([question("<video>?"), {**question("<video>?"), "messages": "Hi"}], formatting="sharegpt")
    with pytest.raises(datasets.exceptions.DatasetGenerationError):
        load(recipe(keys, template="qwen2_vl"))


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([{**BOX, "time": 10**400}], r"record 1: regions\[0\].time: "),
        ([{**BOX, "box": [0, 0, 10**400, 3]}], r"record 1: regions\[0\].box: "),
        ([{**BOX, "box": json.loads("[" * 200 + "]" * 200)}], r"record 1: regions\[0\].box: "),
        ([{**BOX, "time": 0.5}] * 2, r"record 1: regions\[1\].id: 'obj_1' is there already"),
        (
            [{"id": "obj_1", "track": [{"time": 0.5, "box": [1, 1, 5, 5]}, {"time": 0.5, "box": [1, 1, 9, 9]}]}],
            r"record 1: regions\[0\].track\[1\]: the region is in the track at this time already",
        ),
    ],
)
def test_what_no_table_can_hold_and_what_contradicts_itself_is_named(dataset, recipe, regions, message):
    with pytest.raises(RegionError, match=message):
        load(recipe(dataset([question(regions=[BOX]), question(regions=regions)])))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are no records"),
        (b'[{"messages"', "not readable JSON"),
        (b"\x89PNG", "expected a JSON list of objects, or an object a line, got .*PNG"),
        (b" [ ]\n", "there are no records"),
        (b"{}", "there are no records"),
        (b"null", "expected a JSON list of objects"),
        (b"[[]]", "expected a JSON list of objects"),
    ],
)
def test_a_file_that_holds_no_records_is_named(dataset, recipe, tmp_path, content, message):
    keys = dataset([question(regions=[BOX])])
    (tmp_path / "d.json").write_bytes(content)
    with pytest.raises(RegionError, match=f"dataset 'd.json', file .*d.json.*{message}"):
        load(recipe(keys))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "y"}]}, "expected text"),
        ({"videos": ["rgpt4d:x"]}, "expected a path; what begins with rgpt4d: is made by the plugin alone"),
        ({"videos": ['rgpt4d:{"kind":"clip"}']}, "expected a path"),
    ],
)
def test_a_message_or_a_video_that_is_none(dataset, recipe, changes, message):
    with pytest.raises(RegionError, match=message):
        load(recipe(dataset([{**question("<video>?"), **changes}])))
