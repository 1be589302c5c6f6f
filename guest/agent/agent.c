// SPDX-License-Identifier: MIT
/*
 * Runs as process 1 of the guest. Reads /kdf.plan. Writes frames to the channel, and one line to the console for each
 * thing that went wrong. It never exits: it restarts the machine, and QEMU's -no-reboot ends the guest then.
 */

#include "agent.h"

START_CODE;

#define PLAN_FILE "/kdf.plan"
#define PLAN_ROOM 65536
#define MAX_LINES 2048
#define DEFAULT_WORDS (1 << 20)
#define TEXT_ROOM (256 << 10)

static char plan_bytes[PLAN_ROOM + 1];
static const char *plan_lines[MAX_LINES];
static char scratch[TEXT_ROOM];

/* ---- the plan ---- */

static const char *value_in(const char *line, const char *key)
{
	u64 n = text_length(key);

	return text_starts(line, key) && line[n] == '=' ? line + n + 1 : NULL;
}

const char *plan_nth(const struct plan *p, const char *key, u32 n)
{
	for (u32 i = 0; i < p->count; i++) {
		const char *value = value_in(p->lines[i], key);

		if (value && n-- == 0)
			return value;
	}
	return NULL;
}

const char *plan_value(const struct plan *p, const char *key)
{
	return plan_nth(p, key, 0);
}

s64 plan_number(const struct plan *p, const char *key, s64 fallback)
{
	const char *value = plan_value(p, key);

	return value ? text_number(value) : fallback;
}

static u32 hex_digit(char c)
{
	return c >= '0' && c <= '9' ? (u32)(c - '0') : c >= 'a' && c <= 'f' ? (u32)(c - 'a') + 10 : 99;
}

/* Decodes %XX: it stands for a byte that would end the line. A value may hold any byte except NUL. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '%' && hex_digit(s[1]) < 16 && hex_digit(s[2]) < 16) {
			*to++ = (char)(hex_digit(s[1]) * 16 + hex_digit(s[2]));
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

static long plan_read(struct plan *p)
{
	long fd = sys_open(PLAN_FILE, O_RDONLY, 0), got;
	u64 size = 0;

	if (fd < 0)
		return fd;
	while ((got = sys_read((int)fd, plan_bytes + size, PLAN_ROOM - size)) > 0)
		size += (u64)got;
	sys_close((int)fd);
	if (got < 0 || size == PLAN_ROOM)
		return got < 0 ? got : -ENOMEM;
	p->lines = plan_lines;
	p->count = 0;
	for (char *at = plan_bytes; at < plan_bytes + size;) {
		char *line = at;

		while (*at && *at != '\n')
			at++;
		*at++ = 0;
		if (!*line)
			continue;
		if (p->count == MAX_LINES)
			return -ENOMEM;
		unescape(line);
		plan_lines[p->count++] = line;
	}
	return 0;
}

/* ---- reports of what is wrong, and the end ---- */

/* Prints it on the console, and sends it as a frame if no other frame has it. */
static void complain(int on_channel, u32 workload, const char *what, const char *name, long error)
{
	char line[300];
	struct text t = { line, 0, sizeof(line) - 1 };

	text_put(&t, what);
	text_put(&t, name);
	if (error) {
		text_put(&t, ": error ");
		text_decimal(&t, error);
	}
	if (on_channel)
		channel_send(FRAME_TROUBLE, workload, line, t.used);
	text_put(&t, "\n");
	sys_write(2, "kdf-agent: ", 11);
	sys_write(2, line, t.used);
}

static void trouble(u32 workload, const char *what, const char *name, long error)
{
	complain(1, workload, what, name, error);
}

static void __attribute__((noreturn)) restart(void)
{
	SYS(sync, 0, 0, 0, 0, 0, 0);
	sys_ioctl(2, TCSBRK, (void *)1);
	/* Restart, since a kernel without ACPI or PSCI cannot power off. */
	SYS(reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_RESTART, 0, 0, 0);
	sys_write(2, "kdf-agent: the machine did not restart\n", 39);
	for (;;)
		sys_sleep_ms(1000);
}

/*
 * Prints on the console which test begins or ends, so that a splat can be tied to a test. The line must be out before
 * the test can crash the machine: TCSBRK with 1 waits for the serial port.
 */
static void mark(const char *what, const struct plan *p)
{
	const char *title = plan_value(p, "title");
	char line[300];
	struct text t = { line, 0, sizeof(line) - 1 };

	if (!title)
		return;
	text_put(&t, "kdf-agent: ");
	text_put(&t, what);
	text_put(&t, " ");
	text_put(&t, title);
	text_put(&t, "\n");
	sys_write(2, line, t.used);
	sys_ioctl(2, TCSBRK, (void *)1);
}

/* ---- what the agent reads from the kernel ---- */

