// SPDX-License-Identifier: MIT
/*
 * Runs loops for measurements: each repeats a few system calls and is timed inside the guest. Between two marks it
 * prints nothing and asks no device. guest/plan.py sets the number of rounds; the facts contain the times.
 */

#include "agent.h"

struct place {
	int file, empty;
	int there[2], back[2];
};

static char byte;

#if defined(__x86_64__)
static u64 ticks(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (u64)high << 32 | low;
}

/* A real counter does not tell its rate. Under -icount QEMU counts in nanoseconds (accel/tcg/icount-common.c). */
static u64 ticks_per_second(void)
{
	return 0;
}
#else
static u64 ticks(void)
{
	u64 value;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value) : : "memory");
	return value;
}

static u64 ticks_per_second(void)
{
	u64 value;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
	return value;
}
#endif

static s64 now_ns(void)
{
	struct timespec64 t = { 0, 0 };

	SYS(clock_gettime, CLOCK_MONOTONIC, &t, 0, 0, 0, 0);
	return t.sec * 1000000000 + t.nsec;
}

/* Waits until the kernel's clock moves. It may move in steps of a tick. */
static s64 edge(void)
{
	s64 first = now_ns(), now;

	do
		now = now_ns();
	while (now == first);
	return now;
}

static long do_getpid(const struct place *p)
{
	(void)p;
	return SYS(getpid, 0, 0, 0, 0, 0, 0);
}

static long do_open_close(const struct place *p)
{
	long fd = sys_open("/tmp/loops", O_RDWR, 0);

	(void)p;
	return fd < 0 ? fd : sys_close((int)fd);
}

/* Reads sequentially. Each read copies bytes, since the file is longer than all rounds together. */
static long do_read(const struct place *p)
{
	char into[16];

	return sys_read(p->file, into, sizeof(into));
}

static long do_fstat(const struct place *p)
{
	char into[256];

	return SYS(fstat, p->file, into, 0, 0, 0, 0);
}

static long do_lseek(const struct place *p)
{
	return SYS(lseek, p->empty, 4096, 0, 0, 0, 0);
}

static long do_pipe(const struct place *p)
{
	long ret = sys_write(p->there[1], &byte, 1);

	return ret < 0 ? ret : sys_read(p->back[0], &byte, 1);
}

static long do_fork(const struct place *p)
{
	long pid = sys_fork_as(0);

	(void)p;
	if (pid == 0)
		sys_exit(0);
	return pid < 0 ? pid : SYS(wait4, pid, 0, 0, 0, 0, 0);
}

static const struct {
	const char *name;
	long (*once)(const struct place *p);
} loops[] = {
	{ "getpid", do_getpid },
	{ "open_close", do_open_close },
	{ "read", do_read },
	{ "fstat", do_fstat },
	{ "lseek", do_lseek },
	{ "pipe", do_pipe },
	{ "fork", do_fork },
};

/* Returns each byte to the sender until the other end is closed. */
static void echo(const struct place *p)
{
	sys_close(p->there[1]);
	while (sys_read(p->there[0], &byte, 1) == 1)
		sys_write(p->back[1], &byte, 1);
	sys_exit(0);
}

static long prepare(struct place *p)
{
	static const char block[4096];
	long ret;

	p->file = (int)sys_open("/tmp/loops", O_RDWR | O_CREAT, 0600);
	p->empty = (int)sys_open("/tmp/loops-empty", O_RDWR | O_CREAT, 0600);
	if (p->file < 0 || p->empty < 0)
		return p->file < 0 ? p->file : p->empty;
	for (int i = 0; i < 64; i++) {
		ret = sys_write(p->file, block, sizeof(block));
		if (ret < 0)
			return ret;
	}
	SYS(lseek, p->file, 0, 0, 0, 0, 0);
	ret = SYS(pipe2, p->there, 0, 0, 0, 0, 0);
	return ret < 0 ? ret : SYS(pipe2, p->back, 0, 0, 0, 0, 0);
}

static void fact(struct text *facts, const char *name, const char *what, s64 value)
{
	text_put(facts, name);
	text_line_decimal(facts, what, value);
}

