# SPDX-License-Identifier: Apache-2.0
"""Memory of a GPU and time of an optimizer step, estimated from sizes alone. Rules of thumb, good to a factor of 1.5.

With P parameters of the model, Q of them trained, L layers of width C, vocabulary V, s tokens a record, b records a
micro-batch and n GPUs:

    memory      weights 2 P bytes (0.6 P in 4 bits) + 16 Q (float32 weight, gradient, Adam's two moments)
                + b s (2 L C + 34 C + 8 V) with gradient checkpointing, b s (34 L C + 8 V) without; ZeRO-3 divides the
                first two by n, ZeRO-2 12 of the 16
    operations  b s (2 P + 2 P' + 2 P if checkpointed) + 2 b s^2 C L x 3, P' = P, and 2 P more for a full fine-tune;
                P counts the language model, which sees all the tokens
    teacher     12 D^2 B weights of B blocks of width D; two operations each a token of a window, windows = clips x
                (frames - overlap) / stride, twice for its heads
    time        operations / (40 % of the GPU's dense bfloat16 peak)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


PEAK_TFLOPS = {
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "H20": 148,
    "A100": 312,
    "A800": 312,
    "L40S": 362,
    "L40": 181,
    "A40": 150,
    "A6000": 155,
    "4090": 165,
    "3090": 71,
    "A10": 125,
    "L4": 121,
}
"""Dense bfloat16 peak by a part of the card's name, from the vendor's data sheets; the first that fits."""
UTILIZATION = 0.4


@dataclass(frozen=True)
class RunSizes:
    """What the estimates are made of.

    Attributes:
        parameters: Of the whole model, P.
        language: Of them in the language model.
        trained: Q.
        layers, width, vocabulary: L, C and V of the language model.
        tokens: s, of the longest record that was looked at.
        batch: b.
        accumulation: Micro-batches of a step.
        gpus: n.
        four_bits: QLoRA.
        full: The base's own weights are trained.
        checkpointed: Gradient checkpointing is on.
        zero: DeepSpeed's stage, 0 without.
        teacher_parameters: 12 D^2 B.
        teacher_tokens: Tokens of all windows of a record's clips.
    """

    parameters: int
    language: int
    trained: int
    layers: int
    width: int
    vocabulary: int
    tokens: int
    batch: int
    accumulation: int
    gpus: int
    four_bits: bool
    full: bool
    checkpointed: bool
    zero: int
    teacher_parameters: int = 0
    teacher_tokens: int = 0

    def memory(self) -> float:
        """GiB of one GPU."""
        weights = (0.6 if self.four_bits else 2) * self.parameters
        states, gradients = 12 * self.trained, 4 * self.trained
        if self.zero == 3:
            weights, gradients = weights / self.gpus, gradients / self.gpus
        if self.zero:
            states /= self.gpus
        kept = 2 * self.layers + 34 if self.checkpointed else 34 * self.layers
        activations = self.batch * self.tokens * (kept * self.width + 8 * self.vocabulary)
        teacher = 2 * 1.4 * self.teacher_parameters  # with heads
        return (weights + states + gradients + activations + teacher) / 2**30

    def operations(self) -> float:
        """Floating-point operations of a step on one GPU, in units of 1e12."""
        passes = 2 + 2 + 2 * self.checkpointed + 2 * self.full
        tokens = self.batch * self.tokens
        attention = 2 * self.tokens * self.width * self.layers * 3
        student = tokens * (passes * self.language + attention)
        teacher = 2 * 2 * self.batch * self.teacher_tokens * self.teacher_parameters
        return self.accumulation * (student + teacher) / 1e12


def seconds(operations: float, card: str) -> float | None:
    """Returns the time of so many 1e12 operations on a card; None for one that the table does not have."""
    peak = next((peak for name, peak in PEAK_TFLOPS.items() if name in card), None)
    return None if peak is None else operations / (UTILIZATION * peak)


def sizes_of(config: Any, arguments: Any, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the model that a recipe trains, counted on a model without storage.

    Args:
        config: The model's.
        arguments: The host's `finetuning_args`.
        recipe: The recipe.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    text = config.get_text_config()
    decoder = model.get_decoder()
    language = sum(weight.numel() for weight in decoder.parameters())
    head = model.get_output_embeddings().weight.numel()
    full = arguments.finetuning_type == "full"
    if full:
        frozen_vision = arguments.freeze_vision_tower
        trained = language + head if frozen_vision else sum(weight.numel() for weight in model.parameters())
    else:
        linear = [module for module in decoder.modules() if isinstance(module, torch.nn.Linear)]
        trained = arguments.lora_rank * sum(module.in_features + module.out_features for module in linear)
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "language": language + head,
        "trained": trained,
        "layers": text.num_hidden_layers,
        "width": text.hidden_size,
        "vocabulary": text.vocab_size,
        "full": full,
        "four_bits": recipe.get("quantization_bit") == 4,
        "checkpointed": not recipe.get("disable_gradient_checkpointing", False),
    }
