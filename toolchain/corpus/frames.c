// SPDX-License-Identifier: MIT
/* asm goto, rbx in inline assembly, a big aligned frame. */
#include "corpus.h"

int jump(int a, int b);
int with_rbx(int a, long b);
int aligned(int a, int n);

#ifdef SUBJECT
int jump(int a, int b)
{
	__asm__ goto("" : : "r"(a) : : other);
	return a;
other:
	return b;
}
int with_rbx(int a, long b)
{
#ifdef __x86_64__
	int eax = 0, ebx, ecx = 0, edx;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	USE(ebx);
#endif
	return a + b;
}
/* Realigned and of a size not known: this one does need a base pointer. */
int aligned(int a, int n)
{
	char buffer[64] __attribute__((aligned(64)));
	char *more = __builtin_alloca(n);

	USE(buffer);
	USE(more);
	return a + n;
}
#else
int main(void)
{
	jump(1, 2);
	with_rbx(3, 4);
	aligned(5, 6);
}
#endif
//: jump(1:4, 2:4)
//: jump -> 1:4
//: with_rbx(3:4, 4:8)
//: with_rbx -> 7:4
//: aligned(5:4, 6:4)
//: aligned -> 11:4
