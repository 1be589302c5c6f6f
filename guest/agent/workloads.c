// SPDX-License-Identifier: MIT
/*
 * Implements the workloads: what a child does while the kernel records it. Each has one function, and one entry in the
 * table at the end. guest/plan.py draws its values, by the same name. Between record_on() and record_off() only the
 * workload itself runs: it touches no page for the first time, and prints nothing.
 */

#include "agent.h"

void settle(void)
{
	struct { u64 cpus[2]; } first = { { 1, 0 } };
	s32 priority = 50;

	/*
	 * Copy the pages that fork left shared now, not while recording. Stay on one CPU, and let nothing preempt the task:
	 * a context switch is also code in task context, so the records would contain it.
	 */
	SYS(mlockall, MCL_ALL, 0, 0, 0, 0, 0);
	SYS(sched_setaffinity, 0, sizeof(first), &first, 0, 0, 0);
	SYS(sched_setscheduler, 0, SCHED_FIFO, &priority, 0, 0, 0);
	SYS(umask, 0, 0, 0, 0, 0, 0);
}

/* Fills descriptors until the next one is the wanted one. The low ones are the console. */
static void fill_descriptors(s64 wanted)
{
	while (wanted > 3) {
		long got = SYS(fcntl, 0, F_DUPFD, 3, 0, 0, 0);

		if (got < 0 || got >= wanted - 1) {
			if (got >= wanted)
				sys_close((int)got);
			return;
		}
	}
}

/* Disables, and asks the device about itself. A device without KCOV_DF_INFO belongs to another series. */
static long finish(struct run *run, u32 part, struct recorder *r)
{
	struct part *p = &run->report->parts[part];
	long ret = record_off(r);

	p->has_info = record_info(r, &p->info) == 0;
	return ret;
}

static void fact_common(struct run *run)
{
	text_line_decimal(&run->report->facts, "pid", SYS(getpid, 0, 0, 0, 0, 0, 0));
}

static long run_getpid(struct run *run)
{
	struct recorder *r = &run->recorders[0];
	long on, ret, off;

	settle();
	SYS(getpid, 0, 0, 0, 0, 0, 0);
	on = record_on(r);
	ret = SYS(getpid, 0, 0, 0, 0, 0, 0);
	off = finish(run, 0, r);

	text_line_decimal(&run->report->facts, "pid", ret);
	text_line_decimal(&run->report->facts, "ret", ret);
	return on ? on : off;
}

static long run_open_close(struct run *run)
{
	struct recorder *r = &run->recorders[0];
	const char *path = plan_value(run->plan, "path");
	int flags = (int)plan_number(run->plan, "flags", O_RDWR | O_CREAT);
	u32 mode = (u32)plan_number(run->plan, "mode", 0600);
	struct text *facts = &run->report->facts;
	long on, fd, closed, off;

	if (!path)
		return -EINVAL;
	settle();
	fill_descriptors(plan_number(run->plan, "fd", 3));
	on = record_on(r);
	fd = sys_open(path, flags, mode);
	closed = sys_close((int)fd);
	off = finish(run, 0, r);

	fact_common(run);
	text_line(facts, "path", path);
	text_line_hex(facts, "flags", (u64)flags);
	text_line_octal(facts, "mode", mode);
	text_line_hex(facts, "path_address", (u64)path);
	text_line_decimal(facts, "fd", fd);
	text_line_decimal(facts, "closed", closed);
	if (on || off)
		return on ? on : off;
	return fd < 0 ? fd : closed;
}

static long run_fork(struct run *run)
{
	struct recorder *r = &run->recorders[0];
	const char *path = plan_value(run->plan, "path"), *child_path = plan_value(run->plan, "child_path");
	int flags = (int)plan_number(run->plan, "flags", O_RDWR | O_CREAT);
	u32 mode = (u32)plan_number(run->plan, "mode", 0600);
	u32 child_mode = (u32)plan_number(run->plan, "child_mode", 0644);
	s32 child_pid = (s32)plan_number(run->plan, "child_pid", 0);
	struct text *facts = &run->report->facts;
	/* The child reports through shared memory, since it is gone when the facts are written. */
	volatile s64 *told = (volatile s64 *)(facts->at + facts->room - sizeof(s64));
	s32 status = -1;
	long on, pid, fd, closed, waited, off;

	if (!path || !child_path)
		return -EINVAL;
	facts->room -= sizeof(s64);
	*told = -ENODEV;
	settle();
	fill_descriptors(plan_number(run->plan, "fd", 3));
	on = record_on(r);
	pid = sys_fork_as(child_pid);
	if (pid == 0) {
		*told = sys_open(child_path, flags, child_mode);
		sys_exit(*told < 0);
	}
	/* The parent goes on recording until the child has opened its file and ended. */
	waited = pid < 0 ? pid : SYS(wait4, pid, &status, 0, 0, 0, 0);
	fd = sys_open(path, flags, mode);
	closed = sys_close((int)fd);
	off = finish(run, 0, r);

	fact_common(run);
	text_line_decimal(facts, "child_pid", pid);
	text_line_decimal(facts, "child_waited", waited);
	text_line_decimal(facts, "child_status", status);
	text_line_decimal(facts, "child_fd", *told);
	text_line_octal(facts, "child_mode", child_mode);
	text_line_hex(facts, "flags", (u64)flags);
	text_line_octal(facts, "mode", mode);
	text_line_decimal(facts, "fd", fd);
	text_line_decimal(facts, "closed", closed);
	if (on || off)
		return on ? on : off;
	if (pid < 0)
		return pid;
	return fd < 0 ? fd : *told < 0 ? *told : 0;
}

