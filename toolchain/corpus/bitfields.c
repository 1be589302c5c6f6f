// SPDX-License-Identifier: MIT
/* A bit-field is the whole bytes that it touches. */
#include "corpus.h"

struct bits { unsigned a : 3, b : 7, c : 22; unsigned long d : 40; unsigned long e : 4; int last; };
struct few { unsigned x : 4, y : 12; };

int pointer(struct bits *b);
int value(struct few f, int z);

#ifdef SUBJECT
int pointer(struct bits *b) { return b->a + b->c; }
int value(struct few f, int z) { return f.x + f.y + z; }
#else
struct bits some = { 5, 100, 0x12345, 0x9876543210, 7, -1 };
int main(void)
{
	pointer(&some);
	value((struct few){ 9, 0xabc }, 3);
}
#endif
//: pointer(&some{0:1=0x25 0:2=0x1725 1:3=0x48d17 8:5=0x9876543210 13:1=7 16:4=0xffffffff}:24)
//: pointer -> 0x1234a:4
//: value({0:1=0xc9 0:2=0xabc9}:4, 3:4)
//: value -> 0xac8:4
