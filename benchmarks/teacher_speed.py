# SPDX-License-Identifier: Apache-2.0
"""How fast the L4P teacher runs, as a share of what the device reaches in matrix products.

    python benchmarks/teacher_speed.py                 # the released shape in bfloat16, one GPU
    python benchmarks/teacher_speed.py --size tiny     # a check on a CPU

The ceiling is an 8192 x 8192 x 8192 product in the same precision, the best of several; the arithmetic of encoder and
heads is torch's own count. Weights are random. Encoder: so many windows at once, eager and compiled (`--compile`).
Heads: forward and backward to the latents for one window, whole and a quarter, with weights and maps as they are and
in channels-last order.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from flops import TERA, count  # noqa: E402
from step_overhead import make_teacher, teacher_config  # noqa: E402

from rgpt4d_plugin.teachers import MapView, Tile  # noqa: E402
from rgpt4d_plugin.teachers.l4p import L4P  # noqa: E402


def seconds(run: Callable[[], object], device: str, repeats: int) -> float:
    """The shortest of some runs, after two that are not counted."""
    found = []
    for index in range(repeats + 2):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        if index > 1:
            found.append(time.perf_counter() - start)
    return min(found)


def measure(model: L4P, device: str, dtype: torch.dtype, args: argparse.Namespace) -> list[tuple[str, float, float]]:
    """Rows of name, TFLOP and seconds."""
    config = model.config
    with torch.device("meta"):
        twin = L4P(config).to(dtype).freeze()

    def clip(windows: int, where: str) -> torch.Tensor:
        return torch.zeros(windows, 3, config.frames, config.height, config.width, dtype=dtype, device=where)

    size = args.ceiling
    left = torch.randn(size, size, dtype=dtype, device=device)
    rows = [(f"{size} cubed", 2 * size**3 / TERA, seconds(lambda: left @ left, device, args.repeats))]
    with torch.inference_mode():
        kinds = ["eager"] + (["compiled"] if args.compile else [])
        for kind in kinds:
            if kind == "compiled":
                for block in model.video_encoder.blocks:
                    block.compile()
            for windows in args.windows:
                work = windows * count(lambda: twin.encode(clip(1, "meta"), config.hooks))
                given = clip(windows, device)
                took = seconds(lambda: model.encode(given, config.hooks), device, args.repeats)  # noqa: B023
                rows.append((f"encoder, {kind}, {windows} window(s)", work, took))

    def head(network: L4P, where: str, view: MapView) -> None:
        shape = (1, config.tokens, config.dim)
        latents = {
            hook: torch.full(shape, 0.1, dtype=dtype, device=where, requires_grad=True) for hook in config.hooks
        }
        network.decode(latents, ("depth",), raw=True, view=view)["depth"].sum().backward()

    for order in (torch.contiguous_format, torch.channels_last_3d):
        for module in model.task_heads.modules():
            if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
                module.to(memory_format=order)
        for name, view in (("whole", MapView()), ("a quarter", MapView(tile=Tile(0, 2, 0, 2)))):
            work = count(lambda: head(twin, "meta", view))  # noqa: B023
            took = seconds(lambda: head(model, device, view), device, args.repeats)  # noqa: B023
            kind = "as is" if order == torch.contiguous_format else "channels last"
            rows.append((f"a head and its gradient, {name}, {kind}", work, took))
    return rows


def main(argv: list[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=["released", "tiny"], default="released")
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--compile", action="store_true", help="also measure the compiled encoder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ceiling", type=int, help="side of the matrix product; default: 8192, tiny 512")
    args = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.size == "released" and device == "cpu":
        parser.error("torch finds no GPU here; --size tiny runs on a CPU")
    args.ceiling = args.ceiling or (8192 if args.size == "released" else 512)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    rows = measure(make_teacher(teacher_config(args.size), device, dtype), device, dtype, args)
    ceiling = rows[0][1] / rows[0][2]
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    lines = [
        f"### Teacher, {args.size} shape, {str(dtype).removeprefix('torch.')}, {name}, torch {torch.__version__}, "
        f"{date.today()}",
        "",
        "| what | TFLOP | ms | TFLOP/s | share of the ceiling |",
        "|---|---:|---:|---:|---:|",
    ]
    for title, work, took in rows:
        lines.append(
            f"| {title} | {work:.3f} | {1e3 * took:.2f} | {work / took:.2f} | {100 * work / took / ceiling:.0f} % |"
        )
    found = "\n".join(lines) + "\n"
    print(found)
    return found


if __name__ == "__main__":
    main()
