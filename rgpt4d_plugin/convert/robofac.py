# SPDX-License-Identifier: Apache-2.0
"""RoboFAC: robots' failures, questions and free-text answers.

The published folder (MINT-SJTU/RoboFAC-dataset): `training_qa.json`, a list of conversations; the held-out questions
as `test_qa_sim/*.json` and `test_qa_realworld/*.json`, objects keyed by video; the videos under `simulation_data/` and
`realworld_data/`, which the field `video` leaves out. The held-out questions are kept as they were published, without
the hints on the answer's format that the authors' evaluation appends.
"""

import re
from pathlib import Path

from rgpt4d_plugin.convert.files import annotation_files, find_media, nothing_found, read_dict, read_list
from rgpt4d_plugin.convert.records import BadRecord, Dataset, Record, Row, conversation, take


_MEDIA_FOLDERS = ("simulation_data/", "realworld_data/", "")
# The annotations still have working names of some folders; the authors confirm the new ones.
_RENAMED = (
    (r"^dataset_success_cleaned(?=/)", "success_data"),
    (r"^Rotation(?=-)", "SpinStack"),
    (r"^Rotation2(?=-)", "SpinPullStack"),
)


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`robofac` from the training file, `robofac_test` from the held-out ones."""
    train = src / "training_qa.json"
    test = sorted(src.glob("test*.json")) + annotation_files(src / "test_qa_sim", src / "test_qa_realworld")
    found = []
    if train.is_file():
        found.append(Dataset("robofac", (train,), read_list, lambda row: train_records(row, src), src))
    if test:
        found.append(Dataset("robofac_test", test, read_dict, lambda row: test_records(row, src), src, training=False))
    if not found:
        looked_for = ("training_qa.json", "test*.json", "test_qa_sim/*.json", "test_qa_realworld/*.json")
        raise nothing_found(src, "RoboFAC", looked_for)
    return found


def train_records(row: Row, src: Path) -> list[Record]:
    """The conversation of an entry; its kind is the folder of the task, since the type of question is not recorded."""
    entry = row.value
    video = take(entry, "video", str)
    messages = conversation(take(entry, "conversations", list), "conversations")
    path = find_media(src, _candidates(video), "video")
    return [Record(str(take(entry, "id", (str, int))), video.split("/")[0], messages, [path])]


def test_records(row: Row, src: Path) -> list[Record]:
    """One record per type of question of a video."""
    video_id, entry = row.value
    path = find_media(src, _candidates(take(entry, "video", str)), "video")
    annotations = take(entry, "annos", dict)
    if not annotations:
        raise BadRecord("empty text", "annos", "there is no question")
    return [
        Record(f"{video_id}/{kind}", kind, conversation(turns, f"annos.{kind}"), [path])
        for kind, turns in annotations.items()
    ]


def _candidates(video: str) -> list[str]:
    names = dict.fromkeys([video, *(re.sub(old, new, video) for old, new in _RENAMED)])
    return [folder + name for folder in _MEDIA_FOLDERS for name in names]
