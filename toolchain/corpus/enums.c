// SPDX-License-Identifier: MIT
#include "corpus.h"

enum colour { RED = 1, GREEN = 0x7fffffff, NEGATIVE = -1 };
enum __attribute__((packed)) small { ONE = 1, TWO };
typedef const enum colour hidden;

enum colour next(enum colour a, enum small b, hidden c);

#ifdef SUBJECT
enum colour next(enum colour a, enum small b, hidden c) { return b == TWO && c == NEGATIVE ? GREEN : a; }
#else
int main(void)
{
	next(RED, TWO, NEGATIVE);
}
#endif
//: next(1:4, 2:1, 0xffffffff:4)
//: next -> 0x7fffffff:4
