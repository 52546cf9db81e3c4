# SPDX-License-Identifier: Apache-2.0
"""The published networks of a composite: V-JEPA 2, transformers' depth estimators, torchvision's RAFT.

Each is frozen, and takes frames as uint8 RGB at whatever size they come in. What reads only configurations comes
first: it is all that is asked before a run starts.
"""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgpt4d_plugin.teachers.base import IMAGENET_MEAN, IMAGENET_STD, channel_constants


DepthKind = Literal["metric", "inverse"]
"""Depth in metres, or inverse depth up to a factor and an offset per frame."""

_KIND_OF_TYPE: dict[str, DepthKind] = {
    "dpt": "inverse",
    "zoedepth": "metric",
    "glpn": "metric",
    "depth_pro": "metric",
}
"""By the `model_type` of a depth estimator; `depth_anything` says it in its configuration."""

_RAFT_SIDE = 128
"""Pixels that RAFT needs at least: its coarsest correlations are taken at 1/64."""


class NetworkError(ValueError):
    """A network of a composite cannot be used. Names the option and says what is wrong."""


def read_config(option: str, name: str) -> Any:
    """The configuration of a transformers model.

    Args:
        option: Key under `p4d.teacher`.
        name: Folder, or name on the Hub.

    Raises:
        NetworkError: There is none.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name)
    except (OSError, ValueError, StrictDataclassError) as err:
        reason = str(err).partition("\n")[0]
        raise NetworkError(f"p4d.teacher.{option}: {name} has no configuration that can be read: {reason}") from err


def read_vjepa2_config(name: str) -> Any:
    """The configuration of a V-JEPA 2; raises NetworkError if it is another network's."""
    config = read_config("vjepa2", name)
    if config.model_type != "vjepa2":
        raise NetworkError(f"p4d.teacher.vjepa2: {name} is a {config.model_type}, expected a vjepa2")
    return config


def depth_kind(name: str, stated: DepthKind | None) -> DepthKind:
    """What a depth estimator's output means.

    Args:
        name: Folder, or name on the Hub.
        stated: What the recipe says; None: what its configuration says.

    Raises:
        NetworkError: It is no depth estimator, or nobody says.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES as KNOWN

    config = read_config("depth_model", name)
    if config.model_type not in KNOWN or config.model_type == "prompt_depth_anything":  # which needs a depth itself
        raise NetworkError(
            f"p4d.teacher.depth_model: {name} is a {config.model_type}; expected a depth estimator of transformers "
            f"that sees an image alone: {', '.join(kind for kind in KNOWN if kind != 'prompt_depth_anything')}"
        )
    if stated is not None:
        return stated
    if config.model_type == "depth_anything":
        return "metric" if config.depth_estimation_type == "metric" else "inverse"
    if config.model_type not in _KIND_OF_TYPE:
        raise NetworkError(
            f"p4d.teacher.depth_kind: missing; say whether {name} ({config.model_type}) gives metric or inverse depth"
        )
    return _KIND_OF_TYPE[config.model_type]


def _frozen(model: nn.Module, option: str, name: str, device: torch.device) -> Any:
    """The network in evaluation mode on its device, without gradients; raises NetworkError for damaged weights."""
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NetworkError(f"p4d.teacher.{option}: {name}: {key} has values that are not finite")
    return model.requires_grad_(False).eval().to(device)


def _load(kind: Any, option: str, name: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A transformers model, from safetensors alone, every weight of which its file has."""
    try:
        model, found = kind.from_pretrained(name, dtype=dtype, use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError) as err:
        raise NetworkError(f"p4d.teacher.{option}: {name} cannot be loaded: {str(err).splitlines()[0]}") from err
    wrong = sorted({*found["missing_keys"], *found["mismatched_keys"]}, key=str)
    if wrong:
        raise NetworkError(f"p4d.teacher.{option}: {name} lacks weights, or has them in other shapes: {wrong[:5]}")
    return _frozen(model, option, name, device)


