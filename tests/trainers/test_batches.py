# SPDX-License-Identifier: Apache-2.0
"""Invariant 2 on the host's own batches: terms and gradients do not depend on what a clip is batched with.

Whatever is in the batch, in which order, padded on which side, split how, or packed into one row.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llamafactory.data.processor import (
    PackedSupervisedDatasetProcessor,
    SupervisedDatasetProcessor,
    UnsupervisedDatasetProcessor,
)
from PIL import Image

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill import Distiller
from rgpt4d_plugin.students import has_linear_attention
from rgpt4d_plugin.synth4d.clips import encode_mp4
from rgpt4d_plugin.trainers.collator import P4DDataCollator
from rgpt4d_plugin.trainers.tap import StudentTap
from tests.harness import largest_relative_difference
from tests.host_parts import HostParts, host_parts
from tests.tiny_models import FAMILIES, build_tiny_student
from tests.tiny_models import TEMPLATES as TEMPLATE_OF


pytestmark = pytest.mark.slow


@dataclass
class Bench:
    """A student with the tap on it, its teacher, and records of every kind."""

    parts: HostParts
    template: Any
    tap: StudentTap
    distiller: Distiller
    records: list[dict[str, Any]]

    @property
    def pairs_frames(self) -> bool:
        """Qwen and GLM, whose tokens have positions on three axes and are fewer."""
        return self.parts.config.model_type.startswith(("qwen", "glm"))

    @property
    def long(self) -> int:
        """A length that all records fit into."""
        return 512 if self.pairs_frames else 1536

    def collator(self, **packing: Any) -> P4DDataCollator:
        collator = self.parts.collator(self.template)
        for name, value in packing.items():
            setattr(collator, name, value)
        return collator

    def features(self, records: list[dict[str, Any]] | None = None, **arguments: Any) -> list[dict[str, Any]]:
        """Records, all by default, as the host tokenises them with its `data_args` so changed."""
        return self._process(SupervisedDatasetProcessor, records, **arguments)

    def packed(
        self, cutoff_len: int, records: list[dict[str, Any]] | None = None, neat: bool = True
    ) -> list[dict[str, Any]]:
        """The same in the host's packed rows."""
        arguments = {"packing": True, "neat_packing": neat, "cutoff_len": cutoff_len - 1}
        return self._process(PackedSupervisedDatasetProcessor, records, **arguments)

    def _process(self, kind: type, records: list[dict[str, Any]] | None, **arguments: Any) -> list[dict[str, Any]]:
        data_args = copy.copy(self.parts.data_args)
        vars(data_args).update(arguments)
        encoder = kind(self.template, self.parts.tokenizer, self.parts.processor, data_args)
        records = self.records if records is None else records
        columns = encoder.preprocess_dataset({key: [record[key] for record in records] for key in records[0]})
        return [dict(zip(columns, values)) for values in zip(*columns.values())]

    def measure(self, batches: list[dict[str, Any]]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Sums over all clips: the terms, and their weighted total's gradient for everything that trains."""
        self.tap.model.zero_grad(set_to_none=True)
        terms = torch.zeros(len(self.distiller.weights))
        for batch in batches:
            clips = batch.pop("p4d")
            with self.tap.listen(clips) as tap:
                self.parts.model(**{key: value for key, value in batch.items() if key != "labels"})
                sums = self.distiller(tap.latents(), clips)
            sums.total.backward()
            terms += sums.terms
        named = self.tap.model.named_parameters()
        return terms, {name: weight.grad for name, weight in named if weight.grad is not None}


def record(*prompts, images=(), videos=()):
    """One in the host's standard format; every prompt is answered with "yes"."""
    turns = [turn for prompt in prompts for turn in (("user", prompt), ("assistant", "yes"))]
    turns = [{"role": role, "content": content} for role, content in turns]
    media = {"_images": list(images) or None, "_videos": list(videos) or None, "_audios": None}
    return {"_prompt": turns[:-1], "_response": turns[-1:], "_system": None, "_tools": None, **media}


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request, assets, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    student = build_tiny_student(root / "student", request.param, hidden=32, layers=2, vision_hidden=32)
    recipe = assets.recipe(
        root / "out",
        model_name_or_path=str(student),
        template=f"rgpt4d_{TEMPLATE_OF[request.param].removeprefix('rgpt4d_')}",
        disable_gradient_checkpointing=True,
        **({"p4d": assets.p4d(frames=3), "video_maxlen": None} if request.param == "llava_onevision" else {}),
    )
    parts = host_parts(recipe)
    for name, weight in parts.model.named_parameters():
        if "_tower." in name:  # the host leaves Video-LLaVA's trained; the gradient of a key's bias is all rounding
            weight.requires_grad_(False)
    noise = np.random.default_rng(1)

    def clip(name, *shape):
        path = root / f"{name}.mp4"
        path.write_bytes(encode_mp4(noise.integers(0, 255, (*shape, 3), dtype=np.uint8), 2.0, crf=10))
        return str(path)

    image = root / "image.png"
    Image.fromarray(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(image)
    square, wide, tall = clip("square", 4, 64, 64), clip("wide", 6, 32, 80), clip("tall", 3, 64, 32)

    records = [
        record("<video>How many balls?", videos=[square]),
        record("How many?"),
        record("<video>Which is nearer, here or <video>there?", videos=[wide, tall]),
        record("<image>Is it red?", images=[str(image)]),
        record("<image>Is it in <video>this?", images=[str(image)], videos=[tall]),
    ]
    run = parts.run
    per_step = run.family.frames_per_step(parts.processor)
    tap = StudentTap(parts.model, run.family, run.build_decoder(parts.config, seed=3), run.teacher, per_step)
    return Bench(parts, parts.run_template, tap, run.load_distiller(torch.device("cpu")), records)


@pytest.fixture(scope="module")
def alone(bench):
    """Terms and gradients of every record in a batch of its own."""
    collate = bench.collator()
    terms, gradients = bench.measure([collate([feature]) for feature in bench.features()])
    assert (terms > 0).all() and "p4d_decoder.layers.0.weight" in gradients
    assert all(weight.isfinite().all() for weight in gradients.values())
    assert any("language_model.layers.0." in name for name in gradients)
    return terms, gradients


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=0)
    # A rank or batch without a clip leaves zeros; weights that only images or text reach have no part in the terms.
    # float32 sums in another order: qwen3_vl was 1.7e-4 off, evenly over its layers.
    assert largest_relative_difference(expected[1], found[1]) < 5e-4


@settings(max_examples=2, deadline=None, derandomize=True)
@given(data=st.data())
def test_terms_do_not_depend_on_the_batch(bench, alone, data):
    """Random order, random batches, either padding side."""
    features = data.draw(st.permutations(bench.features()))
    ends = sorted({*data.draw(st.lists(st.integers(1, len(features)), max_size=2)), len(features)})
    side = data.draw(st.sampled_from(["left", "right"]))
    collate, tokenizer = bench.collator(), bench.parts.tokenizer
    tokenizer.padding_side = side
    try:
        batches = [collate(features[start:end]) for start, end in zip([0, *ends], ends)]
    finally:
        tokenizer.padding_side = "right"

    assert_same(bench.measure(batches), alone)


def refuses_neat_packing(bench):
    """Whether neat_packing is refused, as it must be where its mask does not say all that tokens see."""
    family = bench.parts.run.family
    reasons = {
        f"the host's mask takes from {family.name}": family.bidirectional_images,
        f"the linear attention layers of {family.name} carry": has_linear_attention(bench.parts.config),
    }
    for reason, holds in reasons.items():
        if holds:
            with pytest.raises(P4DConfigError, match=f"neat_packing: true: {reason}"):
                bench.collator(neat_packing=True).__post_init__()
    return any(reasons.values())


@pytest.mark.parametrize("together", [True, False])
def test_terms_do_not_depend_on_neat_packing(bench, alone, together):
    """All in one row; and in several, as short as the longest record allows."""
    if refuses_neat_packing(bench):
        return
    longest = max(len(feature["input_ids"]) for feature in bench.features())
    rows = bench.packed(bench.long if together else longest // 8 * 8 + 16)
    assert len(rows) == 1 if together else len(rows) > 1
    collate = bench.collator(neat_packing=True, block_diag_attn=True)

    assert_same(bench.measure([collate(rows)]), alone)


def test_packed_rows_are_unpadded_for_flash_attention(bench):
    """The host takes the padding out of the row, and the clips move with their tokens."""
    (row,) = bench.packed(bench.long, bench.records[:3])
    padded = bench.collator(neat_packing=True, block_diag_attn=True)([copy.deepcopy(row)])
    batch = bench.collator(neat_packing=True, block_diag_attn=True, attn_implementation="flash_attention_2")([row])

    assert batch["attention_mask"] is None and batch["input_ids"].shape[1] < padded["input_ids"].shape[1]
    for one, two in zip(padded["p4d"].tokens, batch["p4d"].tokens, strict=True):
        assert one.grid == two.grid
        assert (padded["input_ids"].flatten()[one.index] == batch["input_ids"].flatten()[two.index]).all()
        assert torch.equal(
            padded["position_ids"].flatten(1)[:, one.index], batch["position_ids"].flatten(1)[:, two.index]
        )


def test_samples_see_one_another_in_a_plain_packed_row(bench, alone):
    """The host's `packing` without `neat_packing`: by its design every sample but a row's first has other terms."""
    rows = bench.packed(bench.long, neat=False)
    terms, _ = bench.measure([bench.collator()(rows)])
    assert not torch.allclose(terms, alone[0], rtol=1e-4)
    first = bench.packed(bench.long, [bench.records[0]], neat=False)
    torch.testing.assert_close(
        bench.measure([bench.collator()(first)])[0],
        bench.measure([bench.collator()(bench.features([bench.records[0]]))])[0],
        rtol=1e-5,
        atol=0,
    )


def cut_in_the_second_clip(bench, feature):
    """A `cutoff_len`, a multiple of 8, that leaves a feature's first clip whole and not its second."""
    batch = bench.collator()([copy.deepcopy(feature)])
    first, second = (tokens.index for tokens in batch["p4d"].tokens)
    answer = sum(label != -100 for label in feature["labels"]) + 3  # which are kept before the prompt is
    cutoff_len = -(-int(first[-1] + 2 + answer) // 8) * 8
    assert cutoff_len <= second[-1]
    return cutoff_len


@pytest.mark.parametrize("packing", [None, {}, {"neat_packing": True, "block_diag_attn": True}])
def test_a_cut_clip_is_left_out(bench, packing):
    """Packed rows too: a cut sample fills a row alone."""
    if packing and refuses_neat_packing(bench):
        return
    two = [bench.records[2]]
    cutoff_len = cut_in_the_second_clip(bench, bench.features(two)[0])
    if packing is None:
        features, own = bench.features(two, cutoff_len=cutoff_len), cutoff_len
    else:
        features, own = bench.packed(cutoff_len, two, neat=bool(packing)), cutoff_len - 1
    batch = bench.collator(cutoff_len=own, **(packing or {}))(features)

    assert batch["p4d"].left_out == 1 and len(batch["p4d"]) == 1
    whole = bench.collator()([bench.features(two)[0]])
    assert torch.equal(batch["p4d"].tokens[0].index, whole["p4d"].tokens[0].index)
    terms, _ = bench.measure([batch])  # the model takes the batch: as many pixels as tokens
    whole["p4d"] = whole["p4d"].before(int(whole["p4d"].tokens[1].index[0]))
    torch.testing.assert_close(terms, bench.measure([whole])[0], rtol=1e-5, atol=0)


@pytest.mark.parametrize("packing", [{}, {"neat_packing": True, "block_diag_attn": True}])
def test_a_packed_row_whose_only_clip_is_cut(bench, packing):
    cutoff_len = 24 if bench.pairs_frames else 48
    rows = bench.packed(cutoff_len, [bench.records[0]], neat=bool(packing))
    batch = bench.collator(cutoff_len=cutoff_len - 1, **packing)(rows)
    assert batch["p4d"].left_out == 1
    bench.measure([batch])


def test_a_clip_cut_from_a_prompt_that_is_to_be_answered(bench):
    """predict_with_generate: the answer counts for `cutoff_len`, but is no part of the row."""
    two = [bench.records[2]]
    cutoff_len = cut_in_the_second_clip(bench, bench.features(two)[0])
    data_args = copy.copy(bench.parts.data_args)
    data_args.cutoff_len = cutoff_len
    encoder = UnsupervisedDatasetProcessor(bench.template, bench.parts.tokenizer, bench.parts.processor, data_args)
    columns = encoder.preprocess_dataset({key: [value] for key, value in two[0].items()})
    feature = {key: value for key, (value,) in columns.items()}
    labels = list(feature["labels"])
    batch = bench.collator(cutoff_len=cutoff_len)([feature])

    assert batch["p4d"].left_out == 1 and batch["labels"][0, : len(labels)].tolist() == labels
    is_clip = batch["input_ids"].flatten() == batch["input_ids"].flatten()[batch["p4d"].tokens[0].index[0]]
    assert int(is_clip.sum()) == bench.parts.run.family.clip_length(batch["p4d"].tokens[0].grid)


def test_with_mask_history_the_first_turns_are_cut(bench):
    """What is left of several clips may be anyone's: none is distilled, rather than the wrong one."""
    square, tall = bench.records[0]["_videos"][0], bench.records[2]["_videos"][1]
    turns = [record("<video>How many balls?", "<video>And here?", videos=[square, tall])]
    (whole,) = bench.features(turns, mask_history=True)
    assert len(bench.collator(mask_history=True)([copy.deepcopy(whole)])["p4d"]) == 2

    cutoff_len = len(whole["input_ids"]) - 30
    (cut,) = bench.features(turns, mask_history=True, cutoff_len=cutoff_len)
    assert cut["input_ids"][-20:] == whole["input_ids"][-20:]  # the last turn is there, with its clip
    batch = bench.collator(mask_history=True, cutoff_len=cutoff_len)([cut])
    assert batch["p4d"].left_out == 2 and len(batch["p4d"]) == 0
    bench.measure([batch])


def test_neat_packing_needs_a_multiple_of_eight(bench):
    if not bench.pairs_frames:
        return  # only positions on three axes does the host number sample by sample
    collator = bench.collator(neat_packing=True, cutoff_len=249)
    with pytest.raises(P4DConfigError, match="cutoff_len: 250: with neat_packing .* multiple of 8 .*; use 248"):
        collator.__post_init__()