static void calls(u64 loops, int fd)
{
	/* Mix short records with long ones (of struct file): a short one may fit where a long one did not. */
	for (u64 i = 0; i < loops; i++) {
		SYS(getpid, 0, 0, 0, 0, 0, 0);
		SYS(lseek, fd, 4096, 0, 0, 0, 0);
	}
}

/* Copies the buffer as it is now, without a system call: nothing may be recorded meanwhile. */
static void snapshot(struct part *p, const struct recorder *r)
{
	p->counted = r->words[0];
	p->fixed = 1;
	if (!p->copy)
		return;
	for (u64 i = 0; i < r->capacity; i++)
		p->copy[i] = r->words[i];
}

/*
 * Uses once, before recording, what is read and written while recording. If the processor does not itself note that a
 * page was used or is dirty (arm64 without AF and DBM), the first read or write is a fault in task context.
 */
static void touch(struct part *p, const struct recorder *r)
{
	r->words[0] = 0;
	for (u64 i = 0; p->copy && i < r->capacity; i += 4096 / sizeof(u64)) {
		(void)r->words[i];
		p->copy[i] = 0;
	}
}

static long run_overflow(struct run *run)
{
	struct recorder *big = &run->recorders[0], *small = &run->recorders[1];
	struct report *report = run->report;
	u64 loops = (u64)plan_number(run->plan, "loops", 300);
	u64 again = (u64)plan_number(run->plan, "again", 5);
	long ret, off, fd = sys_open("/tmp/overflow", O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return fd;
	settle();
	touch(&report->parts[1], small);
	touch(&report->parts[2], small);
	/* Do the same once without recording, so that caches and pages are in their final state. */
	calls(8, (int)fd);
	ret = record_on(big);
	record_off(big);
	big->words[0] = 0;
	if (ret)
		return ret;

	record_on(big);
	calls(loops, (int)fd);
	snapshot(&report->parts[0], big);
	ret = finish(run, 0, big);
	if (ret)
		return ret;

	ret = record_on(small);
	calls(loops, (int)fd);
	snapshot(&report->parts[1], small);
	/* There is room again from here on, so all drops happened in the loop. */
	small->words[0] = 0;
	for (u64 i = 0; i < again; i++)
		SYS(getpid, 0, 0, 0, 0, 0, 0);
	snapshot(&report->parts[2], small);
	off = finish(run, 1, small);
	report->parts[2].has_info = report->parts[1].has_info;
	report->parts[2].info = report->parts[1].info;

	fact_common(run);
	text_line_decimal(&report->facts, "loops", (s64)loops);
	text_line_decimal(&report->facts, "again", (s64)again);
	return ret ? ret : off;
}

/* Writes a number to a file: this is how the sample modules are called. */
static long run_call(struct run *run)
{
	struct recorder *r = &run->recorders[0];
	const char *path = plan_value(run->plan, "file"), *number = plan_value(run->plan, "number");
	long on, ret, off, fd, length = 0;

	if (!path || !number)
		return -EINVAL;
	while (number[length])
		length++;
	fd = sys_open(path, O_WRONLY, 0);
	if (fd < 0)
		return fd;
	settle();
	on = record_on(r);
	ret = SYS(write, fd, number, length, 0, 0, 0);
	off = finish(run, 0, r);

	fact_common(run);
	text_line_decimal(&run->report->facts, "ret", ret);
	if (on || off)
		return on ? on : off;
	return ret < 0 ? ret : 0;
}

#define MAX_ARGUMENTS 62

/* Becomes the plan's program. Returns only if this fails. */
static long become(struct run *run, const struct recorder *recorder)
{
	static const char *const environment[] = { "PATH=/", "HOME=/", "TERM=dumb", NULL };
	const char *arguments[MAX_ARGUMENTS + 2];
	const char *program = plan_value(run->plan, "program");
	u32 n = 0;
	long ret;

	if (!program)
		return -EINVAL;
	arguments[n++] = program;
	while (n <= MAX_ARGUMENTS && (arguments[n] = plan_nth(run->plan, "arg", n - 1)))
		n++;
	arguments[n] = NULL;
	fact_common(run);
	/* Recording is bound to the task: it goes on in the program and ends with the task. */
	ret = recorder ? record_on(recorder) : 0;
	if (ret)
		return ret;
	return SYS(execve, program, arguments, environment, 0, 0, 0);
}

static long run_exec(struct run *run)
{
	return become(run, &run->recorders[0]);
}

/* Runs a test. Nothing is recorded, so it also runs on kernels without the device, and may use the device itself. */
static long run_test(struct run *run)
{
	const char *folder = plan_value(run->plan, "cwd");
	long ret = folder ? SYS(chdir, folder, 0, 0, 0, 0, 0) : 0;

	return ret ? ret : become(run, NULL);
}

const struct workload workloads[] = {
	{ "getpid", 1, { { "main", "words" } }, 0, run_getpid },
	{ "open-close", 1, { { "main", "words" } }, 0, run_open_close },
	{ "fork", 1, { { "main", "words" } }, 0, run_fork },
	{ "overflow", 3, { { "big", "words" }, { "small", "small_words" }, { "resumed", NULL } }, 0, run_overflow },
	{ "call-c", 1, { { "main", "words" } }, 0, run_call },
	{ "call-rust", 1, { { "main", "words" } }, 0, run_call },
	{ "exec", 1, { { "main", "words" } }, 1, run_exec },
	{ "test", 0, { { NULL, NULL } }, 1, run_test },
	{ "loops", 0, { { NULL, NULL } }, 0, run_loops },
	{ "loops-recording", 1, { { "main", "words" } }, 0, run_loops_recording },
	{ "gates", 1, { { "main", "words" } }, 0, run_gates },
};

const u32 workload_count = sizeof(workloads) / sizeof(workloads[0]);
