/* SPDX-License-Identifier: MIT */
/*
 * Declares what the agent's parts share. The agent is init: it reads a plan, runs each workload in its own child, and
 * sends frames about it to the host through a private port. Only the agent writes frames. A child writes to memory that
 * it shares with the agent. So a child that dies leaves its records, and never half a frame.
 */
#ifndef KDF_AGENT_H
#define KDF_AGENT_H

#include "sys.h"
#include "text.h"

#define AGENT_VERSION "1"

/* Frame types, as in the table of guest/channel.py. */
enum frame {
	FRAME_HELLO = 1,
	FRAME_BEGIN = 2,
	FRAME_FACTS = 3,
	FRAME_WORDS = 4,
	FRAME_INFO = 5,
	FRAME_END = 6,
	FRAME_TOKEN = 7,
	FRAME_MODULES = 8,
	FRAME_PART = 9,
	FRAME_TROUBLE = 10,
	FRAME_OUTPUT = 11,
};

/* The workload index of frames that belong to no workload. */
#define NO_WORKLOAD 0xffffffffu

/* channel.c */
int channel_open(void);
void channel_send(u32 type, u32 workload, const void *payload, u64 size);
void channel_send_two(u32 type, u32 workload, const void *a, u64 a_size, const void *b, u64 b_size);
void channel_text(u32 type, u32 workload, const char *text);

/* record.c: one recording device with its buffer. */
struct info {
	u32 version, flags;
	u64 dropped;
};

struct recorder {
	int fd;
	u64 capacity;          /* words of the buffer, word 0 included */
	volatile u64 *words;   /* the buffer as the kernel writes it */
};

int record_present(void);
long record_open(struct recorder *r, u64 capacity); /* 0, or minus an errno */
void record_close(struct recorder *r);
long record_on(const struct recorder *r);
long record_off(const struct recorder *r);
long record_info(const struct recorder *r, struct info *info);

/* One buffer as sent: what the kernel wrote up to some moment. The agent and a workload's child share it. */
struct part {
	u64 counted;           /* word 0 at that moment, if fixed */
	u32 fixed;             /* else word 0 is read when the part is sent */
	u32 has_info;
	struct info info;
	u64 *copy;             /* the words, if they had to be copied, else the recorder's buffer */
};

#define MAX_PARTS 4
#define FACTS_ROOM 8192

/* What a workload's child reports to the agent. */
struct report {
	struct part parts[MAX_PARTS];
	s64 error;             /* minus an errno if the workload itself could not be done */
	struct text facts;
	char facts_text[FACTS_ROOM];
};

/* A plan: key=value lines in order. A workload's lines begin at its "workload=" line. */
struct plan {
	const char *const *lines;
	u32 count;
};

/* Returns the value of a key, or NULL; for numbers the default. */
const char *plan_value(const struct plan *p, const char *key);
s64 plan_number(const struct plan *p, const char *key, s64 fallback);

/* Returns the nth value of a key that may occur several times, or NULL. */
const char *plan_nth(const struct plan *p, const char *key, u32 n);

struct run {
	const struct plan *plan;
	struct recorder *recorders;  /* one for each part with its own buffer */
	struct report *report;
};

/* A workload: its parts with the plan key of each buffer's size, and what the child does. */
struct workload {
	const char *name;
	u32 parts;
	struct {
		const char *name;
		const char *size_key;   /* plan key of the capacity; NULL: the part uses the previous part's buffer */
	} part[MAX_PARTS];
	int becomes_program; /* its standard output goes to the host as output frames */
	/* Runs in the child. Returns 0 or minus an errno; does not return if the child becomes another program. */
	long (*child)(struct run *run);
};

/* workloads.c: makes pages present, keeps the task on one CPU, and lets nothing preempt it. */
void settle(void);

/* loops.c */
long run_loops(struct run *run);
long run_loops_recording(struct run *run);
long run_gates(struct run *run);

extern const struct workload workloads[];
extern const u32 workload_count;

#endif
