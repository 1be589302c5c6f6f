//===- KcovDataflowReports.cpp - What is reported of a value --------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/BinaryFormat/Dwarf.h"
#include "llvm/IR/AttributeMask.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/GlobalAlias.h"
#include "llvm/TargetParser/Triple.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

static constexpr StringLiteral ArgsCallback = "__sanitizer_cov_trace_args";
static constexpr StringLiteral RetCallback = "__sanitizer_cov_trace_ret";

static uint64_t fnv1a(StringRef Text) {
  uint64_t Hash = 0xcbf29ce484222325; // FNV-1a, 64 bit: offset basis and prime
  for (unsigned char C : Text)
    Hash = (Hash ^ C) * 0x100000001b3;
  return Hash;
}

/// Checks whether a value can be copied to memory and has a known size.
static bool isStorable(const Value *V) {
  Type *T = V->getType();
  if (T->isTokenTy() || T->isMetadataTy() || T->isX86_AMXTy() ||
      T->isTargetExtTy() || !T->isSized())
    return false;
  if (const auto *A = dyn_cast<Argument>(V); A && A->hasSwiftErrorAttr())
    return false;
  return !T->isScalableTy();
}

FunctionCallee Reporter::args() {
  if (!Args)
    Args = declare(ArgsCallback, true);
  return Args;
}

FunctionCallee Reporter::ret() {
  if (!Ret)
    Ret = declare(RetCallback, false);
  return Ret;
}

/// Declares a callback. Some ABIs want 32-bit integers extended.
FunctionCallee Reporter::declare(StringRef Name, bool IsArgs) {
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

Attribute::AttrKind Reporter::extension() const {
  Triple T(M.getTargetTriple());
  if (T.isRISCV64() || T.isLoongArch64() || T.isMIPS())
    return Attribute::SExt;
  if (T.isPPC64() || T.isSystemZ())
    return Attribute::ZExt;
  return Attribute::None;
}

CallInst *Reporter::call(IRBuilder<> &B, FunctionCallee Callee,
                         ArrayRef<Value *> Operands) {
  CallInst *C = B.CreateCall(Callee, Operands);
  C->setDoesNotThrow();
  if (Attribute::AttrKind Kind = extension(); Kind != Attribute::None)
    for (unsigned I = 0; I < C->arg_size(); ++I)
      if (C->getArgOperand(I)->getType() == I32)
        C->addParamAttr(I, Kind);
  return C;
}

/// Makes {hash, offset 0, size 0, offset 1, ...} and returns the address of
/// element 1. By value there is no hash.
std::pair<Constant *, uint32_t> Reporter::table(const DICompositeType *C,
                                                StringRef Name) {
  auto [It, New] = Tables.try_emplace(C, nullptr, 0);
  if (!New)
    return It->second;
  SmallVector<uint64_t, 32> Words{
      fnv1a(C->getName().empty() ? Name : C->getName())};
  for (const DINode *N : C->getElements()) {
    const auto *D = dyn_cast<DIDerivedType>(N);
    uint64_t Bits = D ? fieldBits(*D) : 0;
    if (!Bits)
      continue;
    uint64_t Start = D->getOffsetInBits();
    Words.push_back(Start / 8);
    Words.push_back(bytes(Start + Bits) - Start / 8);
  }
  uint32_t Fields = (Words.size() - 1) / 2;
  if (!Fields)
    return It->second;
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
  Constant *Index[] = {ConstantInt::get(I64, 0), ConstantInt::get(I64, 1)};
  It->second = {
      ConstantExpr::getInBoundsGetElementPtr(Data->getType(), GV, Index),
      Fields};
  return It->second;
}

/// Returns the address of this body. A weak definition may lose against another
/// one; its name then refers to the other, even in another section. A private
/// alias stays with this body.
Constant *Reporter::pc(Function &F) {
  Constant *Address = &F;
  Triple T(M.getTargetTriple());
  if ((F.isInterposable() || F.isWeakForLinker()) && T.isOSBinFormatELF())
    Address = GlobalAlias::create(F.getValueType(), F.getAddressSpace(),
                                  GlobalValue::PrivateLinkage,
                                  "__kcov_dataflow_pc", &F, &M);
  return ConstantExpr::getPtrToInt(Address, I64);
}

/// Checks that an integer is all of a value of some bytes, and not one half of
/// it. Sources round bool and _BitInt up, to less than twice their bits.
static bool isWhole(const Type *T, uint64_t Bytes) {
  return T->isIntegerTy() &&
         (Bytes == 1 || T->getIntegerBitWidth() > Bytes * 4);
}

std::optional<Report> Reporter::report(const Parameter &P) {
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
      First.V->getType() == Ptr && !P.Stale) {
    const DICompositeType *C = asStruct(Target, &Name);
    uint64_t Size = C ? sizeOf(C) : 0;
    if (Size)
      std::tie(R.Table, R.Fields) = table(C, Name);
    if (R.Fields) {
      R.Address = First.V;
      R.Size = Size;
      return R;
    }
  }
  const DICompositeType *C = IsPointer ? nullptr : asStruct(P.Type, &Name);
  if (C)
    std::tie(R.Table, R.Fields) = table(C, Name);
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
      isWhole(First.V->getType(), R.Size))
    R.SlotPieces[0].Size = R.Size;
  if (!isCovered(P, R))
    return std::nullopt;
  return R;
}

