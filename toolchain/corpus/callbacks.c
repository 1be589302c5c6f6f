// SPDX-License-Identifier: MIT
/* Prints each report as one line: what was called, the function's address, index, size, pointer, fields, values. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint64_t low_bytes(const void *from, uint64_t size)
{
	uint64_t value = 0;

	memcpy(&value, from, size < 8 ? size : 8);
	return value;
}

static void report(char kind, uint64_t pc, uint32_t index, uint32_t size, void *at, uint64_t *table, uint32_t fields)
{
	/* The first page and the last one, where error codes are, cannot be read: the kernel's callbacks know that, too. */
	int readable = (uintptr_t)at >= 4096 && (uintptr_t)at < (uintptr_t)-4095;

	printf("%c %#llx %u %u %p %u", kind, (unsigned long long)pc, index, size, at, fields);
	if (!fields && readable && size > 8)
		printf(" 0x%016llx%016llx", (unsigned long long)low_bytes((char *)at + 8, size - 8), (unsigned long long)low_bytes(at, 8));
	else if (!fields && readable && size)
		printf(" %#llx", (unsigned long long)low_bytes(at, size));
	for (uint32_t i = 0; i < fields; i++) {
		printf(" %llu:%llu=", (unsigned long long)table[2 * i], (unsigned long long)table[2 * i + 1]);
		/* A table that is wrong by much must not crash the program that is to say so. */
		if (readable && table[2 * i] + table[2 * i + 1] <= size)
			printf("%#llx", (unsigned long long)low_bytes((char *)at + table[2 * i], table[2 * i + 1]));
		else
			printf("-");
	}
	printf("\n");
}

void __sanitizer_cov_trace_args(uint64_t pc, uint32_t index, uint32_t size, void *at, uint64_t *table, uint32_t fields)
{
	report('A', pc, index, size, at, table, fields);
}

void __sanitizer_cov_trace_ret(uint64_t pc, uint32_t size, void *at, uint64_t *table, uint32_t fields)
{
	report('R', pc, 0, size, at, table, fields);
}
