// SPDX-License-Identifier: MIT
/* Structs as results: in registers and through a hidden buffer, which is no parameter and has no index. */
#include "corpus.h"

struct two { int a, b; };
struct wide { long a; int b; };
struct big { uint64_t a[3]; int t; };
struct floats { float x, y; };

struct two give_two(int a);
struct wide give_wide(int a);
struct big give_big(int a, long b);
struct big change(struct big *from, int a);
struct floats give_floats(float a);

#ifdef SUBJECT
struct two give_two(int a) { return (struct two){ a, a + 1 }; }
struct wide give_wide(int a) { return (struct wide){ -a, a + 1 }; }
struct big give_big(int a, long b) { return (struct big){ { a, b, 3 }, 4 }; }
struct big change(struct big *from, int a) { struct big b = *from; b.t = a; return b; }
struct floats give_floats(float a) { return (struct floats){ a, a * 2 }; }
#else
struct big source = { { 1, 2, 3 }, 4 };
int main(void)
{
	give_two(5);
	give_wide(6);
	give_big(7, 8);
	change(&source, 9);
	give_floats(1.0f);
}
#endif
//: give_two(5:4)
//: give_two -> {0:4=5 4:4=6}:8
//: give_wide(6:4)
//: give_wide -> {0:8=0xfffffffffffffffa 8:4=7}:16
//: give_big(7:4, 8:8)
//: give_big -> {0:24=7 24:4=4}:32
//: change(&source{0:24=1 24:4=4}:32, 9:4)
//: change -> {0:24=1 24:4=9}:32
//: give_floats(0x3f800000:4)
//: give_floats -> {0:4=0x3f800000 4:4=0x40000000}:8