/// Returns the value's size in bytes as the source declares it. If the source
/// does not declare it, or promoted the value, the IR decides.
uint64_t Reporter::valueSize(const Parameter &P) const {
  uint64_t Known = 0;
  for (const Piece &Part : P.Pieces)
    Known = std::max(Known, Part.Offset + Part.Size);
  uint64_t Declared = sizeOf(P.Type);
  Type *T = P.Pieces.front().V->getType();
  if (!Declared || (P.Pieces.size() == 1 && T->isFloatingPointTy()))
    return Known;
  return Declared;
}

/// Checks whether the pieces hold all values in it. Sets ZeroSlot if they do
/// not hold every byte.
bool Reporter::isCovered(const Parameter &P, Report &R) const {
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
    Need.push_back({0, R.Size});
  return all_of(Need, [&](auto &N) { return Covers(N.first, N.second); });
}

std::optional<Report> Reporter::reportReturn(Function &F, Value *V) {
  if (hasLostResults(F))
    return std::nullopt;
  Parameter P;
  P.Type = returnType(F);
  if (Argument *Buffer = returnBuffer(F)) {
    uint64_t Size = sizeOf(P.Type);
    if (!Size)
      Size = DL.getTypeAllocSize(Buffer->getParamStructRetType());
    P.Pieces.push_back({Buffer, 0, Size, true});
  } else {
    // The optimizer removes what no caller reads.
    if (isa<UndefValue>(V) || !isStorable(V))
      return std::nullopt;
    P.Pieces.push_back(
        {V, 0, DL.getTypeStoreSize(V->getType()).getFixedValue(), false});
  }
  return report(P);
}

/// Aligns the slot to eight bytes. So it never makes a function realign its
/// stack, which takes a base pointer that inline assembly may use.
AllocaInst *Reporter::slot(Function &F, uint64_t Size) {
  if (!Size)
    return nullptr;
  BasicBlock &Entry = F.getEntryBlock();
  IRBuilder<> B(&Entry, Entry.getFirstInsertionPt());
  AllocaInst *Slot =
      B.CreateAlloca(ArrayType::get(I64, (Size + 7) / 8),
                     DL.getAllocaAddrSpace(), nullptr, "kcov.dataflow.slot");
  Slot->setAlignment(Align(8));
  MDNode *None = MDNode::get(M.getContext(), {});
  Slot->setMetadata(LLVMContext::MD_nosanitize, None);
  // From LLVM 20 on: the slot does not call for a stack protector.
  Slot->setMetadata("stack-protector",
                    MDNode::get(M.getContext(), ConstantAsMetadata::get(
                                                    ConstantInt::get(I32, 0))));
  return Slot;
}

CallInst *Reporter::emitArgument(IRBuilder<> &B, Constant *Pc, unsigned Index,
                                 const std::optional<Report> &R,
                                 AllocaInst *Slot) {
  Operands O = operands(B, R, Slot);
  return call(
      B, args(),
      {Pc, ConstantInt::get(I32, Index), O.Size, O.Address, O.Table, O.Fields});
}

