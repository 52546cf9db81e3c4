# SPDX-License-Identifier: Apache-2.0
"""Metadata and fingerprint of the evaluated model, stored in the reply file."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any


_BLOCK = 1 << 20
_PIXELS = ("image_max_pixels", "image_min_pixels", "video_max_pixels", "video_min_pixels")


def describe_model(model_args: Any, data_args: Any) -> dict[str, Any]:
    """The host's model and data arguments, as far as replies depend on them."""
    return {
        "model": model_args.model_name_or_path,
        "weights": weights_fingerprint([model_args.model_name_or_path]),
        "adapters": model_args.adapter_name_or_path,
        "adapter_weights": weights_fingerprint(model_args.adapter_name_or_path or []),
        "template": data_args.template,
        "thinking": data_args.enable_thinking,
        "system": data_args.default_system,
        "quantization_bit": model_args.quantization_bit,
        "pixels": {name: getattr(model_args, name) for name in _PIXELS},
    }


def weights_fingerprint(folders: Sequence[str | Path]) -> str | None:
    """Sixteen hex digits that change with the weights in folders; None if none is one, such as a name on a hub.

    Name, size and three blocks of every file: it takes no time for a large model, and a model trained again under the
    same name is not taken for the old one.
    """
    found = [Path(folder) for folder in folders if Path(folder).is_dir()]
    if not found:
        return None
    digest = hashlib.sha256()
    for folder in found:
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*config.json")]):
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            with path.open("rb") as file:
                for start in sorted({0, size // 2, max(size - _BLOCK, 0)}):
                    file.seek(start)
                    digest.update(file.read(_BLOCK))
    return digest.hexdigest()[:16]
