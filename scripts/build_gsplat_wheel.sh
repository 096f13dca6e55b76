#!/usr/bin/env bash
# Build a wheel of gsplat that carries its kernels, for machines without a compiler.
#
#     scripts/build_gsplat_wheel.sh [FOLDER] [PYTHON]
#
# Needs nvcc of the CUDA version that the installed torch was built with, and about 4 GB of memory a job; no GPU. The wheel
# fits this torch, this Python and GPUs from Turing (7.5) to Blackwell (12.0). CUDA before 12.8 knows none newer than 9.0.
set -euo pipefail

folder=${1:-dist}
python=${2:-python}

command -v nvcc > /dev/null || {
    echo "nvcc is not on the PATH: install the CUDA toolkit, or run this in nvidia/cuda:12.8.1-devel-ubuntu22.04" >&2
    exit 2
}
cuda=$(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
built=$("$python" -c 'import torch; print(torch.version.cuda or "")')
[ "${cuda%%.*}" = "${built%%.*}" ] || {
    echo "torch was built with CUDA ${built:-none}, nvcc is of CUDA $cuda: install a torch and a toolkit of one version" >&2
    exit 2
}
newest="8.0;8.6;8.9;9.0"
[ "$(printf '%s\n12.8\n' "$cuda" | sort -V | head -n 1)" = 12.8 ] && newest="$newest;10.0;12.0"

# The source on PyPI holds the kernels; what it would build by itself is for the GPU at hand.
version=$("$python" -c 'import importlib.metadata as m; print(m.version("gsplat"))')
TORCH_CUDA_ARCH_LIST="7.5;$newest+PTX" MAX_JOBS=${MAX_JOBS:-$(nproc)} \
    "$python" -m pip wheel "gsplat==$version" --no-binary gsplat --no-build-isolation --no-deps --wheel-dir "$folder"
echo "the wheel is in $folder: install it with pip install --force-reinstall --no-deps $folder/gsplat-*.whl"
