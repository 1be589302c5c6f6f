// SPDX-License-Identifier: MIT
#include "corpus.h"

_Noreturn void end(int code, const char *why);

#ifdef SUBJECT
_Noreturn void end(int code, const char *why)
{
	USE(why);
	exit(code);
}
#else
int main(void)
{
	end(0, (char *)0x60);
}
#endif
//: end(0:4, 0x60:8)
//: end -> none
