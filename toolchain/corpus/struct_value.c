// SPDX-License-Identifier: MIT
/* Structs that the ABI passes in memory, and scalars beside them. */
#include "corpus.h"

struct big { uint64_t a[3]; int t; };
struct pack { char c; int i; long l; short s; } __attribute__((packed));

int sum(int before, struct big b, char after);
long squeeze(struct pack p, struct big b);

#ifdef SUBJECT
int sum(int before, struct big b, char after) { return before + b.a[2] + b.t + after; }
long squeeze(struct pack p, struct big b) { return p.i + p.l + p.s + b.t; }
#else
int main(void)
{
	struct big b = { { 1, 2, 3 }, 4 };
	struct pack p = { 'p', -1, 100, 5 };

	sum(10, b, 'a');
	squeeze(p, b);
}
#endif
//: sum(10:4, {0:24=1 24:4=4}:32, 0x61:1)
//: sum -> 114:4
//: squeeze({0:1=0x70 1:4=0xffffffff 5:8=100 13:2=5}:15, {0:24=1 24:4=4}:32)
//: squeeze -> 108:8