/* Measures how fast the counter runs, from one step of the clock to another. */
static void calibrate(struct text *facts)
{
	s64 began_ns = edge(), now;
	u64 began = ticks();

	do
		now = edge();
	while (now - began_ns < 100000000);
	fact(facts, "clock", "_ticks", (s64)(ticks() - began));
	fact(facts, "clock", "_ns", now - began_ns);
}

/* Runs one loop, while recording if there is a recorder. */
static long measure(struct run *run, const struct place *p, u32 which, struct recorder *r)
{
	struct text *facts = &run->report->facts;
	const char *name = loops[which].name;
	u64 rounds = (u64)plan_number(run->plan, name, 0), began, took;
	struct info info;
	long ret = 0;

	for (u64 i = 0; i < 8 && ret >= 0; i++)
		ret = loops[which].once(p);
	if (ret < 0 || !rounds)
		return ret < 0 ? ret : 0;
	if (r) {
		r->words[0] = 0;
		ret = record_on(r);
		if (ret)
			return ret;
	}
	began = ticks();
	for (u64 i = 0; i < rounds && ret >= 0; i++)
		ret = loops[which].once(p);
	took = ticks() - began;
	if (r)
		record_off(r);
	fact(facts, name, "_rounds", (s64)rounds);
	fact(facts, name, "_ticks", (s64)took);
	if (r) {
		fact(facts, name, "_words", (s64)r->words[0]);
		if (record_info(r, &info) == 0)
			fact(facts, name, "_dropped", (s64)info.dropped);
	}
	return ret < 0 ? ret : 0;
}

static long all(struct run *run, struct recorder *r)
{
	struct place p;
	long ret = prepare(&p), child;

	if (ret < 0)
		return ret;
	settle();
	child = sys_fork_as(0);
	if (child == 0)
		echo(&p);
	if (child < 0)
		return child;
	text_line_decimal(&run->report->facts, "ticks_per_second", (s64)ticks_per_second());
	calibrate(&run->report->facts);
	for (u32 i = 0; i < sizeof(loops) / sizeof(loops[0]) && !ret; i++)
		ret = measure(run, &p, i, r);
	sys_close(p.there[1]);
	SYS(wait4, child, 0, 0, 0, 0, 0);
	return ret;
}

long run_loops(struct run *run)
{
	return all(run, NULL);
}

long run_loops_recording(struct run *run)
{
	return all(run, &run->recorders[0]);
}

/* Spins, and returns how long something else had the CPU. A timer interrupt alone does not count. */
static u64 stolen(u64 ticks_for, u64 least)
{
	u64 began = ticks(), last = began, now, chunk = ~0ULL, sum = 0;

	do {
		for (u32 i = 0; i < 2000; i++)
			__asm__ volatile("");
		now = ticks();
		if (now - last < chunk)
			chunk = now - last;
		else if (now - last > chunk + least)
			sum += now - last - chunk;
		last = now;
	} while (now - began < ticks_for);
	return sum;
}

/*
 * Measures the first ENABLE, which may have to patch the kernel's text, the second ENABLE, and what runs in the 1.5
 * seconds after the last DISABLE. The task is not settled on purpose: the kernel's threads must get their turn.
 */
long run_gates(struct run *run)
{
	struct text *facts = &run->report->facts;
	struct recorder *r = &run->recorders[0];
	s64 began_ns = edge(), now;
	u64 began = ticks(), first, second, per_second;
	long ret;

	text_line_decimal(facts, "ticks_per_second", (s64)ticks_per_second());
	calibrate(facts);
	now = edge();
	per_second = (ticks() - began) / (u64)((now - began_ns) / 1000000) * 1000;

	began = ticks();
	ret = record_on(r);
	first = ticks() - began;
	if (ret)
		return ret;
	record_off(r);
	began = ticks();
	ret = record_on(r);
	second = ticks() - began;
	if (ret)
		return ret;
	record_off(r);
	fact(facts, "first", "_ticks", (s64)first);
	fact(facts, "second", "_ticks", (s64)second);
	fact(facts, "last", "_ticks", (s64)stolen(per_second + per_second / 2, per_second / 10000));
	return 0;
}
