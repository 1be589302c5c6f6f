// SPDX-License-Identifier: MIT
/* A weak body that lost: the address it reports must be its own, not that of the definition that won. */
#include "corpus.h"

int contested(int a);
int own_name(int a);
int alone(int a);

#ifdef SUBJECT
__attribute__((weak)) int contested(int a) { return a + 1; }
int own_name(int a) __attribute__((alias("contested")));
__attribute__((weak)) int alone(int a) { return a + 2; }
#else
int contested(int a) { return a + 100; }
int main(void)
{
	own_name(5);
	contested(6);
	alone(7);
}
#endif
//: own_name(5:4)
//: own_name -> 6:4
//: alone(7:4)
//: alone -> 9:4
//: contested never
