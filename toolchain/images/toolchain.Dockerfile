# SPDX-License-Identifier: MIT
# Puts a toolchain of the store on its image, where sessions expect it, and first in PATH: `make LLVM=1` takes it.
ARG BASE
FROM ${BASE}
ARG NAME
ARG KEY
ARG GENERATION
LABEL org.kcov-dataflow-kit.toolchain=${NAME} org.kcov-dataflow-kit.key=${KEY} org.kcov-dataflow-kit.generation=${GENERATION}
COPY . /kdf/toolchain
ENV PATH=/kdf/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
