//===- KcovDataflowFrames.cpp - Inlined functions and their parameters ----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/PostOrderIterator.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/DebugProgramInstruction.h"
#include "llvm/IR/Dominators.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

namespace {

/// Finds the inlined calls of a function by the locations of its instructions,
/// and the values of their parameters by the debug records.
class FrameFinder {
public:
  FrameFinder(Function &F, const UnsureParameters &Unsure)
      : F(F), DL(F.getParent()->getDataLayout()), Unsure(Unsure), DT(F) {}

  SmallVector<Frame, 0> find() {
    SmallVector<Frame, 0> Found;
    if (!F.getSubprogram())
      return Found;
    ReversePostOrderTraversal<Function *> Order(&F);
    for (BasicBlock *BB : Order)
      for (Instruction &I : *BB)
        addFrames(I);
    for (BasicBlock *BB : Order)
      for (Instruction &I : *BB)
        for (DbgVariableRecord &R : filterDbgVars(I.getDbgRecordRange()))
          readRecord(R);
    for (auto &[At, One] : Frames)
      if (any_of(One.Params,
                 [](const Parameter &P) { return !P.Pieces.empty(); }))
        Found.push_back(std::move(One));
    return Found;
  }

private:
  Function &F;
  const DataLayout &DL;
  const UnsureParameters &Unsure;
  DominatorTree DT;
  MapVector<const DILocation *, Frame> Frames;

  void addFrames(Instruction &I) {
    const DILocation *Loc = I.getDebugLoc().get();
    if (!Loc || isa<AllocaInst>(I) || isa<PHINode>(I))
      return;
    SmallVector<const DILocation *, 4> Chain;
    for (; Loc->getInlinedAt(); Loc = Loc->getInlinedAt())
      Chain.push_back(Loc);
    for (const DILocation *Inner : reverse(Chain)) {
      DISubprogram *SP = Inner->getScope()->getSubprogram();
      if (Frames.count(Inner->getInlinedAt()) || !SP || !Unsure.count(SP))
        continue;
      std::optional<BasicBlock::iterator> Start = startAt(I);
      if (!Start)
        continue;
      Frame One{Inner->getInlinedAt(), SP, *Start, {}};
      if (const DISubroutineType *T = SP->getType(); T && T->getTypeArray()) {
        auto Types = T->getTypeArray();
        for (unsigned P = 1; P < Types.size() && Types[P]; ++P)
          One.Params.push_back({{}, false, Types[P]});
      }
      Frames.insert({Inner->getInlinedAt(), std::move(One)});
    }
  }

  /// Returns the place before an instruction, if a call can stand there.
  static std::optional<BasicBlock::iterator> startAt(Instruction &I) {
    BasicBlock *BB = I.getParent();
    BasicBlock::iterator First = BB->getFirstInsertionPt();
    if (First == BB->end())
      return std::nullopt;
    BasicBlock::iterator At =
        I.isEHPad() || I.comesBefore(&*First) ? First : I.getIterator();
    return afterTailCall(At) ? std::nullopt : std::optional(At);
  }

  /// Nothing may stand between a musttail call and its return.
  static bool afterTailCall(BasicBlock::iterator At) {
    const CallInst *C = At->getParent()->getTerminatingMustTailCall();
    return C && C->comesBefore(&*At);
  }

  void readRecord(DbgVariableRecord &R) {
    const DILocalVariable *Var = R.getVariable();
    auto It = Frames.find(R.getDebugLoc().getInlinedAt());
    unsigned P = Var->getArg();
    if (!P || It == Frames.end() || !R.isDbgValue() || R.isKillLocation() ||
        R.getNumVariableLocationOps() != 1 || P > 4096)
      return;
    Frame &One = It->second;
    if (Var->getScope()->getSubprogram() != One.SP ||
        is_contained(Unsure.find(One.SP)->second, P))
      return;
    if (One.Params.size() < P)
      One.Params.resize(P);
    Parameter &Param = One.Params[P - 1];
    Param.Type = Var->getType();
    const DIExpression *E = R.getExpression();
    auto Fragment = E->getFragmentInfo();
    Value *V = R.getVariableLocationOp(0);
    if (E->getNumElements() != (Fragment ? 3u : 0u) ||
        (Fragment &&
         (Fragment->OffsetInBits % 8 || Fragment->SizeInBits % 8)) ||
        isa<UndefValue>(V) || !V->getType()->isSized() ||
        V->getType()->isScalableTy())
      return;
    Piece Part{V, Fragment ? Fragment->OffsetInBits / 8 : 0,
               Fragment ? Fragment->SizeInBits / 8
                        : DL.getTypeStoreSize(V->getType()).getFixedValue(),
               false};
    for (const Piece &Old : Param.Pieces)
      if (Part.Offset < Old.Offset + Old.Size &&
          Old.Offset < Part.Offset + Part.Size)
        return;
    if (reach(One, V))
      Param.Pieces.push_back(Part);
  }

  /// Checks whether a value exists when the frame begins, or soon after. In the
  /// second case the report stands below the value's definition.
  bool reach(Frame &One, Value *V) {
    auto *I = dyn_cast<Instruction>(V);
    if (!I || DT.dominates(I, &*One.Start))
      return isa<Argument, Constant>(V) || I;
    if (I->getParent() != One.Start->getParent() || I->isTerminator())
      return false;
    BasicBlock::iterator After = std::next(I->getIterator());
    if (afterTailCall(After))
      return false;
    if (One.Start->comesBefore(&*After))
      One.Start = After;
    return true;
  }
};

} // namespace

SmallVector<Frame, 0>
kcov_dataflow::findFrames(Function &F, const UnsureParameters &Unsure) {
  return FrameFinder(F, Unsure).find();
}
