# SPDX-License-Identifier: Apache-2.0
"""The teacher ahead of the student: the order of streams and events, with stand-ins for those of a GPU."""

from contextlib import contextmanager

import pytest
import torch

from rgpt4d_plugin.distill import DistillBatch, Distiller, ahead
from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.teachers import ClipKey
from rgpt4d_plugin.teachers.l4p import L4PTeacher, load_l4p
from tests.tiny_models import write_random_teacher


WEIGHTS = {"latent": 0.3, "depth": 0.5}


class FakeStream:
    """Writes down what is asked of it."""

    def __init__(self, name, events):
        self.name, self.events = name, events

    def wait_stream(self, other):
        self.events.append(f"{self.name} waits for {other.name}")

    def record_event(self):
        self.events.append(f"{self.name} records")
        return "event"

    def wait_event(self, event):
        self.events.append(f"{self.name} waits for the event")


@pytest.fixture
def streams(monkeypatch):
    events = []
    main, side = FakeStream("main", events), FakeStream("side", events)

    @contextmanager
    def stream(which):
        assert which is side
        events.append("side begins")
        yield
        events.append("side ends")

    monkeypatch.setattr(ahead, "_side_stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: main)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    record = lambda tensor, stream: events.append(f"kept for {stream.name}")  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "record_stream", record)
    return events


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    write_random_teacher(path)
    distiller = Distiller(L4PTeacher(load_l4p(path, torch.float32)), WEIGHTS, "mse", (0, 1, 2))
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8, generator=generator) for count in (40, 16)]
    nowhere = ClipTokens(torch.zeros(0, dtype=torch.int64), (0, 0, 0))
    keys = [ClipKey("clip.mp4", (0.0,) * len(clip)) for clip in clips]
    latents = torch.randn(5 * 512, 3, 16, generator=generator).requires_grad_()
    return distiller, DistillBatch([nowhere] * 2, keys, clips), latents


def test_a_cpu_does_not_run_ahead(case):
    distiller, batch, _ = case
    assert distiller.start(batch) is None


@pytest.mark.slow
def test_the_encoder_runs_beside_and_its_features_are_waited_for(case, streams):
    """Five windows, four at a time."""
    distiller, batch, latents = case
    started = ahead.FeaturesAhead(distiller.teacher, distiller._windows(batch), distiller.hooks)
    assert streams == ["side waits for main", "side begins", "side records", "side ends"]
    streams.clear()
    sums = distiller(latents, batch, None, started)
    assert streams == ["main waits for the event"] + ["kept for main"] * 3
    expected = distiller(latents, batch)
    torch.testing.assert_close(sums.terms, expected.terms, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(found.total, latents)[0] for found in (sums, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


def test_a_target_that_came_with_the_features_can_be_compared(case, monkeypatch):
    """Such a map was made in inference mode, which autograd would refuse to keep."""
    distiller, batch, latents = case
    made = {}
    features = L4PTeacher.features

    def with_map(self, windows, hooks):
        found = features(self, windows, hooks)
        made["depth"] = self._map(found, "depth")
        return found

    monkeypatch.setattr(L4PTeacher, "features", with_map)
    monkeypatch.setattr(L4PTeacher, "targets", lambda self, windows, features, term: made[term])
    sums = distiller(latents, batch)
    assert torch.autograd.grad(sums.total, latents)[0].abs().sum() > 0
