# The app on port 7860, for CPUs:    docker build -t zero1toa . && docker run -p 7860:7860 zero1toa
# and for CUDA:    docker build -t zero1toa --build-arg BASE=nvidia/cuda:12.8.1-devel-ubuntu22.04 .
#                  docker run --gpus all -p 7860:7860 zero1toa
# gsplat compiles its kernels at first use, so that base has to be a devel one. Nothing here needs a GPU while it is built.
# Without a network, with weights that were fetched elsewhere:
#                  docker run --network none -v ~/.cache/zero1toa/weights:/home/user/.cache/zero1toa/weights:ro zero1toa
# User 1000 has to be able to read them. What is made of them, 5 GB for aniportrait, lies beside them; the next container has it
# as well with            -v zero1toa:/home/user/.cache/zero1toa
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
# Where pip finds torch's CPU builds, which pytorch.org says: without it, it takes the default build with gigabytes of CUDA.
ARG TORCH_INDEX=

# libgl1 and libglib2.0-0 for OpenCV, libgomp1 for numba's threads; Python where the base has none.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libgomp1 \
    && (command -v python3 || DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-dev python3-venv) \
    && rm -rf /var/lib/apt/lists/*

# Spaces run containers as user 1000.
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user \
    PATH=/home/user/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860
WORKDIR /home/user/app

COPY --chown=user requirements.txt .
RUN python3 -m venv /home/user/venv \
    && if [ -n "$TORCH_INDEX" ]; then \
        pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch>=2.8,<=2.13.0"; \
    fi \
    && pip install --no-cache-dir -r requirements.txt

COPY --chown=user . .
# Build the head model's cache and compile the kernels now, not at the first visit; another kind of CPU compiles them again.
RUN python -m zero1toa create examples/maya.jpg -o /tmp/first --preset preview --iterations 20 --device cpu --i-have-consent \
    && rm -r /tmp/first

EXPOSE 7860
CMD ["python", "app.py"]
