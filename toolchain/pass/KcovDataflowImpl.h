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

/// Holds some bytes of a parameter, or its address.
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
  bool Stale = false; // callers may have dropped stores to what it points to
};

using ParameterList = SmallVector<Parameter, 8>;

/// Lists the functions of a module to report, with their parameters.
using WorkList = SmallVector<std::pair<Function *, ParameterList>, 0>;

//===----------------------------------------------------------------------===//
// KcovDataflowTypes.cpp
//===----------------------------------------------------------------------===//

inline uint64_t bytes(uint64_t Bits) { return (Bits + 7) / 8; }

/// Strips typedefs and qualifiers. \p Name gets the outermost name on the way.
const DIType *strip(const DIType *T, StringRef *Name = nullptr);

/// Returns what a pointer or reference points to; null for anything else.
/// The result may be null for `void *` too: see \p IsPointer.
const DIType *pointee(const DIType *T, bool &IsPointer);

const DICompositeType *asStruct(const DIType *T, StringRef *Name = nullptr);

uint64_t sizeOf(const DIType *T);

/// Returns the bits of a field or base class; 0 for what holds no value, and for
/// a virtual base class, whose place only the object knows.
uint64_t fieldBits(const DIDerivedType &D);

/// Lists the byte ranges that hold values, without padding. Of a union these are
/// the values of all members.
void leaves(const DIType *T, uint64_t Base,
            SmallVectorImpl<std::pair<uint64_t, uint64_t>> &Out);

/// Returns the parameter types of the debug info; null if it does not say.
const DISubroutineType *declaredTypes(const Function &F);

/// Returns the debug info's return type; null if it does not say.
const DIType *returnType(const Function &F);

/// Enters the declared types into a list of parameters. The list grows to hold
/// them.
void collectTypes(const Function &F, ParameterList &Params);

//===----------------------------------------------------------------------===//
// KcovDataflowParameters.cpp
//===----------------------------------------------------------------------===//

/// Finds which IR arguments carry which parameter. The result is complete
/// before optimization, best effort after it.
ParameterList mapParameters(Function &F, bool Optimized);

/// Returns the parameter of this function that a debug record describes, or 0.
unsigned parameterOf(const Function &F, const DbgVariableRecord &R);

/// Finds constants that stand for removed parameters. Such a constant is the
/// value at entry only if nothing ever assigns to the parameter.
void findConstants(Function &F, ParameterList &Params);

/// Checks whether the optimizer has allowed callers to pass anything. It does
/// so for arguments without a use; a use by this pass comes too late.
bool isGarbage(const Argument &A);

/// Checks whether callers may have dropped stores to what an argument points to,
/// because the function does not read it. The callbacks read it too late.
bool isUnread(const Argument &A);

//===----------------------------------------------------------------------===//
// KcovDataflowNotes.cpp
//===----------------------------------------------------------------------===//

void writeNotes(Function &F, const ParameterList &Params);

/// Reads the notes on a function; nothing if there are none.
std::optional<ParameterList> readNotes(Function &F);

/// Changes the attributes of all arguments at once: one by one, each change
/// copies the attributes of all.
void changeArguments(
    Function &F, function_ref<AttributeSet(unsigned, AttributeSet)> Change);

/// Checks whether the optimizer removed a part of what the function returns.
bool hasLostResults(const Function &F);

/// Finds the parameters for which the records of an inlined copy do not count.
/// If the source assigns to a parameter, only records of later values may be
/// left. If it lies in memory, it may change there.
void writeInlineNote(Function &F, const ParameterList &Params);

/// Maps each function that may be reported when inlined to those parameters.
using UnsureParameters =
    DenseMap<const DISubprogram *, SmallVector<unsigned, 4>>;

UnsureParameters readInlineNotes(Module &M);

void removeNotes(Module &M);

//===----------------------------------------------------------------------===//
// KcovDataflowFrames.cpp
//===----------------------------------------------------------------------===//

/// Describes one inlined call: where its code begins, and what is known of its
/// parameters.
struct Frame {
  const DILocation *InlinedAt = nullptr;
  DISubprogram *SP = nullptr;
  BasicBlock::iterator Start;
  ParameterList Params;
};

/// Lists the inlined calls in a function for which a parameter is known.
SmallVector<Frame, 0> findFrames(Function &F, const UnsureParameters &Unsure);

//===----------------------------------------------------------------------===//
// KcovDataflowReports.cpp
//===----------------------------------------------------------------------===//

/// Describes one call: what to pass as pointer, and what to store before it.
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

/// Decides how to report the values of one module, and emits what all ways of
/// reporting have in common.
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

  /// Declares the callbacks on first use.
  FunctionCallee args();
  FunctionCallee ret();

  CallInst *call(IRBuilder<> &B, FunctionCallee Callee,
                 ArrayRef<Value *> Operands);

  /// Returns the operand that names the function.
  Constant *pc(Function &F);

  /// Returns nothing if the IR does not hold the whole value.
  std::optional<Report> report(const Parameter &P);
  std::optional<Report> reportReturn(Function &F, Value *V);

  /// Returns one piece of stack for all copies in a function: a copy is dead
  /// after its call. Null for no bytes.
  AllocaInst *slot(Function &F, uint64_t Size);

  /// Emits one call of a callback of generation L0.
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

/// Returns the argument through which a function returns a struct, or null.
Argument *returnBuffer(Function &F);

/// Checks that a function returns no value, in a register or through memory.
bool returnsNothing(Function &F);

/// Lists the returns before which a call can stand.
SmallVector<ReturnInst *, 4> returnsOf(Function &F);

/// Finds where a function's own code begins, below its allocas.
BasicBlock::iterator entryOf(Function &F);

/// Returns the location of a function's beginning; none without debug info.
DebugLoc locationOf(const Function &F);

/// Returns the location of a return; that of the beginning if it has none.
DebugLoc locationOf(const ReturnInst &R);

/// Counts the bytes of stack that suffice for the reports, one at a time.
uint64_t slotSize(ArrayRef<std::optional<Report>> Reports,
                  const DataLayout &DL);

/// Drops inferred effects of the function, since callbacks read memory.
void forgetEffects(Function &F);

//===----------------------------------------------------------------------===//
// The ways of reporting: one file for each
//===----------------------------------------------------------------------===//

void instrumentByAddress(Reporter &R, WorkList &Work);
void instrumentByValue(Reporter &R, WorkList &Work);

/// Returns false and changes nothing if the module has no text of a gate.
bool instrumentGated(Reporter &R, WorkList &Work);

} // namespace kcov_dataflow
} // namespace llvm

#endif // LLVM_LIB_TRANSFORMS_INSTRUMENTATION_KCOVDATAFLOWIMPL_H
