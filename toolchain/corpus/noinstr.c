// SPDX-License-Identifier: MIT
/* What must not be instrumented, and what stands beside it. */
#include "corpus.h"

int entry(int a);
int quiet(int a);
int in_section(int a);
int both(int a);

#ifdef SUBJECT
NOINSTR int quiet(int a) { return a + 1; }
__attribute__((section(".noinstr.text"))) NOINLINE int in_section(int a) { return a + 2; }
NOINSTR __attribute__((section(".noinstr.text"))) int both(int a) { return a + 3; }
int entry(int a) { return quiet(a) + in_section(a) + both(a); }
#else
int main(void)
{
	entry(1);
}
#endif
//: quiet never
//: in_section never
//: both never
//: entry(1:4)
//: entry -> 9:4