CallInst *Reporter::emitReturn(IRBuilder<> &B, Constant *Pc,
                               const std::optional<Report> &R,
                               AllocaInst *Slot) {
  Operands O = operands(B, R, Slot);
  return call(B, ret(), {Pc, O.Size, O.Address, O.Table, O.Fields});
}

Reporter::Operands Reporter::operands(IRBuilder<> &B,
                                      const std::optional<Report> &R,
                                      AllocaInst *Slot) {
  Constant *Null = ConstantPointerNull::get(Ptr);
  if (!R)
    return {ConstantInt::get(I32, 0), Null, Null, ConstantInt::get(I32, 0)};
  Value *Address = R->Address;
  MDNode *None = MDNode::get(M.getContext(), {});
  if (!Address) {
    if (R->ZeroSlot)
      for (uint64_t I = 0; I < R->Size; I += 8)
        B.CreateAlignedStore(ConstantInt::get(I64, 0),
                             B.CreateConstInBoundsGEP1_64(I8, Slot, I),
                             Align(8))
            ->setMetadata(LLVMContext::MD_nosanitize, None);
    for (const Piece &P : R->SlotPieces) {
      Value *V = P.V;
      // The source stores more bits than i1 and _BitInt have.
      if (V->getType()->isIntegerTy() && P.Size)
        V = B.CreateIntCast(V, B.getIntNTy(P.Size * 8), R->Signed);
      Value *To =
          P.Offset ? B.CreateConstInBoundsGEP1_64(I8, Slot, P.Offset) : Slot;
      B.CreateAlignedStore(V, To, commonAlignment(Align(8), P.Offset))
          ->setMetadata(LLVMContext::MD_nosanitize, None);
    }
    Address = Slot;
  }
  if (Address->getType() != Ptr)
    Address = B.CreateAddrSpaceCast(Address, Ptr);
  return {ConstantInt::get(I32, R->Size), Address, R->Fields ? R->Table : Null,
          ConstantInt::get(I32, R->Fields)};
}

Argument *kcov_dataflow::returnBuffer(Function &F) {
  Argument *Buffer = nullptr;
  for (Argument &A : F.args())
    if (A.hasStructRetAttr())
      Buffer = &A;
  return Buffer;
}

bool kcov_dataflow::returnsNothing(Function &F) {
  return F.getReturnType()->isVoidTy() && !returnBuffer(F);
}

SmallVector<ReturnInst *, 4> kcov_dataflow::returnsOf(Function &F) {
  SmallVector<ReturnInst *, 4> Returns;
  for (BasicBlock &BB : F)
    if (auto *R = dyn_cast<ReturnInst>(BB.getTerminator()))
      if (!BB.getTerminatingMustTailCall() &&
          !BB.getTerminatingDeoptimizeCall())
        Returns.push_back(R);
  return Returns;
}

BasicBlock::iterator kcov_dataflow::entryOf(Function &F) {
  BasicBlock::iterator At = F.getEntryBlock().getFirstInsertionPt();
  while (isa<AllocaInst>(*At))
    ++At;
  return At;
}

DebugLoc kcov_dataflow::locationOf(const Function &F) {
  DISubprogram *SP = F.getSubprogram();
  return SP ? DebugLoc(
                  DILocation::get(F.getContext(), SP->getScopeLine(), 0, SP))
            : DebugLoc();
}

DebugLoc kcov_dataflow::locationOf(const ReturnInst &R) {
  if (DebugLoc Own = R.getDebugLoc())
    return Own;
  return locationOf(*R.getFunction());
}

uint64_t kcov_dataflow::slotSize(ArrayRef<std::optional<Report>> Reports,
                                 const DataLayout &DL) {
  uint64_t Size = 0;
  for (const std::optional<Report> &R : Reports)
    if (R)
      Size = std::max(Size, R->slotSize(DL));
  return Size;
}

void kcov_dataflow::forgetEffects(Function &F) {
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
  changeArguments(F, [&](unsigned, AttributeSet Own) {
    return Own.removeAttributes(F.getContext(), Mask);
  });
}
