//===- KcovDataflow.h - Report arguments and return values ------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Instruments functions so that each one reports the values of its
// source-level parameters on entry and its return value before each return.
// The idea comes from the kcov-dataflow RFC (linux-kernel, June 2026); this is
// an independent implementation. Callback generation "L0":
//
//   void __sanitizer_cov_trace_args(u64 pc, u32 arg_idx, u32 arg_size,
//                                   void *arg_ptr, u64 *offsets,
//                                   u32 num_fields);
//   void __sanitizer_cov_trace_ret(u64 pc, u32 ret_size, void *ret_val,
//                                  u64 *offsets, u32 num_fields);
//
// and, if asked for by value, generation "L3":
//
//   void __sanitizer_cov_trace_args(u32 arg_idx, u32 arg_size, u64 val,
//                                   u64 *offsets, u32 num_fields);
//   void __sanitizer_cov_trace_ret(u32 ret_size, u64 val, u64 *offsets,
//                                  u32 num_fields);
//
// which also reports the parameters of inlined functions, each from inside of
// its inlined body.
//
// There are two passes. KcovDataflowMarkPass runs before any optimization. It
// notes, as string attributes, which IR argument carries which parameter. This
// is exact at that time, and the notes survive the removal of arguments.
// KcovDataflowPass runs last and inserts the calls. Without notes it infers the
// same from the debug records that are left.
//
//===----------------------------------------------------------------------===//

#ifndef LLVM_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOW_H
#define LLVM_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOW_H

#include "llvm/IR/PassManager.h"
#include <functional>
#include <utility>

namespace llvm {

class Function;
class Module;

struct KcovDataflowOptions {
  bool TraceArgs = false;
  bool TraceRet = false;
  /// Passes values instead of their addresses: generation L3.
  bool ByValue = false;

  /// Puts calls behind gates, in modules with the text of one: generation G1.
  bool Gated = false;
  /// Chooses among the functions that can be reported; empty takes all.
  std::function<bool(const Function &)> IsWanted = {};
};

class KcovDataflowMarkPass : public PassInfoMixin<KcovDataflowMarkPass> {
public:
  explicit KcovDataflowMarkPass(bool ByValue = false) : ByValue(ByValue) {}
  PreservedAnalyses run(Module &M, ModuleAnalysisManager &AM);
  static bool isRequired() { return true; }

private:
  bool ByValue;
};

class KcovDataflowPass : public PassInfoMixin<KcovDataflowPass> {
public:
  explicit KcovDataflowPass(KcovDataflowOptions Options)
      : Options(std::move(Options)) {}
  PreservedAnalyses run(Module &M, ModuleAnalysisManager &AM);
  static bool isRequired() { return true; }

private:
  KcovDataflowOptions Options;
};

} // namespace llvm

#endif // LLVM_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOW_H
