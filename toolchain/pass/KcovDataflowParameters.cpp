//===- KcovDataflowParameters.cpp - Which argument carries what -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/BinaryFormat/Dwarf.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/DebugProgramInstruction.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/Support/ModRef.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

unsigned kcov_dataflow::parameterOf(const Function &F,
                                    const DbgVariableRecord &R) {
  const DILocalVariable *Var = R.getVariable();
  if (!Var->getArg() || R.getDebugLoc().getInlinedAt())
    return 0;
  return Var->getScope()->getSubprogram() == F.getSubprogram() ? Var->getArg()
                                                               : 0;
}

static bool isSkippedArgument(const Argument &A) {
  return A.hasStructRetAttr();
}

/// Follows casts that keep the low bits in place, back to an argument.
static Argument *argumentBehind(Value *V) {
  while (auto *I = dyn_cast<Instruction>(V)) {
    if (!isa<TruncInst, ZExtInst, SExtInst, PtrToIntInst, IntToPtrInst,
             BitCastInst, FreezeInst>(I))
      return nullptr;
    V = I->getOperand(0);
  }
  return dyn_cast<Argument>(V);
}

static AllocaInst *allocaBehind(Value *Pointer, const DataLayout &DL,
                                uint64_t &Offset) {
  APInt Off(DL.getIndexTypeSizeInBits(Pointer->getType()), 0);
  auto *A = dyn_cast<AllocaInst>(
      Pointer->stripAndAccumulateConstantOffsets(DL, Off, true));
  Offset = Off.getZExtValue();
  return A && !Off.isNegative() ? A : nullptr;
}

namespace {

/// Reads the code with which a front end spills the arguments, and the debug
/// records. The result is complete before optimization, best effort after it.
class ParameterMap {
public:
  ParameterMap(Function &F, bool Optimized)
      : F(F), DL(F.getParent()->getDataLayout()), Optimized(Optimized),
        Original(!Optimized || !F.hasLocalLinkage()) {}

  ParameterList build() {
    ParameterList Params;
    if (!declaredTypes(F)) {
      for (Argument &A : F.args())
        if (!isSkippedArgument(A)) {
          Params.emplace_back();
          Params.back().Pieces.push_back(whole(A));
        }
      return Params;
    }
    collectTypes(F, Params);
    followSpills();
    readRecords(Params);
    if (!byPosition(Params))
      fillGaps(Params);
    return Params;
  }

private:
  Function &F;
  const DataLayout &DL;
  bool Optimized;
  bool Original; // nothing has changed the front end's signature
  DenseMap<AllocaInst *, SmallVector<Piece, 2>> Spilled;
  SmallPtrSet<Instruction *, 16> Spills;

  Piece whole(Argument &A) const {
    if (A.hasPassPointeeByValueCopyAttr())
      return {&A, 0, DL.getTypeAllocSize(A.getPointeeInMemoryValueType()),
              true};
    if (!A.getType()->isSized() || A.getType()->isScalableTy())
      return {&A, 0, 0, false};
    return {&A, 0, DL.getTypeStoreSize(A.getType()).getFixedValue(), false};
  }

  void addSpill(AllocaInst *A, Piece P, Instruction &By) {
    for (const Piece &Old : Spilled[A])
      if (P.Offset < Old.Offset + Old.Size && Old.Offset < P.Offset + P.Size)
        return; // only the first one tells the value at entry
    Spilled[A].push_back(P);
    Spills.insert(&By);
  }

  void copySpills(AllocaInst *From, AllocaInst *To, uint64_t Shift,
                  Instruction &By) {
    auto It = Spilled.find(From);
    if (It == Spilled.end() || From == To)
      return;
    SmallVector<Piece, 2> Copy = It->second;
    for (Piece P : Copy) {
      P.Offset += Shift;
      addSpill(To, P, By);
    }
  }

