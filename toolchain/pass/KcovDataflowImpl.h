//===- KcovDataflowImpl.h - What the files of the pass share ----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   KcovDataflow.cpp            the passes, and which functions are reported
//   KcovDataflowTypes.cpp       what the debug info says of types
//   KcovDataflowParameters.cpp  which IR argument carries which parameter
//   KcovDataflowNotes.cpp       that, from the first pass to the last one
//   KcovDataflowFrames.cpp      inlined functions and their parameters
//   KcovDataflowReports.cpp     what is reported of a value, and its parts
//   KcovDataflowByAddress.cpp   calls with addresses (generation L0)
//   KcovDataflowByValue.cpp     calls with values (generation L3)
//   KcovDataflowGates.cpp       calls behind gates (generation G1)
//
//===----------------------------------------------------------------------===//

#ifndef LLVM_LIB_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOWIMPL_H
#define LLVM_LIB_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOWIMPL_H

// As a plugin the header lies beside this file, in LLVM's tree with the others.
#if __has_include("KcovDataflow.h")
#include "KcovDataflow.h"
#else
#include "llvm/Transforms/Instrumentation/KcovDataflow.h"
#endif
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/IR/DataLayout.h"
#include "llvm/IR/DebugInfoMetadata.h"
#include "llvm/IR/Function.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/Module.h"
#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

namespace llvm {
namespace kcov_dataflow {

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

/// The functions of a module that are reported, with their parameters.
using WorkList = SmallVector<std::pair<Function *, ParameterList>, 0>;

//===----------------------------------------------------------------------===//
// KcovDataflowTypes.cpp
//===----------------------------------------------------------------------===//

inline uint64_t bytes(uint64_t Bits) { return (Bits + 7) / 8; }

/// Without typedefs and qualifiers. \p Name gets the outermost name on the way.
const DIType *strip(const DIType *T, StringRef *Name = nullptr);

/// What a pointer or reference points to; null for anything else.
/// The result may be null for `void *` too: see \p IsPointer.
const DIType *pointee(const DIType *T, bool &IsPointer);

const DICompositeType *asStruct(const DIType *T, StringRef *Name = nullptr);

uint64_t sizeOf(const DIType *T);

/// The byte ranges that hold values, padding left out. Unions ask for nothing:
/// which of their bytes matter cannot be known.
void leaves(const DIType *T, uint64_t Base,
            SmallVectorImpl<std::pair<uint64_t, uint64_t>> &Out);

/// The parameter types that the debug info declares; null if it does not say.
const DISubroutineType *declaredTypes(const Function &F);

/// What the debug info says that a function returns; null if it does not say.
const DIType *returnType(const Function &F);

/// Enter the declared types into a list of parameters, which grows to hold
/// them.
void collectTypes(const Function &F, ParameterList &Params);

//===----------------------------------------------------------------------===//
// KcovDataflowParameters.cpp
//===----------------------------------------------------------------------===//

/// Which IR arguments carry which parameter: complete before optimization, best
/// effort after it.
ParameterList mapParameters(Function &F, bool Optimized);

/// The parameter that a debug record describes in this function itself, or 0.
unsigned parameterOf(const Function &F, const DbgVariableRecord &R);

/// A removed parameter may be known to be a constant. That is its value at
/// entry only if nothing ever assigns to it.
void findConstants(Function &F, ParameterList &Params);

/// Whether the optimizer has told callers that they may pass anything: it does
/// so for arguments without a use, and a use by us comes too late.
bool isGarbage(const Argument &A);

//===----------------------------------------------------------------------===//
// KcovDataflowNotes.cpp
//===----------------------------------------------------------------------===//

void writeNotes(Function &F, const ParameterList &Params);

/// What was noted of a function; nothing if there are no notes to be read.
std::optional<ParameterList> readNotes(Function &F);

/// What the records of an inlined copy must not be asked: a parameter that the
/// source assigns to has records of later values as well, and only those may be
/// left; one that lies in memory may change there.
void writeInlineNote(Function &F, const ParameterList &Params);

/// For each function that may be reported when inlined: those parameters.
using UnsureParameters =
    DenseMap<const DISubprogram *, SmallVector<unsigned, 4>>;

UnsureParameters readInlineNotes(Module &M);

void removeNotes(Module &M);

//===----------------------------------------------------------------------===//
// KcovDataflowFrames.cpp
//===----------------------------------------------------------------------===//

/// One inlined call: where its code begins, and what is known of its
/// parameters.
struct Frame {
  const DILocation *InlinedAt = nullptr;
  DISubprogram *SP = nullptr;
  BasicBlock::iterator Start;
  ParameterList Params;
};

/// The inlined calls of a function of which a parameter is known.
SmallVector<Frame, 0> findFrames(Function &F, const UnsureParameters &Unsure);

//===----------------------------------------------------------------------===//
// KcovDataflowReports.cpp
//===----------------------------------------------------------------------===//

/// One call: what to pass as pointer, and what to store before it.
struct Report {
  uint64_t Size = 0;
  Constant *Table = nullptr;
  uint32_t Fields = 0;
  Value *Address = nullptr;         // passed as it is, if set
  SmallVector<Piece, 2> SlotPieces; // else these go to the slot
  bool ZeroSlot = false;
  bool Signed = false; // how to widen an integer

