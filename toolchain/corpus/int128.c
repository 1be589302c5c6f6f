// SPDX-License-Identifier: MIT
/* Wider than a word: 16 bytes are reported, 8 of them are looked at here. */
#include "corpus.h"

__int128 wide(__int128 a, int b);

#ifdef SUBJECT
__int128 wide(__int128 a, int b) { return a - b; }
#else
int main(void)
{
	wide(((__int128)7 << 64) | 0x1122334455667788, 8);
}
#endif
//g: wide(0x1122334455667788:16, 8:4)
//: wide -> 0x1122334455667780:16
