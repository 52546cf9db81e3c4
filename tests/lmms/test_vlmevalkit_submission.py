# SPDX-License-Identifier: Apache-2.0
"""The dataset class for VLMEvalKit's own repository, in a package of its layout with stand-ins for what it imports.

VLMEvalKit cannot be installed from an index; the stand-ins have what its source has: the base class reads the table
that `prepare_dataset` names, and saves frames of `<video>.mp4` below the root.
"""

import importlib
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from rgpt4d_plugin.eval_hooks.benchmarks import get
from tests.benchmark_folders import write_folder


SUBMISSIONS = Path(__file__).parents[2] / "examples/submissions"
FILES = {
    "smp/__init__.py": """
import pandas as pd
def load(path):
    return pd.read_csv(path, sep="\\t") if path.endswith(".tsv") else pd.read_excel(path)
def dump(data, path):
    if path.endswith("xlsx"):
        return data.to_pickle(path)
    data.to_csv(path, sep="\\t" if path.endswith(".tsv") else ",", index=False)
""",
    "smp/file.py": """
import os
def LMUDataRoot():
    return os.environ["LMUData"]
def get_intermediate_file_path(eval_file, suffix, target_format=None):
    stem, ending = os.path.splitext(eval_file)
    return stem + suffix + ("." + target_format if target_format else ending)
""",
    "dataset/__init__.py": "",
    "dataset/utils/__init__.py": "",
    "dataset/video_base.py": """
import os
from vlmeval.smp import load
class VideoBaseDataset:
    def __init__(self, dataset, pack=False, nframe=0, fps=-1):
        self.dataset_name, self.nframe = dataset, nframe
        found = self.prepare_dataset(dataset)
        self.data_root, self.data = found["root"], load(found["data_file"])
        assert {"index", "question", "video"} <= set(self.data)
    def save_video_frames(self, video):
        assert os.path.isfile(os.path.join(self.data_root, video + ".mp4"))
        return [f"{video}/{i}.jpg" for i in range(self.nframe)]
""",
}
DATASETS = {"R4D-Bench": "r4d_bench", "VLM4D": "vlm4d", "VSTI-Bench": "vsti_bench"}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """The class, the folders of the benchmarks below VIDEO_4D, and the kit's own folder."""
    root = tmp_path_factory.mktemp("kit")
    for name, text in FILES.items():
        path = root / "vlmeval" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(SUBMISSIONS / "vlmevalkit/video_4d.py", root / "vlmeval/dataset")
    shutil.copy(SUBMISSIONS / "lmms_eval/video_4d/utils.py", root / "vlmeval/dataset/utils/video_4d.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setenv("VIDEO_4D", str(root / "data"))
        patch.setenv("LMUData", str(root / "LMUData"))
        module = importlib.import_module("vlmeval.dataset.video_4d")
        hubs = importlib.import_module("vlmeval.dataset.utils.video_4d").HUBS
        for name, hub in hubs.items():
            write_folder(name, root / "data" / hub.split("/")[1], 18)
        yield module.Video4D, {name: root / "data" / hub.split("/")[1] for name, hub in hubs.items()}, root
    for name in [name for name in sys.modules if name.partition(".")[0] == "vlmeval"]:
        del sys.modules[name]


@pytest.mark.parametrize("dataset", DATASETS)
def test_questions_are_those_of_the_package(kit, dataset):
    cls, folders, _ = kit
    assert dataset in cls.supported_datasets()
    benchmark = get(DATASETS[dataset])
    data, asked = benchmark.load(folders[DATASETS[dataset]]), cls(dataset=dataset, nframe=2)
    assert len(asked.data) == len(data.items)
    for number, item in enumerate(data.items):
        media = [(medium.kind, str(medium.path)) for medium in benchmark.media(item, data.folder)]
        message = asked.build_prompt(number, video_llm=True)
        assert [(part["type"], part["value"]) for part in message] == [*media, ("text", benchmark.prompt(item))]
        frames = asked.build_prompt(dict(asked.data.iloc[number]), video_llm=False)
        assert [part["type"] for part in frames] == ["image"] * (len(frames) - 1) + ["text"]
        assert len(frames) == 1 + 2 + (len(media) - 1)


@pytest.mark.parametrize("dataset", DATASETS)
def test_columns_are_those_of_the_package(kit, dataset):
    cls, folders, root = kit
    benchmark = get(DATASETS[dataset])
    data, asked = benchmark.load(folders[DATASETS[dataset]]), cls(dataset=dataset, nframe=2)
    replies = [("B", "The answer is A.", "1.5", "(C)", "none")[number % 5] for number in range(len(data.items))]
    asked.data.assign(prediction=replies).to_csv(root / "replies.tsv", sep="\t", index=False)
    found = asked.evaluate(str(root / "replies.tsv"), model="exact_matching")
    scores = [benchmark.score(item, reply) for item, reply in zip(data.items, replies, strict=True)]
    columns = {name: value for name, value in benchmark.aggregate(data.items, scores).items() if name in found}
    assert len(found) > 2 and found == pytest.approx(columns, abs=0.006)
    assert pd.read_csv(root / "replies_acc.csv").iloc[0].to_dict() == pytest.approx(found)
