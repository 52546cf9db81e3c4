# SPDX-License-Identifier: Apache-2.0
"""Runs several recipes one after the other in the same processes, whose start takes longer than a tiny run.

The processes share one group and leave by `os._exit`: how they end says nothing about the product. That two processes
of the real command end cleanly is tested in `test_distributed.py`, which starts `llamafactory-cli`.
"""

import gc
import importlib
import json
import multiprocessing.connection
import multiprocessing.context
import os
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

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
    """Runs recipes in several processes of one group and asserts that each ends as it should.

    Args:
        folder: The folder in which the processes' output is written.
        runs: Recipes. A key `environment` holds variables for this run and those after it; a key `raises` says the
            type of the exception that every process must end with, and a part of its message.
        processes: The number of processes.
    """
    in_processes(folder, _train, runs, processes=processes)


def forks() -> multiprocessing.context.ForkServerContext:
    """Makes processes of a server that has imported the libraries, which takes longer than a tiny run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "deepspeed.comm.torch", "llamafactory.train.tuner"])
    return context


def in_processes(folder: Path, function: Callable[..., int | None], *args: Any, processes: int = 2) -> None:
    """Calls a function in several processes, with the environment of torchrun, and asserts that none fails.

    What it returns, if anything, is the exit code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    outputs = [folder / f"rank_{rank}.txt" for rank in range(processes)]
    group = [
        forks().Process(target=_rank, args=(rank, processes, port, str(output), function, args))
        for rank, output in enumerate(outputs)
    ]
    for process in group:
        process.start()
    # A process that waits for another in vain is what some of these tests look for: what has failed or taken long ends
    # all of them.
    waiting = list(group)
    for _ in range(60):
        multiprocessing.connection.wait([process.sentinel for process in waiting], timeout=10)
        waiting = [process for process in group if process.is_alive()]
        if not waiting or any(process.exitcode for process in group):
            break
    for process in waiting:
        process.kill()
        process.join()
    assert [process.exitcode for process in group] == [0] * processes, "\n".join(
        output.read_text(errors="replace")[-6000:] for output in outputs
    )


def _rank(
    rank: int, processes: int, port: int, output: str, function: Callable[..., int | None], args: Sequence[Any]
) -> NoReturn:
    """What one process of the group does."""
    with open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({key: str(value) for key, value in (ranks | {"MASTER_PORT": port}).items()})
    os.environ["MASTER_ADDR"] = "localhost"
    os.chdir(Path(__file__).parents[2])
    multiprocessing.set_start_method("fork", force=True)  # of loaders, as in processes that nobody forked
    # A new group of the same processes waits for the addresses of the last one: the runs share one.
    dist.destroy_process_group = lambda *args, **kwargs: None
    # Shared memory for collectives on CPUs, which DeepSpeed would compile for a minute.
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None
    _let_fsdp_run_on_cpus()
    status = 1
    try:
        code = function(*args)
        if dist.is_initialized():
            dist.barrier()
        status = code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the destructors of C++ threads, in which a process of a gloo group sometimes aborts.
    os._exit(status)


def _train(runs: Sequence[dict[str, Any]]) -> None:
    for run in runs:
        run = dict(run)
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
