// SPDX-License-Identifier: MIT
/* Nothing may stand between a musttail call and its return. */
#include "corpus.h"

int last(int a, long b);
int first(int a, long b);

#ifdef SUBJECT
NOINLINE int last(int a, long b) { return a + OPAQUE(b); }
int first(int a, long b) { __attribute__((musttail)) return last(a + 1, b); }
#else
int main(void)
{
	first(1, 2);
}
#endif
//: first(1:4, 2:8)
//: first -> none
//: last(2:4, 2:8)
//: last -> 4:4
