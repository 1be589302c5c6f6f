//===- KcovDataflowByValue.cpp - Calls with the values themselves ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/IR/Constants.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

namespace {

/// Holds the operands of one call, without the index.
struct Passed {
  Constant *Size;
  Value *Val;
  Constant *Table, *Fields;
};

class ByValue {
public:
  explicit ByValue(Reporter &Rep) : Rep(Rep), Unsure(readInlineNotes(Rep.M)) {}

  void instrument(Function &F, const ParameterList &Params) {
    SmallVector<Frame, 0> Frames;
    if (Rep.Options.TraceArgs)
      Frames = findFrames(F, Unsure);
    SmallVector<ReturnInst *, 4> Returns;
    if (Rep.Options.TraceRet)
      Returns = returnsOf(F);
    if (Params.empty() && Frames.empty() && Returns.empty())
      return;
    forgetEffects(F);
    BasicBlock::iterator At = entryOf(F);
    reportArguments(At, locationOf(F), Params);
    for (const Frame &One : Frames) {
      bool Early = One.Start->getParent() == At->getParent() &&
                   One.Start->comesBefore(&*At);
      reportArguments(Early ? At : One.Start,
                      DILocation::get(F.getContext(), One.SP->getScopeLine(), 0,
                                      One.SP,
                                      const_cast<DILocation *>(One.InlinedAt)),
                      One.Params);
    }
    bool IsVoid = returnsNothing(F);
    for (ReturnInst *R : Returns) {
      IRBuilder<> B(R);
      B.SetCurrentDebugLocation(locationOf(*R));
      std::optional<Report> What;
      if (!IsVoid)
        What = Rep.reportReturn(F, R->getReturnValue());
      for (const Passed &P : passed(B, What))
        callOnce(B, Rep.ret(), {P.Size, P.Val, P.Table, P.Fields});
    }
  }

private:
  Reporter &Rep;
  const UnsureParameters Unsure;

  void reportArguments(BasicBlock::iterator At, DebugLoc Loc,
                       const ParameterList &Params) {
    IRBuilder<> B(At->getParent(), At);
    B.SetCurrentDebugLocation(Loc);
    for (unsigned I = 0; I < Params.size(); ++I)
      for (const Passed &P : passed(B, Rep.report(Params[I])))
        callOnce(
            B, Rep.args(),
            {ConstantInt::get(Rep.I32, I), P.Size, P.Val, P.Table, P.Fields});
  }

  /// Keeps a call from being merged with another: its place tells what it
  /// reports.
  void callOnce(IRBuilder<> &B, FunctionCallee Callee,
                ArrayRef<Value *> Operands) {
    Rep.call(B, Callee, Operands)->addFnAttr(Attribute::NoMerge);
  }

  /// Returns the operands of the calls for one value. An object is passed by
  /// its address; any other value takes one call for each of its pieces.
  SmallVector<Passed, 2> passed(IRBuilder<> &B,
                                const std::optional<Report> &R) {
    SmallVector<Passed, 2> Calls;
    if (R && R->Address && R->Fields)
      Calls.push_back({ConstantInt::get(Rep.I32, R->Size),
                       B.CreatePtrToInt(R->Address, Rep.I64), R->Table,
                       ConstantInt::get(Rep.I32, R->Fields)});
    else if (R && !R->Address)
      for (const Piece &P : R->SlotPieces)
        if (!addPieces(B, P.V, P.Size, R->Signed, Calls)) {
          Calls.clear();
          break;
        }
    if (Calls.empty())
      Calls.push_back(number(0, ConstantInt::get(Rep.I64, 0)));
    return Calls;
  }

  Passed number(uint64_t Size, Value *V) const {
    return {ConstantInt::get(Rep.I32, Size), V,
            ConstantPointerNull::get(Rep.Ptr), ConstantInt::get(Rep.I32, 0)};
  }

  /// Converts a value in registers to 64-bit numbers; false if it cannot.
  bool addPieces(IRBuilder<> &B, Value *V, uint64_t Size, bool Signed,
                 SmallVectorImpl<Passed> &Calls) {
    Type *T = V->getType();
    unsigned Count = T->isStructTy()  ? T->getStructNumElements()
                     : T->isArrayTy() ? T->getArrayNumElements()
                                      : 0;
    if (T->isAggregateType()) {
      for (unsigned I = 0; I < Count && Count <= 16; ++I) {
        Value *Part = B.CreateExtractValue(V, I);
        uint64_t Bytes =
            Rep.DL.getTypeStoreSize(Part->getType()).getFixedValue();
        if (!addPieces(B, Part, Bytes, false, Calls))
          return false;
      }
      return Count && Count <= 16;
    }
    if (T->isPointerTy()) {
      Calls.push_back(
          number(Rep.DL.getPointerSize(), B.CreatePtrToInt(V, Rep.I64)));
      return true;
    }
    if (T->isFloatingPointTy())
      V = B.CreateBitCast(V, B.getIntNTy(T->getPrimitiveSizeInBits()));
    else if (!T->isIntegerTy())
      return false;
    // The source stores more bits than i1 and _BitInt have.
    if (Size)
      V = B.CreateIntCast(V, B.getIntNTy(Size * 8), Signed);
    Calls.push_back(
        number(std::min<uint64_t>(Size, 8), B.CreateZExtOrTrunc(V, Rep.I64)));
    return true;
  }
};

} // namespace

void kcov_dataflow::instrumentByValue(Reporter &R, WorkList &Work) {
  ByValue Way(R);
  for (auto &[F, Params] : Work)
    Way.instrument(*F, Params);
}
