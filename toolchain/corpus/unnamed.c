// SPDX-License-Identifier: MIT
/* Parameters that nothing uses, named or not, of functions that others can call: they are there. */
#include "corpus.h"

struct two { int a, b; };
int used(int a, int b, long c);
int unnamed(int a, int, struct two *, struct two t, long e);

#ifdef SUBJECT
int used(int a, int b, long c) { return b; }
#pragma clang diagnostic ignored "-Wc23-extensions"
int unnamed(int a, int, struct two *, struct two t, long) { return a; }
#else
struct two pair = { 7, 8 };
int main(void)
{
	used(1, 2, 3);
	unnamed(4, 5, &pair, (struct two){ 9, 10 }, 11);
}
#endif
//: used(1:4, 2:4, 3:8)
//: used -> 2:4
//: unnamed(4:4, 5:4, &pair{0:4=7 4:4=8}:8, {0:4=9 4:4=10}:8, 11:8)
//: unnamed -> 4:4
