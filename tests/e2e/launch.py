# SPDX-License-Identifier: Apache-2.0
"""Runs several recipes one after the other in the same processes, whose start takes longer than a tiny run.

The processes share one group and leave by `os._exit`: how they end says nothing about the product. That two processes
of the real command end cleanly is tested in `test_distributed.py`, which starts `llamafactory-cli` for each way.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.harness import train_here


DEEPSPEED = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    # Both because DeepSpeed has no compiled CPU optimiser here.
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}


FSDP = {"fsdp": "full_shard auto_wrap"}
FSDP1 = FSDP | {"fsdp_config": {"version": 1, "sync_module_states": False}}
FSDP2 = FSDP | {"fsdp_config": {"version": 2}}
SHARDED, FULL = ({"environment": {"FSDP_STATE_DICT_TYPE": f"{kind}_STATE_DICT"}} for kind in ("SHARDED", "FULL"))


def deepspeed_config(tmp_path: Path, stage: int) -> str:
    """Writes a DeepSpeed configuration of a ZeRO stage and returns its path."""
    zero = {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True} if stage == 3 else {"stage": stage}
    path = tmp_path / f"ds_z{stage}.json"
    path.write_text(json.dumps({**DEEPSPEED, "zero_optimization": zero}))
    return str(path)


def ways(tmp_path: Path) -> dict[str, dict[str, str]]:
    """Recipe keys of each way to train with two processes on CPUs."""
    return {
        "ddp": {"ddp_backend": "gloo"},
        "zero2": {"deepspeed": deepspeed_config(tmp_path, 2)},
        "zero3": {"deepspeed": deepspeed_config(tmp_path, 3)},
    }


def run_together(folder: Path, *runs: dict[str, Any], processes: int = 2) -> None:
    """Runs recipes under torchrun and asserts that each ends as it should.

    Args:
        folder: The folder in which the list of runs is written.
        runs: Recipes. A key `environment` holds variables for this run and those after it; a key `raises` says the
            type of the exception that every process must end with, and a part of its message.
        processes: The number of processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "runs.json"
    path.write_text(json.dumps(runs))
    torchrun = Path(sys.executable).parent / "torchrun"
    command = [str(torchrun), "--standalone", "--nproc-per-node", str(processes), "-m", __name__, str(path)]
    # A process that waits for another in vain is what some of these tests look for.
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2])
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]


def main(path: str) -> None:
    # A new group of the same processes waits for the addresses of the last one: the runs share one.
    dist.destroy_process_group = lambda *args, **kwargs: None
    _let_fsdp_run_on_cpus()
    for run in json.loads(Path(path).read_text()):
        os.environ.update(run.pop("environment", {}))
        kind, text = run.pop("raises", (None, None))
        try:
            train_here(run)
        except Exception as err:
            if type(err).__name__ != kind or text not in str(err):
                raise
        else:
            assert kind is None, f"{run['output_dir']} did not raise {kind}"
        gc.freeze()  # the libraries, which every run would search for garbage several times
    # Without the destructors of C++ threads, in which a process of a gloo group sometimes aborts.
    dist.barrier()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _let_fsdp_run_on_cpus() -> None:
    """Takes away what keeps FSDP to GPUs: on CPUs accelerate runs DDP in its place, and torch refuses FSDP 1."""
    from accelerate.state import AcceleratorState, DistributedType, PartialState
    from torch.distributed.fsdp import _init_utils

    init = AcceleratorState.__init__

    def init_with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = init_with_fsdp
    _init_utils._get_device_from_device_id = lambda device_id, rank, handle: torch.device("cpu")


if __name__ == "__main__":
    main(sys.argv[1])