  void followSpills() {
    for (Instruction &I : F.getEntryBlock()) {
      uint64_t Offset = 0, FromOffset = 0;
      if (auto *S = dyn_cast<StoreInst>(&I)) {
        AllocaInst *To = allocaBehind(S->getPointerOperand(), DL, Offset);
        TypeSize Stored = DL.getTypeStoreSize(S->getValueOperand()->getType());
        if (!To || Stored.isScalable())
          continue;
        if (Argument *A = argumentBehind(S->getValueOperand()))
          addSpill(To, {A, Offset, Stored.getFixedValue(), false}, I);
        else if (auto *L = dyn_cast<LoadInst>(S->getValueOperand()))
          if (AllocaInst *From =
                  allocaBehind(L->getPointerOperand(), DL, FromOffset);
              From && !FromOffset)
            copySpills(From, To, Offset, I);
      } else if (auto *C = dyn_cast<MemCpyInst>(&I)) {
        AllocaInst *To = allocaBehind(C->getRawDest(), DL, Offset);
        AllocaInst *From = allocaBehind(C->getRawSource(), DL, FromOffset);
        if (To && From && !FromOffset)
          copySpills(From, To, Offset, I);
      }
    }
  }

  /// Checks whether anything but the spill of the argument may write to memory.
  bool isWritten(Value *Pointer, unsigned Depth = 0) const {
    for (User *U : Pointer->users()) {
      auto *I = dyn_cast<Instruction>(U);
      if (!I || Spills.contains(I) || isa<LoadInst>(I) ||
          I->isLifetimeStartOrEnd())
        continue;
      if (auto *C = dyn_cast<MemCpyInst>(I); C && C->getRawDest() != Pointer)
        continue;
      if (isa<GetElementPtrInst>(I) && Depth < 4 && !isWritten(I, Depth + 1))
        continue;
      return true;
    }
    return false;
  }

  void readRecords(ParameterList &Params) {
    SmallDenseMap<unsigned, SmallVector<std::pair<uint64_t, uint64_t>, 2>> Seen;
    for (Instruction &I : instructions(F)) {
      for (DbgVariableRecord &R : filterDbgVars(I.getDbgRecordRange())) {
        unsigned P = parameterOf(F, R);
        if (!P)
          continue;
        if (Params.size() < P)
          Params.resize(P);
        Parameter &Param = Params[P - 1];
        if (!Param.Type)
          Param.Type = R.getVariable()->getType();
        // If assignment tracking ran first, it made the declare an assign.
        if (R.isDbgAssign()) {
          if (!R.isKillAddress())
            readDeclare(R.getAddressExpression(), R.getAddress(), Param);
        } else if (R.isKillLocation() || R.getNumVariableLocationOps() != 1) {
          continue;
        } else if (R.isDbgDeclare()) {
          readDeclare(R.getExpression(), R.getVariableLocationOp(0), Param);
        } else if (I.getParent() == &F.getEntryBlock()) {
          readValue(R, R.getVariableLocationOp(0), Param, Seen[P]);
        }
      }
    }
  }

  void readDeclare(const DIExpression *E, Value *V, Parameter &Param) {
    bool Indirect = E->isDeref();
    if (E->getNumElements() && !Indirect)
      return;
    if (auto *A = dyn_cast<Argument>(V); A && !Indirect) {
      if (Param.Pieces.empty() && !A->hasStructRetAttr())
        Param.Pieces.push_back({A, 0, sizeOf(Param.Type), true});
      return;
    }
    auto *Slot = dyn_cast<AllocaInst>(V);
    auto It = Spilled.find(Slot);
    if (!Slot || It == Spilled.end() || !Param.Pieces.empty())
      return;
    if (!Indirect) {
      Param.Pieces = It->second;
      Param.Assigned = isWritten(Slot);
    } else if (It->second.size() == 1 && !It->second[0].Offset) {
      Param.Pieces.push_back({It->second[0].V, 0, sizeOf(Param.Type), true});
    }
  }

