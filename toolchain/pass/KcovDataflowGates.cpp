//===- KcovDataflowGates.cpp - Calls behind gates -------------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/TargetParser/Triple.h"
#include "llvm/Transforms/Utils/ModuleUtils.h"
#include <cstdlib>

using namespace llvm;
using namespace llvm::kcov_dataflow;

static constexpr StringLiteral GateText = "__kcov_df_gate_text";
static constexpr char GateFile[] = "KCOV_DATAFLOW_GATE_TEXT";

namespace {

/// Names what an operand is. The kernel defines the numbers.
enum { GateNothing, GateNumber, GateAddress, GatePieces };

/// Holds one operand of a gate's descriptor. The kernel defines the layout.
struct GateOp {
  Constant *Table = nullptr;
  uint32_t Fields = 0, Size = 0;
  uint8_t Kind = 0, Reg = 0, Reg2 = 0, Offset2 = 0;
};

/// Pairs a value with the register that passes it.
struct Pinned {
  Value *V;
  unsigned Reg;
  uint64_t Size;
  bool Signed;
};

/// Lists the registers in which the ABI passes values.
using HomeMap = DenseMap<Value *, unsigned>;

/// Holds what stands behind one gate: one call with all operands in registers.
/// If they do not fit there, these are the calls of generation L0.
struct Way {
  SmallVector<std::optional<Report>, 4> Reports;
  SmallVector<GateOp, 4> Ops;
  SmallVector<Pinned, 4> Pins;
  bool Fits = false;
};

} // namespace

/// Finds a register for a value: the one in which the ABI passed it, else a
/// free one.
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

namespace {

class Gates {
public:
  explicit Gates(Reporter &Rep)
      : Rep(Rep), OnArm(Triple(Rep.M.getTargetTriple()).isAArch64()) {
    readGate();
  }

  bool areKnown() const { return Gate; }

  void instrument(Function &F, const ParameterList &Params) {
    SmallVector<ReturnInst *, 4> Returns;
    if (Rep.Options.TraceRet && !returnsNothing(F))
      Returns = returnsOf(F);
    if (Params.empty() && Returns.empty())
      return;
    forgetEffects(F);
    Constant *Pc = Rep.pc(F);

    // Decide everything before splitting blocks: a slot must come first.
    Way Entry = entryWay(F, Params);
    SmallVector<Way, 0> Exits;
    for (ReturnInst *R : Returns)
      Exits.push_back(exitWay(F, *R));
    uint64_t SlotSize = slotSize(Entry);
    for (const Way &W : Exits)
      SlotSize = std::max(SlotSize, slotSize(W));
    BasicBlock::iterator At = entryOf(F);
    // The code below the gate is no longer in the entry block.
    for (Instruction &I : make_early_inc_range(F.getEntryBlock()))
      if (auto *A = dyn_cast<AllocaInst>(&I);
          A && isa<ConstantInt>(A->getArraySize()) && At->comesBefore(A))
        A->moveBefore(*At->getParent(), At);
    AllocaInst *Slot = Rep.slot(F, SlotSize);

    for (unsigned I = 0; I < Returns.size(); ++I) {
      IRBuilder<> B(gate(Returns[I], locationOf(*Returns[I])));
      if (Exits[I].Fits)
        gateCall(B, gateHead(Pc, gateShape(true, Exits[I].Ops)), Exits[I].Pins);
      else
        Rep.emitReturn(B, Pc, Exits[I].Reports[0], Slot)
            ->addFnAttr(Attribute::Cold);
    }
    if (Params.empty())
      return;
    IRBuilder<> B(gate(&*At, locationOf(F)));
    if (Entry.Fits)
      gateCall(B, gateHead(Pc, gateShape(false, Entry.Ops)), Entry.Pins);
    else
      for (unsigned I = 0; I < Entry.Reports.size(); ++I)
        Rep.emitArgument(B, Pc, I, Entry.Reports[I], Slot);
  }

private:
  Reporter &Rep;
  const bool OnArm;
  InlineAsm *Gate = nullptr;
  DenseMap<Constant *, Constant *> Shapes;

  /// Returns the text of a gate. The kernel's header gives this string to every
  /// module: the kernel's own static branch, to the label %l[cold].
  void readGate() {
    GlobalVariable *Text =
        Rep.M.getGlobalVariable(GateText, /*AllowInternal=*/true);
    std::string FromFile;
    StringRef Rest;
    if (Text && Text->hasInitializer()) {
      const auto *Data = dyn_cast<ConstantDataArray>(Text->getInitializer());
      if (!Data || !Data->isCString())
        return;
      Rest = Data->getAsCString();
    } else if (const char *Path = std::getenv(GateFile)) {
      // Rust: the front program removed this from the command line.
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
        FunctionType::get(Type::getVoidTy(Rep.M.getContext()), false), Out,
        OnArm ? "!i,~{cc}" : "!i,~{dirflag},~{fpsr},~{flags}",
        /*hasSideEffects=*/true);
    if (!Text)
      return;
    removeFromUsedLists(
        Rep.M, [&](Constant *C) { return C->stripPointerCasts() == Text; });
    if (Text->use_empty())
      Text->eraseFromParent();
  }

  Way entryWay(Function &F, const ParameterList &Params) {
    Way W;
    for (const Parameter &P : Params)
      W.Reports.push_back(Rep.report(P));
    HomeMap Homes;
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
    W.Fits = gateOps(W, Homes, Reserved);
    return W;
  }

  Way exitWay(Function &F, ReturnInst &R) {
    Way W;
    Value *V = R.getReturnValue();
    W.Reports.push_back(Rep.reportReturn(F, V));
    HomeMap Homes;
    if (V && !returnBuffer(F))
      Homes[V] = OnArm ? 0 : 6;
    W.Fits = gateOps(W, Homes, 0);
    return W;
  }

