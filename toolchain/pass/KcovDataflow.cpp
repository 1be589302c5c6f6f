//===- KcovDataflow.cpp - Report arguments and return values --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

// As a plugin the header lies beside this file, in LLVM's tree with the others.
#if __has_include("KcovDataflow.h")
#include "KcovDataflow.h"
#else
#include "llvm/Transforms/Instrumentation/KcovDataflow.h"
#endif
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/PostOrderIterator.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/BinaryFormat/Dwarf.h"
#include "llvm/IR/AttributeMask.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/DataLayout.h"
#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/DebugProgramInstruction.h"
#include "llvm/IR/Dominators.h"
#include "llvm/IR/Function.h"
#include "llvm/IR/GlobalAlias.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/TargetParser/Triple.h"
#include "llvm/Transforms/Utils/ModuleUtils.h"
#include <cstdlib>
#include <optional>

using namespace llvm;

#ifdef KCOV_DATAFLOW_FAULTS
// A build for tests of the tests: one deliberate mistake, by number. The number
// comes from variant.c, so that one compile serves all of them.
extern "C" const unsigned KcovDataflowFault;
static bool fault(unsigned N) { return KcovDataflowFault == N; }
#else
static constexpr bool fault(unsigned) { return false; }
#endif

namespace {

constexpr StringLiteral ArgsCallback = "__sanitizer_cov_trace_args";
constexpr StringLiteral RetCallback = "__sanitizer_cov_trace_ret";
constexpr StringLiteral GateText = "__kcov_df_gate_text";
constexpr char GateFile[] = "KCOV_DATAFLOW_GATE_TEXT";

// Notes of the mark pass. On a parameter: "P,OFFSET,SIZE" (it carries SIZE
// bytes at OFFSET of parameter P) or "P@" (it is the address of parameter P).
// On the function: "COUNT;P,P,..." (how many parameters there are, and those
// that the source may assign to). P is counted from 1, as in DWARF.
constexpr StringLiteral ArgNote = "kcov-dataflow-arg";
constexpr StringLiteral FunctionNote = "kcov-dataflow-params";

// By value only, and only until the last pass: one operand per function that may
// be reported, its subprogram and the parameters whose value at entry the debug
// records do not tell ("P,P,..."). Unlike attributes it outlives inlining.
constexpr StringLiteral InlineNote = "kcov.dataflow.unsure";

/// Some bytes of a parameter, or its address.
struct Piece {
  Value *V = nullptr;
  uint64_t Offset = 0;
  uint64_t Size = 0;
  bool IsAddress = false;
};

struct Parameter {
  SmallVector<Piece, 2> Pieces;
  bool Assigned = false;
  const DIType *Type = nullptr;
};

using ParameterList = SmallVector<Parameter, 8>;

/// One call: what to pass as pointer, and what to store before it.
struct Report {
  uint64_t Size = 0;
  Constant *Table = nullptr;
  uint32_t Fields = 0;
  Value *Address = nullptr;          // passed as it is, if set
  SmallVector<Piece, 2> SlotPieces;  // else these go to the slot
  bool ZeroSlot = false;
  bool Signed = false;               // how to widen an integer

  uint64_t slotSize(const DataLayout &DL) const {
    uint64_t Bytes = SlotPieces.empty() ? 0 : Size;
    for (const Piece &P : SlotPieces)
      Bytes = std::max(Bytes, P.Offset + DL.getTypeStoreSize(P.V->getType())
                                             .getFixedValue());
    return Bytes;
  }
};

uint64_t bytes(uint64_t Bits) { return (Bits + 7) / 8; }

//===----------------------------------------------------------------------===//
// Debug types
//===----------------------------------------------------------------------===//

/// Without typedefs and qualifiers. \p Name gets the outermost name on the way.
const DIType *strip(const DIType *T, StringRef *Name = nullptr) {
  while (const auto *D = dyn_cast_or_null<DIDerivedType>(T)) {
    switch (D->getTag()) {
    case dwarf::DW_TAG_typedef:
      if (Name && Name->empty())
        *Name = D->getName();
      break;
    case dwarf::DW_TAG_const_type:
    case dwarf::DW_TAG_volatile_type:
    case dwarf::DW_TAG_restrict_type:
    case dwarf::DW_TAG_atomic_type:
    case dwarf::DW_TAG_immutable_type:
      break;
    default:
      return T;
    }
    T = D->getBaseType();
  }
  return T;
}

/// What a pointer or reference points to; null for anything else.
/// The result may be null for `void *` too: see \p IsPointer.
const DIType *pointee(const DIType *T, bool &IsPointer) {
  const auto *D = dyn_cast_or_null<DIDerivedType>(strip(T));
  IsPointer = D && (D->getTag() == dwarf::DW_TAG_pointer_type ||
                    D->getTag() == dwarf::DW_TAG_reference_type ||
                    D->getTag() == dwarf::DW_TAG_rvalue_reference_type);
  return IsPointer ? D->getBaseType() : nullptr;
}

const DICompositeType *asStruct(const DIType *T, StringRef *Name = nullptr) {
  const auto *C = dyn_cast_or_null<DICompositeType>(strip(T, Name));
  if (C && (C->getTag() == dwarf::DW_TAG_structure_type ||
            C->getTag() == dwarf::DW_TAG_class_type ||
            (fault(20) && C->getTag() == dwarf::DW_TAG_union_type)))
    return C;
  return nullptr;
}

uint64_t sizeOf(const DIType *T) {
  const DIType *S = strip(T);
  return S ? bytes(S->getSizeInBits()) : 0;
}

/// The byte ranges that hold values, padding left out. Unions ask for nothing:
/// which of their bytes matter cannot be known.
void leaves(const DIType *T, uint64_t Base,
            SmallVectorImpl<std::pair<uint64_t, uint64_t>> &Out) {
  T = strip(T);
  if (!T || Out.size() > 256)
    return;
  const auto *C = dyn_cast<DICompositeType>(T);
  if (!C || C->getTag() == dwarf::DW_TAG_enumeration_type) {
    if (uint64_t Size = bytes(T->getSizeInBits()))
      Out.push_back({Base, Base + Size});
    return;
  }
  if (C->getTag() == dwarf::DW_TAG_array_type) {
    uint64_t Element = sizeOf(C->getBaseType());
    uint64_t Count = Element ? bytes(C->getSizeInBits()) / Element : 0;
    for (uint64_t I = 0; I < Count && Out.size() <= 256; ++I)
      leaves(C->getBaseType(), Base + I * Element, Out);
    return;
  }
  if (C->getTag() != dwarf::DW_TAG_structure_type &&
      C->getTag() != dwarf::DW_TAG_class_type)
    return;
  for (const DINode *N : C->getElements()) {
    const auto *M = dyn_cast<DIDerivedType>(N);
    if (!M || M->isStaticMember() || !M->getSizeInBits())
      continue;
    uint64_t Start = M->getOffsetInBits();
    if (M->isBitField())
      Out.push_back({Base + Start / 8, Base + bytes(Start + M->getSizeInBits())});
    else
      leaves(M->getBaseType(), Base + Start / 8, Out);
  }
}

uint64_t fnv1a(StringRef Text) {
  uint64_t Hash = 0xcbf29ce484222325; // FNV-1a, 64 bit: offset basis and prime
  for (unsigned char C : Text)
    Hash = (Hash ^ C) * 0x100000001b3;
  return Hash;
}

//===----------------------------------------------------------------------===//
// Functions
//===----------------------------------------------------------------------===//

bool isWanted(const Function &F) {
  if (F.isDeclaration() || F.hasAvailableExternallyLinkage())
    return false;
  if (F.getName().contains(".module_ctor") ||
      F.getName().starts_with("__sanitizer_"))
    return false;
  if ((F.hasFnAttribute(Attribute::NoSanitizeCoverage) && !fault(6)) ||
      F.hasFnAttribute(Attribute::DisableSanitizerInstrumentation) ||
      F.hasFnAttribute(Attribute::Naked) || F.isPresplitCoroutine())
    return false;
  // Code that must not call out even if the attribute got lost (Linux).
  StringRef Section = F.getSection();
  if (Section == ".noinstr.text" || Section == ".cpuidle.text" ||
      Section == ".entry.text")
    return fault(6);
  // Conventions without a usual stack or with a frame made by the processor.
  if (F.getCallingConv() == CallingConv::GHC ||
      F.getCallingConv() == CallingConv::X86_INTR)
    return false;
  return !isa<UnreachableInst>(F.getEntryBlock().front());
}

/// The parameter types that the debug info declares; null if it does not say.
const DISubroutineType *declaredTypes(const Function &F) {
  const DISubprogram *SP = F.getSubprogram();
  const DISubroutineType *T = SP ? SP->getType() : nullptr;
  // With line tables only the list is empty; `void f(void)` has one null.
  return T && T->getTypeArray() && T->getTypeArray().size() ? T : nullptr;
}

bool isSkippedArgument(const Argument &A) { return A.hasStructRetAttr(); }

/// Whether a value can be copied to memory and has a size known now.
bool isStorable(const Value *V) {
  Type *T = V->getType();
  if (T->isTokenTy() || T->isMetadataTy() || T->isX86_AMXTy() ||
      T->isTargetExtTy() || !T->isSized())
    return false;
  if (const auto *A = dyn_cast<Argument>(V); A && A->hasSwiftErrorAttr())
    return false;
  return !T->isScalableTy();
}

void collectTypes(const Function &F, ParameterList &Params) {
  const DISubroutineType *T = declaredTypes(F);
  if (!T)
    return;
  auto Types = T->getTypeArray();
  for (unsigned I = 1; I < Types.size() && Types[I]; ++I) {
    if (Params.size() < I)
      Params.resize(I);
    Params[I - 1].Type = Types[I];
  }
}

/// The parameter that a debug record describes in this function itself, or 0.
unsigned parameterOf(const Function &F, const DbgVariableRecord &R) {
  const DILocalVariable *Var = R.getVariable();
  if (!Var->getArg() || R.getDebugLoc().getInlinedAt())
    return 0;
  return Var->getScope()->getSubprogram() == F.getSubprogram() ? Var->getArg()
                                                               : 0;
}

/// Follow casts that keep the low bits in place back to an argument.
Argument *argumentBehind(Value *V) {
  while (auto *I = dyn_cast<Instruction>(V)) {
    if (!isa<TruncInst, ZExtInst, SExtInst, PtrToIntInst, IntToPtrInst,
             BitCastInst, FreezeInst>(I))
      return nullptr;
    V = I->getOperand(0);
  }
  return dyn_cast<Argument>(V);
}

AllocaInst *allocaBehind(Value *Pointer, const DataLayout &DL,
                         uint64_t &Offset) {
  APInt Off(DL.getIndexTypeSizeInBits(Pointer->getType()), 0);
  auto *A = dyn_cast<AllocaInst>(
      Pointer->stripAndAccumulateConstantOffsets(DL, Off, true));
  Offset = Off.getZExtValue();
  return A && !Off.isNegative() ? A : nullptr;
}

//===----------------------------------------------------------------------===//
// Which IR argument carries which parameter
//===----------------------------------------------------------------------===//

/// Reads the code in which a front end spills the arguments, and the debug
/// records: complete before optimization, best effort after it.
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
  bool Original; // the signature is the front end's
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
        return; // the first one is the value at entry
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