  void readValue(DbgVariableRecord &R, Value *V, Parameter &Param,
                 SmallVectorImpl<std::pair<uint64_t, uint64_t>> &Seen) {
    const DIExpression *E = R.getExpression();
    auto Fragment = E->getFragmentInfo();
    uint64_t Begin = Fragment ? Fragment->OffsetInBits : 0;
    uint64_t End = Fragment ? Begin + Fragment->SizeInBits : ~uint64_t(0);
    // Only the first record of each part describes the value at entry.
    for (auto [B, X] : Seen)
      if (Begin < X && B < End)
        return;
    Seen.push_back({Begin, End});
    unsigned Own = E->getNumElements() - (Fragment ? 3 : 0);
    if (Fragment && Begin % 8 == 0 && readCoerced(E, V, Begin, Param))
      return;
    auto *A = dyn_cast<Argument>(V);
    if (A && A->hasStructRetAttr())
      return;
    if (A && Own == 1 && E->getElement(0) == dwarf::DW_OP_deref && !Fragment) {
      Param.Pieces.push_back({A, 0, sizeOf(Param.Type), true});
      return;
    }
    if (Own || Begin % 8 || (!A && !isa<Constant>(V)) || isa<UndefValue>(V))
      return;
    // A constant replaces an argument that the optimizer removed. It removes an
    // argument only if it sees all callers.
    if (!A && (Original || !F.hasLocalLinkage()))
      return;
    uint64_t Size = Fragment
                        ? Fragment->SizeInBits / 8
                        : DL.getTypeStoreSize(V->getType()).getFixedValue();
    Param.Pieces.push_back({V, Begin / 8, Size, false});
  }

  /// Handles a part of a struct that shares a register with others. Its record
  /// names the argument shifted and cut down, in code or in its expression.
  /// Takes the whole argument, at the offset where its low bits belong.
  bool readCoerced(const DIExpression *E, Value *V, uint64_t Begin,
                   Parameter &Param) {
    uint64_t Shift = 0, Constant = 0;
    for (const auto &Op : E->expr_ops()) {
      switch (Op.getOp()) {
      case dwarf::DW_OP_constu:
        Constant = Op.getArg(0);
        continue;
      case dwarf::DW_OP_shr:
        Shift += Constant;
        continue;
      case dwarf::DW_OP_LLVM_convert:
      case dwarf::DW_OP_stack_value:
      case dwarf::DW_OP_LLVM_fragment:
        continue;
      default:
        return false;
      }
    }
    while (auto *I = dyn_cast<Instruction>(V)) {
      auto *By = I->getOpcode() == Instruction::LShr
                     ? dyn_cast<ConstantInt>(I->getOperand(1))
                     : nullptr;
      if (By)
        Shift += By->getZExtValue();
      else if (!isa<TruncInst>(I))
        return false;
      V = I->getOperand(0);
    }
    auto *A = dyn_cast<Argument>(V);
    if (!A || !A->getType()->isIntegerTy() || Shift % 8 || Shift > Begin)
      return false;
    if (none_of(Param.Pieces, [&](const Piece &P) { return P.V == A; }))
      Param.Pieces.push_back({A, (Begin - Shift) / 8, whole(*A).Size, false});
    return true;
  }

  /// Optimized code may have lost the record of the value at entry and kept a
  /// later one (`a = b;` as the first statement). If the front end's signature
  /// is unchanged and has one argument for each parameter, they correspond.
  bool byPosition(ParameterList &Params) const {
    SmallVector<Argument *, 8> Args;
    for (Argument &A : F.args())
      if (!isSkippedArgument(A))
        Args.push_back(&A);
    if (!Optimized || !Original || Args.size() != Params.size() ||
        any_of(Params, [](const Parameter &P) { return !sizeOf(P.Type); }))
      return false;
    for (unsigned I = 0; I < Args.size(); ++I)
      if (Params[I].Pieces.empty() || !Params[I].Pieces.front().IsAddress)
        Params[I].Pieces.assign(1, whole(*Args[I]));
    return true;
  }

