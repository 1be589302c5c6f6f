// SPDX-License-Identifier: MIT
/* Only direct members have entries: a struct in a struct is one field. */
#include "corpus.h"

struct inner { short a; int b; };
struct outer { char c; struct inner in; struct { int x, y; }; int last[2]; };
struct holder { struct inner in; int z; };
struct empty { };
struct with_empty { struct empty e; int a; };

int by_pointer(struct outer *o);
int by_value(struct holder h, int q);
int nothing_inside(struct empty *e, struct with_empty *w);

#ifdef SUBJECT
int by_pointer(struct outer *o) { return o->in.b + o->y; }
int by_value(struct holder h, int q) { return h.in.a + h.in.b + h.z + q; }
int nothing_inside(struct empty *e, struct with_empty *w) { USE(e); return w->a; }
#else
struct outer out = { 'o', { 1, 2 }, { 3, 4 }, { 5, 6 } };
struct empty empty;
struct with_empty with = { { }, 7 };
int main(void)
{
	by_pointer(&out);
	by_value((struct holder){ { 8, 9 }, 10 }, 11);
	nothing_inside((struct empty *)0x40, &with);
}
#endif
//: by_pointer(&out{0:1=0x6f 4:8=_ 12:8=0x400000003 20:8=0x600000005}:28)
//: by_pointer -> 6:4
//: by_value({0:8=_ 8:4=10}:12, 11:4)
//: by_value -> 38:4
//: nothing_inside(0x40:8, &with{0:4=7}:4)
//: nothing_inside -> 7:4
