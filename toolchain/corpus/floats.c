// SPDX-License-Identifier: MIT
#include "corpus.h"

struct point { float x, y; };
struct mixed { int a; double d; };
struct space { double x, y, z; };
typedef float four __attribute__((vector_size(16)));

float single(float a, int b, double c);
double dual(double a, float b);
float from_point(struct point p, float q);
double from_mixed(struct mixed m);
double from_space(struct space *s);
four vector(four v, int i);

#ifdef SUBJECT
float single(float a, int b, double c) { return a + b + c; }
double dual(double a, float b) { return a * b; }
float from_point(struct point p, float q) { return p.x * p.y + q; }
double from_mixed(struct mixed m) { return m.a * m.d; }
double from_space(struct space *s) { return s->x + s->z; }
four vector(four v, int i) { return v * (float)i; }
#else
struct space room = { 1.0, 2.0, 4.0 };
int main(void)
{
	single(1.5f, 2, 0.25);
	dual(3.0, 0.5f);
	from_point((struct point){ 2.0f, 4.0f }, 1.0f);
	from_mixed((struct mixed){ 3, 0.5 });
	from_space(&room);
	vector((four){ 1, 2, 3, 4 }, 2);
}
#endif
//: single(0x3fc00000:4, 2:4, 0x3fd0000000000000:8)
//: single -> 0x40700000:4
//: dual(0x4008000000000000:8, 0x3f000000:4)
//: dual -> 0x3ff8000000000000:8
//: from_point({0:4=0x40000000 4:4=0x40800000}:8, 0x3f800000:4)
//: from_point -> 0x41100000:4
//: from_mixed({0:4=3 8:8=0x3fe0000000000000}:16)
//: from_mixed -> 0x3ff8000000000000:8
//: from_space(&room{0:8=0x3ff0000000000000 8:8=0x4000000000000000 16:8=0x4010000000000000}:24)
//: from_space -> 0x4014000000000000:8
//: vector(0x400000003f800000:16, 2:4)
//: vector -> 0x4080000040000000:16
