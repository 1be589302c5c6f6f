//===- KcovDataflow.cpp - Report arguments and return values --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/Constants.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

static bool isWanted(const Function &F) {
  if (F.isDeclaration() || F.hasAvailableExternallyLinkage())
    return false;
  if (F.getName().contains(".module_ctor") ||
      F.getName().starts_with("__sanitizer_"))
    return false;
  if (F.hasFnAttribute(Attribute::NoSanitizeCoverage) ||
      F.hasFnAttribute(Attribute::DisableSanitizerInstrumentation) ||
      F.hasFnAttribute(Attribute::Naked) || F.isPresplitCoroutine())
    return false;
  // Linux: this code must not call out, even if the attribute got lost.
  StringRef Section = F.getSection();
  if (Section == ".noinstr.text" || Section == ".cpuidle.text" ||
      Section == ".entry.text")
    return false;
  // These conventions have no usual stack, or a frame made by the processor.
  if (F.getCallingConv() == CallingConv::GHC ||
      F.getCallingConv() == CallingConv::X86_INTR)
    return false;
  return !isa<UnreachableInst>(F.getEntryBlock().front());
}

static ParameterList parameters(Function &F) {
  std::optional<ParameterList> Params = readNotes(F);
  if (!Params)
    Params = mapParameters(F, /*Optimized=*/true);
  for (Parameter &P : *Params) {
    bool Lost = false;
    for (const Piece &Part : P.Pieces)
      if (auto *A = dyn_cast<Argument>(Part.V)) {
        P.Stale |= isUnread(*A);
        Lost |= isGarbage(*A) || (Part.IsAddress && P.Stale);
      }
    if (Lost)
      P.Pieces.clear();
  }
  findConstants(F, *Params);
  return std::move(*Params);
}

static bool instrument(Module &M, const KcovDataflowOptions &Options) {
  WorkList Work;
  // Read all functions before changing any: a callee's callers count too.
  for (Function &F : M)
    if (isWanted(F) && (!Options.IsWanted || Options.IsWanted(F)))
      Work.push_back({&F, Options.TraceArgs ? parameters(F) : ParameterList()});
  Reporter R(M, Options);
  if (Options.ByValue)
    instrumentByValue(R, Work);
  else if (!Options.Gated || !instrumentGated(R, Work))
    instrumentByAddress(R, Work);
  return !Work.empty();
}

PreservedAnalyses KcovDataflowMarkPass::run(Module &M,
                                            ModuleAnalysisManager &) {
  for (Function &F : M)
    if (isWanted(F)) {
      ParameterList Params = mapParameters(F, /*Optimized=*/false);
      writeNotes(F, Params);
      if (ByValue)
        writeInlineNote(F, Params);
    }
  return PreservedAnalyses::all();
}

PreservedAnalyses KcovDataflowPass::run(Module &M, ModuleAnalysisManager &) {
  bool Changed =
      (Options.TraceArgs || Options.TraceRet) && instrument(M, Options);
  removeNotes(M);
  return Changed ? PreservedAnalyses::none() : PreservedAnalyses::all();
}
