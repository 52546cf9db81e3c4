# SPDX-License-Identifier: Apache-2.0
"""Makes outputs.safetensors with the published package, whose code is no part of this product.

    pip download --no-deps depth-anything-3==0.1.1 einops && unzip both wheels into PACKAGES
    PYTHONPATH=PACKAGES:. python tests/teachers/depth_anything_3/make_fixture.py

The package's encoder and head are built in the sizes of `seeded.CASES` and given the weights of `seeded.weight`. The
package also wants omegaconf; dict stands in for addict.Dict.
"""

import sys
import types
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.teachers.depth_anything_3 import seeded


def main() -> None:
    sys.modules["addict"] = types.SimpleNamespace(Dict=dict)
    from depth_anything_3.model.dinov2.vision_transformer import DinoVisionTransformer
    from depth_anything_3.model.dualdpt import DualDPT

    stored = {}
    for name, case in seeded.CASES.items():
        config = replace(seeded.CONFIG, **case.changes)
        encoder = DinoVisionTransformer(
            img_size=config.patch * config.position_side,
            patch_size=config.patch,
            embed_dim=config.dim,
            depth=config.blocks,
            num_heads=config.heads,
            ffn_layer={"gelu": "mlp", "swiglu": "swiglu"}[config.mlp],
            alt_start=config.alternate_from,
            qknorm_start=config.alternate_from,
            rope_start=config.alternate_from,
        )
        head = DualDPT(2 * config.dim, features=config.feature_dim, out_channels=config.layer_dims)
        for part, prefix in ((encoder, "model.backbone.pretrained."), (head, "model.head.")):
            weights = {
                key: seeded.weight(prefix + key, tuple(value.shape)) for key, value in part.state_dict().items()
            }
            part.load_state_dict(weights)
            part.eval()
        views = seeded.views_of(case)
        with torch.no_grad():
            features, _ = encoder.get_intermediate_layers(views, list(config.hooks), ref_view_strategy=case.reference)
            outputs = head(features, *views.shape[-2:], patch_start_idx=0)
        outputs = {
            **{f"feature {hook}": feature for hook, (feature, _) in zip(config.hooks, features)},
            "depth": outputs["depth"],
            "depth_conf": outputs["depth_conf"],
            "ray": outputs["ray"],
            "ray_conf": outputs["ray_conf"],
        }
        stored |= {f"{name}/{key}": value for key, value in seeded.thinned(outputs).items()}
    save_file(stored, Path(__file__).with_name("outputs.safetensors"))


if __name__ == "__main__":
    main()
