// SPDX-License-Identifier: MIT
/* Objects that a function does not read, or (LLVM 20 on: partly) writes first: callers in the same file may have dropped
 * what they would have stored there. */
#include "corpus.h"

struct three { long a, b, c; };
struct big { long v[6]; };

long unused(int i, struct big x);
long ignored(int i, struct three *p);
long overwritten(struct three *p, struct three *q);
long partly(struct three *p);
int unread(long v);

#ifdef SUBJECT
NOINLINE long unused(int i, struct big x) { return i * 3; }
NOINLINE long ignored(int i, struct three *p) { return i * 5; }
NOINLINE long overwritten(struct three *p, struct three *q) { p->a = 0; p->b = 1; p->c = 2; return q != 0; }
NOINLINE long partly(struct three *p) { p->a = 7; return p->b; }

int unread(long v)
{
	long k = OPAQUE(v);
	struct big b = { { k, k + 1, k + 2, k + 3, k + 4, k + 5 } };
	struct three i = { k, k + 1, k + 2 }, d = i, e = { k + 3, k + 4, k + 5 }, f = i;
	long sum = unused(1, b) + ignored(2, &i) + overwritten(&d, &e) + d.b + partly(&f) + f.a;

	return sum != 0;
}
#else
int main(void)
{
	unread(100);
}
#endif
//: unread(100:8)
//: unused(1:4, ?{0:48=100}:48)
//: unused -> 3:8
//: ignored(2:4, ?*{0:8=100 8:8=101 16:8=102}:24)
//: ignored -> 10:8
//: overwritten(?*{0:8=100 8:8=101 16:8=102}:24, ?*{0:8=103 8:8=104 16:8=105}:24)
//: overwritten -> 1:8
//: partly(?*{0:8=100 8:8=101 16:8=102}:24)
//: partly -> 101:8
//: unread -> 1:4
