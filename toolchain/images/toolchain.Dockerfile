# SPDX-License-Identifier: MIT
# A toolchain of the store on the image that it runs in, at the place where sessions see it, first in PATH: `make LLVM=1` takes it.
ARG BASE
FROM ${BASE}
ARG NAME
ARG KEY
ARG GENERATION
LABEL org.kcov-dataflow-kit.toolchain=${NAME} org.kcov-dataflow-kit.key=${KEY} org.kcov-dataflow-kit.generation=${GENERATION}
COPY . /kdf/toolchain
ENV PATH=/kdf/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
