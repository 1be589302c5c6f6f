//===- KcovDataflowTypes.cpp - What the debug info says of types ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KcovDataflowImpl.h"
#include "llvm/BinaryFormat/Dwarf.h"
#include "llvm/Support/Casting.h"

using namespace llvm;
using namespace llvm::kcov_dataflow;

const DIType *kcov_dataflow::strip(const DIType *T, StringRef *Name) {
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

const DIType *kcov_dataflow::pointee(const DIType *T, bool &IsPointer) {
  const auto *D = dyn_cast_or_null<DIDerivedType>(strip(T));
  IsPointer = D && (D->getTag() == dwarf::DW_TAG_pointer_type ||
                    D->getTag() == dwarf::DW_TAG_reference_type ||
                    D->getTag() == dwarf::DW_TAG_rvalue_reference_type);
  return IsPointer ? D->getBaseType() : nullptr;
}

const DICompositeType *kcov_dataflow::asStruct(const DIType *T,
                                               StringRef *Name) {
  const auto *C = dyn_cast_or_null<DICompositeType>(strip(T, Name));
  if (C && (C->getTag() == dwarf::DW_TAG_structure_type ||
            C->getTag() == dwarf::DW_TAG_class_type))
    return C;
  return nullptr;
}

uint64_t kcov_dataflow::sizeOf(const DIType *T) {
  const DIType *S = strip(T);
  return S ? bytes(S->getSizeInBits()) : 0;
}

uint64_t kcov_dataflow::fieldBits(const DIDerivedType &D) {
  if (D.isStaticMember() || (D.getFlags() & DINode::FlagVirtual))
    return 0;
  // Debug information gives no size of a base class here.
  if (D.getTag() == dwarf::DW_TAG_inheritance)
    return sizeOf(D.getBaseType()) * 8;
  return D.getTag() == dwarf::DW_TAG_member ? D.getSizeInBits() : 0;
}

void kcov_dataflow::leaves(
    const DIType *T, uint64_t Base,
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
  auto Add = [&](const DIDerivedType *M) {
    uint64_t Bits = M ? fieldBits(*M) : 0;
    if (!Bits)
      return;
    uint64_t Start = M->getOffsetInBits();
    if (M->isBitField())
      Out.push_back({Base + Start / 8, Base + bytes(Start + Bits)});
    else
      leaves(M->getBaseType(), Base + Start / 8, Out);
  };
  // Nobody knows which member of a union counts, so all of them do. Rust's enums
  // with data are such unions, with a number that tells the variants apart.
  if (C->getTag() == dwarf::DW_TAG_variant_part)
    Add(C->getDiscriminator());
  for (const DINode *N : C->getElements())
    if (const auto *Variants = dyn_cast<DICompositeType>(N))
      leaves(Variants->getTag() == dwarf::DW_TAG_variant_part ? Variants
                                                              : nullptr,
             Base, Out);
    else
      Add(dyn_cast<DIDerivedType>(N));
}

const DISubroutineType *kcov_dataflow::declaredTypes(const Function &F) {
  const DISubprogram *SP = F.getSubprogram();
  const DISubroutineType *T = SP ? SP->getType() : nullptr;
  // With line tables only the list is empty; `void f(void)` has one null.
  return T && T->getTypeArray() && T->getTypeArray().size() ? T : nullptr;
}

const DIType *kcov_dataflow::returnType(const Function &F) {
  const DISubroutineType *T = declaredTypes(F);
  return T ? T->getTypeArray()[0] : nullptr;
}

void kcov_dataflow::collectTypes(const Function &F, ParameterList &Params) {
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
