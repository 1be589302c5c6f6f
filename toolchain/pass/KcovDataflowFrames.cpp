//===- KcovDataflowFrames.cpp - Inlined functions and their parameters ----===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/PostOrderIterator.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Analysis/LoopInfo.h"
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
      : F(F), DL(F.getParent()->getDataLayout()), Unsure(Unsure), DT(F),
        Loops(DT) {}

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
          readRecord(R, I);
    for (auto &[At, One] : Frames) {
      choose(One, Records[At]);
      if (any_of(One.Params,
                 [](const Parameter &P) { return !P.Pieces.empty(); }))
        Found.push_back(std::move(One));
    }
    return Found;
  }

private:
  /// A record of a parameter of an inlined call, and the instruction below it.
  /// The value is null if it is lost here.
  struct Record {
    unsigned Param;
    Piece Part;
    Instruction *Below;

    bool overlaps(const Record &O) const {
      return Param == O.Param && Part.Offset < O.Part.Offset + O.Part.Size &&
             O.Part.Offset < Part.Offset + Part.Size;
    }
  };
  using RecordList = SmallVector<Record, 4>;

  Function &F;
  const DataLayout &DL;
  const UnsureParameters &Unsure;
  DominatorTree DT;
  LoopInfo Loops;
  MapVector<const DILocation *, Frame> Frames;
  DenseMap<const DILocation *, RecordList> Records;

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

  void readRecord(DbgVariableRecord &R, Instruction &Below) {
    const DILocalVariable *Var = R.getVariable();
    const DILocation *Call = R.getDebugLoc().getInlinedAt();
    auto It = Frames.find(Call);
    unsigned P = Var->getArg();
    if (!P || It == Frames.end() || !R.isDbgValue() || P > 4096)
      return;
    Frame &One = It->second;
    if (Var->getScope()->getSubprogram() != One.SP ||
        is_contained(Unsure.find(One.SP)->second, P))
      return;
    if (One.Params.size() < P)
      One.Params.resize(P);
    One.Params[P - 1].Type = Var->getType();
    const DIExpression *E = R.getExpression();
    auto Fragment = E->getFragmentInfo();
    uint64_t Begin = Fragment ? Fragment->OffsetInBits : 0;
    Record Read{P, {nullptr, Begin / 8, ~uint64_t(0) - Begin / 8, false}, &Below};
    if (Fragment)
      Read.Part.Size = bytes(Begin + Fragment->SizeInBits) - Begin / 8;
    Value *V = R.isKillLocation() || R.getNumVariableLocationOps() != 1
                   ? nullptr
                   : R.getVariableLocationOp(0);
    if (V && E->getNumElements() == (Fragment ? 3u : 0u) &&
        !(Fragment && (Begin % 8 || Fragment->SizeInBits % 8)) &&
        !isa<UndefValue>(V) && V->getType()->isSized() &&
        !V->getType()->isScalableTy()) {
      Read.Part.V = V;
      if (!Fragment)
        Read.Part.Size = DL.getTypeStoreSize(V->getType()).getFixedValue();
    }
    Records[Call].push_back(Read);
  }

  /// Takes the records that describe the copy of the call that begins at the
  /// frame's place. Unrolled and peeled loops have more copies, under the same
  /// location: the last record above the beginning is this copy's. Any other
  /// record counts only if no other copy differs from it.
  void choose(Frame &One, const RecordList &All) {
    const BasicBlock *Here = One.Start->getParent();
    Instruction *Begin = &*One.Start;
    RecordList Decided;
    auto IsOpen = [&](const Record &R) {
      return none_of(Decided, [&](const Record &D) { return D.overlaps(R); });
    };
    auto Decide = [&](const Record &R) {
      Decided.push_back(R);
      if (R.Part.V && reach(One, R.Part.V))
        One.Params[R.Param - 1].Pieces.push_back(R.Part);
    };
    for (const Record &R : reverse(All))
      if (R.Below->getParent() == Here &&
          (R.Below == Begin || R.Below->comesBefore(Begin)) && IsOpen(R))
        Decide(R);
    for (const Record &R : All) {
      const BasicBlock *There = R.Below->getParent();
      if (IsOpen(R) && Loops.getLoopFor(There) == Loops.getLoopFor(Here) &&
          DT.dominates(There, Here) && all_of(All, [&](const Record &O) {
            return !O.overlaps(R) || O.Part.V == R.Part.V;
          }))
        Decide(R);
    }
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
