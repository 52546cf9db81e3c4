# SPDX-License-Identifier: Apache-2.0
"""A check that losses are finite, which never waits for the device within a step."""

from collections import deque

import torch


class NonFiniteLossError(RuntimeError):
    """A loss became NaN or infinite."""


class FiniteCheck:
    """Looks at every micro-batch's losses as soon as the device has them, a step later on a GPU.

    `distill.distiller` gives such a micro-batch no gradient, so the weights are unharmed until then.

    Args:
        keys: Logged names of the values given to `submit`.
    """

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self._pending: deque[tuple[torch.Tensor, torch.cuda.Event | None, str]] = deque()

    def submit(self, values: torch.Tensor, where: str) -> None:
        """Takes one micro-batch's values (K,) and raises for an earlier one, or on a CPU for this one.

        Args:
            values: Detached losses, in the order of the keys.
            where: Step and clips, for the message.
        """
        values = values.to("cpu", non_blocking=True)
        event = None
        if torch.cuda.is_available():
            event = torch.cuda.Event()
            event.record()
        self._pending.append((values, event, where))
        self.raise_if_any()

    def raise_if_any(self, wait: bool = False) -> None:
        """Raises NonFiniteLossError if a submitted value is not finite.

        Args:
            wait: Waits for the device, as before a checkpoint is written; otherwise looks only at what has arrived.
        """
        while self._pending:
            values, event, where = self._pending[0]
            if event is not None and not event.query():
                if not wait:
                    return
                event.synchronize()
            self._pending.popleft()
            bad = [f"{key} is {value}" for key, value in zip(self.keys, values.tolist()) if value - value != 0]
            if bad:
                raise NonFiniteLossError(
                    f"{', '.join(bad)} {where}; the run stops here. If loss_sft is among them the student has "
                    "diverged: lower the learning rate. Otherwise nothing of it is in the weights: look at the clips, "
                    "try p4d.teacher.dtype: float32, or set the term's weight to 0."
                )