static void mount_one(const char *what, const char *where)
{
	SYS(mkdirat, AT_FDCWD, where, 0755, 0, 0, 0);
	SYS(mount, what, where, what, 0, 0, 0);
}

static void mounts(void)
{
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("debugfs", "/sys/kernel/debug");
	mount_one("devtmpfs", "/dev");
	mount_one("tmpfs", "/tmp");
	mount_one("tmpfs", "/dev/shm"); /* libc keeps shared memory there */
}

/* Copies the lines of some symbols out of /proc/kallsyms, as "_stext=0xffffffff81000000". */
static void symbols(struct text *t)
{
	static const char *const wanted[] = { "_text", "_stext" };
	const u32 count = sizeof(wanted) / sizeof(wanted[0]);
	u32 left = count;
	u64 have = 0;
	long got, fd = sys_open("/proc/kallsyms", O_RDONLY, 0);

	while (fd >= 0 && left && (got = sys_read((int)fd, scratch + have, 65536)) > 0) {
		u64 start = 0, end = have + (u64)got;

		for (u64 at = 0; at < end; at++) {
			char *line = scratch + start;

			if (scratch[at] != '\n')
				continue;
			scratch[at] = 0;
			/* "ffffffff81000000 T _stext" */
			for (u32 i = 0; i < count && at - start > 19; i++) {
				if (!text_equal(line + 19, wanted[i]))
					continue;
				line[16] = 0;
				text_put(t, wanted[i]);
				text_put(t, "=0x");
				text_put(t, line);
				text_put(t, "\n");
				left--;
			}
			start = at + 1;
		}
		have = end - start;
		for (u64 i = 0; i < have; i++)
			scratch[i] = scratch[start + i];
		if (have > TEXT_ROOM - 65536)
			have = 0;
	}
	if (fd >= 0)
		sys_close((int)fd);
}

static int hello(void)
{
	static struct utsname uts;
	static char room[2048];
	struct text t = { room, 0, sizeof(room) };
	int device = record_present();

	SYS(uname, &uts, 0, 0, 0, 0, 0);
	text_line(&t, "agent", AGENT_VERSION);
	text_line(&t, "arch", MACHINE);
	text_line(&t, "release", uts.release);
	text_line(&t, "version", uts.version);
	text_line(&t, "device", device ? "yes" : "no");
	symbols(&t);
	channel_send(FRAME_HELLO, NO_WORKLOAD, room, t.used);
	return device;
}

static void load_modules(const struct plan *p)
{
	const char *path;

	for (u32 i = 0; (path = plan_nth(p, "module", i)); i++) {
		long fd = sys_open(path, O_RDONLY | O_CLOEXEC, 0);
		long ret = fd < 0 ? fd : SYS(finit_module, fd, "", 0, 0, 0, 0);

		if (fd >= 0)
			sys_close((int)fd);
		if (ret < 0)
			trouble(NO_WORKLOAD, "cannot load the module ", path, ret);
	}
}

/* Calls a function for each name in a directory. The kernel chose these names, so none is too long. */
static void each_entry(const char *dir, struct text *t, const char *module,
		       void (*what)(struct text *t, const char *dir, const char *name, const char *module))
{
	char entries[2048];
	long fd = sys_open(dir, O_RDONLY, 0), got;

	if (fd < 0)
		return;
	while ((got = SYS(getdents64, fd, entries, sizeof(entries), 0, 0, 0)) > 0)
		for (long at = 0; at < got; at += ((struct dirent64 *)(entries + at))->reclen) {
			const char *name = ((struct dirent64 *)(entries + at))->name;

			if (!text_equal(name, ".") && !text_equal(name, ".."))
				what(t, dir, name, module);
		}
	sys_close((int)fd);
}

static void join(char *path, u64 room, const char *a, const char *b, const char *c)
{
	struct text t = { path, 0, room - 1 };

	text_put(&t, a);
	text_put(&t, "/");
	text_put(&t, b);
	text_put(&t, c);
	path[t.used] = 0;
}

static void one_section(struct text *t, const char *dir, const char *name, const char *module)
{
	char path[256], value[32];
	long fd, got;

	join(path, sizeof(path), dir, name, "");
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return;
	got = sys_read((int)fd, value, sizeof(value));
	sys_close((int)fd);
	if (got <= 0)
		return;
	text_put(t, module);
	text_put(t, " ");
	text_put(t, name);
	text_put(t, " ");
	text_bytes(t, value, (u64)got - (value[got - 1] == '\n'));
	text_put(t, "\n");
}

static void one_module(struct text *t, const char *dir, const char *name, const char *module)
{
	char path[256];

	(void)module;
	join(path, sizeof(path), dir, name, "/sections");
	each_entry(path, t, name, one_section);
}