  /// Finds parameters that no record mentions (unnamed ones). If as many
  /// arguments as parameters are left between two known ones, they correspond.
  void fillGaps(ParameterList &Params) {
    if (!Original)
      return;
    SmallVector<Argument *, 8> Args;
    DenseMap<const Value *, unsigned> Places;
    for (Argument &A : F.args())
      if (!isSkippedArgument(A)) {
        Places[&A] = Args.size();
        Args.push_back(&A);
      }
    unsigned NextArg = 0;
    for (unsigned P = 0; P < Params.size();) {
      if (!Params[P].Pieces.empty()) {
        for (const Piece &Part : Params[P].Pieces)
          if (auto It = Places.find(Part.V); It != Places.end())
            NextArg = std::max(NextArg, It->second + 1);
        ++P;
        continue;
      }
      unsigned Stop = P;
      while (Stop < Params.size() && Params[Stop].Pieces.empty())
        ++Stop;
      unsigned Limit = Args.size();
      if (Stop < Params.size())
        for (const Piece &Part : Params[Stop].Pieces)
          if (auto It = Places.find(Part.V); It != Places.end())
            Limit = std::min(Limit, It->second);
      if (Limit >= NextArg && Limit - NextArg == Stop - P)
        for (unsigned I = 0; I < Stop - P; ++I)
          Params[P + I].Pieces.push_back(whole(*Args[NextArg + I]));
      P = Stop;
    }
  }
};

} // namespace

ParameterList kcov_dataflow::mapParameters(Function &F, bool Optimized) {
  return ParameterMap(F, Optimized).build();
}

bool kcov_dataflow::isGarbage(const Argument &A) {
  if (!A.use_empty() || A.hasPassPointeeByValueCopyAttr())
    return false;
  for (const User *U : A.getParent()->users())
    if (const auto *C = dyn_cast<CallBase>(U))
      if (C->getCalledOperand() == A.getParent() &&
          A.getArgNo() < C->arg_size() &&
          isa<UndefValue>(C->getArgOperand(A.getArgNo())))
        return true;
  return false;
}

static bool isCalledHere(const Function &F) {
  return any_of(F.uses(), [](const Use &U) {
    const auto *C = dyn_cast<CallBase>(U.getUser());
    return C && C->isCallee(&U);
  });
}

bool kcov_dataflow::isUnread(const Argument &A) {
  const Function &F = *A.getParent();
  bool Unread = A.hasAttribute(Attribute::ReadNone) ||
                A.hasAttribute(Attribute::WriteOnly) ||
                !isRefSet(F.getMemoryEffects().getModRef(IRMemLocation::ArgMem));
#if LLVM_VERSION_MAJOR >= 20
  Unread |= A.hasAttribute(Attribute::Initializes);
#endif
  return A.getType()->isPointerTy() && Unread && isCalledHere(F);
}

void kcov_dataflow::findConstants(Function &F, ParameterList &Params) {
  if (!F.hasLocalLinkage() || !F.getSubprogram())
    return;
  for (Instruction &I : instructions(F))
    for (DbgVariableRecord &R : filterDbgVars(I.getDbgRecordRange())) {
      unsigned P = parameterOf(F, R);
      if (!P || P > Params.size() || !R.isDbgValue() || R.isKillLocation() ||
          R.getNumVariableLocationOps() != 1)
        continue;
      Parameter &Param = Params[P - 1];
      auto *C = dyn_cast<Constant>(R.getVariableLocationOp(0));
      if (Param.Assigned || !Param.Pieces.empty() || !C ||
          isa<UndefValue>(C) || R.getExpression()->getNumElements())
        continue;
      Param.Pieces.push_back({C, 0,
                              F.getParent()
                                  ->getDataLayout()
                                  .getTypeStoreSize(C->getType())
                                  .getFixedValue(),
                              false});
    }
}
