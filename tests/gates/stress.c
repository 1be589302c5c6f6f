// SPDX-License-Identifier: MIT
/*
 * Gates under stress, in the guest: `stress cycles N`, `stress module N`, `stress probes N M` (N, M: how far behind its start
 * do_sys_openat2 has its gate, and the instruction before that), `stress patches N`. Prints KTAP. Whatever is wrong
 * inside the kernel (KASAN, lockdep) is on the console and is the verdict's matter; here records are looked at.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/sys/kernel/debug/kcov_dataflow"
#define INIT _IOR('d', 1, unsigned long)
#define INFO _IOR('d', 2, struct info)
#define ENABLE _IO('d', 100)
#define DISABLE _IO('d', 101)
/* The function tracer's own work is recorded, too. */
#define WORDS (1UL << 17)
#define TASKS 8
#define ENTRY 0xe
#define RETURN 0xf

typedef uint64_t u64;

struct info {
	uint32_t version, flags;
	u64 dropped;
};

struct recorder {
	int fd;
	u64 *area;
};

struct shared {
	int arrived, turn, bad, done, looked;
};

extern const char module_start[], module_end[], patch_start[], patch_end[];
__asm__(".section .rodata\n"
	"module_start: .incbin \"kdf_gates.ko\"\nmodule_end:\n"
	"patch_start: .incbin \"kdf_patch.ko\"\npatch_end: .previous");

static struct shared *shared;
static int number;

static void say(int good, const char *form, ...)
{
	va_list list;

	va_start(list, form);
	printf("%sok %d ", good ? "" : "not ", ++number);
	vprintf(form, list);
	printf("\n");
	va_end(list);
	fflush(stdout);
}

static void bad(const char *form, ...)
{
	va_list list;

	va_start(list, form);
	if (__atomic_add_fetch(&shared->bad, 1, __ATOMIC_SEQ_CST) <= 20) {
		printf("# task %d: ", getpid());
		vprintf(form, list);
		printf("\n");
		fflush(stdout);
	}
	va_end(list);
}

static void open_recorder(struct recorder *r)
{
	r->fd = open(DEVICE, O_RDWR);
	if (r->fd < 0 || ioctl(r->fd, INIT, WORDS))
		exit(90);
	r->area = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (r->area == MAP_FAILED)
		exit(91);
	memset(r->area, 0, WORDS * 8);
}

/* Whether there is a record of that kind with that value; says what is wrong with the buffer as a whole. */
static int look(const struct recorder *r, unsigned int kind, u64 wanted, u64 family, u64 mine)
{
	u64 used = r->area[0], at = 1, seq = 0;
	int found = 0, first = 1;
	struct info info = { 0 };

	if (ioctl(r->fd, INFO, &info) || info.dropped)
		bad("%llu dropped", (unsigned long long)info.dropped);
	while (at <= used) {
		u64 head = r->area[at], count = head >> 32 & 0xffff, type = head >> 28 & 0xf;

		if ((type != ENTRY && type != RETURN) || !count || head >> 48 || at + 2 + count > used) {
			bad("word %llu of %llu is no header: %llx", (unsigned long long)at, (unsigned long long)used,
			    (unsigned long long)head);
			return 0;
		}
		if (!first && (head & 0xffffff) != ((seq + 1) & 0xffffff))
			bad("record %llx follows %llx", (unsigned long long)(head & 0xffffff), (unsigned long long)seq);
		seq = head & 0xffffff;
		first = 0;
		for (u64 i = 0; i < count; i++) {
			u64 value = r->area[at + 3 + i];

			found |= type == kind && value == wanted;
			/* Its own register and its own earlier draws are in pt_regs and in struct file. */
			if (family && value != family && (value & 0xffffffff00000000) == family && value >> 24 != mine >> 24)
				bad("a foreign value: %llx", (unsigned long long)value);
		}
		at += 3 + count;
	}
	__atomic_add_fetch(&shared->looked, 1, __ATOMIC_RELAXED);
	return found;
}

/* All recording tasks wait for each other, so that the gates close behind the last of them. */
static void pause_together(int tasks)
{
	int turn = __atomic_load_n(&shared->turn, __ATOMIC_SEQ_CST);

	if (__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_SEQ_CST) == tasks) {
		shared->arrived = 0;
		usleep(1300000);
		__atomic_add_fetch(&shared->turn, 1, __ATOMIC_SEQ_CST);
		return;
	}
	while (__atomic_load_n(&shared->turn, __ATOMIC_SEQ_CST) == turn)
		usleep(2000);
}

