// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* Sets what a linked plugin does: bit 0 arguments, bit 1 return values, bit 2 by value (L3), bit 3 gated (G1). */
const unsigned KcovDataflowVariant = KCOV_DATAFLOW_VARIANT;
