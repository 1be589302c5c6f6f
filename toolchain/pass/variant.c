// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
/* What one linked plugin does by default: bit 0 arguments, bit 1 return values, bit 2 by value (generation L3). */
const unsigned KcovDataflowVariant = KCOV_DATAFLOW_VARIANT;

/* Which fault to inject; looked at only if the pass was compiled with KCOV_DATAFLOW_FAULTS. */
#ifndef KCOV_DATAFLOW_FAULT
#define KCOV_DATAFLOW_FAULT 0
#endif
const unsigned KcovDataflowFault = KCOV_DATAFLOW_FAULT;