static void send_modules(void)
{
	struct text t = { scratch, 0, sizeof(scratch) };

	each_entry("/sys/module", &t, "", one_module);
	channel_send(FRAME_MODULES, NO_WORKLOAD, scratch, t.used);
}

/* ---- running one workload ---- */

/* Forwards what a program has printed so far. Returns 0 when the program has closed its output. */
static int forward(int pipe, u32 index)
{
	static char bytes[4096];
	long got;

	while ((got = sys_read(pipe, bytes, sizeof(bytes))) > 0)
		channel_send(FRAME_OUTPUT, index, bytes, (u64)got);
	return got != 0;
}

/* Waits for output, or for the end of a child. */
static void doze(int pipe, s64 ms)
{
	const u64 child_signal = 1UL << (SIGCHLD - 1);
	struct pollfd readable = { pipe, POLLIN, 0 };
	struct timespec64 left = { ms / 1000, ms % 1000 * 1000000 };

	if (pipe < 0) {
		SYS(rt_sigtimedwait, &child_signal, 0, &left, sizeof(child_signal), 0, 0);
		return;
	}
	/* A program may end while a child of its own keeps the output open: look again soon. */
	left.sec = 0;
	left.nsec = (ms < 50 ? ms : 50) * 1000000;
	SYS(ppoll, &readable, 1, &left, 0, 0, 0);
}

/*
 * Waits for a child up to a number of milliseconds, and forwards what it prints (pipe -1: it prints nothing).
 * Returns its wait status, or -1 after killing it.
 */
static s32 wait_for(s32 pid, s64 ms, int pipe, u32 index)
{
	s64 deadline = sys_now_ms() + ms;
	s32 status = 0;
	int killed = 0, ended = 0;

	for (;;) {
		s64 left;
		long got;

		/* Process 1 also gets the orphans. */
		while (!ended && (got = SYS(wait4, -1, &status, WNOHANG, 0, 0, 0)) > 0)
			ended = got == pid;
		if (pipe >= 0 && !forward(pipe, index))
			pipe = -1;
		if (ended)
			return killed ? -1 : status;
		left = deadline - sys_now_ms();
		if (left <= 0) {
			if (killed)
				return -1; /* it hangs in the kernel: a kill does not end it */
			killed = 1;
			SYS(kill, pid, SIGKILL, 0, 0, 0, 0);
			left = 5000;
			deadline = sys_now_ms() + left;
		}
		doze(pipe, left);
	}
}

static void send_part(u32 index, const struct workload *w, u32 n, const struct recorder *r, struct part *p)
{
	char room[256];
	struct text t = { room, 0, sizeof(room) };
	const volatile u64 *words = p->copy ? p->copy : r->words;
	u64 counted = p->fixed ? p->counted : r->words[0];
	u64 sent = counted < r->capacity ? counted : r->capacity - 1;

	text_line(&t, "name", w->part[n].name);
	text_line_decimal(&t, "capacity", (s64)r->capacity);
	text_line_decimal(&t, "counted", (s64)counted);
	channel_send(FRAME_PART, index, room, t.used);
	channel_send_two(FRAME_WORDS, index, &counted, sizeof(counted), (const void *)(words + 1), sent * sizeof(u64));
	if (p->has_info)
		channel_send(FRAME_INFO, index, &p->info, sizeof(p->info));
}

static void child_of(struct run *run, const struct workload *w, int output)
{
	const u64 child_signal = 1UL << (SIGCHLD - 1);
	long ret;

	SYS(rt_sigprocmask, SIG_UNBLOCK, &child_signal, 0, sizeof(child_signal), 0, 0);
	if (output >= 0) {
		SYS(dup3, output, 1, 0, 0, 0, 0);
		SYS(dup3, output, 2, 0, 0, 0, 0);
	}
	ret = w->child(run);
	run->report->error = ret;
	if (ret)
		text_line_decimal(&run->report->facts, "error", ret);
	sys_exit(ret ? 1 : 0);
}

/*
 * Notes in facts how a child ended, and returns a positive errno for the end frame. A user's program may end with any
 * exit status or signal: that is not an error here.
 */
static s32 outcome_of(struct report *report, const struct workload *w, s32 status)
{
	if (status == -1) {
		text_line(&report->facts, "ended", "timeout");
		return ETIME;
	}
	if (status & 0x7f) {
		text_line_decimal(&report->facts, "signal", status & 0x7f);
		return w->becomes_program ? 0 : EINTR;
	}
	text_line_decimal(&report->facts, "exit", status >> 8 & 0xff);
	return 0;
}

