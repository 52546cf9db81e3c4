# An image for GPU nodes, on the tested versions (constraints.txt). Not built in CI.
#
#     docker build -t rgpt4d .
#     docker run --gpus all --ipc=host -v "$PWD:/work" -w /work rgpt4d rgpt4d doctor mine.yaml
#     docker run --gpus all --ipc=host -v "$PWD:/work" -w /work rgpt4d llamafactory-cli train mine.yaml
#
# torch 2.11 is built for CUDA 13.0, so the node's driver must be 580 or newer. The compiler is for DeepSpeed, and for
# flash-attention: add --build-arg EXTRAS=llamafactory,deepspeed,bitsandbytes,flash-attn (an hour).
FROM nvidia/cuda:13.0.0-devel-ubuntu24.04

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-dev python3-venv git ninja-build \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/rgpt4d
ENV PATH=/opt/rgpt4d/bin:$PATH PIP_NO_CACHE_DIR=1

COPY . /src
# --no-build-isolation: flash-attn is compiled against the torch that is there.
ARG EXTRAS=llamafactory,deepspeed,bitsandbytes
RUN pip install setuptools wheel packaging psutil torch==2.11.0 -c /src/constraints.txt \
 && pip install --no-build-isolation "/src[$EXTRAS]" -c /src/constraints.txt \
 && rgpt4d doctor
