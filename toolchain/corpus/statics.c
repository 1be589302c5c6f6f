// SPDX-License-Identifier: MIT
/* Static functions: the optimizer may remove parameters, results and the functions; it must not mix them up. */
#include "corpus.h"

struct two { int a, b; };

int outer(int v);
int shifted(int v);
int lost_result(int v);

#ifdef SUBJECT
static inline int small(int a, int b) { return a * 2 + b; }
static NOINLINE int unused(int a, int b, long c, struct two *p) { USE(p); return a + c; }
static NOINLINE int promoted(struct two *p, int c) { return OPAQUE(p->a) + c; }
static NOINLINE int constant(int a, int b) { return a + OPAQUE(b); }
static NOINLINE int overwritten(int a, int b) { a = 5; return OPAQUE(a) + b; }
static NOINLINE int result(int a) { USE(a); return a + 1; }
/* Called through a pointer as well, so that its signature stays. */
static NOINLINE int indirect(int a, int b, int c) { return a + OPAQUE(c); }
int (*volatile through)(int, int, int) = indirect;
/* ... but whoever calls it by name need not pass what it does not use. */
static NOINLINE int partly(int a, int b, int c) { return a + OPAQUE(c); }
int (*volatile through_too)(int, int, int) = partly;
static NOINLINE int direct(int a, int b) { return partly(a, 1000, b); }

int outer(int v) { return small(v, 1); }
int shifted(int v)
{
	struct two t = { v, 2 };

	return unused(v, 3, 4, &t) + promoted(&t, 5) + constant(v, 6) + overwritten(v, 7) + through(v, 8, 9) +
	       direct(v, 10);
}
int lost_result(int v) { result(v); return v; }
#else
int main(void)
{
	outer(20);
	shifted(30);
	lost_result(40);
}
#endif
//: static small(20:4, 1:4)
//: static small -> 41:4
//: outer(20:4)
//: outer -> 41:4
//: shifted(30:4)
//: static unused(30:4, 3:4, 4:8, *{0:4=30 4:4=2}:8)
//: static unused -> 34:4
//: static promoted(*{0:4=30 4:4=2}:8, 5:4)
//: static promoted -> 35:4
//: static constant(30:4, 6:4)
//: static constant -> 36:4
//: static overwritten(30:4, 7:4)
//: static overwritten -> 12:4
//: static indirect(30:4, 8:4, 9:4)
//: static indirect -> 39:4
//: static partly(30:4, 1000:4, 10:4)
//: static partly -> 40:4
//: static direct(30:4, 10:4)
//: static direct -> 40:4
//: shifted -> 196:4
//: static result(40:4)
//: static result -> 41:4
//: lost_result(40:4)
//: lost_result -> 40:4
