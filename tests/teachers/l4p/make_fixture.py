# SPDX-License-Identifier: Apache-2.0
"""Makes small.safetensors.xz, the compact copy of a recorded run of the original L4P on random weights.

    python tests/teachers/l4p/make_fixture.py SOURCE.safetensors

SOURCE (6.6 MB) was recorded with NVlabs/L4P at commit 8701a4b and PyTorch 2.13.0, in float32 on a CPU, eval mode, no
autocast. It holds one shrunken network with random weights (no trained ones) under the official names, its
configuration as string metadata, and as `io.*` one clip and what the original returns for it:

- `io.clip`, the normalised input, and `io.feat.{k}`, the encoder's feature list;
- `io.out.<task>`, the maps of the four heads;
- `io.out.camray_out16`, the ray head with output_size (16, 16, 16), so that its final resize runs;
- `io.out.depth_hooks_1_2_3_5`, the depth head with hooks [1, 2, 3, 5], none of which is the normed last feature.

To regenerate SOURCE, build the original's encoder and heads at these sizes with any random weights, record the same
names, and store the configuration files' `encoder`, `dpt`, per-task and `img_info` sections as JSON metadata.

What the copy leaves out:

- `scratch.layer_rn.*`, the second name of `scratch.layer{1..4}_rn`, and `scratch.refinenet4.resConfUnit1`, which never
  runs. The test puts them back, the latter as zeros;
- features other than 0, 3 and 6; and of the pixel maps all but every STRIDE-th row and column;
- the last DROPPED_BITS bits of the weights, rounded to nearest. This is a relative change below 1e-6, about the
  difference between two runs of the original with other thread counts. Inputs and outputs stay as recorded.

LZMA with literal contexts per byte of a 4-byte word then codes the exponents well; mantissas do not compress.
"""

import argparse
import lzma
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save


STRIDE = 5
DROPPED_BITS = 4
FEATURES = (0, 3, 6)
PIXEL_MAPS = ("depth", "depth_hooks_1_2_3_5", "flow_2d_backward", "dyn_mask")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9, "lc": 2, "lp": 2, "pb": 0}]


def round_mantissa(x: torch.Tensor, bits: int) -> torch.Tensor:
    """float32 with the last `bits` bits of its mantissa rounded to zero."""
    words = x.contiguous().view(torch.int32)
    return ((words + (1 << (bits - 1))) & ~((1 << bits) - 1)).view(torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the full recording, a .safetensors file")
    source = parser.parse_args().source
    dropped_features = tuple(f"io.feat.{k}" for k in range(7) if k not in FEATURES)
    tensors = {}
    with safe_open(source, framework="pt") as file:
        metadata = {**file.metadata(), "io_stride": str(STRIDE), "dropped_bits": str(DROPPED_BITS)}
        for name in file.keys():
            if ".layer_rn." in name or ".refinenet4.resConfUnit1." in name:
                continue
            if name.startswith(dropped_features) or name.endswith("_before_norm"):
                continue
            tensor = file.get_tensor(name)
            if name in [f"io.out.{task}" for task in PIXEL_MAPS]:
                tensor = tensor[..., ::STRIDE, ::STRIDE].contiguous()
            elif not name.startswith("io."):
                tensor = round_mantissa(tensor, DROPPED_BITS)
            tensors[name] = tensor
    target = Path(__file__).with_name("small.safetensors.xz")
    target.write_bytes(lzma.compress(save(tensors, metadata=metadata), filters=FILTERS))
    print(f"{target.name}: {target.stat().st_size / 1e6:.2f} MB, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
