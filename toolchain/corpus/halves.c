// SPDX-License-Identifier: MIT
/* Numbers and unions of two registers, of which callers or the function itself use one: no half may pass for the whole. */
#include "corpus.h"

typedef unsigned __int128 wide;
union pair { struct { long a, b; } s; char bytes[16]; };
struct holder { union pair pair; };
union ends { struct { long a; int b; } s; char c; };

int halves(long v);

#ifdef SUBJECT
#define PART static NOINLINE
PART wide high_of(long a, long b) { wide r = (wide)a << 64 | b; USE(a); return r; }
PART wide low_of(long a, long b) { wide r = (wide)a << 64 | b; USE(a); return r; }
PART long takes_low(wide x) { USE(1); return (long)x + 1; }
PART long takes_high(wide x) { USE(1); return (long)(x >> 64) + 1; }
PART _Complex long imaginary_of(long a) { _Complex long r; __real__ r = a; __imag__ r = a + 1; USE(a); return r; }
PART long takes_real(_Complex long x) { USE(1); return __real__ x + 1; }
PART long takes_first(union pair x) { USE(1); return x.s.a + 1; }
PART long takes_second(union pair x) { USE(1); return x.s.b + 1; }
PART long takes_held(struct holder x) { USE(1); return x.pair.s.a + 1; }
PART union pair first_of(long a) { union pair r; r.s.a = a; r.s.b = a + 1; USE(a); return r; }
PART union pair second_of(long a) { union pair r; r.s.a = a; r.s.b = a + 1; USE(a); return r; }
/* Whole, though not every byte of it holds something: the end is padding in each member. */
NOINLINE long whole(union ends x) { USE(1); return x.s.a + x.s.b; }

int halves(long v)
{
	long a = OPAQUE(v), b = OPAQUE(v) + 1, sum = 0;
	wide both = (wide)a << 64 | b;
	_Complex long c;
	union pair p = { { a, b } };
	struct holder h = { p };
	union ends e = { { a, (int)b } };

	__real__ c = a, __imag__ c = b;
	sum += (long)(high_of(a, b) >> 64) + (long)low_of(a, b) + takes_low(both) + takes_high(both);
	sum += __imag__ imaginary_of(a) + takes_real(c) + takes_first(p) + takes_second(p) + takes_held(h);
	sum += first_of(a).s.a + second_of(a).s.b + whole(e);
	return sum != 0;
}
#else
int main(void)
{
	halves(0x1111);
}
#endif
//: halves(0x1111:8)
//: static high_of(0x1111:8, 0x1112:8)
//: static high_of -> 0x11110000000000001112:16
//: static low_of(0x1111:8, 0x1112:8)
//: static low_of -> 0x11110000000000001112:16
//g: static takes_low(0x11110000000000001112:16)
//: static takes_low -> 0x1113:8
//g: static takes_high(0x11110000000000001112:16)
//: static takes_high -> 0x1112:8
//: static imaginary_of(0x1111:8)
//: static imaginary_of -> 0x11120000000000001111:16
//g: static takes_real(0x11120000000000001111:16)
//: static takes_real -> 0x1112:8
//g: static takes_first(0x11120000000000001111:16)
//: static takes_first -> 0x1112:8
//g: static takes_second(0x11120000000000001111:16)
//: static takes_second -> 0x1113:8
//g: static takes_held({0:16=0x1111}:16)
//: static takes_held -> 0x1112:8
//: static first_of(0x1111:8)
//: static first_of -> 0x11120000000000001111:16
//: static second_of(0x1111:8)
//: static second_of -> 0x11120000000000001111:16
//g: whole(0x1111:16)
//: whole -> 0x2223:8
//: halves -> 1:4
