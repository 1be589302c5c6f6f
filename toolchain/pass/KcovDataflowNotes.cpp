//===- KcovDataflowNotes.cpp - What the first pass tells the last ---------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/Metadata.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

// The mark pass writes these notes. On a parameter: "P,OFFSET,SIZE" (it carries
// SIZE bytes at OFFSET of parameter P) or "P@" (it is the address of parameter
// P). On the function: "COUNT;P,P,...;RESULTS" (the number of parameters, those
// that the source may assign to, and the number of elements that it returns). P
// counts from 1, as in DWARF.
static constexpr StringLiteral ArgNote = "kcov-dataflow-arg";
static constexpr StringLiteral FunctionNote = "kcov-dataflow-params";

// This exists by value only, and only until the last pass. It has one operand
// for each function that may be reported: its subprogram, and the parameters
// whose value at entry the debug records do not tell ("P,P,..."). Unlike
// attributes it outlives inlining.
static constexpr StringLiteral InlineNote = "kcov.dataflow.unsure";

/// Reads the parameters of a list "P,P,...".
static SmallVector<unsigned, 4> readList(StringRef List) {
  SmallVector<unsigned, 4> Found;
  SmallVector<StringRef, 8> Words;
  List.split(Words, ',', -1, /*KeepEmpty=*/false);
  for (StringRef W : Words)
    if (unsigned P = 0; !W.getAsInteger(10, P))
      Found.push_back(P);
  return Found;
}

void kcov_dataflow::changeArguments(
    Function &F, function_ref<AttributeSet(unsigned, AttributeSet)> Change) {
  AttributeList All = F.getAttributes();
  SmallVector<AttributeSet, 8> Changed;
  for (unsigned I = 0; I < F.arg_size(); ++I)
    Changed.push_back(Change(I, All.getParamAttrs(I)));
  F.setAttributes(AttributeList::get(F.getContext(), All.getFnAttrs(),
                                     All.getRetAttrs(), Changed));
}

/// Counts what a function returns: the optimizer removes whole elements.
static unsigned results(const Function &F) {
  Type *T = F.getReturnType();
  return T->isStructTy()  ? T->getStructNumElements()
         : T->isArrayTy() ? T->getArrayNumElements()
                          : !T->isVoidTy();
}

void kcov_dataflow::writeNotes(Function &F, const ParameterList &Params) {
  std::string Note = utostr(Params.size()) + ";";
  SmallVector<std::string, 8> ArgNotes(F.arg_size());
  for (unsigned I = 0; I < Params.size(); ++I) {
    if (Params[I].Assigned)
      Note += utostr(I + 1) + ",";
    for (const Piece &P : Params[I].Pieces)
      if (auto *A = dyn_cast<Argument>(P.V);
          A && ArgNotes[A->getArgNo()].empty())
        ArgNotes[A->getArgNo()] =
            P.IsAddress ? utostr(I + 1) + "@"
                        : utostr(I + 1) + "," + utostr(P.Offset) + "," +
                              utostr(P.Size);
  }
  changeArguments(F, [&](unsigned I, AttributeSet Own) {
    return ArgNotes[I].empty()
               ? Own
               : Own.addAttribute(F.getContext(), ArgNote, ArgNotes[I]);
  });
  F.addFnAttr(FunctionNote, Note + ";" + utostr(results(F)));
}

bool kcov_dataflow::hasLostResults(const Function &F) {
  StringRef Note = F.getFnAttribute(FunctionNote).getValueAsString();
  unsigned Count = 0;
  return !Note.rsplit(';').second.getAsInteger(10, Count) &&
         Count != results(F);
}

std::optional<ParameterList> kcov_dataflow::readNotes(Function &F) {
  if (!F.hasFnAttribute(FunctionNote))
    return std::nullopt;
  auto [Count, Rest] =
      F.getFnAttribute(FunctionNote).getValueAsString().split(';');
  unsigned N = 0;
  if (Count.getAsInteger(10, N) || N > 4096)
    return std::nullopt;
  ParameterList Params(N);
  collectTypes(F, Params);
  for (unsigned P : readList(Rest.split(';').first))
    if (P && P <= Params.size())
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

void kcov_dataflow::writeInlineNote(Function &F, const ParameterList &Params) {
  DISubprogram *SP = F.getSubprogram();
  if (!SP)
    return;
  std::string Unsure;
  for (unsigned I = 0; I < Params.size(); ++I)
    if (Params[I].Assigned || Params[I].Pieces.empty() ||
        any_of(Params[I].Pieces, [](const Piece &P) { return P.IsAddress; }))
      Unsure += utostr(I + 1) + ",";
  LLVMContext &C = F.getContext();
  F.getParent()
      ->getOrInsertNamedMetadata(InlineNote)
      ->addOperand(MDNode::get(C, {SP, MDString::get(C, Unsure)}));
}

UnsureParameters kcov_dataflow::readInlineNotes(Module &M) {
  UnsureParameters Found;
  NamedMDNode *Notes = M.getNamedMetadata(InlineNote);
  for (unsigned I = 0; Notes && I < Notes->getNumOperands(); ++I) {
    const MDNode *N = Notes->getOperand(I);
    auto *SP = dyn_cast_or_null<DISubprogram>(N->getOperand(0));
    auto *List = dyn_cast_or_null<MDString>(N->getOperand(1));
    if (!SP || !List)
      continue;
    Found[SP].append(readList(List->getString()));
  }
  return Found;
}

void kcov_dataflow::removeNotes(Module &M) {
  if (NamedMDNode *N = M.getNamedMetadata(InlineNote))
    M.eraseNamedMetadata(N);
  for (Function &F : M) {
    F.removeFnAttr(FunctionNote);
    changeArguments(F, [&](unsigned, AttributeSet Own) {
      return Own.removeAttribute(F.getContext(), ArgNote);
    });
  }
}
