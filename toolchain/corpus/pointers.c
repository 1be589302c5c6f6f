// SPDX-License-Identifier: MIT
/* A pointer to anything but a struct is a number: it is never read through. */
#include "corpus.h"

struct unknown;
union two { int a; long b; };
typedef int (*handler)(int);

void *raw(void *p, const char *text, int *number);
char **twice(char **p, struct unknown *q);
handler pick(handler h, union two *u, int (*rows)[4]);

extern int number;
extern union two object;
extern int table[2][4];
int handle(int a);

#ifdef SUBJECT
void *raw(void *p, const char *text, int *number) { return text ? (void *)number : p; }
char **twice(char **p, struct unknown *q) { USE(q); return p; }
handler pick(handler h, union two *u, int (*rows)[4]) { USE(u); USE(rows); return h; }
#else
int number = 5, table[2][4];
union two object;
int handle(int a) { return a; }
int main(void)
{
	raw((void *)0x123456789abc, (char *)0x10, &number);
	twice((char **)0x18, (struct unknown *)0x20);
	pick(handle, &object, table);
}
#endif
//: raw(0x123456789abc:8, 0x10:8, &number:8)
//: raw -> &number:8
//: twice(0x18:8, 0x20:8)
//: twice -> 0x18:8
//: pick(&handle:8, &object:8, &table:8)
//: pick -> &handle:8