  uint64_t slotSize(const Way &W) const {
    return W.Fits ? 0 : kcov_dataflow::slotSize(W.Reports, Rep.DL);
  }

  /// Describes reports as operands in registers. Returns false if they do not
  /// fit.
  bool gateOps(Way &W, const HomeMap &Homes, unsigned Reserved) {
    auto Home = [&](Value *V) -> std::optional<unsigned> {
      auto It = Homes.find(V);
      return It == Homes.end() ? std::nullopt : std::optional(It->second);
    };
    for (const std::optional<Report> &R : W.Reports) {
      GateOp &Op = W.Ops.emplace_back();
      if (!R)
        continue;
      Op.Size = R->Size;
      Op.Table = R->Fields ? R->Table : nullptr;
      Op.Fields = R->Fields;
      if (R->Address) {
        auto Reg =
            pin(W.Pins, R->Address, 8, false, Home(R->Address), Reserved);
        if (!Reg || R->Address->getType() != Rep.Ptr)
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
        auto Reg = pin(W.Pins, P.V, P.Size, R->Signed, Home(P.V), Reserved);
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
    LLVMContext &C = Rep.M.getContext();
    SmallVector<Constant *, 16> Elements{
        ConstantInt::get(Rep.I32, Ops.size()),
        ConstantInt::get(Rep.I32, IsReturn ? 0xf : 0xe)};
    for (const GateOp &Op : Ops) {
      Constant *Parts[] = {
          Op.Table ? Op.Table : ConstantPointerNull::get(Rep.Ptr),
          ConstantInt::get(Rep.I32, Op.Fields),
          ConstantInt::get(Rep.I32, Op.Size),
          ConstantInt::get(Rep.I64, uint64_t(Op.Kind) | uint64_t(Op.Reg) << 8 |
                                        uint64_t(Op.Reg2) << 16 |
                                        uint64_t(Op.Offset2) << 24)};
      Elements.push_back(ConstantStruct::getAnon(C, Parts));
    }
    Constant *Data = ConstantStruct::getAnon(C, Elements);
    auto [It, New] = Shapes.try_emplace(Data, nullptr);
    if (New) {
      auto *GV = new GlobalVariable(Rep.M, Data->getType(), true,
                                    GlobalValue::PrivateLinkage, Data,
                                    "__kcov_df_shape");
      GV->setUnnamedAddr(GlobalValue::UnnamedAddr::Global);
      GV->setAlignment(Align(8));
      It->second = GV;
    }
    return It->second;
  }

  Constant *gateHead(Constant *Pc, Constant *Shape) {
    Constant *Parts[] = {Pc, Shape};
    Constant *Data = ConstantStruct::getAnon(Rep.M.getContext(), Parts);
    auto *GV =
        new GlobalVariable(Rep.M, Data->getType(), true,
                           GlobalValue::PrivateLinkage, Data, "__kcov_df_gate");
    GV->setAlignment(Align(8));
    // In .rodata, objtool would take it for the table of a switch.
    GV->setSection(".kcov_df_gates");
    return GV;
  }

  /// Emits a gate before \p At. Returns the jump back from the code behind it.
  Instruction *gate(Instruction *At, DebugLoc Loc) {
    BasicBlock *Before = At->getParent();
    BasicBlock *After = Before->splitBasicBlock(At->getIterator());
    BasicBlock *Cold =
        BasicBlock::Create(Rep.M.getContext(), "", Before->getParent());
    IRBuilder<> C(Cold);
    C.SetCurrentDebugLocation(Loc);
    Instruction *Back = C.CreateBr(After);
    Before->getTerminator()->eraseFromParent();
    IRBuilder<> B(Before);
    B.SetCurrentDebugLocation(Loc);
    B.CreateCallBr(Gate->getFunctionType(), Gate, After, {Cold})
        ->addFnAttr(Attribute::NoUnwind);
    return Back;
  }

  void gateCall(IRBuilder<> &B, Constant *Head, ArrayRef<Pinned> Pins) {
    static const char *const Names[] = {"rdi", "rsi", "rdx", "rcx",
                                        "r8",  "r9",  "rax", "r10"};
    // A kernel has no red zone. So a leaf function with gates need not save
    // x30 on the hot path.
    static const char *const OnX86 =
        "leaq ${0:c}(%rip), %r11\n\tcall __sanitizer_cov_trace_gated";
    static const char *const OnArm64 =
        "adrp x16, ${0:c}\n\tadd x16, x16, :lo12:${0:c}\n\t"
        "str x30, [sp, #-16]!\n\tbl __sanitizer_cov_trace_gated\n\t"
        "ldr x30, [sp], #16";
    std::string Constraints = "i";
    SmallVector<Value *, 9> Inputs{Head};
    for (const Pinned &P : Pins) {
      Value *V = P.V;
      if (V->getType()->isIntegerTy()) {
        unsigned Bits =
            P.Size ? P.Size * 8 : V->getType()->getIntegerBitWidth();
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
        FunctionType::get(Type::getVoidTy(Rep.M.getContext()), Types, false);
    CallInst *C =
        B.CreateCall(InlineAsm::get(T, OnArm ? OnArm64 : OnX86, Constraints,
                                    /*hasSideEffects=*/true),
                     Inputs);
    C->setDoesNotThrow();
    C->addFnAttr(Attribute::Cold);
  }
};

} // namespace

bool kcov_dataflow::instrumentGated(Reporter &R, WorkList &Work) {
  Gates Way(R);
  if (!Way.areKnown())
    return false;
  for (auto &[F, Params] : Work)
    Way.instrument(*F, Params);
  return true;
}
