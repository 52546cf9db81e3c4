# SPDX-License-Identifier: Apache-2.0
"""The teacher's features on a CUDA stream of their own, beside the student's forward.

Nothing here waits on the host: streams wait for one another's events.
"""

from functools import lru_cache

import torch

from rgpt4d_plugin.teachers.base import Teacher, TeacherWindows


WINDOWS_AT_ONCE = 4
"""Windows that the encoder takes together: of four, the released L4P holds about 0.4 GB at once in bfloat16."""


@lru_cache(maxsize=8)
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class FeaturesAhead:
    """Features that have been asked for and may still be on their way.

    Args:
        teacher: On a CUDA device.
        windows: Of a batch, at least one; whatever makes their frames has been given to its device.
        hooks: Features that are wanted.
    """

    def __init__(self, teacher: Teacher, windows: TeacherWindows, hooks: tuple[int, ...]) -> None:
        self.windows = windows
        self._device = teacher.device
        side = _side_stream(teacher.device)
        side.wait_stream(torch.cuda.current_stream(teacher.device))
        if windows.frames is not None and windows.frames.is_cuda:
            side.wait_stream(torch.cuda.current_stream(windows.frames.device))
            windows.frames.record_stream(side)  # its memory is not given away before the encoder has read it
        with torch.cuda.stream(side), torch.inference_mode():
            starts = range(0, len(windows), WINDOWS_AT_ONCE)
            parts = [teacher.features(windows[start : start + WINDOWS_AT_ONCE], hooks) for start in starts]
            self._features = parts[0]
            if len(parts) > 1:
                self._features = {hook: torch.cat([part[hook] for part in parts]) for hook in hooks}
            self._done = side.record_event()

    def features(self) -> dict[int, torch.Tensor]:
        """The features, hook -> (W, N, C), for what is launched after this on the current stream of their device."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._done)
        for feature in self._features.values():
            feature.record_stream(stream)
        return self._features
