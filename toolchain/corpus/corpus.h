// SPDX-License-Identifier: MIT
/*
 * Every file here is compiled twice: as SUBJECT with dataflow on, and as DRIVER without. The driver calls the subjects,
 * callbacks.c prints what was reported, and toolchain/verify.py compares that with the lines that begin with //:
 *
 *   //: f(VALUE, VALUE)     the k-th such line of f is what its k-th call reports at entry
 *   //: f -> VALUE          the k-th return of f; "none": it never reports one; a return line per call that returns
 *   //: f never             f reports nothing at all
 *   //: static f(...)       f is static: the optimizer may have removed parameters, the return value, or all of f
 *   //0: and //g:           hold only without, and only with, debug information
 *
 *   VALUE   N:SIZE                    what is reported (of more than 8 bytes the low 8, or 16 if N has so many), and the size
 *           &name:8                   the address of an object of the driver
 *           {OFF:SIZE=N ...}:SIZE     a struct by value: one entry per field (first 8 bytes of each), and its size
 *           &name{...}:SIZE  *{...}:SIZE  null{...}:SIZE     a pointer to a struct: to this object, to any, NULL
 *           removed                   reported with size 0 and NULL
 *           ?VALUE                    the same, or removed, or for a pointer to a struct the pointer alone
 *           _                         whatever
 *
 * Without debug information there are no tables: a struct pointer counts as the pointer, and a line with a struct by
 * value is not compared.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Makes the compiler believe that a value is used and that memory was changed. */
#define USE(x) __asm__ volatile("" : : "r"(x) : "memory")
/* A value that the compiler cannot see through. */
#define OPAQUE(x) ({ __typeof__(x) opaque_ = (x); __asm__ volatile("" : "+r"(opaque_)); opaque_; })
#define NOINLINE __attribute__((noinline))

/* As in the kernel's compiler-clang.h: there is no attribute unless the compiler says that coverage is on. */
#if __has_feature(coverage_sanitizer)
#define NOINSTR __attribute__((no_sanitize("coverage"))) NOINLINE
#else
#define NOINSTR NOINLINE
#endif
