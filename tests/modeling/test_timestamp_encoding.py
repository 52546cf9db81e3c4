# SPDX-License-Identifier: Apache-2.0
"""Timestamp positional encoding: the formula, the times of tokens, and models that carry it."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from rgpt4d_plugin import modeling
from rgpt4d_plugin.modeling.timestamp_encoding import NO_TIME, step_times, timestamp_encoding, token_timestamps
from tests.tiny_models import FAMILIES, build_tiny_student


pytestmark = pytest.mark.slow


TIMED = [family for family in FAMILIES if family in modeling.BASES]


def test_the_formula():
    found = timestamp_encoding(torch.tensor([0.0, 2.5]), 4, scale=0.5, base=100.0)
    expected = [[0, 0.5, 0, 0.5], [0.5 * f(x) for x in (2.5, 0.25) for f in (math.sin, math.cos)]]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=1e-7)


def test_a_step_has_the_mean_time_of_its_frames_and_the_last_frame_fills_the_last_step():
    assert step_times([0.0, 0.5, 1.0, 1.7, 2.0], 3, 2) == [0.25, 1.35, 2.0]
    assert step_times([3.0, 4.0], 2, 1) == [3.0, 4.0]


@pytest.mark.parametrize("frames, steps", [(2, 2), (5, 2), (0, 1)])
def test_frames_that_do_not_fill_the_steps_are_refused(frames, steps):
    with pytest.raises(ValueError, match=f"{frames} frame times for {steps} steps of 2"):
        step_times([0.0] * frames, steps, 2)


def test_times_of_tokens():
    clips = [(torch.tensor([1, 2, 3, 4]), [0.25, 1.0]), (torch.tensor([7, 9]), [0.0])]
    assert token_timestamps((2, 6), clips).tolist() == [
        [NO_TIME, 250_000, 250_000, 1_000_000, 1_000_000, NO_TIME],
        [NO_TIME, 0, NO_TIME, 0, NO_TIME, NO_TIME],
    ]


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=TIMED)
def family(request, tmp_path_factory):
    return Family(request.param, tmp_path_factory.mktemp(request.param))


class Family:
    """A tiny base model, the timestamped model on its weights, and their processor."""

    def __init__(self, name, root):
        self.name = name
        self.folder = build_tiny_student(root / "base", name, hidden=32, layers=2, vision_hidden=32)
        self.base = AutoModelForImageTextToText.from_pretrained(self.folder).eval()
        config = modeling.timestamped_config(self.base.config, scale=0.5, base=100.0)
        self.model = AutoModelForImageTextToText.from_pretrained(self.folder, config=config).eval()
        self.plain_processor = AutoProcessor.from_pretrained(self.folder)
        self.plain_processor.tokenizer.padding_side = "left"
        self.processor = modeling.timestamped_processor(self.plain_processor, name)

    @property
    def takes_videos(self):
        """Gemma 3 takes the frames of a video as images."""
        return self.name != "gemma3"

    def inputs(self, *samples, processor=None, **kwargs):
        """A batch; a sample is a text and the frame numbers of each of its clips, two a second.

        All clips of a batch have as many frames: not every base's processor takes others.
        """
        processor = processor or self.processor
        texts = [self.prompt(text, clips) for text, clips in samples]
        kwargs = {"return_tensors": "pt", "padding": True, **kwargs}
        clips = [list(numbers) for _, given in samples for numbers in given]
        shown = [
            np.random.default_rng(numbers).integers(0, 255, (len(numbers), 3, 32, 32), dtype=np.uint8)
            for numbers in clips
        ]
        if clips and self.takes_videos:
            metadata = [
                {"fps": 2.0, "frames_indices": numbers, "total_num_frames": numbers[-1] + 1} for numbers in clips
            ]
            kwargs["videos"] = shown
            if self.name != "video_llava" or processor is not self.plain_processor:  # that one takes no options
                kwargs |= {"video_metadata": metadata, "do_sample_frames": False}
        elif clips:
            frames = iter([frame for clip in shown for frame in clip])
            kwargs["images"] = [[next(frames) for numbers in given for _ in numbers] for _, given in samples]
            if processor is self.processor or type(processor) is type(self.processor):
                kwargs["frame_times"] = [number / 2 for numbers in clips for number in numbers]
        return processor(text=texts, **kwargs)

    def prompt(self, text, clips):
        media = [part for numbers in clips for part in self.parts(numbers)]
        messages = [{"role": "user", "content": [*media, {"type": "text", "text": text}]}]
        return self.processor.apply_chat_template(messages, add_generation_prompt=True)

    def parts(self, numbers):
        return [{"type": "video"}] if self.takes_videos else [{"type": "image"} for _ in numbers]


ONE = ("Which way?", [range(6)])


def test_the_weights_of_a_base_load_bit_equal_under_the_same_names(family):
    assert family.model.config.model_type == f"rgpt4d_{family.name}"
    base, timed = family.base.state_dict(), family.model.state_dict()
    assert base.keys() == timed.keys()
    assert all(torch.equal(base[name], timed[name]) for name in base)
    assert [n for n, _ in family.base.named_parameters()] == [n for n, _ in family.model.named_parameters()]


def test_the_configuration_is_the_bases_but_for_the_encoding(family):
    base, timed = family.base.config.to_dict(), family.model.config.to_dict()
    new = {"model_type", "tpe_scale", "tpe_base"}
    left_out = new | {"architectures", "auto_map"}
    assert {k: v for k, v in base.items() if k not in left_out} == {
        k: v for k, v in timed.items() if k not in left_out
    }
    assert (timed["tpe_scale"], timed["tpe_base"]) == (0.5, 100.0)
    base = {key: value for key, value in base.items() if key != "auto_map"}  # of a base of the plugin's own
    assert modeling.base_config(family.model.config).to_dict() == {**base, "architectures": None}


def embeddings(model, inputs):
    """Returns the embeddings that the text decoder of a model gets."""
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return seen[0]


def test_the_encoding_is_added_to_video_tokens_and_nothing_else(family):
    inputs = family.inputs(("Which?", [range(6)]), ("And longer here?", [range(0, 12, 2), range(4, 10)]))
    stamps = inputs["video_timestamps"]
    plain = {key: value for key, value in inputs.items() if key != "video_timestamps"}
    difference = embeddings(family.model, inputs) - embeddings(family.base, plain)
    expected = timestamp_encoding(stamps / 1e6, difference.shape[-1], 0.5, 100.0)
    expected[stamps == NO_TIME] = 0
    torch.testing.assert_close(difference, expected, rtol=0, atol=2e-6)  # one rounding of the sum in float32
    assert (stamps != NO_TIME).any()


def test_the_processor_gives_every_step_its_time_and_leaves_the_rest_alone(family):
    samples = [("Which?", [range(0, 10, 2)]), ("No video.", []), ("Two.", [range(5), range(6, 16, 2)])]
    inputs = family.inputs(*samples)
    plain = family.inputs(*samples, processor=family.plain_processor)
    assert inputs.keys() - plain.keys() == {"video_timestamps"}
    assert all(torch.equal(torch.as_tensor(inputs[key]), torch.as_tensor(plain[key])) for key in plain)

    stamps = inputs["video_timestamps"]
    assert stamps.shape == inputs["input_ids"].shape and stamps.dtype == torch.int64
    pair = getattr(getattr(family.processor, "video_processor", None), "temporal_patch_size", 1)

    def expected(numbers):
        filled = [*numbers, *([numbers[-1]] * (-len(numbers) % pair))]
        return [round(sum(filled[i : i + pair]) / pair / 2 * 1e6) for i in range(0, len(filled), pair)]

    for row, (_, clips) in zip(stamps, samples, strict=True):
        times, counts = row[row != NO_TIME].unique_consecutive(return_counts=True)
        assert times.tolist() == [time for clip in clips for time in expected(list(clip))]
        assert len(set(counts.tolist())) <= 1  # every step has as many tokens


def test_frames_without_times_are_refused(family):
    video = np.zeros((4, 3, 32, 32), dtype=np.uint8)
    text = family.prompt("Which?", [range(4)])
    if family.takes_videos:
        with pytest.raises(ValueError, match=r"videos\[0\]: the times of its frames are not known"):
            family.processor(text=[text], videos=[video], do_sample_frames=False, return_tensors="pt")
    else:
        with pytest.raises(ValueError, match="images need `frame_times`"):
            family.processor(text=[text], images=[list(video)], return_tensors="pt")
        with pytest.raises(ValueError, match="frame_times: 1 more than there are images"):
            family.processor(text=[text], images=[list(video)], frame_times=[0.0] * 5, return_tensors="pt")
        with pytest.raises(ValueError, match="takes no videos"):
            family.processor(text=[text], videos=[video], return_tensors="pt")


def test_video_without_times_is_refused(family):
    inputs = family.inputs(ONE)
    del inputs["video_timestamps"]
    with pytest.raises(ValueError, match="needs `video_timestamps`"):
        family.model(**inputs)
    with pytest.raises(ValueError, match="needs `video_timestamps`"):
        family.model.generate(**inputs, max_new_tokens=1)


def test_times_in_floating_point_are_refused(family):
    inputs = family.inputs(ONE)
    inputs["video_timestamps"] = inputs["video_timestamps"].float()
    with pytest.raises(TypeError, match="expected int64 microseconds, got torch.float32"):
        family.model(**inputs)


def new_tokens(model, inputs, **kwargs):
    kwargs = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None, **kwargs}
    return model.generate(**inputs, **kwargs)[:, inputs["input_ids"].shape[1] :].tolist()


def test_generation_with_a_cache_equals_generation_without(family):
    inputs = family.inputs(ONE, ("And this one here?", [range(1, 7), range(3, 9)]))
    cached = new_tokens(family.model, inputs)
    assert cached == new_tokens(family.model, inputs, use_cache=False)
    # The encoding is not without effect on what is said.
    later = {**inputs, "video_timestamps": inputs["video_timestamps"].where(inputs["video_timestamps"] < 0, 7_000_000)}
    assert cached != new_tokens(family.model, later)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_padded_batch_says_what_its_samples_say_alone(family, beams):
    samples = [ONE, ("And this one here, which way does it go?", [range(0, 12, 2)])]
    batch = new_tokens(family.model, family.inputs(*samples), num_beams=beams)
    assert batch == [new_tokens(family.model, family.inputs(sample), num_beams=beams)[0] for sample in samples]


def test_text_alone_needs_no_times(family):
    question = ("Hello?", [])
    plain = family.inputs(question, processor=family.plain_processor)
    assert new_tokens(family.model, family.inputs(question)) == new_tokens(family.base, plain)


def test_gradients_flow_through_the_encoding_as_without(family):
    inputs = family.inputs(ONE)
    family.model.zero_grad()
    family.model(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert family.model.get_input_embeddings().weight.grad.abs().sum() > 0
    family.model.zero_grad()


RELOAD = """
import sys, torch
sys.modules["rgpt4d_plugin"] = None  # as if it were not installed
from transformers import AutoModelForImageTextToText, AutoProcessor
trust = {"trust_remote_code": True}
for folder in sys.argv[1:]:
    for cls in (AutoModelForImageTextToText, AutoProcessor):
        try:
            cls.from_pretrained(folder, trust_remote_code=False)
        except (ValueError, OSError) as err:
            assert "trust_remote_code" in str(err), err
        else:
            raise SystemExit(f"{folder}: {cls.__name__} took it for something else")
    inputs, logits = torch.load(f"{folder}/expected.pt")
    model = AutoModelForImageTextToText.from_pretrained(folder, **trust).eval()
    assert AutoProcessor.from_pretrained(folder, **trust).__class__.__name__.startswith("RGPT4D"), folder
    assert torch.equal(model(**inputs).logits, logits), folder
    print(folder)
assert not any(name.startswith("rgpt4d_plugin.") for name in sys.modules)
"""


def save(family, folder):
    """Saves a family's model and processor, with a batch for it and the logits that it gives."""
    inputs = family.inputs(ONE)
    with torch.no_grad():
        logits = family.model(**inputs).logits
    family.model.save_pretrained(folder)
    family.processor.save_pretrained(folder)
    torch.save(({**inputs}, logits), folder / "expected.pt")
    return folder


def test_a_saved_model_loads_with_the_plugin(family, tmp_path):
    save(family, tmp_path)
    inputs, logits = torch.load(tmp_path / "expected.pt")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert type(model) is type(family.model) and model.config.tpe_base == 100.0
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, logits)
    processor = AutoProcessor.from_pretrained(tmp_path)
    assert type(processor) is type(family.processor)
    assert torch.equal(family.inputs(ONE, processor=processor)["video_timestamps"], inputs["video_timestamps"])


def test_saved_models_load_without_the_plugin(tmp_path):
    folders = [str(save(Family(name, tmp_path / f"{name}_base"), tmp_path / name)) for name in TIMED]
    environment = {**os.environ, "RGPT4D_DISABLE": "1", "HF_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", RELOAD, *folders], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == folders
