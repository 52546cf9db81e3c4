# SPDX-License-Identifier: Apache-2.0
"""The decoder's weights as a whole, however training has spread them over the processes: not, by ZeRO-3, by FSDP.

Every function here is collective: all processes call it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.integrations import is_deepspeed_zero3_enabled


_FSDP1_WRAPPER = "_fsdp_wrapped_module."


def whole_state(decoder: nn.Module, model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the decoder, as it was built, by name on the CPU; `model` is what the Trainer trains, after
    wrapping."""
    with _gathered(decoder, model, write=False):
        return {
            name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().cpu().clone()
            for name, tensor in _named(decoder)
        }


def load_whole_state(decoder: nn.Module, model: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Loads the result of `whole_state` back into the decoder, in place.

    Raises:
        ValueError: the names or shapes differ, as those of a decoder with other layers do.
    """
    with torch.no_grad(), _gathered(decoder, model, write=True):
        parameters = dict(_named(decoder))
        saved, own = ({name: list(tensor.shape) for name, tensor in part.items()} for part in (state, parameters))
        if saved != own:
            raise ValueError(f"cannot resume: the saved decoder has {saved}, this run's {own}; set p4d.decoder back")
        for name, parameter in parameters.items():
            value = state[name].to(device=parameter.device, dtype=parameter.dtype)
            if isinstance(parameter, DTensor):
                value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
            parameter.copy_(value)


def _named(decoder: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The decoder's parameters (it has no buffers), under the names that they have without wrappers."""
    for name, parameter in decoder.named_parameters():
        yield name.replace(_FSDP1_WRAPPER, ""), parameter


@contextmanager
def _gathered(decoder: nn.Module, model: nn.Module, write: bool) -> Iterator[None]:
    """The decoder whole inside the block, and nothing of the model but the weights in the same shards."""
    with ExitStack() as stack:
        if is_deepspeed_zero3_enabled():
            import deepspeed

            weights = list(decoder.parameters())
            stack.enter_context(deepspeed.zero.GatheredParameters(weights, modifier_rank=0 if write else None))
        elif isinstance(model, FullyShardedDataParallel):
            # The decoder lies in the root's shards, unless the wrapping policy gave it or its layers their own. The
            # root comes first: the others learn from it that they are not roots.
            own = [unit for unit in FullyShardedDataParallel.fsdp_modules(model) if _wraps_part_of(unit, decoder)]
            for unit in (model, *own):
                stack.enter_context(FullyShardedDataParallel.summon_full_params(unit, recurse=False, writeback=write))
        yield


def _wraps_part_of(unit: FullyShardedDataParallel, decoder: nn.Module) -> bool:
    return any(unit.module is module for module in decoder.modules())
