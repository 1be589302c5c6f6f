/* SPDX-License-Identifier: MIT */
/* Handles text without a libc: a bounded buffer to write lines into, and functions to read them. */
#ifndef KDF_TEXT_H
#define KDF_TEXT_H

#include "sys.h"

/* A text that is cut off where its room ends. */
struct text {
	char *at;
	u64 used, room;
};

u64 text_length(const char *s);
int text_equal(const char *a, const char *b);
int text_starts(const char *s, const char *prefix);

/* Reads numbers as the plan writes them: decimal, 0x hexadecimal, 0 octal; negative ones with a minus. */
s64 text_number(const char *s);

void text_put(struct text *t, const char *s);
void text_bytes(struct text *t, const char *s, u64 size);
void text_decimal(struct text *t, s64 value);
void text_hex(struct text *t, u64 value);
void text_octal(struct text *t, u64 value);

/* Write key=value lines. The last function writes the value in the base that people expect. */
void text_line(struct text *t, const char *key, const char *value);
void text_line_decimal(struct text *t, const char *key, s64 value);
void text_line_hex(struct text *t, const char *key, u64 value);
void text_line_octal(struct text *t, const char *key, u64 value);

#endif
