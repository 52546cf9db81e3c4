# SPDX-License-Identifier: Apache-2.0
"""The trainer's side of evaluation: benchmarks as part of `Trainer.evaluate`, whose numbers choose the best model.

Every process answers its share of the questions with the model that is being trained. Nothing of the training changes:
no weight, no random number, no order of the data.
"""

import contextlib
import functools
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FullyShardedDataParallel
from transformers.integrations import is_deepspeed_zero3_enabled

from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError, Evaluation
from rgpt4d_plugin.eval_hooks.engines.host import HostEngine, keep_unpacked
from rgpt4d_plugin.eval_hooks.engines.process_group import Ranks
from rgpt4d_plugin.eval_hooks.report import write_report
from rgpt4d_plugin.eval_hooks.run import metrics_of, run_benchmarks
from rgpt4d_plugin.trainers.mixin import P4DTrainerMixin, reload_weights


@dataclass(frozen=True)
class BenchmarkRun:
    """The benchmarks that a trainer evaluates, the folder it writes to, and the description of the loaded model."""

    evaluation: Evaluation
    out: Path
    description: Mapping[str, Any]


class BenchmarkTrainerMixin:
    """Put in front of a Trainer class of the host.

    Args:
        p4d_eval: What is evaluated. Trainer arguments must be given by keyword.
    """

    def __init__(self, *args: Any, p4d_eval: BenchmarkRun, **kwargs: Any) -> None:
        self._p4d_eval = p4d_eval
        collator = kwargs["data_collator"]
        self._p4d_eval_parts = {
            "tokenizer": collator.tokenizer,
            "processor": collator.processor,
            "template": collator.template,
            "dtype": collator.compute_dtype,
        }
        self._p4d_eval_latest: tuple[int, dict[str, float]] | None = None
        self._p4d_eval_alone = kwargs.get("eval_dataset") is None
        if self._p4d_eval_alone:
            # Nothing to compute a loss on. The host's evaluation then is the benchmarks alone: its loop ends at once,
            # but has put the model into place and mode.
            kwargs["eval_dataset"] = []
        keep_unpacked(kwargs["model"])  # the host's own evaluation would repack them too
        super().__init__(*args, **kwargs)
        if self.is_fsdp_enabled and self.accelerator.is_fsdp2 and not self.args.do_train:
            raise EvalConfigError.from_problems(
                [
                    "fsdp: version 2 shards a model together with its optimizer, and a run that only evaluates has "
                    "none; use version 1, DeepSpeed ZeRO-3 (recipes/deepspeed), or no `fsdp:`"
                ]
            )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        # With records of its own the host's evaluation draws what it draws without the plugin.
        with _same_random_numbers(self.args.device) if self._p4d_eval_alone else contextlib.nullcontext():
            return super().evaluate(*args, **kwargs)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        output = super().evaluation_loop(*args, **kwargs)
        every = self._p4d_eval.evaluation.options.every
        due = not self.is_in_train or (every is not None and self.state.global_step % every == 0)
        if kwargs.get("metric_key_prefix", "eval") != "eval" or not due:
            return output
        with _same_random_numbers(self.args.device):
            metrics, asked = self._p4d_run_benchmarks()
        output.metrics.update(metrics)
        # With nothing else evaluated the host's `eval_samples_per_second` is of questions.
        return output._replace(num_samples=asked) if self._p4d_eval_alone else output

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        ours = {key: logs[key] for key in self._p4d_eval.evaluation.keys if key in logs}
        if ours and "eval_loss" in logs:
            # The Trainer's model card makes a table of all entries with an `eval_loss`, and needs them to be alike.
            rest = {key: value for key, value in logs.items() if key not in ours}
            super().log(rest, *args, **kwargs)
            logs.update(rest)
            super().log(ours, *args, **kwargs)
        else:
            super().log(logs, *args, **kwargs)

    def _p4d_run_benchmarks(self) -> tuple[dict[str, float], int]:
        """The columns, and how many questions were asked for them."""
        out, ranks = self._p4d_eval.out, Ranks.of_process_group()
        if self.is_in_train:
            metrics = self._p4d_ask(out / f"step-{self.state.global_step}", ranks)
            self._p4d_eval_latest = (self.state.global_step, metrics)
            return dict(metrics), self._p4d_eval.evaluation.size
        folder = out / "final" if self.args.do_train else out
        latest, metrics = self._p4d_eval_latest or (None, {})
        known = latest is not None and latest == self._p4d_step_of_weights()
        if not known:
            metrics = self._p4d_ask(folder, ranks)
        if ranks.first:
            if known:
                shutil.copytree(out / f"step-{latest}", folder, dirs_exist_ok=True)
            write_report([folder], folder)
        return dict(metrics), 0 if known else self._p4d_eval.evaluation.size

    def _p4d_ask(self, folder: Path, ranks: Ranks) -> dict[str, float]:
        """Asks all questions; the columns are the same on every process."""
        evaluation = self._p4d_eval.evaluation
        trained = {"trained_steps": self._p4d_step_of_weights()} if self.args.do_train else {}
        model = self.model.module if isinstance(self.model, FullyShardedDataParallel) else self.model
        engine = HostEngine(
            model,
            **self._p4d_eval_parts,
            description={**self._p4d_eval.description, **trained},
            batch_size=evaluation.options.batch_size,
            workers=evaluation.options.workers,
            device=self.args.device,
            ranks=ranks,
            synced=is_deepspeed_zero3_enabled() or self.is_fsdp_enabled,
            autocast=self.accelerator.autocast,
        )
        with self._p4d_root_gathered():
            results = run_benchmarks(
                evaluation.questionnaires,
                engine,
                folder,
                ranks=ranks,
                fresh=self.args.do_train,  # replies in the folder are those of a run before
                progress=not self.args.disable_tqdm,
            )
        return ranks.shared(metrics_of(evaluation.questionnaires, results) if ranks.first else {})

    def _p4d_root_gathered(self) -> contextlib.AbstractContextManager[None]:
        """Gathers the weights that FSDP 1 shards with the root: `generate` calls the model inside it, not its wrapper.

        Its other units, and all of FSDP 2's, gather their own in every forward.
        """
        if isinstance(self.model, FullyShardedDataParallel):
            return FullyShardedDataParallel.summon_full_params(self.model, recurse=False, writeback=False)
        return contextlib.nullcontext()

    def _p4d_step_of_weights(self) -> int:
        """The training step whose weights the model has: after training, the best one's, if they were put back."""
        put_back = self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None
        return self.state.best_global_step if put_back and not self.is_in_train else self.state.global_step

    def _load_best_model(self) -> None:
        whole = not (self.is_deepspeed_enabled or self.is_fsdp_enabled or hasattr(self.model, "peft_config"))
        if whole and not isinstance(self, P4DTrainerMixin):
            reload_weights(self.model, self.state.best_model_checkpoint)
        else:
            super()._load_best_model()


@functools.cache
def with_benchmarks(trainer: type) -> type:
    """The subclass of a trainer class that evaluates benchmarks too."""
    return type(f"Benchmark{trainer.__name__}", (BenchmarkTrainerMixin, trainer), {})


@contextlib.contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    """Puts the random generators that training draws from back to where they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
    random.setstate(of_python)
    np.random.set_state(of_numpy)