  /// Whether anything but the spill of the argument may write to memory.
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
        // Where assignment tracking ran first, a declare has become an assign.
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
    // Only the first record of each part speaks of the value at entry.
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
    // A constant stands for an argument that the optimizer removed, and it
    // removes them only where it sees all callers.
    if (!A && (Original || !F.hasLocalLinkage()))
      return;
    uint64_t Size = Fragment ? Fragment->SizeInBits / 8
                             : DL.getTypeStoreSize(V->getType()).getFixedValue();
    Param.Pieces.push_back({V, Begin / 8, Size, false});
  }

  /// A part of a struct that came in a register with others: the record names
  /// the argument shifted and cut down, in code or in its expression. Takes the
  /// whole argument, at the offset at which its low bits belong.
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
  /// later one (`a = b;` as the first statement). Where the signature is still
  /// the front end's and has one argument for each parameter, they correspond.
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

  /// Parameters that nothing speaks of (unnamed ones): if as many arguments as
  /// parameters are left between two that are known, they correspond.
  void fillGaps(ParameterList &Params) {
    if (!Original)
      return;
    SmallVector<Argument *, 8> Args;
    for (Argument &A : F.args())
      if (!isSkippedArgument(A))
        Args.push_back(&A);
    unsigned NextArg = 0;
    for (unsigned P = 0; P < Params.size();) {
      if (!Params[P].Pieces.empty()) {
        NextArg = std::max(NextArg, lastArgument(Params[P], Args) + 1);
        ++P;
        continue;
      }
      unsigned Stop = P;
      while (Stop < Params.size() && Params[Stop].Pieces.empty())
        ++Stop;
      unsigned Limit =
          Stop < Params.size() ? firstArgument(Params[Stop], Args) : Args.size();
      if (Limit >= NextArg && Limit - NextArg == Stop - P)
        for (unsigned I = 0; I < Stop - P; ++I)
          Params[P + I].Pieces.push_back(whole(*Args[NextArg + I]));
      P = Stop;
    }
  }

  unsigned firstArgument(const Parameter &P, ArrayRef<Argument *> Args) const {
    unsigned First = Args.size();
    for (const Piece &Part : P.Pieces)
      for (unsigned I = 0; I < Args.size(); ++I)
        if (Args[I] == Part.V)
          First = std::min(First, I);
    return First;
  }

  unsigned lastArgument(const Parameter &P, ArrayRef<Argument *> Args) const {
    unsigned Last = 0;
    for (const Piece &Part : P.Pieces)
      for (unsigned I = 0; I < Args.size(); ++I)
        if (Args[I] == Part.V)
          Last = std::max(Last, I);
    return Last;
  }
};

void writeNotes(Function &F, const ParameterList &Params) {
  std::string Note = utostr(Params.size()) + ";";
  for (unsigned I = 0; I < Params.size(); ++I) {
    if (Params[I].Assigned)
      Note += utostr(I + 1) + ",";
    for (const Piece &P : Params[I].Pieces)
      if (auto *A = dyn_cast<Argument>(P.V);
          A && !F.getAttributes().hasParamAttr(A->getArgNo(), ArgNote))
        A->addAttr(Attribute::get(
            F.getContext(), ArgNote,
            P.IsAddress ? utostr(I + 1) + "@"
                        : utostr(I + 1) + "," + utostr(P.Offset) + "," +
                              utostr(P.Size)));
  }
  F.addFnAttr(FunctionNote, Note);
}

/// What the records of an inlined copy must not be asked: a parameter that the
/// source assigns to has records of later values as well, and only those may be
/// left; one that lies in memory may change there.
void writeInlineNote(Function &F, const ParameterList &Params) {
  DISubprogram *SP = F.getSubprogram();
  if (!SP)
    return;
  std::string Unsure;
  for (unsigned I = 0; I < Params.size(); ++I)
    if (Params[I].Assigned || Params[I].Pieces.empty() ||
        any_of(Params[I].Pieces, [](const Piece &P) { return P.IsAddress; }))
      Unsure += utostr(I + 1) + ",";
  LLVMContext &C = F.getContext();
  F.getParent()->getOrInsertNamedMetadata(InlineNote)->addOperand(
      MDNode::get(C, {SP, MDString::get(C, Unsure)}));
}

