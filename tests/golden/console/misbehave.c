// SPDX-License-Identifier: MIT
/*
 * An init that does one wrong thing, for the golden console logs: the first line of /kdf.plan says which. It has no
 * channel and no token. "crash NAME" is a crash type of the kernel's own LKDTM (CONFIG_LKDTM=y, Documentation/fault-injection);
 * "crash NAME+NAME" is one after the other in the same task, and the NAME "sleep" sleeps.
 */

#include "../../../guest/agent/text.h"

__asm__(".globl _start\n_start:\n\tandq $-16, %rsp\n\tcall wrong_main\n\thlt\n");

static void put(const char *path, const char *what, u64 size)
{
	long fd = sys_open(path, O_WRONLY, 0);

	if (fd < 0) {
		sys_write(2, "misbehave: cannot open ", 23);
		sys_write(2, path, text_length(path));
		sys_write(2, "\n", 1);
		return;
	}
	sys_write((int)fd, what, size);
	sys_close((int)fd);
}

static void crash(char *names)
{
	for (char *end = names; *names; names = end) {
		while (*end && *end != '+')
			end++;
		if (end - names == 5 && text_starts(names, "sleep"))
			sys_sleep_ms(20);
		else
			put("/sys/kernel/debug/provoke-crash/DIRECT", names, (u64)(end - names));
		end += *end == '+';
	}
}

static void eat_memory(void)
{
	for (;;) {
		char *some = sys_shared(16 << 20);

		if (is_error(some))
			continue;
		for (u64 i = 0; i < 16 << 20; i += 4096)
			some[i] = 1;
	}
}

static void mount_one(const char *what, const char *where)
{
	SYS(mkdirat, AT_FDCWD, where, 0755, 0, 0, 0);
	SYS(mount, what, where, what, 0, 0, 0);
}

static void restart(void)
{
	sys_ioctl(2, TCSBRK, (void *)1);
	SYS(reboot, REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_RESTART, 0, 0, 0);
}

void __attribute__((noreturn, used)) wrong_main(void)
{
	static char how[256];
	long fd = sys_open("/kdf.plan", O_RDONLY, 0), got;

	got = sys_read((int)fd, how, sizeof(how) - 1);
	while (got > 0 && how[got - 1] == '\n')
		how[--got] = 0;
	mount_one("proc", "/proc");
	mount_one("sysfs", "/sys");
	mount_one("debugfs", "/sys/kernel/debug");
	mount_one("devtmpfs", "/dev");
	if (text_equal(how, "exit")) {
		sys_exit(3);
	} else if (text_equal(how, "segv")) {
		*(volatile int *)8 = 1;
	} else if (text_starts(how, "sysrq ")) {
		put("/proc/sysrq-trigger", how + 6, 1);
	} else if (text_starts(how, "crash ")) {
		crash(how + 6);
	} else if (text_starts(how, "child-crash ")) {
		/* In a task of its own, so that init is not the one that hangs. */
		if (sys_fork_as(0) == 0) {
			crash(how + 12);
			sys_exit(0);
		}
		sys_sleep_ms(20000);
	} else if (text_starts(how, "stall ")) {
		/* Tasks that end let RCU wait for all CPUs; one of them does not come back. */
		if (sys_fork_as(0) == 0) {
			for (;;) {
				if (sys_fork_as(0) == 0)
					sys_exit(0);
				SYS(wait4, -1, 0, 0, 0, 0, 0);
			}
		}
		sys_sleep_ms(200);
		crash(how + 6);
	} else if (text_equal(how, "sleep")) {
		for (;;)
			sys_sleep_ms(1000);
	} else if (text_equal(how, "spin")) {
		for (;;)
			;
	} else if (text_equal(how, "oom-init")) {
		eat_memory();
	} else if (text_equal(how, "oom-child")) {
		if (sys_fork_as(0) == 0)
			eat_memory();
		SYS(wait4, -1, 0, 0, 0, 0, 0);
	} else if (text_equal(how, "talk")) {
		for (u64 i = 0;; i++) {
			static char line[100];
			struct text t = { line, 0, sizeof(line) };

			text_put(&t, "line ");
			text_decimal(&t, (s64)i);
			text_put(&t, " of a guest that never stops talking\n");
			put("/dev/kmsg", line, t.used);
		}
	} else if (text_equal(how, "noise")) {
		/* Splats in other clothes: what a console may do to a line. All are real lines of a kernel that is well. */
		put("/dev/console", "\033[2J\033[1;31mDEBUG: this is no BUG\033[0m\r\n\0\0\0half a li", 53);
		put("/dev/kmsg", "<4>Spectre V2 : WARNING: not a splat", 36);
	} else {
		sys_write(2, "misbehave: what?\n", 17);
	}
	restart();
	for (;;)
		sys_sleep_ms(1000);
}
