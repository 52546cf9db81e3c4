# SPDX-License-Identifier: Apache-2.0
"""Training on ground truth through the host: the heads train, resume and share their gradients as the decoder does."""

import math

import pytest
import torch

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill.heads import DecoderWithHeads
from rgpt4d_plugin.teachers.ground_truth import GroundTruthTeacher
from rgpt4d_plugin.template.square import video_options
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from rgpt4d_plugin.video import SeenClip, VideoError
from tests.e2e.launch import FSDP1, FSDP2, FULL, SHARDED, deepspeed_config, run_together
from tests.harness import largest_relative_difference, logs, train_here, weights
from tests.host_parts import host_parts
from tests.training import PLAIN_SGD


pytestmark = pytest.mark.slow

KEYS = [TERMS[term].log_key for term in GroundTruthTeacher.terms]


def block(assets, **loss):
    return assets.p4d(
        preset="none",
        teacher={
            "type": "ground_truth",
            "files": "{folder}/../ground_truth/{stem}.npz",
            "window": 8,
            "grid": 4,
            "map_size": 16,
            "width": 8,
        },
        loss=loss or dict.fromkeys(GroundTruthTeacher.terms, 0.1),
    )


def recipe(assets, output, **changes):
    # The host samples every other frame by itself, and flow is between neighbors.
    return assets.recipe(output, video_maxlen=16, p4d=block(assets), **changes)


def initial(assets):
    """Decoder and heads as they are when training starts."""
    options = GroundTruthTeacher.Arguments(**block(assets)["teacher"])
    sizes = {"student_width": 32, "teacher_width": 8, "hooks": 1, "layers": 2, "hidden_size": 32}
    spec = GroundTruthTeacher.read_spec(options)
    return DecoderWithHeads(teacher=spec, at=(0,), terms=GroundTruthTeacher.terms, seed=3, **sizes)


def test_flow_leads_from_each_sampled_frame_to_the_one_before(assets, tmp_path):
    """Through the host's reader, square and wide clips: direction, unit, order of the axes, and pair of frames."""
    given = recipe(assets, tmp_path / "out")
    given["p4d"]["teacher"] |= {"grid": 16, "map_size": 64}
    parts = host_parts(given)
    plugin = parts.run_template.mm_plugin
    clips: list[SeenClip] = []
    with plugin.recording(clips.append):
        for record in parts.records("synth4d", 6):
            plugin._regularize_videos(record["_videos"], **video_options(parts.processor))
    errors = []
    for clip in clips:
        stored = parts.run.stored_maps(parts.run.clip_key(clip, parts.processor))["flow"]
        frames = parts.run.teacher_frames(clip, parts.processor).float()
        flow = stored.values.transpose(1, 2).flatten(0, 1)[: len(frames)]  # (T, 2, 64, 64), window by window
        errors.append(warp_errors(frames, flow, torch.arange(len(frames)) % 8 > 0))
    found = {way: torch.cat([error[way] for error in errors]).median().item() for way in errors[0]}
    right = found.pop("right")
    assert all(right < 0.25 * other for other in found.values()), (right, found)


def warp_errors(frames, flow, compared):
    """Differences of color of moving pixels between a frame and the one before, led there by the flow, and by others.

    `frames` (T, 3, H, W), `flow` (T, 2, h, w) in pixels of these frames, `compared` (T,) frames to look at.
    """
    (height, width), (rows, columns) = frames.shape[2:], flow.shape[2:]
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    place = torch.stack([x, y])  # shares of the frame

    def look(frames, flow):
        moved = place + flow / torch.tensor([width, height])[:, None, None]
        found = torch.nn.functional.grid_sample(frames, 2 * moved.movedim(1, -1) - 1, align_corners=False)
        return found, ((moved > 0) & (moved < 1)).all(dim=1)

    expected, _ = look(frames, torch.zeros_like(flow))
    ways = {
        "right": (1, flow),
        "none": (1, torch.zeros_like(flow)),
        "forward": (1, -flow),
        "transposed": (1, flow.flip(1)),
        "pixels of the file": (1, flow * 64 / 224),
        "next frame": (-1, flow),
        "two before": (2, flow),
    }
    moving = (flow.norm(dim=1) > 3) & compared[:, None, None]
    errors = {}
    for way, (step, motion) in ways.items():
        found, inside = look(frames.roll(step, 0), motion)
        errors[way] = (found - expected).abs().mean(dim=1)[moving & inside]
    return errors