def _resized(frames: Tensor, size: tuple[int, int], mean: Any, std: Any, dtype: torch.dtype) -> Tensor:
    """uint8 frames (B, 3, H, W) as normalised images of another size."""
    images = frames.float() / 255
    if tuple(images.shape[-2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    mean, std = (channel_constants(tuple(values), images.device) for values in (mean, std))
    return ((images - mean) / std).to(dtype)


class VJEPA2:
    """The encoder of V-JEPA 2. Features are those after its blocks, each token normed to mean 0 and variance 1."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    def load(cls, name: str, dtype: torch.dtype, device: torch.device) -> Self:
        from transformers import VJEPA2Model

        return cls(_load(VJEPA2Model, "vjepa2", name, dtype, device))

    def features(self, windows: Tensor, hooks: Collection[int]) -> dict[int, Tensor]:
        """Windows (W, T, 3, H, W') to features after the blocks at the hooks, (W, N, C)."""
        config, encoder = self.model.config, self.model.encoder
        side = config.crop_size
        images = _resized(windows.flatten(0, 1), (side, side), IMAGENET_MEAN, IMAGENET_STD, self.model.dtype)
        hidden = encoder.embeddings(images.unflatten(0, windows.shape[:2]))
        found = {}
        for index, block in enumerate(encoder.layer):
            hidden = block(hidden, None)[0]
            if index in hooks:
                found[index] = F.layer_norm(hidden, hidden.shape[-1:])
        return found


class DepthModel:
    """A depth estimator of transformers.

    Args:
        model: The frozen network.
        kind: What its output means.
        size: (height, width) of its images.
        mean: Of its images.
        std: Of its images.
    """

    def __init__(self, model: Any, kind: DepthKind, size: tuple[int, int], mean: Any, std: Any) -> None:
        self.model, self.kind, self.size, self.mean, self.std = model, kind, size, mean, std

    @classmethod
    def load(cls, name: str, kind: DepthKind, dtype: torch.dtype, device: torch.device) -> Self:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        try:
            processor = AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError) as err:
            raise NetworkError(f"p4d.teacher.depth_model: {name} has no image processor: {err}") from err
        size = (processor.size["height"], processor.size["width"])
        model = _load(AutoModelForDepthEstimation, "depth_model", name, dtype, device)
        return cls(model, kind, size, processor.image_mean, processor.image_std)

    def __call__(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, H, W) to (B, 1, h, w) float32: logarithm of the metres, or inverse depth, standardised.

        An inverse depth is known up to a factor and an offset, so minus its deviation from the frame's mean is given,
        in standard deviations: like a logarithm of depth, it grows with the distance.
        """
        output = self.model(pixel_values=_resized(frames, self.size, self.mean, self.std, self.model.dtype))
        depth = output.predicted_depth.float()
        depth = depth[:, None] if depth.dim() == 3 else depth
        if self.model.config.model_type == "depth_pro":  # gives inverse depth in units of the frame's width
            angle = output.field_of_view
            widths = 1.0 if angle is None else 2 * torch.tan(torch.deg2rad(angle.float()) / 2)[:, None, None, None]
            depth = 1 / (depth * widths).clamp(min=1e-4, max=1e4)
        if self.kind == "metric":
            return depth.clamp(min=1e-3).log()
        mean, deviation = depth.mean(dim=(2, 3), keepdim=True), depth.std(dim=(2, 3), keepdim=True)
        return (mean - depth) / deviation.clamp(min=1e-6)


class Raft:
    """Optical flow by torchvision's RAFT (arXiv 2003.12039), in float32."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @classmethod
    def load(cls, name: str, device: torch.device) -> Self:
        """Loads weights.

        Args:
            name: "raft_large" or "raft_small" for torchvision's newest, which it downloads once; or a file of such.
            device: Where it runs.
        """
        from torchvision.models import optical_flow

        if name in RAFTS:
            weights = getattr(optical_flow, RAFTS[name]).DEFAULT.get_state_dict(check_hash=True, weights_only=True)
        else:
            weights = _read_weights(Path(name))
        # Only the larger one learns how to upsample.
        large = any(key.startswith("mask_predictor.") for key in weights)
        model = (optical_flow.raft_large if large else optical_flow.raft_small)(weights=None)
        try:
            model.load_state_dict(weights)
        except RuntimeError as err:
            raise NetworkError(f"p4d.teacher.raft: {name} is no RAFT of torchvision: {err}") from err
        return cls(_frozen(model, "raft", name, device))

    def backward_flow(self, windows: Tensor) -> Tensor:
        """Windows (W, T, 3, H, W') to flow (W, 2, T, H, W') from each frame to the one before, in its pixels.

        The first frame has none before it: it gets zeros.
        """
        height, width = windows.shape[-2:]
        size = (max(_RAFT_SIDE, 8 * round(height / 8)), max(_RAFT_SIDE, 8 * round(width / 8)))
        images = _resized(windows.flatten(0, 1), size, (0.5,) * 3, (0.5,) * 3, torch.float32)
        images = images.unflatten(0, windows.shape[:2])
        flow = self.model(images[:, 1:].flatten(0, 1), images[:, :-1].flatten(0, 1))[-1]
        if size != (height, width):
            flow = F.interpolate(flow, (height, width), mode="bilinear", antialias=True)
            flow = flow * channel_constants((width / size[1], height / size[0]), flow.device)
        flow = flow.unflatten(0, (len(windows), -1)).transpose(1, 2)
        return torch.cat([torch.zeros_like(flow[:, :, :1]), flow], dim=2)


RAFTS = {"raft_large": "Raft_Large_Weights", "raft_small": "Raft_Small_Weights"}
"""Names that stand for torchvision's own weights."""


def raft_problem(name: str) -> str | None:
    """What is wrong with `p4d.teacher.raft`, if anything is."""
    if name in RAFTS or os.path.isfile(name):
        return None
    return f"p4d.teacher.raft: no such file: {name}; give a file, or one of {', '.join(RAFTS)} for torchvision's own"


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file; nothing in it is executed."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        raise NetworkError(f"p4d.teacher.raft: {path} cannot be read: {str(err).splitlines()[0]}") from err