/* Opens a workload's buffers, runs its child, sends the result. Returns 0, or a positive errno for the end frame. */
static s32 run_workload(const struct workload *w, const struct plan *p, u32 index, int device)
{
	static struct recorder recorders[MAX_PARTS];
	struct run run = { p, recorders, sys_shared(sizeof(struct report)) };
	struct recorder *of_part[MAX_PARTS];
	u32 opened = 0;
	int ends[2] = { -1, -1 };
	s64 timeout = plan_number(p, "timeout_ms", 60000);
	s32 end;
	long pid = -1, error = 0;

	/* A workload without records also runs without a device, for comparison. */
	if (!device && w->parts)
		return ENODEV;
	if (is_error(run.report))
		return ENOMEM;
	run.report->facts.at = run.report->facts_text;
	run.report->facts.room = FACTS_ROOM;
	for (u32 i = 0; i < w->parts && !error; i++) {
		if (w->part[i].size_key) {
			u64 words = (u64)plan_number(p, w->part[i].size_key, DEFAULT_WORDS);

			error = record_open(&recorders[opened], words);
			if (error) {
				trouble(index, "cannot open the recording device for ", w->name, error);
				break;
			}
			opened++;
		} else {
			/* Two parts share one buffer: copy each when it ends. */
			run.report->parts[i].copy = sys_shared(recorders[opened - 1].capacity * sizeof(u64));
			run.report->parts[i - 1].copy = sys_shared(recorders[opened - 1].capacity * sizeof(u64));
			if (is_error(run.report->parts[i].copy) || is_error(run.report->parts[i - 1].copy))
				error = -ENOMEM;
		}
		of_part[i] = &recorders[opened - 1];
	}
	if (!error && w->becomes_program)
		error = SYS(pipe2, ends, O_CLOEXEC, 0, 0, 0, 0);
	if (ends[0] >= 0)
		SYS(fcntl, ends[0], F_SETFL, O_NONBLOCK, 0, 0, 0);
	if (!error) {
		pid = sys_fork_as((s32)plan_number(p, "pid", 0));
		if (pid == 0)
			child_of(&run, w, ends[1]);
		if (pid < 0) {
			trouble(index, "cannot start a child for ", w->name, pid);
			error = pid;
		}
	}
	if (ends[1] >= 0)
		sys_close(ends[1]);
	end = (s32)-error;
	if (!error) {
		s32 status = wait_for((s32)pid, timeout, ends[0], index);

		end = outcome_of(run.report, w, status);
		if (!end)
			end = (s32)-run.report->error;
		if (end)
			complain(0, index, "the workload did not end well: ", w->name, end);
		channel_send(FRAME_FACTS, index, run.report->facts_text, run.report->facts.used);
		for (u32 i = 0; i < w->parts; i++) {
			struct part *part = &run.report->parts[i];

			/* The task became another program, or died, so it could not ask the device. */
			if (!part->has_info && w->part[i].size_key)
				part->has_info = record_info(of_part[i], &part->info) == 0;
			send_part(index, w, i, of_part[i], part);
		}
	}
	if (ends[0] >= 0)
		sys_close(ends[0]);
	for (u32 i = 0; i < opened; i++)
		record_close(&recorders[i]);
	return end;
}

static void run_all(const struct plan *p, int device)
{
	u32 index = 0, from = 0;

	while (from < p->count && !value_in(p->lines[from], "workload"))
		from++;
	for (; from < p->count; index++) {
		const char *name = value_in(p->lines[from], "workload");
		struct plan own = { p->lines + from, 1 };
		const struct workload *found = NULL;
		s32 end = ENOSYS;

		while (from + own.count < p->count && !value_in(p->lines[from + own.count], "workload"))
			own.count++;
		from += own.count;
		for (u32 i = 0; i < workload_count; i++)
			if (text_equal(workloads[i].name, name))
				found = &workloads[i];
		channel_text(FRAME_BEGIN, index, name);
		mark("begin", &own);
		if (found)
			end = run_workload(found, &own, index, device);
		else
			trouble(index, "this agent has no workload ", name, 0);
		mark("end", &own);
		channel_send(FRAME_END, index, &end, sizeof(end));
	}
}

void __attribute__((noreturn, used)) agent_main(void)
{
	const u64 child_signal = 1UL << (SIGCHLD - 1);
	struct plan plan;
	const char *token;
	long error;
	int device;

	SYS(rt_sigprocmask, SIG_BLOCK, &child_signal, 0, sizeof(child_signal), 0, 0);
	mounts();
	error = channel_open();
	if (error) {
		trouble(NO_WORKLOAD, "there is no port kdf.channel", "", error);
		restart();
	}
	error = plan_read(&plan);
	if (error) {
		trouble(NO_WORKLOAD, "cannot read the plan " PLAN_FILE, "", error);
		restart();
	}
	device = hello();
	load_modules(&plan);
	send_modules();
	run_all(&plan, device);
	token = plan_value(&plan, "token");
	if (token)
		channel_text(FRAME_TOKEN, NO_WORKLOAD, token);
	restart();
}