void removeNotes(Module &M) {
  if (NamedMDNode *N = M.getNamedMetadata(InlineNote))
    M.eraseNamedMetadata(N);
  for (Function &F : M) {
    F.removeFnAttr(FunctionNote);
    for (Argument &A : F.args())
      F.removeParamAttr(A.getArgNo(), ArgNote);
  }
}

std::optional<ParameterList> readNotes(Function &F) {
  if (!F.hasFnAttribute(FunctionNote))
    return std::nullopt;
  auto [Count, List] =
      F.getFnAttribute(FunctionNote).getValueAsString().split(';');
  unsigned N = 0;
  if (Count.getAsInteger(10, N) || N > 4096)
    return std::nullopt;
  ParameterList Params(N);
  collectTypes(F, Params);
  SmallVector<StringRef, 8> Words;
  List.split(Words, ',', -1, /*KeepEmpty=*/false);
  for (StringRef W : Words)
    if (unsigned P = 0; !W.getAsInteger(10, P) && P && P <= Params.size())
      Params[P - 1].Assigned = true;
  for (Argument &A : F.args()) {
    if (!F.getAttributes().hasParamAttr(A.getArgNo(), ArgNote))
      continue;
    StringRef Note = F.getAttributes()
                         .getParamAttr(A.getArgNo(), ArgNote)
                         .getValueAsString();
    unsigned P = 0;
    if (Note.consumeInteger(10, P) || !P || P > Params.size())
      continue;
    if (Note == "@") {
      uint64_t Size = sizeOf(Params[P - 1].Type);
      if (!Size && A.hasPassPointeeByValueCopyAttr())
        Size = F.getParent()->getDataLayout().getTypeAllocSize(
            A.getPointeeInMemoryValueType());
      Params[P - 1].Pieces.push_back({&A, 0, Size, true});
      continue;
    }
    uint64_t Offset = 0, Size = 0;
    if (!Note.consume_front(",") || Note.consumeInteger(10, Offset) ||
        !Note.consume_front(",") || Note.consumeInteger(10, Size))
      continue;
    Params[P - 1].Pieces.push_back({&A, Offset, Size, false});
  }
  return Params;
}

/// Whether the optimizer has told callers that they may pass anything: it does
/// so for arguments without a use, and a use by us comes too late.
bool isGarbage(const Argument &A) {
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

/// A removed parameter may be known to be a constant. That is its value at
/// entry only if nothing ever assigns to it.
void findConstants(Function &F, ParameterList &Params) {
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
      if ((Param.Assigned && !fault(26)) || !Param.Pieces.empty() || !C ||
          isa<UndefValue>(C) || R.getExpression()->getNumElements())
        continue;
      Param.Pieces.push_back(
          {C, 0,
           F.getParent()->getDataLayout().getTypeStoreSize(C->getType())
               .getFixedValue(),
           false});
    }
}

//===----------------------------------------------------------------------===//
// Inlined functions
//===----------------------------------------------------------------------===//

/// One inlined call: where its code begins, and what is known of its parameters.
struct Frame {
  const DILocation *InlinedAt = nullptr;
  DISubprogram *SP = nullptr;
  BasicBlock::iterator Start;
  ParameterList Params;
};

using UnsureParameters = DenseMap<const DISubprogram *, SmallVector<unsigned, 4>>;

UnsureParameters readInlineNotes(Module &M) {
  UnsureParameters Found;
  NamedMDNode *Notes = M.getNamedMetadata(InlineNote);
  for (unsigned I = 0; Notes && I < Notes->getNumOperands(); ++I) {
    const MDNode *N = Notes->getOperand(I);
    auto *SP = dyn_cast_or_null<DISubprogram>(N->getOperand(0));
    auto *List = dyn_cast_or_null<MDString>(N->getOperand(1));
    if (!SP || !List)
      continue;
    SmallVector<unsigned, 4> &Params = Found[SP];
    SmallVector<StringRef, 8> Words;
    List->getString().split(Words, ',', -1, /*KeepEmpty=*/false);
    for (StringRef W : Words)
      if (unsigned P = 0; !W.getAsInteger(10, P))
        Params.push_back(P);
  }
  return Found;
}

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

  /// The place before an instruction, if a call can be there.
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
        (Fragment && (Fragment->OffsetInBits % 8 || Fragment->SizeInBits % 8)) ||
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

  /// Whether a value is there when the frame begins, or soon after it: then the
  /// frame is reported from below the value's definition.
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

//===----------------------------------------------------------------------===//
// Instrumentation
//===----------------------------------------------------------------------===//

class Instrumenter {
public:
  Instrumenter(Module &M, KcovDataflowOptions Options)
      : M(M), DL(M.getDataLayout()), Options(std::move(Options)),
        I8(Type::getInt8Ty(M.getContext())),
        I32(Type::getInt32Ty(M.getContext())),
        I64(Type::getInt64Ty(M.getContext())),
        Ptr(PointerType::getUnqual(M.getContext())) {}

  bool run() {
    SmallVector<std::pair<Function *, ParameterList>, 0> Work;
    // All of it is read before any of it is changed: what callers pass counts.
    for (Function &F : M)
      if (isWanted(F) && (!Options.IsWanted || Options.IsWanted(F)) &&
          !(fault(17) && F.hasLocalLinkage()) &&
          !(fault(11) && F.isVarArg()))
        Work.push_back({&F, Options.TraceArgs ? parameters(F) : ParameterList()});
    if (Options.ByValue)
      Unsure = readInlineNotes(M);
    if (Options.Gated)
      readGate();
    for (auto &[F, Params] : Work)
      if (Options.ByValue)
        instrumentByValue(*F, Params);
      else if (Gate)
        instrumentGated(*F, Params);
      else
        instrument(*F, Params);
    return !Work.empty();
  }

private:
  Module &M;
  const DataLayout &DL;
  KcovDataflowOptions Options;
  Type *I8, *I32, *I64;
  PointerType *Ptr;
  FunctionCallee Args, Ret;
  UnsureParameters Unsure;
  DenseMap<const DICompositeType *, std::pair<Constant *, uint32_t>> Tables;
  InlineAsm *Gate = nullptr;
  bool OnArm = false;

  ParameterList parameters(Function &F) {
    std::optional<ParameterList> Params = readNotes(F);
    if (!Params)
      Params = ParameterMap(F, /*Optimized=*/true).build();
    for (Parameter &P : *Params)
      if (any_of(P.Pieces, [](const Piece &Part) {
            auto *A = dyn_cast<Argument>(Part.V);
            return A && isGarbage(*A);
          }) && !fault(13))
        P.Pieces.clear();
    findConstants(F, *Params);
    return std::move(*Params);
  }

  /// A callback's declaration. Some ABIs want 32-bit integers extended.
  FunctionCallee declare(StringRef Name, bool IsArgs) {
    SmallVector<Type *, 6> Operands{I64, I32, I32, Ptr, Ptr, I32};
    if (Options.ByValue)
      Operands = {I32, I32, I64, Ptr, I32};
    if (!IsArgs) // no index
      Operands.erase(Operands.begin() + (Options.ByValue ? 0 : 1));
    FunctionType *T =
        FunctionType::get(Type::getVoidTy(M.getContext()), Operands, false);
    FunctionCallee Callee = M.getOrInsertFunction(Name, T);
    if (auto *F = dyn_cast<Function>(Callee.getCallee());
        F && F->isDeclaration()) {
      F->addFnAttr(Attribute::NoUnwind);
      if (Attribute::AttrKind Kind = extension(); Kind != Attribute::None)
        for (unsigned I = 0; I < T->getNumParams(); ++I)
          if (T->getParamType(I) == I32)
            F->addParamAttr(I, Kind);
    }
    return Callee;
  }

