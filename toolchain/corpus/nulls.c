// SPDX-License-Identifier: MIT
#include "corpus.h"

struct pair { int a, b; };
struct pair *pass(struct pair *p, void *q, struct pair *r);

#ifdef SUBJECT
struct pair *pass(struct pair *p, void *q, struct pair *r) { USE(q); USE(r); return p; }
#else
int main(void)
{
	pass(NULL, NULL, (struct pair *)-22L);
}
#endif
//g: pass(null{0:4 4:4}:8, 0:8, 0xffffffffffffffea{0:4 4:4}:8)
//g: pass -> null{0:4 4:4}:8
//0: pass(0:8, 0:8, 0xffffffffffffffea:8)
//0: pass -> 0:8
