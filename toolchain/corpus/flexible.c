// SPDX-License-Identifier: MIT
/* The flexible array at the end has no size, and no entry. */
#include "corpus.h"

struct line { int n; short k; char text[]; };
struct zero { long n; int rest[0]; };

int length(struct line *l, struct zero *z);

#ifdef SUBJECT
int length(struct line *l, struct zero *z) { return l->n + l->text[0] + z->n; }
#else
struct line line = { 3, 4, "abc" };
struct zero zero = { 5 };
int main(void)
{
	length(&line, &zero);
}
#endif
//: length(&line{0:4=3 4:2=4}:8, &zero{0:8=5}:8)
//: length -> 105:4