static void cycle_task(int which, int cycles)
{
	const u64 family = 0x5a17ca11ULL << 32;
	struct recorder r;
	int empty = open("/proc/self/exe", O_RDONLY);

	open_recorder(&r);
	for (int i = 0; i < cycles; i++) {
		u64 mine = family | (u64)(which + 1) << 24 | (unsigned int)i;
		long pid, at;

		if (i && i % (cycles / 10 + 1) == 0)
			pause_together(TASKS);
		r.area[0] = 0;
		if (ioctl(r.fd, ENABLE)) {
			bad("enable: %s", strerror(errno));
			continue;
		}
		pid = syscall(SYS_getppid) ? syscall(SYS_getpid) : 0;
		at = syscall(SYS_lseek, empty, mine, SEEK_SET);
		if (ioctl(r.fd, DISABLE))
			bad("disable: %s", strerror(errno));
		if ((u64)at != mine)
			bad("lseek gave %lx", at);
		if (!look(&r, RETURN, (u64)pid, family, mine))
			bad("no record of getpid's %ld", pid);
		if (!look(&r, ENTRY, mine, family, mine))
			bad("no record of lseek's %llx", (unsigned long long)mine);
	}
	exit(0);
}

static void busy(void)
{
	while (!shared->done) {
		int fd = open("/proc/self/stat", O_RDONLY);
		char line[64];

		if (read(fd, line, sizeof(line)) < 0)
			bad("read");
		close(fd);
	}
	exit(0);
}

static pid_t started(void (*work)(void))
{
	pid_t pid = fork();

	if (!pid)
		work();
	return pid;
}

static void cycles(int all)
{
	pid_t other = started(busy), tasks[TASKS];
	int status, ended = 0;

	for (int i = 0; i < TASKS; i++) {
		tasks[i] = fork();
		if (!tasks[i])
			cycle_task(i, all / TASKS);
	}
	for (int i = 0; i < TASKS; i++)
		ended += waitpid(tasks[i], &status, 0) == tasks[i] && WIFEXITED(status) && !WEXITSTATUS(status);
	shared->done = 1;
	waitpid(other, &status, 0);
	say(ended == TASKS, "all %d tasks ended", TASKS);
	say(shared->looked == 2 * (all / TASKS) * TASKS, "%d buffers were looked at", shared->looked);
	say(!shared->bad, "no lost and no foreign record: %d bad", shared->bad);
}

static int load(const char *start, const char *end)
{
	int fd = memfd_create("module", 0);
	size_t size = (size_t)(end - start);
	int ret;

	if (fd < 0 || write(fd, start, size) != (ssize_t)size)
		return -1;
	ret = (int)syscall(SYS_finit_module, fd, "", 0);
	close(fd);
	return ret;
}

static int unload(const char *name)
{
	return (int)syscall(SYS_delete_module, name, O_NONBLOCK);
}

static int called(struct recorder *r, u64 n, int record)
{
	int fd = open("/sys/kernel/debug/kdf_gates/call", O_WRONLY), ret = 1;
	char text[32];
	int length = snprintf(text, sizeof(text), "%llu", (unsigned long long)n);

	if (fd < 0) {
		bad("the module's file: %s", strerror(errno));
		return 0;
	}
	r->area[0] = 0;
	if (record && ioctl(r->fd, ENABLE)) {
		bad("enable: %s", strerror(errno));
		ret = 0;
	}
	if (write(fd, text, (size_t)length) != length) {
		bad("writing %s: %s", text, strerror(errno));
		ret = 0;
	}
	if (record && ioctl(r->fd, DISABLE))
		ret = 0;
	close(fd);
	if (record && ret)
		ret = look(r, ENTRY, n, 0, 0) && look(r, RETURN, n ^ n >> 32, 0, 0);
	return ret;
}

/* Load, call, look, unload; with a call that nobody records first if the gates are shut. */
static int round_of(struct recorder *r, u64 n, int shut)
{
	int good = 1;

	if (load(module_start, module_end)) {
		bad("loading: %s", strerror(errno));
		return 0;
	}
	if (shut) {
		/* Its init text is freed a moment later, and must be left alone from then on. */
		usleep(500000);
		good = called(r, 1, 0);
	}
	if (good && !called(r, n, 1)) {
		bad("no record of %llx in %llu words", (unsigned long long)n, (unsigned long long)r->area[0]);
		good = 0;
	}
	if (unload("kdf_gates")) {
		bad("unloading: %s", strerror(errno));
		good = 0;
	}
	return good;
}