  Attribute::AttrKind extension() const {
    Triple T(M.getTargetTriple());
    if (T.isRISCV64() || T.isLoongArch64() || T.isMIPS())
      return Attribute::SExt;
    if (T.isPPC64() || T.isSystemZ())
      return Attribute::ZExt;
    return Attribute::None;
  }

  CallInst *call(IRBuilder<> &B, FunctionCallee Callee,
                 ArrayRef<Value *> Operands) {
    CallInst *C = B.CreateCall(Callee, Operands);
    C->setDoesNotThrow();
    if (Attribute::AttrKind Kind = extension(); Kind != Attribute::None)
      for (unsigned I = 0; I < C->arg_size(); ++I)
        if (C->getArgOperand(I)->getType() == I32)
          C->addParamAttr(I, Kind);
    return C;
  }

  /// {hash, offset 0, size 0, offset 1, ...}; the address of element 1. By
  /// value there is no hash.
  std::pair<Constant *, uint32_t> table(const DICompositeType *C,
                                        StringRef Name) {
    auto [It, New] = Tables.try_emplace(C, nullptr, 0);
    if (!New)
      return It->second;
    SmallVector<uint64_t, 32> Words{fnv1a(C->getName().empty() ? Name
                                                               : C->getName())};
    for (const DINode *N : C->getElements()) {
      const auto *D = dyn_cast<DIDerivedType>(N);
      if (!D || D->getTag() != dwarf::DW_TAG_member || D->isStaticMember())
        continue;
      uint64_t Bits = D->getSizeInBits(), Start = D->getOffsetInBits();
      if (!Bits && !fault(21))
        continue;
      Words.push_back(Start / 8);
      Words.push_back(fault(12) ? Bits / 8 : bytes(Start + Bits) - Start / 8);
    }
    uint32_t Fields = (Words.size() - 1) / 2;
    if (!Fields)
      return It->second;
    if (fault(2) && Fields > 1) {
      std::swap(Words[1], Words[3]);
      std::swap(Words[2], Words[4]);
    }
    if (fault(24))
      Words.pop_back(), Words.pop_back(), --Fields;
    if (Options.ByValue)
      Words.erase(Words.begin());
    Constant *Data = ConstantDataArray::get(M.getContext(), Words);
    auto *GV = new GlobalVariable(M, Data->getType(), /*isConstant=*/true,
                                  GlobalValue::PrivateLinkage, Data,
                                  "__kcov_dataflow_fields");
    GV->setUnnamedAddr(GlobalValue::UnnamedAddr::Global);
    GV->setAlignment(Align(8));
    if (Options.ByValue) {
      It->second = {GV, Fields};
      return It->second;
    }
    Constant *Index[] = {ConstantInt::get(I64, 0),
                         ConstantInt::get(I64, fault(8) ? 0 : 1)};
    It->second = {
        ConstantExpr::getInBoundsGetElementPtr(Data->getType(), GV, Index),
        Fields};
    return It->second;
  }

  /// The operand that names the function. A weak definition may lose against
  /// another one, to which its own name then refers, even across sections; a
  /// private alias stays with this body.
  Constant *pc(Function &F) {
    Constant *Address = &F;
    Triple T(M.getTargetTriple());
    if ((F.isInterposable() || F.isWeakForLinker()) && T.isOSBinFormatELF() &&
        !fault(14))
      Address = GlobalAlias::create(F.getValueType(), F.getAddressSpace(),
                                    GlobalValue::PrivateLinkage,
                                    "__kcov_dataflow_pc", &F, &M);
    return ConstantExpr::getPtrToInt(Address, I64);
  }

  std::optional<Report> report(const Parameter &P) {
    if (P.Pieces.empty())
      return std::nullopt;
    for (const Piece &Part : P.Pieces)
      if (!isStorable(Part.V))
        return std::nullopt;
    Report R;
    StringRef Name;
    bool IsPointer = false;
    const Piece &First = P.Pieces.front();
    const DIType *Target = pointee(P.Type, IsPointer);
    if (IsPointer && P.Pieces.size() == 1 && !First.IsAddress &&
        First.V->getType() == Ptr) {
      const DICompositeType *C = asStruct(Target, &Name);
      uint64_t Size = C ? sizeOf(C) : 0;
      if (Size)
        std::tie(R.Table, R.Fields) = table(C, Name);
      if (R.Fields || fault(10)) {
        R.Address = First.V;
        R.Size = R.Fields ? Size : 8;
        return R;
      }
    }
    const DICompositeType *C = IsPointer ? nullptr : asStruct(P.Type, &Name);
    if (C)
      std::tie(R.Table, R.Fields) = table(C, Name);
    if (fault(18) && R.Fields > 1)
      R.Fields--;
    if (First.IsAddress) {
      R.Address = First.V;
      R.Size = First.Size;
      return R;
    }
    R.SlotPieces = P.Pieces;
    R.Size = valueSize(P);
    const auto *Basic = dyn_cast_or_null<DIBasicType>(strip(P.Type));
    R.Signed = Basic && Basic->getSignedness() == DIBasicType::Signedness::Signed;
    if (P.Pieces.size() == 1 && (Basic || !P.Type) &&
        First.V->getType()->isIntegerTy())
      R.SlotPieces[0].Size = R.Size;
    if (!isCovered(P, R))
      return std::nullopt;
    if (fault(9))
      for (Piece &Part : R.SlotPieces)
        Part.Offset = 0;
    if (fault(3))
      R.Size = std::max<uint64_t>(R.Size / 2, 1);
    if (fault(19) && First.V->getType()->isFloatingPointTy())
      return std::nullopt;
    return R;
  }

  /// How many bytes the source says the value has; what the IR says if the
  /// source does not say, or if it promoted the value on the way.
  uint64_t valueSize(const Parameter &P) const {
    uint64_t Known = 0;
    for (const Piece &Part : P.Pieces)
      Known = std::max(Known, Part.Offset + Part.Size);
    uint64_t Declared = sizeOf(P.Type);
    Type *T = P.Pieces.front().V->getType();
    if (!Declared || (P.Pieces.size() == 1 && T->isFloatingPointTy()))
      return Known;
    return Declared;
  }

  /// Whether the pieces hold every value in it; sets ZeroSlot if not every byte.
  bool isCovered(const Parameter &P, Report &R) const {
    SmallVector<std::pair<uint64_t, uint64_t>, 8> Have, Need;
    for (const Piece &Part : R.SlotPieces)
      Have.push_back({Part.Offset, Part.Offset + Part.Size});
    llvm::sort(Have);
    auto Covers = [&](uint64_t Begin, uint64_t End) {
      for (auto [B, E] : Have)
        if (B <= Begin && Begin < E)
          Begin = E;
      return Begin >= End;
    };
    R.ZeroSlot = !Covers(0, R.Size);
    leaves(P.Type, 0, Need);
    if (Need.empty())
      Need.push_back({0, 1});
    return all_of(Need, [&](auto &N) { return Covers(N.first, N.second); });
  }

