// SPDX-License-Identifier: MIT
#include "corpus.h"

int depth(int n, int *p);

#ifdef SUBJECT
int depth(int n, int *p) { return n ? 10 * OPAQUE(depth(n - 1, p)) + n : 0; }
#else
int main(void)
{
	depth(3, (int *)0x50);
}
#endif
//: depth(3:4, 0x50:8)
//: depth(2:4, 0x50:8)
//: depth(1:4, 0x50:8)
//: depth(0:4, 0x50:8)
//: depth -> 0:4
//: depth -> 1:4
//: depth -> 12:4
//: depth -> 123:4
