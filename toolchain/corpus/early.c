// SPDX-License-Identifier: MIT
/* Several ways out: each one reports. */
#include "corpus.h"

int choose(int a, long b);
void leave(int a);
void visit(int a);

#ifdef SUBJECT
int choose(int a, long b)
{
	if (a < 0)
		return -22;
	visit(a);
	if (a == 1) {
		visit(2);
		return 100;
	}
	for (int i = 0; i < a; i++) {
		visit(i);
		if (b == i)
			return i;
	}
	switch (a) {
	case 5: visit(5); return 55;
	case 6: return 66;
	}
	return -1;
}
void leave(int a)
{
	if (a)
		return;
	visit(a);
}
#else
void visit(int a) { USE(a); }
int main(void)
{
	choose(-1, 0);
	choose(1, 0);
	choose(4, 2);
	choose(5, 9);
	choose(6, 9);
	choose(7, 9);
	leave(1);
	leave(0);
}
#endif
//: choose(0xffffffff:4, 0:8)
//: choose -> 0xffffffea:4
//: choose(1:4, 0:8)
//: choose -> 100:4
//: choose(4:4, 2:8)
//: choose -> 2:4
//: choose(5:4, 9:8)
//: choose -> 55:4
//: choose(6:4, 9:8)
//: choose -> 66:4
//: choose(7:4, 9:8)
//: choose -> 0xffffffff:4
//: leave(1:4)
//: leave(0:4)
//: leave -> none
