//===- KcovDataflowByAddress.cpp - Calls with the addresses of values -----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/IR/Constants.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

static void instrument(Reporter &Rep, Function &F, ParameterList &Params) {
  SmallVector<ReturnInst *, 4> Returns;
  if (Rep.Options.TraceRet && !returnsNothing(F))
    Returns = returnsOf(F);

  SmallVector<std::optional<Report>, 8> Entry;
  SmallVector<std::optional<Report>, 4> Exit;
  for (const Parameter &P : Params)
    Entry.push_back(Rep.report(P));
  for (ReturnInst *R : Returns)
    Exit.push_back(Rep.reportReturn(F, R->getReturnValue()));
  if (Entry.empty() && Exit.empty())
    return;

  forgetEffects(F);
  Constant *Pc = Rep.pc(F);
  BasicBlock::iterator At = entryOf(F);
  AllocaInst *Slot =
      Rep.slot(F, std::max(slotSize(Entry, Rep.DL), slotSize(Exit, Rep.DL)));
  IRBuilder<> B(&F.getEntryBlock(), At);
  B.SetCurrentDebugLocation(locationOf(F));
  for (unsigned I = 0; I < Entry.size(); ++I)
    Rep.emitArgument(B, Pc, I, Entry[I], Slot);
  for (unsigned I = 0; I < Exit.size(); ++I) {
    IRBuilder<> R(Returns[I]);
    R.SetCurrentDebugLocation(locationOf(*Returns[I]));
    Rep.emitReturn(R, Pc, Exit[I], Slot);
  }
}

void kcov_dataflow::instrumentByAddress(Reporter &R, WorkList &Work) {
  for (auto &[F, Params] : Work)
    instrument(R, *F, Params);
}