static void records_always(void)
{
	struct recorder r;

	open_recorder(&r);
	while (!shared->done) {
		r.area[0] = 0;
		if (ioctl(r.fd, ENABLE))
			bad("enable: %s", strerror(errno));
		for (int i = 0; i < 20; i++)
			syscall(SYS_getpid);
		ioctl(r.fd, DISABLE);
	}
	exit(0);
}

static void module(int rounds)
{
	struct recorder r;
	int open_ok = 0, shut_ok = 0, left;
	char line[64] = "";
	pid_t other;
	FILE *f;

	open_recorder(&r);
	other = started(records_always);
	for (int i = 0; i < rounds; i++)
		open_ok += round_of(&r, 0x1234567800000000ULL + (u64)i * 77, 0);
	say(open_ok == rounds, "loaded while the gates are open: on records %d of %d times", open_ok, rounds);
	shared->done = 1;
	waitpid(other, NULL, 0);
	for (int i = 0; i < 3; i++) {
		usleep(1500000);
		shut_ok += round_of(&r, 0x2345678900000000ULL + (u64)i, 1);
	}
	say(shut_ok == 3, "loaded while they are shut: on records once they are open, %d of 3 times", shut_ok);
	usleep(1500000);
	f = fopen("/proc/modules", "r");
	left = f && fgets(line, sizeof(line), f) != NULL;
	say(f && !left, "nothing is left behind: %s", line);
	say(ioctl(r.fd, ENABLE) == 0 && ioctl(r.fd, DISABLE) == 0, "the gates open once more");
	say(!shared->bad, "records are whole: %d bad", shared->bad);
}

static int put(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | flags), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

#define TRACING "/sys/kernel/tracing/"

static long hits(const char *name)
{
	FILE *f = fopen(TRACING "kprobe_profile", "r");
	char line[256], who[128];
	long count = -1, many;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %127s %ld", who, &many) == 2 && !strcmp(who, name))
			count = many;
	if (f)
		fclose(f);
	return count;
}

/* Whether the kernel has put a jump, which covers five bytes, where a probe is. */
static int optimized(int offset)
{
	FILE *f = fopen("/sys/kernel/debug/kprobes/list", "r");
	char line[256], place[64];
	int found = f ? 0 : -1;

	snprintf(place, sizeof(place), "do_sys_openat2+0x%x ", offset);
	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, place) && strstr(line, "[OPTIMIZED]");
	if (f)
		fclose(f);
	return found;
}

/* Probes on functions, on the gate of one and before it, and the function tracer, while gates open and close. */
static void probes(int gate, int before)
{
	static const char *const where[] = { "do_sys_openat2", "__x64_sys_lseek", "vfs_read" };
	int set = 0, on_gate, hit, tracer;
	char place[64];
	struct recorder r;

	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	open_recorder(&r);
	for (unsigned int i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
		char text[96];
		int ret;

		snprintf(text, sizeof(text), "p:kdf/p%u %s\n", i, where[i]);
		ret = put(TRACING "kprobe_events", text, O_APPEND);
		printf("# %s: %s\n", where[i], ret ? strerror(-ret) : "set");
		set += !ret;
	}
	snprintf(place, sizeof(place), "p:kdf/gate do_sys_openat2+%d\n", gate);
	on_gate = put(TRACING "kprobe_events", place, O_APPEND);
	say(on_gate == -EINVAL, "a probe on the gate at do_sys_openat2+%d is refused: %s", gate, strerror(-on_gate));
	snprintf(place, sizeof(place), "p:kdf/before do_sys_openat2+%d\n", before);
	set += !put(TRACING "kprobe_events", place, O_APPEND);
	hit = put(TRACING "events/kdf/enable", "1", 0);
	/* Long enough for the kernel to make a jump of what it can. */
	usleep(1300000);
	say(!access("/proc/sys/debug/kprobes-optimization", F_OK), "this kernel makes jumps of probes");
	say(optimized(before) == 0, "no jump at do_sys_openat2+%d covers the gate", before);
	for (int i = 0; i < 5; i++) {
		int fd;

		r.area[0] = 0;
		ioctl(r.fd, ENABLE);
		fd = open("/proc/self/stat", O_RDONLY);
		ioctl(r.fd, DISABLE);
		close(fd);
		if (!look(&r, RETURN, (u64)fd, 0, 0))
			bad("no record of open's %d", fd);
		usleep(1300000);
	}
	printf("# do_sys_openat2 was hit %ld times\n", hits("p0"));
	say(set == 4 && !hit, "%d probes are set", set);
	say(hits("p0") >= 5, "the probe at the start of a function is hit while gates open and close");
	say(hits("before") >= 5, "the probe before the gate is hit as well: %ld times", hits("before"));
	put(TRACING "events/kdf/enable", "0", 0);
	say(!put(TRACING "kprobe_events", "\n", O_TRUNC), "the probes are gone again");
	tracer = put(TRACING "current_tracer", "function", 0);
	for (int i = 0; i < 5 && !tracer; i++) {
		r.area[0] = 0;
		if (ioctl(r.fd, ENABLE))
			bad("enable: %s", strerror(errno));
		syscall(SYS_getpid);
		ioctl(r.fd, DISABLE);
		if (!look(&r, RETURN, (u64)getpid(), 0, 0))
			bad("no record of getpid");
		put(TRACING "current_tracer", i & 1 ? "function" : "nop", 0);
		usleep(1300000);
	}
	say(!tracer, "the function tracer runs while gates open and close");
	put(TRACING "current_tracer", "nop", 0);
	say(!shared->bad, "records are whole: %d bad", shared->bad);
}

