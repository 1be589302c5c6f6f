// SPDX-License-Identifier: MIT
#include "corpus.h"

struct item { char c; int i; short s; const char *name; unsigned long big[3]; };
typedef struct item item_t;
struct pair { int a, b; };

const item_t *find(const item_t *a, volatile struct pair *b, int c);
struct pair *second(struct pair *const restrict p);
struct pair *more(struct pair **p);

#ifdef SUBJECT
const item_t *find(const item_t *a, volatile struct pair *b, int c) { return b->a == c ? a : NULL; }
struct pair *second(struct pair *const restrict p) { p->b = 9; return p + 1; }
/* Two pointers: the table is not for this one. */
struct pair *more(struct pair **p) { return *p; }
#else
item_t an_item = { 'x', -2, 3, (char *)0x1000, { 11, 12, 13 } };
struct pair pairs[2] = { { 21, 22 }, { 31, 32 } };
struct pair *indirect = &pairs[0];
int main(void)
{
	find(&an_item, pairs, 21);
	second(pairs);
	more(&indirect);
}
#endif
//: find(&an_item{0:1=0x78 4:4=0xfffffffe 8:2=3 16:8=0x1000 24:24=11}:48, &pairs{0:4=21 4:4=22}:8, 21:4)
//: find -> &an_item{0:1=0x78 4:4=0xfffffffe 8:2=3 16:8=0x1000 24:24=11}:48
//: second(&pairs{0:4=21 4:4=22}:8)
//: second -> *{0:4=31 4:4=32}:8
//: more(&indirect:8)
//: more -> &pairs{0:4=21 4:4=9}:8
