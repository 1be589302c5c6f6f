// SPDX-License-Identifier: MIT
/* Which member of a union counts is not known: no table, the bytes as they are. */
#include "corpus.h"

union number { int i; long l; };
union large { long l[4]; char c; };
struct tagged { int kind; union number u; };

long small(union number u, int a);
long large(union large u, int a);
int inside(struct tagged *t);
union number give(long a);

#ifdef SUBJECT
long small(union number u, int a) { return u.l + a; }
long large(union large u, int a) { return u.l[0] + u.l[3] + a; }
int inside(struct tagged *t) { return t->u.i; }
union number give(long a) { return (union number){ .l = a }; }
#else
struct tagged tagged = { 1, { .l = 0x1122334455 } };
int main(void)
{
	small((union number){ .l = 0x123456789a }, 1);
	large((union large){ { 2, 3, 4, 5 } }, 6);
	inside(&tagged);
	give(0x99887766554433);
}
#endif
//: small(0x123456789a:8, 1:4)
//: small -> 0x123456789b:8
//: large(2:32, 6:4)
//: large -> 13:8
//: inside(&tagged{0:4=1 8:8=0x1122334455}:16)
//: inside -> 0x22334455:4
//: give(0x99887766554433:8)
//: give -> 0x99887766554433:8