  std::optional<Report> reportReturn(Function &F, Value *V, Argument *Buffer,
                                     const DIType *T) {
    Parameter P;
    P.Type = T;
    if (Buffer) {
      uint64_t Size = sizeOf(T);
      if (!Size)
        Size = DL.getTypeAllocSize(Buffer->getParamStructRetType());
      P.Pieces.push_back({Buffer, 0, Size, true});
    } else {
      // The optimizer takes away what no caller looks at.
      if (isa<UndefValue>(V) || !isStorable(V))
        return std::nullopt;
      P.Pieces.push_back(
          {V, 0, DL.getTypeStoreSize(V->getType()).getFixedValue(), false});
    }
    return report(P);
  }

  //===--------------------------------------------------------------------===//
  // By value (generation L3)
  //===--------------------------------------------------------------------===//

  void instrumentByValue(Function &F, const ParameterList &Params) {
    SmallVector<Frame, 0> Frames;
    if (Options.TraceArgs)
      Frames = FrameFinder(F, Unsure).find();
    SmallVector<ReturnInst *, 4> Returns;
    if (Options.TraceRet)
      for (BasicBlock &BB : F)
        if (auto *R = dyn_cast<ReturnInst>(BB.getTerminator()))
          if (!BB.getTerminatingMustTailCall() &&
              !BB.getTerminatingDeoptimizeCall())
            Returns.push_back(R);
    if (Params.empty() && Frames.empty() && Returns.empty())
      return;
    forgetEffects(F);
    if (!Args && Options.TraceArgs)
      Args = declare(ArgsCallback, true);
    if (!Ret && Options.TraceRet)
      Ret = declare(RetCallback, false);
    DISubprogram *SP = F.getSubprogram();
    DebugLoc Loc;
    if (SP)
      Loc = DILocation::get(M.getContext(), SP->getScopeLine(), 0, SP);
    BasicBlock::iterator At = F.getEntryBlock().getFirstInsertionPt();
    while (isa<AllocaInst>(*At))
      ++At;
    reportArguments(At, Loc, Params);
    for (const Frame &One : Frames) {
      bool Early = One.Start->getParent() == At->getParent() &&
                   One.Start->comesBefore(&*At);
      reportArguments(Early ? At : One.Start,
                      DILocation::get(M.getContext(), One.SP->getScopeLine(), 0,
                                      One.SP,
                                      const_cast<DILocation *>(One.InlinedAt)),
                      One.Params);
    }
    Argument *Buffer = nullptr;
    for (Argument &A : F.args())
      if (A.hasStructRetAttr())
        Buffer = &A;
    const DIType *ReturnType = nullptr;
    if (const DISubroutineType *T = declaredTypes(F))
      ReturnType = T->getTypeArray()[0];
    for (ReturnInst *R : Returns) {
      IRBuilder<> B(R);
      if (Loc)
        B.SetCurrentDebugLocation(R->getDebugLoc() ? R->getDebugLoc() : Loc);
      std::optional<Report> What;
      if (Buffer || !F.getReturnType()->isVoidTy())
        What = reportReturn(F, R->getReturnValue(), Buffer, ReturnType);
      for (const Passed &P : passed(B, What))
        callOnce(B, Ret, {P.Size, P.Val, P.Table, P.Fields});
    }
  }

  void reportArguments(BasicBlock::iterator At, DebugLoc Loc,
                       const ParameterList &Params) {
    IRBuilder<> B(At->getParent(), At);
    B.SetCurrentDebugLocation(Loc);
    for (unsigned I = 0; I < Params.size(); ++I)
      for (const Passed &P : passed(B, report(Params[I])))
        callOnce(B, Args, {ConstantInt::get(I32, I), P.Size, P.Val, P.Table,
                           P.Fields});
  }

  /// Each call says by its place what it reports: it must stay a call of its own.
  void callOnce(IRBuilder<> &B, FunctionCallee Callee,
                ArrayRef<Value *> Operands) {
    call(B, Callee, Operands)->addFnAttr(Attribute::NoMerge);
  }

  struct Passed {
    Constant *Size;
    Value *Val;
    Constant *Table, *Fields;
  };

  /// The operands of the calls for one value: an object by its address, anything
  /// else in as many pieces as it is in.
  SmallVector<Passed, 2> passed(IRBuilder<> &B, const std::optional<Report> &R) {
    SmallVector<Passed, 2> Out;
    if (R && R->Address && R->Fields)
      Out.push_back({ConstantInt::get(I32, R->Size),
                     B.CreatePtrToInt(R->Address, I64), R->Table,
                     ConstantInt::get(I32, R->Fields)});
    else if (R && !R->Address)
      for (const Piece &P : R->SlotPieces)
        if (!addPieces(B, P.V, P.Size, R->Signed, Out)) {
          Out.clear();
          break;
        }
    if (Out.empty())
      Out.push_back(number(0, ConstantInt::get(I64, 0)));
    return Out;
  }

  Passed number(uint64_t Size, Value *V) const {
    return {ConstantInt::get(I32, Size), V, ConstantPointerNull::get(Ptr),
            ConstantInt::get(I32, 0)};
  }

  /// A value in registers as 64-bit numbers; false if it cannot be one.
  bool addPieces(IRBuilder<> &B, Value *V, uint64_t Size, bool Signed,
                 SmallVectorImpl<Passed> &Out) {
    Type *T = V->getType();
    unsigned Count = T->isStructTy()  ? T->getStructNumElements()
                     : T->isArrayTy() ? T->getArrayNumElements()
                                      : 0;
    if (T->isAggregateType()) {
      for (unsigned I = 0; I < Count && Count <= 16; ++I) {
        Value *Part = B.CreateExtractValue(V, I);
        uint64_t Bytes = DL.getTypeStoreSize(Part->getType()).getFixedValue();
        if (!addPieces(B, Part, Bytes, false, Out))
          return false;
      }
      return Count && Count <= 16;
    }
    if (T->isPointerTy()) {
      Out.push_back(number(DL.getPointerSize(), B.CreatePtrToInt(V, I64)));
      return true;
    }
    if (T->isFloatingPointTy())
      V = B.CreateBitCast(V, B.getIntNTy(T->getPrimitiveSizeInBits()));
    else if (!T->isIntegerTy())
      return false;
    // i1 and _BitInt are narrower than what the source stores.
    if (Size)
      V = B.CreateIntCast(V, B.getIntNTy(Size * 8), Signed);
    Out.push_back(number(std::min<uint64_t>(Size, 8), B.CreateZExtOrTrunc(V, I64)));
    return true;
  }

  //===--------------------------------------------------------------------===//
  // Behind gates (generation G1)
  //===--------------------------------------------------------------------===//

  /// The text of a gate is a string that the kernel's header gives to every
  /// module: its own static branch, to the label %l[cold].
  void readGate() {
    OnArm = Triple(M.getTargetTriple()).isAArch64();
    GlobalVariable *Text = M.getGlobalVariable(GateText, /*AllowInternal=*/true);
    std::string FromFile;
    StringRef Rest;
    if (Text && Text->hasInitializer()) {
      const auto *Data = dyn_cast<ConstantDataArray>(Text->getInitializer());
      if (!Data || !Data->isCString())
        return;
      Rest = Data->getAsCString();
    } else if (const char *Path = std::getenv(GateFile)) {
      // Rust: the front program has taken this from the command line.
      auto File = MemoryBuffer::getFile(Path);
      if (File)
        FromFile = (*File)->getBuffer().rtrim('\n').str();
      if (FromFile.find("%l[cold]") == std::string::npos)
        report_fatal_error(Twine(Path) + " has no text of a gate",
                           /*gen_crash_diag=*/false);
      Rest = FromFile;
    } else {
      return;
    }
    std::string Out;
    while (!Rest.empty()) {
      if (Rest.consume_front("%l[cold]"))
        Out += "${0:l}";
      else if (Rest.consume_front("__jump_table"))
        Out += "__kcov_df_table";
      else {
        if (Rest.front() == '$')
          Out += '$';
        Out += Rest.front();
        Rest = Rest.drop_front();
      }
    }
    Gate = InlineAsm::get(
        FunctionType::get(Type::getVoidTy(M.getContext()), false), Out,
        OnArm ? "!i,~{cc}" : "!i,~{dirflag},~{fpsr},~{flags}",
        /*hasSideEffects=*/true);
    if (!Text)
      return;
    removeFromUsedLists(M, [&](Constant *C) {
      return C->stripPointerCasts() == Text;
    });
    if (Text->use_empty())
      Text->eraseFromParent();
  }

