// SPDX-License-Identifier: MIT
/* Implements text.h. memcpy and memset are here because the compiler itself calls them. */

#include "text.h"

void *memcpy(void *to, const void *from, u64 size)
{
	u8 *t = to;
	const u8 *f = from;

	while (size--)
		*t++ = *f++;
	return to;
}

void *memset(void *to, int value, u64 size)
{
	u8 *t = to;

	while (size--)
		*t++ = (u8)value;
	return to;
}

u64 text_length(const char *s)
{
	u64 n = 0;

	while (s[n])
		n++;
	return n;
}

int text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

int text_starts(const char *s, const char *prefix)
{
	while (*prefix)
		if (*s++ != *prefix++)
			return 0;
	return 1;
}

s64 text_number(const char *s)
{
	int negative = *s == '-';
	u64 value = 0, base = 10;

	s += negative;
	if (s[0] == '0' && s[1] == 'x')
		base = 16, s += 2;
	else if (s[0] == '0')
		base = 8;
	for (; *s; s++) {
		u64 digit = 99;

		if (*s >= '0' && *s <= '9')
			digit = (u64)(*s - '0');
		else if (*s >= 'a' && *s <= 'f')
			digit = (u64)(*s - 'a') + 10;
		if (digit >= base)
			break;
		value = value * base + digit;
	}
	return negative ? -(s64)value : (s64)value;
}

void text_bytes(struct text *t, const char *s, u64 size)
{
	while (size-- && t->used < t->room)
		t->at[t->used++] = *s++;
}

void text_put(struct text *t, const char *s)
{
	text_bytes(t, s, text_length(s));
}

static void put_base(struct text *t, u64 value, u32 base)
{
	char digits[24];
	u32 n = sizeof(digits);

	do {
		digits[--n] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	text_bytes(t, digits + n, sizeof(digits) - n);
}

void text_decimal(struct text *t, s64 value)
{
	if (value < 0)
		text_put(t, "-");
	put_base(t, value < 0 ? 0 - (u64)value : (u64)value, 10);
}

void text_hex(struct text *t, u64 value)
{
	text_put(t, "0x");
	put_base(t, value, 16);
}

void text_octal(struct text *t, u64 value)
{
	text_put(t, "0");
	put_base(t, value, 8);
}

static void put_key(struct text *t, const char *key)
{
	text_put(t, key);
	text_put(t, "=");
}

void text_line(struct text *t, const char *key, const char *value)
{
	put_key(t, key);
	text_put(t, value);
	text_put(t, "\n");
}

void text_line_decimal(struct text *t, const char *key, s64 value)
{
	put_key(t, key);
	text_decimal(t, value);
	text_put(t, "\n");
}

void text_line_hex(struct text *t, const char *key, u64 value)
{
	put_key(t, key);
	text_hex(t, value);
	text_put(t, "\n");
}

void text_line_octal(struct text *t, const char *key, u64 value)
{
	put_key(t, key);
	text_octal(t, value);
	text_put(t, "\n");
}
