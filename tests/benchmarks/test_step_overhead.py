# SPDX-License-Identifier: Apache-2.0
"""The benchmark script: it runs, its table is complete, and its arms do the same work."""

import importlib.util
from pathlib import Path

import pytest
import torch


pytestmark = pytest.mark.slow


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "step_overhead.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("step_overhead", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_has_every_arm_and_positive_numbers(script, tmp_path):
    file = tmp_path / "results.md"
    table = script.main(["--steps", "1", "--warmup", "1", "--frames", "4", "--markdown", str(file)])

    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows[2:]] == [arm.name for arm in script.make_arms()]
    memory = {}
    for name, median, _, ratio, peak, peak_ratio, syncs in rows[2:]:
        assert min(float(number.replace(",", "")) for number in (median, ratio, peak, peak_ratio, syncs)) > 0, name
        memory[name] = float(peak.replace(",", ""))
    assert memory["sft"] < memory["p4d, latents only"] < memory["p4d"] < memory["p4d, heads kept"]
    assert file.read_text().strip() == table.strip()


def test_arms_with_all_terms_give_the_same_gradients(script):
    """Else their times and memory could not be compared."""
    bench = script.build(script.parse_args(["--frames", "4"]))
    results = []
    for arm in (script.p4d_loss, script.cached_loss, script.heads_kept_loss, script.all_hidden_loss):
        bench.model.zero_grad()
        loss = arm(bench)
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in bench.model.parameters() if p.grad is not None)])
    for other in results[1:]:
        # float32; the sums are the same but added in another order
        torch.testing.assert_close(other, results[0], rtol=1e-4, atol=1e-6)


def test_host_reads_are_counted_by_place(script):
    tensor = torch.tensor([1, 2])
    with script.watch_host_reads() as places:
        tensor.tolist(), tensor[tensor > 1], tensor[0]
        torch.arange(3) + 1
    assert list(places.values()) == [2]
    assert next(iter(places)).startswith("tests/benchmarks/test_step_overhead.py:")