  /// One operand in a gate's descriptor; the layout is the kernel's.
  struct GateOp {
    Constant *Table = nullptr;
    uint32_t Fields = 0, Size = 0;
    uint8_t Kind = 0, Reg = 0, Reg2 = 0, Offset2 = 0;
  };
  enum { GateNothing, GateNumber, GateAddress, GatePieces };

  struct Pinned {
    Value *V;
    unsigned Reg;
    uint64_t Size;
    bool Signed;
  };

  /// Finds a register for a value: the one that the ABI has put it into, else
  /// a free one.
  static std::optional<unsigned> pin(SmallVectorImpl<Pinned> &Pins, Value *V,
                                     uint64_t Size, bool Signed,
                                     std::optional<unsigned> Home,
                                     unsigned Reserved) {
    unsigned Taken = Reserved;
    for (const Pinned &P : Pins)
      Taken |= 1u << P.Reg;
    unsigned Reg = 0;
    if (Home)
      Reg = *Home;
    else
      while (Reg < 8 && (Taken >> Reg & 1))
        ++Reg;
    if (Reg >= 8)
      return std::nullopt;
    for (const Pinned &P : Pins)
      if (P.Reg == Reg)
        return std::nullopt;
    Pins.push_back({V, Reg, Size, Signed});
    return Reg;
  }

  static bool fitsRegister(Value *V) {
    return V->getType()->isPointerTy() ||
           (V->getType()->isIntegerTy() &&
            V->getType()->getIntegerBitWidth() <= 64);
  }

  /// Describes reports as operands in registers; false if they do not fit.
  bool gateOps(ArrayRef<std::optional<Report>> Reports,
               const DenseMap<Value *, unsigned> &Homes, unsigned Reserved,
               SmallVectorImpl<GateOp> &Ops, SmallVectorImpl<Pinned> &Pins) {
    auto Home = [&](Value *V) -> std::optional<unsigned> {
      auto It = Homes.find(V);
      return It == Homes.end() ? std::nullopt : std::optional(It->second);
    };
    for (const std::optional<Report> &R : Reports) {
      GateOp &Op = Ops.emplace_back();
      if (!R)
        continue;
      Op.Size = R->Size;
      Op.Table = R->Fields ? R->Table : nullptr;
      Op.Fields = R->Fields;
      if (R->Address) {
        auto Reg = pin(Pins, R->Address, 8, false, Home(R->Address), Reserved);
        if (!Reg || R->Address->getType() != Ptr)
          return false;
        Op.Kind = GateAddress;
        Op.Reg = *Reg;
        continue;
      }
      if (R->SlotPieces.empty() || R->SlotPieces.size() > 2)
        return false;
      Op.Kind = R->SlotPieces.size() == 1 && !Op.Table && R->Size <= 8 &&
                        !R->SlotPieces[0].Offset
                    ? GateNumber
                    : GatePieces;
      if (Op.Kind == GatePieces && (R->Size > 16 || R->SlotPieces[0].Offset))
        return false;
      bool First = true;
      for (const Piece &P : R->SlotPieces) {
        if (!fitsRegister(P.V) || P.Offset > 8)
          return false;
        auto Reg = pin(Pins, P.V, P.Size, R->Signed, Home(P.V), Reserved);
        if (!Reg)
          return false;
        (First ? Op.Reg : Op.Reg2) = *Reg;
        if (!First)
          Op.Offset2 = P.Offset;
        First = false;
      }
    }
    return true;
  }

  Constant *gateShape(bool IsReturn, ArrayRef<GateOp> Ops) {
    LLVMContext &C = M.getContext();
    SmallVector<Constant *, 16> Elements{
        ConstantInt::get(I32, Ops.size()),
        ConstantInt::get(I32, IsReturn ? 0xf : 0xe)};
    for (const GateOp &Op : Ops) {
      Constant *Parts[] = {
          Op.Table ? Op.Table : ConstantPointerNull::get(Ptr),
          ConstantInt::get(I32, Op.Fields), ConstantInt::get(I32, Op.Size),
          ConstantInt::get(I64, uint64_t(Op.Kind) | uint64_t(Op.Reg) << 8 |
                                    uint64_t(Op.Reg2) << 16 |
                                    uint64_t(Op.Offset2) << 24)};
      Elements.push_back(ConstantStruct::getAnon(C, Parts));
    }
    Constant *Data = ConstantStruct::getAnon(C, Elements);
    auto [It, New] = Shapes.try_emplace(Data, nullptr);
    if (New) {
      auto *GV = new GlobalVariable(M, Data->getType(), true,
                                    GlobalValue::PrivateLinkage, Data,
                                    "__kcov_df_shape");
      GV->setUnnamedAddr(GlobalValue::UnnamedAddr::Global);
      GV->setAlignment(Align(8));
      It->second = GV;
    }
    return It->second;
  }
  DenseMap<Constant *, Constant *> Shapes;

  Constant *gateHead(Constant *Pc, Constant *Shape) {
    Constant *Parts[] = {Pc, Shape};
    Constant *Data = ConstantStruct::getAnon(M.getContext(), Parts);
    auto *GV = new GlobalVariable(M, Data->getType(), true,
                                  GlobalValue::PrivateLinkage, Data,
                                  "__kcov_df_gate");
    GV->setAlignment(Align(8));
    // In .rodata objtool would take it for the table of a switch.
    GV->setSection(".kcov_df_gates");
    return GV;
  }

  /// A gate before \p At; the block behind it, which jumps back, is returned.
  BasicBlock *gate(Instruction *At, DebugLoc Loc) {
    BasicBlock *Before = At->getParent();
    BasicBlock *After = Before->splitBasicBlock(At->getIterator());
    BasicBlock *Cold = BasicBlock::Create(M.getContext(), "", Before->getParent());
    IRBuilder<> C(Cold);
    C.SetCurrentDebugLocation(Loc);
    C.CreateBr(After);
    Before->getTerminator()->eraseFromParent();
    IRBuilder<> B(Before);
    B.SetCurrentDebugLocation(Loc);
    B.CreateCallBr(Gate->getFunctionType(), Gate, After, {Cold})
        ->addFnAttr(Attribute::NoUnwind);
    return Cold;
  }

