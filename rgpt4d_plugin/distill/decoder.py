# SPDX-License-Identifier: Apache-2.0
"""The 4D perception decoder D_4DP (arXiv 2512.17012): student hidden states to teacher latents, training only."""

import torch
from torch import nn


class LatentDecoder(nn.Module):
    """Maps the student's last hidden state at a video token to the teacher's features at every hook.

    Args:
        student_width: width of the student's hidden states.
        teacher_width: width of the teacher's features.
        hooks: number of hooked feature maps K.
        layers: 1 is the release's linear map (normal init, std 0.1); more is the paper's MLP (GELU, Xavier init).
        hidden_size: width between layers; 2560 in the paper.
        seed: of the initial weights. A generator of its own, so that the run's random numbers are the same with and
            without distillation.
    """

    def __init__(
        self, student_width: int, teacher_width: int, hooks: int, layers: int, hidden_size: int, seed: int
    ) -> None:
        super().__init__()
        self.hooks = hooks
        widths = [student_width, *[hidden_size] * (layers - 1), hooks * teacher_width]
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleList()
        for width_in, width_out in zip(widths[:-1], widths[1:], strict=True):
            linear = nn.utils.skip_init(nn.Linear, width_in, width_out)
            with torch.no_grad():
                if layers == 1:
                    linear.weight.normal_(std=0.1, generator=generator)
                else:
                    nn.init.xavier_uniform_(linear.weight, generator=generator)
                linear.bias.zero_()
            self.layers.append(linear)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (N, student_width) to latents (N, K, teacher_width)."""
        if not torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(next(self.parameters()).dtype)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden if index == 0 else nn.functional.gelu(hidden))
        return hidden.unflatten(-1, (self.hooks, -1))