#define PATCH "/sys/kernel/livepatch/kdf_patch/"
/* What tests/gates/kdf_patch.c has getpid return. */
#define PATCHED 424242

/* Whether all tasks have gone over to what the live patch, or its end, gives them. */
static int gone_over(void)
{
	for (int i = 0; i < 600; i++) {
		int fd = open(PATCH "transition", O_RDONLY);
		char state = '0';

		/* The directory goes when the patch is off. */
		if (fd < 0)
			return 1;
		if (read(fd, &state, 1) != 1)
			state = '0';
		close(fd);
		if (state == '0')
			return 1;
		usleep(100000);
	}
	return 0;
}

static int recorded_getpid(struct recorder *r, long wanted)
{
	long got;

	r->area[0] = 0;
	if (ioctl(r->fd, ENABLE))
		return 0;
	got = syscall(SYS_getpid);
	if (ioctl(r->fd, DISABLE))
		return 0;
	if (got != wanted)
		printf("# getpid gave %ld, not %ld\n", got, wanted);
	return got == wanted && look(r, RETURN, (u64)wanted, 0, 0);
}

/* A live patch comes and goes while gates are open, and while they are shut. */
static void patches(int rounds)
{
	struct recorder r;
	int on = 0, off = 0, gone = 0;
	long own = getpid();
	pid_t other = 0;

	open_recorder(&r);
	for (int i = 0; i < rounds; i++) {
		shared->done = 0;
		if (i & 1)
			other = started(records_always);
		else
			usleep(1300000);
		if (load(patch_start, patch_end)) {
			bad("loading the patch: %s", strerror(errno));
			break;
		}
		on += gone_over() && recorded_getpid(&r, PATCHED);
		usleep(1300000);
		on += recorded_getpid(&r, PATCHED);
		off += !put(PATCH "enabled", "0", 0) && gone_over() && recorded_getpid(&r, own);
		shared->done = 1;
		if (i & 1)
			waitpid(other, NULL, 0);
		/* Its directory is taken away a moment before it can be unloaded. */
		for (int n = 0; n < 100 && (gone += !unload("kdf_patch")) <= i; n++)
			usleep(100000);
	}
	say(on == 2 * rounds, "a patched function and its record: %d of %d", on, 2 * rounds);
	say(off == rounds, "the function itself again, and its record: %d of %d", off, rounds);
	say(gone == rounds, "the patch is unloaded: %d of %d", gone, rounds);
	say(!shared->bad, "records are whole: %d bad", shared->bad);
}

int main(int argc, char **argv)
{
	int many = argc > 2 ? atoi(argv[2]) : 0;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n");
	if (argc > 1 && !strcmp(argv[1], "cycles"))
		cycles(many);
	else if (argc > 1 && !strcmp(argv[1], "module"))
		module(many);
	else if (argc > 1 && !strcmp(argv[1], "patches"))
		patches(many);
	else
		probes(many, argc > 3 ? atoi(argv[3]) : 0);
	printf("1..%d\n", number);
	return shared->bad ? 1 : 0;
}
