#!/usr/bin/env bash
# Measure everything that needs an NVIDIA GPU, and write the numbers to benchmarks/gpu-NAME.json.
#
#     benchmarks/gpu.sh [PYTHON]
#
# Compiles gsplat's kernels first if they never were (minutes, needs the CUDA toolkit), then runs the tests marked `cuda`.
set -euo pipefail

cd "$(dirname "$0")/.."
python=${1:-python}

"$python" - << 'END'
import sys
import torch
from zero1toa.render.cuda import missing_kernels

if not torch.cuda.is_available():
    sys.exit("no CUDA device is available: run this on a machine with an NVIDIA GPU and a torch build for CUDA")
if reason := missing_kernels():
    sys.exit(f"{reason}\nInstall the CUDA toolkit that torch was built with, or a wheel made by scripts/build_gsplat_wheel.sh")
END
"$python" -m pytest -n 0 -m cuda tests
"$python" -m scripts.bench_gpu --out benchmarks
