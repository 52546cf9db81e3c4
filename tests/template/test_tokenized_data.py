# SPDX-License-Identifier: Apache-2.0
"""A dataset that was tokenized for some frames and sentences is not trained on with others."""

import pytest

from rgpt4d_plugin.arguments import P4DConfigError
from tests.harness import logs, train_here


@pytest.fixture
def recipe(assets, tmp_path):
    def make(name, **p4d):
        recipe = assets.recipe(tmp_path / name, max_steps=1, p4d=assets.p4d(**p4d))
        recipe.pop("video_maxlen")
        return recipe | {"tokenized_path": str(tmp_path / "tokens")}

    return make


@pytest.mark.slow
def test_tokens_of_other_settings_are_refused(recipe, tmp_path):
    train_here(recipe("made", frames=4))
    train_here(recipe("again", frames=4))
    assert logs(tmp_path / "again")[0]["loss_sft"] == logs(tmp_path / "made")[0]["loss_sft"]
    with pytest.raises(P4DConfigError, match=r"tokens was made with other settings: .*p4d.frames 4, this run has 8"):
        train_here(recipe("more", frames=8))
    with pytest.raises(P4DConfigError, match=r"of p4d.tpe: text False, this run has True; name another folder"):
        train_here(recipe("text", frames=4, tpe="text"))
    with pytest.raises(P4DConfigError, match=r"of template 'qwen2_vl', (?s:.)*of video_max_pixels 65536, this"):
        train_here(recipe("small", frames=4) | {"video_max_pixels": 1024, "template": "rgpt4d_qwen2_vl"})


DAMAGES = {
    "cut": ("*.arrow", lambda content: content[: len(content) // 2], "Expected to be able to read"),
    "empty": ("state.json", lambda content: b"", "Expecting value"),
    "torn settings": ("rgpt4d_settings.json", lambda content: b"[1]", "should be one JSON object: delete the folder"),
}


@pytest.mark.slow
def test_tokens_that_were_not_written_to_their_end(recipe, tmp_path):
    train_here(recipe("made"))
    for files, damage, expected in DAMAGES.values():
        (path,) = (tmp_path / "tokens").rglob(files)
        content = path.read_bytes()
        path.write_bytes(damage(content))
        with pytest.raises(P4DConfigError, match=f"tokenized_path: .*tokens.*{expected}"):
            train_here(recipe("again"))
        path.write_bytes(content)


@pytest.mark.slow
def test_tokens_of_the_host_alone(recipe, tmp_path):
    train_here({key: value for key, value in recipe("host").items() if key != "p4d"})
    train_here(recipe("plain"))
    with pytest.raises(P4DConfigError, match=r"made without the plugin's block: .* p4d.frames None, this run has 4"):
        train_here(recipe("frames", frames=4))
