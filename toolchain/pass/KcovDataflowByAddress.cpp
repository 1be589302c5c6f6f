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
  bool IsVoid = returnsNothing(F);
  if (Rep.Options.TraceRet && (!IsVoid || fault(22)))
    Returns = returnsOf(F);
  if (fault(4) && !Returns.empty())
    Returns.pop_back();

  SmallVector<std::optional<Report>, 8> Entry;
  SmallVector<std::optional<Report>, 4> Exit;
  if (Argument *Buffer = returnBuffer(F); fault(5) && Buffer)
    Params.insert(Params.begin(), Parameter{{{Buffer, 0, 8, false}}});
  for (const Parameter &P : Params)
    Entry.push_back(Rep.report(P));
  for (ReturnInst *R : Returns)
    Exit.push_back(fault(22) && IsVoid
                       ? std::nullopt
                       : Rep.reportReturn(F, R->getReturnValue()));
  if (Entry.empty() && Exit.empty())
    return;

  forgetEffects(F);
  Constant *Pc = fault(7) ? ConstantInt::get(Rep.I64, 1) : Rep.pc(F);
  BasicBlock::iterator At = entryOf(F);
  AllocaInst *Slot =
      Rep.slot(F, std::max(slotSize(Entry, Rep.DL), slotSize(Exit, Rep.DL)));
  IRBuilder<> B(&F.getEntryBlock(), At);
  B.SetCurrentDebugLocation(locationOf(F));
  for (unsigned I = 0; I < Entry.size(); ++I) {
    if (fault(25) && !Entry[I])
      continue;
    if (fault(23) && Entry[I] && Entry[I]->SlotPieces.size() > 1) {
      for (const Piece &P : Entry[I]->SlotPieces) {
        Report Part;
        Part.Size = P.Size;
        Part.SlotPieces.push_back({P.V, 0, P.Size, false});
        Rep.emitArgument(B, Pc, I, Part, Slot);
      }
      continue;
    }
    Rep.emitArgument(B, Pc, fault(1) ? I + 1 : I, Entry[I], Slot);
  }
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
