// SPDX-License-Identifier: MIT
/* Of a variadic function the fixed parameters are reported. */
#include "corpus.h"

int total(const char *what, int n, ...);

#ifdef SUBJECT
int total(const char *what, int n, ...)
{
	int sum = 0;
	va_list ap;

	USE(what);
	va_start(ap, n);
	while (n--)
		sum += va_arg(ap, int);
	va_end(ap);
	return sum;
}
#else
int main(void)
{
	total((char *)0x30, 3, 10, 20, 30);
}
#endif
//: total(0x30:8, 3:4)
//: total -> 60:4
