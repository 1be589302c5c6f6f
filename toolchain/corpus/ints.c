// SPDX-License-Identifier: MIT
/* Integers of each width, signed and not, in registers and on the stack. */
#include "corpus.h"

int8_t i8(int8_t a, uint8_t b);
int16_t i16(int16_t a, uint16_t b);
int32_t i32(int32_t a, uint32_t b);
int64_t i64(int64_t a, uint64_t b);
unsigned _BitInt(24) odd(unsigned _BitInt(24) a, int b);
long ten(char a, short b, int c, long d, unsigned char e, unsigned short f, unsigned g, unsigned long h, int i, char j);
void nothing(int a);
int none(void);
int reassigned(int a, int b, int c);

#ifdef SUBJECT
int8_t i8(int8_t a, uint8_t b) { return a + b; }
int16_t i16(int16_t a, uint16_t b) { return a + b; }
int32_t i32(int32_t a, uint32_t b) { return a + b; }
int64_t i64(int64_t a, uint64_t b) { return a + b; }
unsigned _BitInt(24) odd(unsigned _BitInt(24) a, int b) { return a + b; }
long ten(char a, short b, int c, long d, unsigned char e, unsigned short f, unsigned g, unsigned long h, int i, char j)
{
	return a + b + c + d + e + f + g + h + i + j;
}
void nothing(int a) { USE(a); }
int none(void) { return 77; }
/* What counts is the value at entry, also where the first thing that happens is an assignment. */
int reassigned(int a, int b, int c)
{
	a = b;
	b |= 0x8000;
	c = 5;
	return a + b * c;
}
#else
int main(void)
{
	i8(-5, 200);
	i16(-300, 60000);
	i32(-70000, 4000000000u);
	i64(-5000000000, 0xfedcba9876543210);
	odd(0xabcdef, 1);
	ten(1, -2, 3, -4, 5, 6, 7, 8, -9, 10);
	nothing(42);
	none();
	reassigned(1, 2, 3);
}
#endif
//: i8(0xfb:1, 0xc8:1)
//: i8 -> 0xc3:1
//: i16(0xfed4:2, 0xea60:2)
//: i16 -> 0xe934:2
//: i32(0xfffeee90:4, 0xee6b2800:4)
//: i32 -> 0xee6a1690:4
//: i64(0xfffffffed5fa0e00:8, 0xfedcba9876543210:8)
//: i64 -> 0xfedcba974c4e4010:8
//g: odd(0xabcdef:4, 1:4)
//g: odd -> 0xabcdf0:4
//0: odd(_, 1:4)
//0: odd -> _
//: ten(1:1, 0xfffe:2, 3:4, 0xfffffffffffffffc:8, 5:1, 6:2, 7:4, 8:8, 0xfffffff7:4, 10:1)
//: ten -> 25:8
//: nothing(42:4)
//: nothing -> none
//: none -> 77:4
//: reassigned(1:4, 2:4, 3:4)
//: reassigned -> 0x2800c:4