  void gateCall(BasicBlock *Cold, DebugLoc Loc, Constant *Head,
                ArrayRef<Pinned> Pins) {
    static const char *const Names[] = {"rdi", "rsi", "rdx", "rcx",
                                        "r8",  "r9",  "rax", "r10"};
    // There is no red zone in a kernel, so a leaf function that has gates
    // need not keep x30 on the hot path.
    static const char *const OnX86 =
        "leaq ${0:c}(%rip), %r11\n\tcall __sanitizer_cov_trace_gated";
    static const char *const OnArm64 =
        "adrp x16, ${0:c}\n\tadd x16, x16, :lo12:${0:c}\n\t"
        "str x30, [sp, #-16]!\n\tbl __sanitizer_cov_trace_gated\n\t"
        "ldr x30, [sp], #16";
    IRBuilder<> B(Cold->getTerminator());
    B.SetCurrentDebugLocation(Loc);
    std::string Constraints = "i";
    SmallVector<Value *, 9> Inputs{Head};
    for (const Pinned &P : Pins) {
      Value *V = P.V;
      if (V->getType()->isIntegerTy()) {
        unsigned Bits = P.Size ? P.Size * 8 : V->getType()->getIntegerBitWidth();
        V = B.CreateIntCast(V, B.getIntNTy(Bits), P.Signed);
        // AArch64 has no registers of less than 32 bits.
        unsigned Whole = Bits <= 8 && !OnArm    ? 8
                         : Bits <= 16 && !OnArm ? 16
                         : Bits <= 32           ? 32
                                                : 64;
        V = B.CreateZExtOrTrunc(V, B.getIntNTy(Whole));
      }
      Inputs.push_back(V);
      std::string Name = Names[P.Reg];
      if (OnArm)
        Name = (V->getType()->isIntegerTy(32) ? "w" : "x") + utostr(P.Reg);
      Constraints += ",{" + Name + "}";
    }
    Constraints += OnArm ? ",~{x16},~{x17},~{memory},~{cc}"
                         : ",~{r11},~{memory},~{dirflag},~{fpsr},~{flags}";
    SmallVector<Type *, 9> Types;
    for (Value *V : Inputs)
      Types.push_back(V->getType());
    FunctionType *T =
        FunctionType::get(Type::getVoidTy(M.getContext()), Types, false);
    CallInst *C = B.CreateCall(
        InlineAsm::get(T, OnArm ? OnArm64 : OnX86, Constraints,
                       /*hasSideEffects=*/true),
        Inputs);
    C->setDoesNotThrow();
    C->addFnAttr(Attribute::Cold);
  }

  void instrumentGated(Function &F, ParameterList &Params) {
    SmallVector<ReturnInst *, 4> Returns;
    Argument *Buffer = nullptr;
    for (Argument &A : F.args())
      if (A.hasStructRetAttr())
        Buffer = &A;
    if (Options.TraceRet && (!F.getReturnType()->isVoidTy() || Buffer))
      for (BasicBlock &BB : F)
        if (auto *R = dyn_cast<ReturnInst>(BB.getTerminator()))
          if (!BB.getTerminatingMustTailCall() &&
              !BB.getTerminatingDeoptimizeCall())
            Returns.push_back(R);
    if (Params.empty() && Returns.empty())
      return;
    forgetEffects(F);
    Constant *Pc = pc(F);
    DebugLoc Loc;
    if (DISubprogram *SP = F.getSubprogram())
      Loc = DILocation::get(M.getContext(), SP->getScopeLine(), 0, SP);
    const DIType *ReturnType = nullptr;
    if (const DISubroutineType *T = declaredTypes(F))
      ReturnType = T->getTypeArray()[0];

    // All is decided before anything is split: a slot must come first.
    SmallVector<std::optional<Report>, 8> Entry;
    for (Parameter &P : Params)
      Entry.push_back(report(P));
    SmallVector<std::optional<Report>, 4> Exit;
    for (ReturnInst *R : Returns)
      Exit.push_back(reportReturn(F, R->getReturnValue(), Buffer, ReturnType));
    DenseMap<Value *, unsigned> Homes;
    unsigned Reserved = 0, Next = 0;
    for (Argument &A : F.args()) {
      if (A.hasByValAttr() || A.getType()->isFPOrFPVectorTy())
        continue;
      if (!fitsRegister(&A) || A.hasNestAttr())
        break;
      if (Next < (OnArm ? 8 : 6)) {
        Homes[&A] = Next;
        Reserved |= 1u << Next++;
      }
    }
    SmallVector<GateOp, 8> EntryOps;
    SmallVector<Pinned, 8> EntryPins;
    bool EntryFits = gateOps(Entry, Homes, Reserved, EntryOps, EntryPins);
    uint64_t SlotSize = 0;
    if (!EntryFits)
      for (auto &R : Entry)
        if (R)
          SlotSize = std::max(SlotSize, R->slotSize(DL));
    struct Way {
      SmallVector<GateOp, 1> Ops;
      SmallVector<Pinned, 2> Pins;
      bool Fits;
    };
    SmallVector<Way, 4> Ways;
    for (unsigned I = 0; I < Exit.size(); ++I) {
      Way W;
      DenseMap<Value *, unsigned> Result;
      if (Value *V = Returns[I]->getReturnValue(); V && !Buffer)
        Result[V] = OnArm ? 0 : 6;
      W.Fits = gateOps(ArrayRef(&Exit[I], 1), Result, 0, W.Ops, W.Pins);
      if (!W.Fits && Exit[I])
        SlotSize = std::max(SlotSize, Exit[I]->slotSize(DL));
      Ways.push_back(std::move(W));
    }
    BasicBlock::iterator At = F.getEntryBlock().getFirstInsertionPt();
    while (isa<AllocaInst>(*At))
      ++At;
    // What is below the gate is no longer the entry block.
    for (Instruction &I : make_early_inc_range(F.getEntryBlock()))
      if (auto *A = dyn_cast<AllocaInst>(&I);
          A && isa<ConstantInt>(A->getArraySize()) && At->comesBefore(A))
        A->moveBefore(*At->getParent(), At);
    AllocaInst *Slot = slot(F, SlotSize);
    for (unsigned I = 0; I < Exit.size(); ++I) {
      DebugLoc At2 = Returns[I]->getDebugLoc() ? Returns[I]->getDebugLoc() : Loc;
      BasicBlock *Cold = gate(Returns[I], At2);
      if (Ways[I].Fits) {
        gateCall(Cold, At2, gateHead(Pc, gateShape(true, Ways[I].Ops)),
                 Ways[I].Pins);
        continue;
      }
      if (!Ret)
        Ret = declare(RetCallback, false);
      IRBuilder<> B(Cold->getTerminator());
      B.SetCurrentDebugLocation(At2);
      Operands O = operands(B, Exit[I], Slot);
      call(B, Ret, {Pc, O.Size, O.Address, O.Table, O.Fields})
          ->addFnAttr(Attribute::Cold);
    }
    if (Entry.empty())
      return;
    BasicBlock *Cold = gate(&*At, Loc);
    if (EntryFits) {
      gateCall(Cold, Loc, gateHead(Pc, gateShape(false, EntryOps)), EntryPins);
      return;
    }
    if (!Args)
      Args = declare(ArgsCallback, true);
    IRBuilder<> B(Cold->getTerminator());
    B.SetCurrentDebugLocation(Loc);
    for (unsigned I = 0; I < Entry.size(); ++I)
      emitArgument(B, Pc, I, Entry[I], Slot);
  }

  //===--------------------------------------------------------------------===//
  // By address (generations L0 and L1)
  //===--------------------------------------------------------------------===//

