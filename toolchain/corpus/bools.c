// SPDX-License-Identifier: MIT
#include "corpus.h"

bool both(bool a, bool b, int c);

#ifdef SUBJECT
bool both(bool a, bool b, int c) { return a && (b || c == 3); }
#else
int main(void)
{
	both(true, false, 3);
	both(false, true, 4);
}
#endif
//: both(1:1, 0:1, 3:4)
//: both -> 1:1
//: both(0:1, 1:1, 4:4)
//: both -> 0:1