  uint64_t slotSize(const DataLayout &DL) const {
    uint64_t Bytes = SlotPieces.empty() ? 0 : Size;
    for (const Piece &P : SlotPieces)
      Bytes = std::max(Bytes,
                       P.Offset +
                           DL.getTypeStoreSize(P.V->getType()).getFixedValue());
    return Bytes;
  }
};

/// Decides for the values of one module what is reported of them, and emits
/// what all ways of reporting have in common.
class Reporter {
public:
  Reporter(Module &M, const KcovDataflowOptions &Options)
      : M(M), DL(M.getDataLayout()), Options(Options),
        I8(Type::getInt8Ty(M.getContext())),
        I32(Type::getInt32Ty(M.getContext())),
        I64(Type::getInt64Ty(M.getContext())),
        Ptr(PointerType::getUnqual(M.getContext())) {}

  Module &M;
  const DataLayout &DL;
  const KcovDataflowOptions &Options;
  Type *const I8, *const I32, *const I64;
  PointerType *const Ptr;

  /// The callbacks, declared when they are first asked for.
  FunctionCallee args();
  FunctionCallee ret();

  CallInst *call(IRBuilder<> &B, FunctionCallee Callee,
                 ArrayRef<Value *> Operands);

  /// The operand that names the function.
  Constant *pc(Function &F);

  /// Nothing if the value is not whole in what the IR has of it.
  std::optional<Report> report(const Parameter &P);
  std::optional<Report> reportReturn(Function &F, Value *V);

  /// One piece of stack for all the copies of a function: they are dead after
  /// each call. Null for no bytes.
  AllocaInst *slot(Function &F, uint64_t Size);

  /// One call of a callback of generation L0.
  CallInst *emitArgument(IRBuilder<> &B, Constant *Pc, unsigned Index,
                         const std::optional<Report> &R, AllocaInst *Slot);
  CallInst *emitReturn(IRBuilder<> &B, Constant *Pc,
                       const std::optional<Report> &R, AllocaInst *Slot);

private:
  FunctionCallee Args, Ret;
  DenseMap<const DICompositeType *, std::pair<Constant *, uint32_t>> Tables;

  struct Operands {
    Value *Size, *Address, *Table, *Fields;
  };

  FunctionCallee declare(StringRef Name, bool IsArgs);
  Attribute::AttrKind extension() const;
  std::pair<Constant *, uint32_t> table(const DICompositeType *C,
                                        StringRef Name);
  uint64_t valueSize(const Parameter &P) const;
  bool isCovered(const Parameter &P, Report &R) const;
  Operands operands(IRBuilder<> &B, const std::optional<Report> &R,
                    AllocaInst *Slot);
};

/// The argument through which a function returns a struct, or null.
Argument *returnBuffer(Function &F);

/// Whether a function returns no value, in a register or through memory.
bool returnsNothing(Function &F);

/// The returns before which a call can stand.
SmallVector<ReturnInst *, 4> returnsOf(Function &F);

/// Where a function's own code begins, below its allocas.
BasicBlock::iterator entryOf(Function &F);

/// The location of a function's beginning; none without debug info.
DebugLoc locationOf(const Function &F);

/// The location of a return, which is that of the beginning if it has none.
DebugLoc locationOf(const ReturnInst &R);

/// How many bytes of stack suffice for each of the reports in its turn.
uint64_t slotSize(ArrayRef<std::optional<Report>> Reports,
                  const DataLayout &DL);

/// Callbacks read memory, so what was inferred about the function is over.
void forgetEffects(Function &F);

//===----------------------------------------------------------------------===//
// The ways of reporting, a file each
//===----------------------------------------------------------------------===//

void instrumentByAddress(Reporter &R, WorkList &Work);
void instrumentByValue(Reporter &R, WorkList &Work);

/// False, and nothing is changed, if the module brings no text of a gate.
bool instrumentGated(Reporter &R, WorkList &Work);

} // namespace kcov_dataflow
} // namespace llvm

#endif // LLVM_LIB_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOWIMPL_H
