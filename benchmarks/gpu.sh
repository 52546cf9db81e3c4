#!/usr/bin/env bash
# Everything that needs a GPU, in at most eight minutes, on a machine without a network:
#
#     bash benchmarks/gpu.sh [--tiny] [FOLDER]
#
# Writes results.md and the logs of every part to FOLDER (default: gpu_results). `python` and `llamafactory-cli` are
# those on the PATH; where the machine lacks the pinned libraries, run it through a bundle (`make bundle`):
#
#     bash dist/bundle/enter.sh bash benchmarks/gpu.sh
#
# Each part has a limit; together they are eight minutes. A part that fails or takes too long does not stop the others:
# it is named at the end, and the exit code is 1. --tiny runs every part at a size for a CPU, without hurry.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

size=7b
if [ "${1:-}" = --tiny ]; then size=tiny; shift; fi
out=$(mkdir -p "${1:-gpu_results}" && cd "${1:-gpu_results}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/p4d.XXXXXX")
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
failed=()

part() {  # name, seconds, command...: output to a log; tables also to results.md
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  [ "$size" = tiny ] && limit=600
  if timeout "$limit" "$@" >"$out/$name.log" 2>&1; then
    echo "$name: done in $((SECONDS - start)) s"
    sed -n '/^### /,$p' "$out/$name.log" >>"$out/results.md"
  else
    echo "$name: FAILED with $? after $((SECONDS - start)) s, see $out/$name.log"
    failed+=("$name")
  fi
}

run() {  # name, override...: a training run; its time and last log line to results.md
  local name=$1
  shift
  part "train_$name" 60 llamafactory-cli train "$work/recipe.yaml" "output_dir=$work/$name" "$@"
  [ -f "$work/$name/trainer_log.jsonl" ] && cp "$work/$name/trainer_log.jsonl" "$out/train_$name.jsonl"
  [ -f "$work/$name/train_results.json" ] && { echo "### train, $name"; cat "$work/$name/train_results.json"; echo; } >>"$out/results.md"
}

: >"$out/results.md"
{ nvidia-smi || echo "no nvidia-smi"; python -c 'import torch, transformers; print(torch.__version__, transformers.__version__)'; } >"$out/machine.log" 2>&1

if [ "$size" = tiny ]; then
  part inputs 120 python benchmarks/random_run.py --out "$work" --size tiny --steps 4
  part teacher 120 python benchmarks/teacher_speed.py --size tiny --windows 1 2 --repeats 1
  part step_16 200 python benchmarks/step_overhead.py --steps 1 --warmup 1 --frames 4
else
  part inputs 90 python benchmarks/random_run.py --out "$work" --size 7b --steps 30
  part teacher 40 python benchmarks/teacher_speed.py --compile
  part step_16 80 python benchmarks/step_overhead.py --size 7b --steps 6
  for frames in 32 64; do
    part "step_$frames" 45 python benchmarks/step_overhead.py --size 7b --steps 4 --warmup 2 --frames "$frames" \
      --arms 'sft+p4d+p4d, sampled+p4d, cached+p4d, cached, sampled'
  done
fi
run p4d
run sampled p4d.loss.per_step.maps=1 p4d.loss.per_step.crop=0.25
run off p4d=off

echo "results: $out/results.md"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
