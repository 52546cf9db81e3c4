# SPDX-License-Identifier: Apache-2.0
"""The processes of a distributed run, as far as asking questions needs them; a single process is a run of one."""

from dataclasses import dataclass
from typing import Any, TypeVar


T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among `size`. Methods but `first` are collective: all processes call them, in the same order."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of_process_group(cls) -> "Ranks":
        """Ranks of the current torch process group; a single rank if none is initialized."""
        import torch.distributed as dist

        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """True on the process that keeps the files and shows the progress."""
        return self.rank == 0

    def shared(self, value: T, source: int = 0) -> T:
        """Returns the `value` of the process `source`, on every process."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=source)
        return box[0]

    def all_of(self, value: T) -> list[T]:
        """Returns the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


ALONE = Ranks()
"""A single process."""
