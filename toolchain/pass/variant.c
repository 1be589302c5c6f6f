// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* What one linked plugin does by default: bit 0 arguments, bit 1 return values, bit 2 by value (generation L3). */
const unsigned KcovDataflowVariant = KCOV_DATAFLOW_VARIANT;