def test_every_term_and_the_total(assets, tmp_path, trainers):
    train_here(recipe(assets, tmp_path / "out", per_device_train_batch_size=2, max_steps=3))
    for line in logs(tmp_path / "out"):
        assert all(math.isfinite(line[key]) and line[key] > 0 for key in KEYS)
        assert line["loss"] == pytest.approx(line["loss_sft"] + 0.1 * sum(line[key] for key in KEYS), rel=1e-5)
    (trainer,) = trainers
    decoder = trainer._p4d_tap.decoder
    assert all(not torch.equal(a, b) for a, b in zip(decoder.parameters(), initial(assets).parameters(), strict=True))
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert {id(parameter) for parameter in decoder.parameters()} <= optimised


def test_heads_are_kept_for_resuming_and_for_nothing_else(assets, tmp_path):
    keys = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "lr_scheduler_type": "cosine"}
    train_here(recipe(assets, tmp_path / "whole", **keys))
    resumed = recipe(assets, tmp_path / "resumed", **keys)
    train_here({**resumed, "resume_from_checkpoint": str(tmp_path / "whole/checkpoint-2")})
    for name in ("model.safetensors", DECODER_FILE):
        whole, again = (tmp_path / run / "checkpoint-4" / name for run in ("whole", "resumed"))
        assert whole.read_bytes() == again.read_bytes()
    kept = weights(tmp_path / "whole/checkpoint-4", DECODER_FILE)
    assert {name.split(".")[1] for name in kept if name.startswith("heads.")} == set(GroundTruthTeacher.terms)
    assert weights(tmp_path / "whole/checkpoint-4").keys() == weights(assets.student).keys()
    assert not (tmp_path / "whole" / DECODER_FILE).exists()


def gradients(assets, folder):
    """Gradients of student, decoder and heads after a PLAIN_SGD run; without the student where it is not whole."""
    first, trained = initial(assets).state_dict(), weights(folder / "checkpoint-1", DECODER_FILE)
    found = {f"decoder.{name}": first[name] - trained[name] for name in first}
    if (folder / "checkpoint-1/model.safetensors").exists():
        before, after = weights(assets.student), weights(folder / "checkpoint-1")
        found |= {f"student.{name}": before[name] - after[name] for name in before}
    return found


def test_gradients_do_not_depend_on_how_a_step_is_cut_up(assets, tmp_path):
    train_here(recipe(assets, tmp_path / "batch", per_device_train_batch_size=2, **PLAIN_SGD))
    train_here(recipe(assets, tmp_path / "accumulate", gradient_accumulation_steps=2, **PLAIN_SGD))
    gloo, zero3 = {"ddp_backend": "gloo"}, {"deepspeed": deepspeed_config(tmp_path, 3)}
    run_together(
        tmp_path / "runs",
        recipe(assets, tmp_path / "ddp", **PLAIN_SGD, **gloo),
        recipe(assets, tmp_path / "zero3", **PLAIN_SGD, **zero3),
        recipe(assets, tmp_path / "fsdp2", **PLAIN_SGD, **FSDP2, **FULL),
        recipe(assets, tmp_path / "fsdp1", **PLAIN_SGD, **FSDP1, **SHARDED),
    )
    expected = gradients(assets, tmp_path / "batch")
    for run in ("accumulate", "ddp", "zero3", "fsdp2", "fsdp1"):
        if run == "fsdp1":  # writes the student in shards; decoder and heads are whole
            expected = {name: value for name, value in expected.items() if name.startswith("decoder.")}
        assert largest_relative_difference(expected, gradients(assets, tmp_path / run)) < 1e-5, run
        for key in ("loss", *KEYS):
            assert logs(tmp_path / run)[0][key] == pytest.approx(logs(tmp_path / "batch")[0][key], rel=1e-5), run


def test_a_missing_file_names_video_file_and_record(assets, tmp_path):
    files = block(assets) | {"teacher": {**block(assets)["teacher"], "files": str(tmp_path / "none/{stem}.npz")}}
    with pytest.raises(VideoError, match=r"of .*clip_00000\.mp4: there is no .*none/clip_00000\.npz .*record"):
        train_here(assets.recipe(tmp_path / "out", p4d=files))


def test_a_term_that_it_does_not_give_is_refused_with_those_that_do(assets, tmp_path):
    with pytest.raises(
        P4DConfigError,
        match="p4d.loss.latent: the teacher ground_truth gives no latent; it gives depth, .*scale. It is given by "
        "p4d.teacher.type: l4p, depth_anything_3",
    ):
        train_here(assets.recipe(tmp_path / "out", p4d=block(assets, latent=0.1)))
