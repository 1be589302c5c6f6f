//===- Plugin.cpp - The kcov-dataflow passes as a plugin ------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Registers the passes. Options declared with cl::opt reach a plugin in clang
// only if it is loaded twice, and in rustc never. So a constant (variant.c)
// says what to trace by default, and the plugin is linked once per variant.
//
//===----------------------------------------------------------------------===//

#include "KcovDataflow.h"
#include "llvm/Passes/PassBuilder.h"
#if __has_include("llvm/Plugins/PassPlugin.h")
#include "llvm/Plugins/PassPlugin.h"
#else
#include "llvm/Passes/PassPlugin.h"
#endif

using namespace llvm;

// Bit 0: arguments, bit 1: return values, bit 2: by value, bit 3: gated. Defined
// in variant.c.
extern "C" const unsigned KcovDataflowVariant;

static KcovDataflowOptions optionsOfVariant() {
  KcovDataflowOptions Options;
  Options.TraceArgs = KcovDataflowVariant & 1;
  Options.TraceRet = KcovDataflowVariant & 2;
  Options.ByValue = KcovDataflowVariant & 4;
  Options.Gated = KcovDataflowVariant & 8;
  return Options;
}

static bool parsePipelineName(StringRef Name, ModulePassManager &MPM) {
  if (Name == "kcov-dataflow-mark") {
    MPM.addPass(KcovDataflowMarkPass(KcovDataflowVariant & 4));
    return true;
  }
  if (!Name.consume_front("kcov-dataflow"))
    return false;
  KcovDataflowOptions Options;
  if (Name.empty()) {
    Options = optionsOfVariant();
  } else {
    if (!Name.consume_front("<") || !Name.consume_back(">"))
      return false;
    SmallVector<StringRef, 2> Words;
    Name.split(Words, ';', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
    for (StringRef Word : Words) {
      if (Word == "args")
        Options.TraceArgs = true;
      else if (Word == "ret")
        Options.TraceRet = true;
      else if (Word == "by-value")
        Options.ByValue = true;
      else if (Word == "gated")
        Options.Gated = true;
      else
        return false;
    }
  }
  MPM.addPass(KcovDataflowPass(Options));
  return true;
}

static void registerPasses(PassBuilder &PB) {
  // The extension points have one more parameter since LLVM 20.
  PB.registerPipelineStartEPCallback(
      [](ModulePassManager &MPM, OptimizationLevel, auto &&...) {
        MPM.addPass(KcovDataflowMarkPass(KcovDataflowVariant & 4));
      });
  PB.registerOptimizerLastEPCallback(
      [](ModulePassManager &MPM, OptimizationLevel, auto &&...) {
        MPM.addPass(KcovDataflowPass(optionsOfVariant()));
      });
  PB.registerPipelineParsingCallback(
      [](StringRef Name, ModulePassManager &MPM,
         ArrayRef<PassBuilder::PipelineElement>) {
        return parsePipelineName(Name, MPM);
      });
}

extern "C" LLVM_ATTRIBUTE_WEAK LLVM_ATTRIBUTE_VISIBILITY_DEFAULT
PassPluginLibraryInfo llvmGetPassPluginInfo() {
  return {LLVM_PLUGIN_API_VERSION, "kcov-dataflow", LLVM_VERSION_STRING,
          registerPasses};
}
