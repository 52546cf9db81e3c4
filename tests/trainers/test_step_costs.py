# SPDX-License-Identifier: Apache-2.0
"""Distillation adds to a step, besides arithmetic, at most one wait for the device, and nothing that stays."""

import gc
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock

import pytest
import torch
from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from rgpt4d_plugin.distill import Distiller, LatentDecoder
from tests.harness import train_here


_aten = torch.ops.aten
READS = {_aten._local_scalar_dense, _aten.item, _aten.is_nonzero, _aten.nonzero, _aten.masked_select, _aten.equal}
READS |= {_aten._unique2, _aten.unique_consecutive, _aten.unique_dim}
"""Operators whose result, or its shape, the host has to wait for on a GPU."""

INDEXING = {_aten.index, _aten.index_put, _aten.index_put_}
"""These too, if an index is a mask."""

METHODS = ("tolist", "numpy", "cpu")
"""Tensor methods that copy to the host; on a CPU they pass no operator."""


class ReadCounter(TorchDispatchMode):
    """Counts reads of tensor values by the host, by name, in forward and backward alike."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        masks = packet in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if packet in READS or masks:
            self.reads[str(packet)] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def counting_reads():
    """Counts, for the block, operators and methods that read values."""
    counter = ReadCounter()

    def counted(name):
        original = getattr(torch.Tensor, name)

        def method(tensor, *args, **kwargs):
            counter.reads[name] += 1
            return original(tensor, *args, **kwargs)

        return mock.patch.object(torch.Tensor, name, method)

    with ExitStack() as stack:
        for name in METHODS:
            stack.enter_context(counted(name))
        stack.enter_context(counter)
        yield counter


@dataclass(frozen=True)
class Step:
    """Reads and tensors of one training step."""

    reads: Counter
    outputs: list[list[str]]
    """Fields that the model and its text decoder returned and that held something."""
    watched: int
    """Storages of hidden states and latents."""
    alive: int
    """How many of them outlived the step."""


@pytest.fixture
def steps(monkeypatch):
    """The training steps (forward, loss, backward) of the runs in this process; collators read what is on the CPU."""
    found = []
    training_step = CustomSeq2SeqTrainer.training_step

    def watched_step(self, model, *args, **kwargs):
        outputs, storages = [], []

        def watch_output(module, args, output):
            if isinstance(output, torch.Tensor):
                storages.append(StorageWeakRef(output.untyped_storage()))
            else:
                outputs.append([key for key, value in output.items() if value is not None])
                if "last_hidden_state" in output:
                    storages.append(StorageWeakRef(output.last_hidden_state.untyped_storage()))

        text = (model.get_base_model() if hasattr(model, "get_base_model") else model).get_decoder()
        decoders = [module for module in model.modules() if isinstance(module, LatentDecoder)]
        handles = [module.register_forward_hook(watch_output) for module in (model, text, *text.layers, *decoders)]
        try:
            with counting_reads() as counter:
                loss = training_step(self, model, *args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        gc.collect()
        alive = sum(not storage.expired() for storage in storages)
        found.append(Step(counter.reads, outputs, watched=len(storages), alive=alive))
        return loss

    monkeypatch.setattr(CustomSeq2SeqTrainer, "training_step", watched_step)
    return found


@pytest.fixture
def run(assets, tmp_path, steps):
    """Runs a recipe and returns its second step: the first fills caches."""

    def run_recipe(**overrides):
        steps.clear()
        name = f"run{len(list(tmp_path.iterdir()))}"
        recipe = {"per_device_train_batch_size": 2, "max_steps": 2, "logging_steps": 100}
        train_here(assets.recipe(tmp_path / name, **recipe, **overrides))
        assert len(steps) == 2
        return steps[1]

    return run_recipe


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [{}, {"finetuning_type": "lora", "disable_gradient_checkpointing": True}, {"bf16": True, "use_cpu": True}],
    ids=["full", "lora without checkpointing", "bf16"],
)
def test_one_step(run, way):
    """At most one more read than plain SFT; no layer's output, hidden state or latent outlives the step."""
    plain = run(p4d=None, **way).reads
    step = run(**way)

    assert sum(plain.values()) > 0  # the host does read some
    more = {name: count - plain[name] for name, count in step.reads.items() if count != plain[name]}
    assert sum(step.reads.values()) <= sum(plain.values()) + 1, more
    assert step.watched >= 4  # two layers, the text decoder's output, the latents
    assert step.alive == 0  # neither in a reference nor in a view
    assert all("hidden_states" not in fields and "attentions" not in fields for fields in step.outputs)


def test_the_counter_sees_each_kind_of_read():
    values = torch.arange(4.0)
    with counting_reads() as counter:
        values.sum().item()
        float(values[0])
        bool(values[0] > 1)
        values.nonzero()
        values[values > 1]
        values.masked_select(values > 1)
        values.tolist()
        values.cpu().numpy()
        values[values > 1] = 0.0
        torch.equal(values, values)
        before = sum(counter.reads.values())
        values[torch.tensor([0, 1])].add(1).sum()  # no read
    assert sum(counter.reads.values()) == before
    assert counter.reads["aten._local_scalar_dense"] >= 3
    assert {"aten.nonzero", "aten.index", "aten.index_put_", "aten.masked_select"} <= counter.reads.keys()
    assert {"tolist", "cpu", "numpy", "aten.equal"} <= counter.reads.keys()
    assert not any(name in vars(torch.Tensor) for name in METHODS)  # put back as they were


@pytest.mark.slow
def test_a_culprit_is_found(run, monkeypatch):
    """Two reads in a step, and one view of the latents that is kept."""
    call = Distiller.__call__
    kept = []

    def with_culprits(self, latents, batch, *more):
        kept.append(latents.detach()[:1])
        assert latents.sum().item() == latents.sum().item()
        return call(self, latents, batch, *more)

    plain = run(p4d=None).reads
    monkeypatch.setattr(Distiller, "__call__", with_culprits)
    step = run()
    assert step.alive == 1
    assert sum(step.reads.values()) > sum(plain.values()) + 1
