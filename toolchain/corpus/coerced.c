// SPDX-License-Identifier: MIT
/* Structs that the ABI passes in one or two registers: put together again, reported once. */
#include "corpus.h"

struct two { int a, b; };
struct mix { char c; int i; short s; };
struct wide { long a; int b; };
struct odd { char a[3]; };
struct tail { int a; char b; };
struct handle { void *p; };
struct fd { struct two *file; unsigned flags; };
struct one { bool b; };

int take_two(struct two t, int z);
long take_mix(struct mix m, uint64_t q);
long take_wide(int before, struct wide w, struct two t);
int take_odd(struct odd o);
int take_tail(struct tail t, struct one b);
void *take_handle(struct handle h, struct fd f);
int one_used(struct two t);
int address_taken(struct two t);
long memory(long a, long b, long c, long d, long e, struct wide w, struct two t);
void look(void *p);

#ifdef SUBJECT
int take_two(struct two t, int z) { return t.a + t.b + z; }
long take_mix(struct mix m, uint64_t q) { return m.c + m.i + m.s + q; }
long take_wide(int before, struct wide w, struct two t) { return before + w.a + w.b + t.b; }
int take_odd(struct odd o) { return o.a[0] + o.a[2]; }
int take_tail(struct tail t, struct one b) { return t.a + t.b + b.b; }
void *take_handle(struct handle h, struct fd f) { return f.flags ? h.p : (void *)f.file; }
int one_used(struct two t) { return t.b; }
int address_taken(struct two t) { t.a++; look(&t); return t.a; }
long memory(long a, long b, long c, long d, long e, struct wide w, struct two t)
{
	return a + b + c + d + e + w.a + w.b + t.a + t.b;
}
#else
void look(void *p) { USE(p); }
int main(void)
{
	struct two t = { 1, -2 };
	struct mix m = { 'c', -3, 4 };
	struct wide w = { -5, 6 };
	struct odd o = { { 7, 8, 9 } };
	struct tail ta = { 10, 11 };

	take_two(t, 12);
	take_mix(m, 13);
	take_wide(14, w, t);
	take_odd(o);
	take_tail(ta, (struct one){ true });
	take_handle((struct handle){ (void *)0x1110 }, (struct fd){ (struct two *)0x2220, 15 });
	one_used(t);
	address_taken(t);
	memory(1, 2, 3, 4, 5, w, t);
}
#endif
//: take_two({0:4=1 4:4=0xfffffffe}:8, 12:4)
//: take_two -> 11:4
//: take_mix({0:1=0x63 4:4=0xfffffffd 8:2=4}:12, 13:8)
//: take_mix -> 113:8
//: take_wide(14:4, {0:8=0xfffffffffffffffb 8:4=6}:16, {0:4=1 4:4=0xfffffffe}:8)
//: take_wide -> 13:8
//: take_odd({0:3=0x90807}:3)
//: take_odd -> 16:4
//: take_tail({0:4=10 4:1=11}:8, {0:1=1}:1)
//: take_tail -> 22:4
//: take_handle({0:8=0x1110}:8, {0:8=0x2220 8:4=15}:16)
//g: take_handle -> 0x1110:8
//: one_used({0:4=1 4:4=0xfffffffe}:8)
//: one_used -> 0xfffffffe:4
//: address_taken({0:4=1 4:4=0xfffffffe}:8)
//: address_taken -> 2:4
//: memory(1:8, 2:8, 3:8, 4:8, 5:8, {0:8=0xfffffffffffffffb 8:4=6}:16, {0:4=1 4:4=0xfffffffe}:8)
//: memory -> 15:8