  void instrument(Function &F, ParameterList &Params) {
    SmallVector<ReturnInst *, 4> Returns;
    Argument *Buffer = nullptr;
    for (Argument &A : F.args())
      if (A.hasStructRetAttr())
        Buffer = &A;
    if (Options.TraceRet && (!F.getReturnType()->isVoidTy() || Buffer || fault(22)))
      for (BasicBlock &BB : F)
        if (auto *R = dyn_cast<ReturnInst>(BB.getTerminator()))
          if ((!BB.getTerminatingMustTailCall() || fault(15)) &&
              !BB.getTerminatingDeoptimizeCall())
            Returns.push_back(R);
    if (fault(4) && !Returns.empty())
      Returns.pop_back();

    SmallVector<std::optional<Report>, 8> Entry;
    SmallVector<std::optional<Report>, 4> Exit;
    uint64_t SlotSize = 0;
    auto Note = [&](const std::optional<Report> &R) {
      if (R)
        SlotSize = std::max(SlotSize, R->slotSize(DL));
    };
    if (fault(5) && Buffer)
      Params.insert(Params.begin(), Parameter{{{Buffer, 0, 8, false}}});
    for (Parameter &P : Params) {
      Entry.push_back(report(P));
      Note(Entry.back());
    }
    const DIType *ReturnType = nullptr;
    if (const DISubroutineType *T = declaredTypes(F))
      ReturnType = T->getTypeArray()[0];
    for (ReturnInst *R : Returns) {
      Exit.push_back(fault(22) && F.getReturnType()->isVoidTy() && !Buffer
                         ? std::nullopt
                         : reportReturn(F, R->getReturnValue(), Buffer,
                                        ReturnType));
      Note(Exit.back());
    }
    if (Entry.empty() && Exit.empty())
      return;

    forgetEffects(F);
    Constant *Pc = fault(7) ? ConstantInt::get(I64, 1) : pc(F);
    DebugLoc Loc;
    if (DISubprogram *SP = F.getSubprogram())
      Loc = DILocation::get(M.getContext(), SP->getScopeLine(), 0, SP);
    BasicBlock::iterator At = F.getEntryBlock().getFirstInsertionPt();
    while (isa<AllocaInst>(*At))
      ++At;
    AllocaInst *Slot = slot(F, SlotSize);
    IRBuilder<> B(&F.getEntryBlock(), At);
    B.SetCurrentDebugLocation(Loc);
    if (!Entry.empty() && !Args)
      Args = declare(ArgsCallback, true);
    for (unsigned I = 0; I < Entry.size(); ++I) {
      if (fault(25) && !Entry[I])
        continue;
      if (fault(23) && Entry[I] && Entry[I]->SlotPieces.size() > 1) {
        for (const Piece &P : Entry[I]->SlotPieces) {
          Report Part;
          Part.Size = P.Size;
          Part.SlotPieces.push_back({P.V, 0, P.Size, false});
          emitArgument(B, Pc, I, Part, Slot);
        }
        continue;
      }
      emitArgument(B, Pc, fault(1) ? I + 1 : I, Entry[I], Slot);
    }
    if (!Exit.empty() && !Ret)
      Ret = declare(RetCallback, false);
    for (unsigned I = 0; I < Exit.size(); ++I) {
      IRBuilder<> R(Returns[I]);
      if (Loc)
        R.SetCurrentDebugLocation(Returns[I]->getDebugLoc()
                                      ? Returns[I]->getDebugLoc()
                                      : Loc);
      Operands O = operands(R, Exit[I], Slot);
      call(R, Ret, {Pc, O.Size, O.Address, O.Table, O.Fields});
    }
  }

  /// Callbacks read memory, so what was inferred about the function is over.
  void forgetEffects(Function &F) {
    F.removeFnAttr(Attribute::Memory);
    F.removeFnAttr(Attribute::Speculatable);
    AttributeMask Mask;
    Mask.addAttribute(Attribute::ReadNone);
    Mask.addAttribute(Attribute::ReadOnly);
    Mask.addAttribute(Attribute::WriteOnly);
#if LLVM_VERSION_MAJOR >= 21
    Mask.addAttribute(Attribute::Captures);
#else
    Mask.addAttribute(Attribute::NoCapture);
#endif
    for (Argument &A : F.args())
      F.removeParamAttrs(A.getArgNo(), Mask);
  }

  /// One piece of stack for all the copies of a function: they are dead after
  /// each call. Eight-byte aligned, so that it never makes a function realign
  /// its stack (and need a base pointer, which inline assembly may use).
  AllocaInst *slot(Function &F, uint64_t Size) {
    if (!Size)
      return nullptr;
    BasicBlock &Entry = F.getEntryBlock();
    IRBuilder<> B(&Entry, Entry.getFirstInsertionPt());
    AllocaInst *Slot = B.CreateAlloca(
        ArrayType::get(I64, (Size + 7) / 8), DL.getAllocaAddrSpace(), nullptr,
        "kcov.dataflow.slot");
    Slot->setAlignment(Align(8));
    MDNode *None = MDNode::get(M.getContext(), {});
    Slot->setMetadata(LLVMContext::MD_nosanitize, None);
    // From LLVM 20 on: no reason for a stack protector.
    Slot->setMetadata("stack-protector",
                      MDNode::get(M.getContext(), ConstantAsMetadata::get(
                                                      ConstantInt::get(I32, 0))));
    return Slot;
  }

  void emitArgument(IRBuilder<> &B, Constant *Pc, unsigned Index,
                    const std::optional<Report> &R, AllocaInst *Slot) {
    Operands O = operands(B, R, Slot);
    call(B, Args, {Pc, ConstantInt::get(I32, Index), O.Size, O.Address, O.Table,
                   O.Fields});
  }

  struct Operands {
    Value *Size, *Address, *Table, *Fields;
  };

  Operands operands(IRBuilder<> &B, const std::optional<Report> &R,
                    AllocaInst *Slot) {
    Constant *Null = ConstantPointerNull::get(Ptr);
    if (!R)
      return {ConstantInt::get(I32, 0), Null, Null, ConstantInt::get(I32, 0)};
    Value *Address = R->Address;
    MDNode *None = MDNode::get(M.getContext(), {});
    if (!Address) {
      if (R->ZeroSlot)
        for (uint64_t I = 0; I < R->Size; I += 8)
          B.CreateAlignedStore(
               ConstantInt::get(I64, 0),
               B.CreateConstInBoundsGEP1_64(I8, Slot, I), Align(8))
              ->setMetadata(LLVMContext::MD_nosanitize, None);
      for (const Piece &P : R->SlotPieces) {
        Value *V = P.V;
        // i1 and _BitInt are narrower than what the source stores.
        if (V->getType()->isIntegerTy() && P.Size)
          V = B.CreateIntCast(V, B.getIntNTy(P.Size * 8), R->Signed);
        if (fault(16) && V->getType() == I8)
          continue;
        Value *To = P.Offset ? B.CreateConstInBoundsGEP1_64(I8, Slot, P.Offset)
                             : Slot;
        B.CreateAlignedStore(V, To, commonAlignment(Align(8), P.Offset))
            ->setMetadata(LLVMContext::MD_nosanitize, None);
      }
      Address = Slot;
    }
    if (Address->getType() != Ptr)
      Address = B.CreateAddrSpaceCast(Address, Ptr);
    return {ConstantInt::get(I32, R->Size), Address,
            R->Fields ? R->Table : Null, ConstantInt::get(I32, R->Fields)};
  }
};

} // namespace

PreservedAnalyses KcovDataflowMarkPass::run(Module &M, ModuleAnalysisManager &) {
  for (Function &F : M)
    if (isWanted(F)) {
      ParameterList Params = ParameterMap(F, /*Optimized=*/false).build();
      writeNotes(F, Params);
      if (ByValue)
        writeInlineNote(F, Params);
    }
  return PreservedAnalyses::all();
}

PreservedAnalyses KcovDataflowPass::run(Module &M, ModuleAnalysisManager &) {
  bool Changed = (Options.TraceArgs || Options.TraceRet) &&
                 Instrumenter(M, Options).run();
  removeNotes(M);
  return Changed ? PreservedAnalyses::none() : PreservedAnalyses::all();
}
