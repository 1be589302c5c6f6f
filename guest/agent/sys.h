/* SPDX-License-Identifier: MIT */
/*
 * Makes system calls without a libc, on x86-64 and arm64.
 *
 * The agent is freestanding on purpose: it cross-compiles with any clang without a sysroot, it has a few KB, and only
 * the code of these files runs in a workload's task. Never add what a C library would hide, such as retries, caches or
 * signals.
 *
 * Numbers come from arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux 7.1.8, and
 * structures and flags from its include/uapi. All of them are ABI, so they are the same in every version.
 */
#ifndef KDF_SYS_H
#define KDF_SYS_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long u64;
typedef long s64;

#define NULL ((void *)0)

#if defined(__x86_64__)

enum nr {
	NR_read = 0, NR_write = 1, NR_close = 3, NR_fstat = 5, NR_lseek = 8, NR_mmap = 9, NR_munmap = 11, NR_rt_sigprocmask = 14, NR_ioctl = 16,
	NR_nanosleep = 35, NR_getpid = 39, NR_execve = 59, NR_exit = 60, NR_wait4 = 61, NR_kill = 62, NR_uname = 63, NR_chdir = 80,
	NR_fcntl = 72, NR_umask = 95, NR_getppid = 110, NR_rt_sigtimedwait = 128, NR_sched_setscheduler = 144,
	NR_mlockall = 151, NR_sync = 162, NR_mount = 165, NR_reboot = 169, NR_sched_setaffinity = 203,
	NR_getdents64 = 217, NR_clock_gettime = 228, NR_exit_group = 231, NR_openat = 257, NR_mkdirat = 258, NR_ppoll = 271, NR_dup3 = 292,
	NR_pipe2 = 293,
	NR_finit_module = 313, NR_clone3 = 435,
};

static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	long ret;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#define START_CODE \
	__asm__(".globl _start\n_start:\n\txorl %ebp, %ebp\n\tandq $-16, %rsp\n\tcall agent_main\n\thlt\n")

#define MACHINE "x86_64"

#elif defined(__aarch64__)

enum nr {
	NR_dup3 = 24, NR_fcntl = 25, NR_ioctl = 29, NR_mkdirat = 34, NR_mount = 40, NR_chdir = 49, NR_openat = 56, NR_close = 57,
	NR_pipe2 = 59, NR_getdents64 = 61, NR_lseek = 62, NR_read = 63, NR_write = 64, NR_ppoll = 73, NR_fstat = 80, NR_sync = 81, NR_exit = 93,
	NR_exit_group = 94, NR_nanosleep = 101, NR_clock_gettime = 113, NR_sched_setscheduler = 119, NR_sched_setaffinity = 122, NR_kill = 129,
	NR_rt_sigprocmask = 135, NR_rt_sigtimedwait = 137, NR_reboot = 142, NR_uname = 160, NR_umask = 166,
	NR_getpid = 172, NR_getppid = 173, NR_munmap = 215, NR_execve = 221, NR_mmap = 222, NR_mlockall = 230, NR_wait4 = 260,
	NR_finit_module = 273, NR_clone3 = 435,
};

static inline long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

#define START_CODE \
	__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tbl agent_main\n\tbrk #0\n")

#define MACHINE "arm64"

#else
#error "the agent knows x86-64 and arm64"
#endif

#define SYS(nr, a, b, c, d, e, f) \
	syscall6(NR_##nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#define AT_FDCWD (-100)
#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define F_DUPFD 0
#define F_SETFL 4
#define F_DUPFD_CLOEXEC 1030

#define ENOENT 2
#define ENOEXEC 8
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define EINTR 4
#define ENOSYS 38
#define ETIME 62

#define PROT_RW 3
#define MAP_SHARED 1
#define MAP_ANON_SHARED 0x21 /* MAP_SHARED | MAP_ANONYMOUS */
#define MAP_POPULATE 0x8000
#define MCL_ALL 3 /* MCL_CURRENT | MCL_FUTURE */

#define SIGKILL 9
#define SIGCHLD 17
#define SIG_BLOCK 0
#define SIG_UNBLOCK 1

#define SCHED_FIFO 1
#define WNOHANG 1
#define TCSBRK 0x5409 /* with a non-zero argument: wait until all output is written, as tcdrain(3) */

#define REBOOT_MAGIC1 0xfee1deadUL
#define REBOOT_MAGIC2 0x28121969UL
#define REBOOT_RESTART 0x01234567UL

struct timespec64 {
	s64 sec, nsec;
};

struct pollfd {
	s32 fd;
	short events, revents;
};

#define POLLIN 1
#define CLOCK_MONOTONIC 1

struct clone_args {
	u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct dirent64 {
	u64 ino;
	s64 off;
	unsigned short reclen;
	u8 type;
	char name[];
};

struct utsname {
	char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};

static inline long sys_open(const char *path, int flags, u32 mode)
{
	return SYS(openat, AT_FDCWD, path, flags, mode, 0, 0);
}

static inline long sys_read(int fd, void *into, u64 size)
{
	return SYS(read, fd, into, size, 0, 0, 0);
}

static inline long sys_write(int fd, const void *from, u64 size)
{
	return SYS(write, fd, from, size, 0, 0, 0);
}

static inline long sys_close(int fd)
{
	return SYS(close, fd, 0, 0, 0, 0, 0);
}

static inline long sys_ioctl(int fd, u64 request, void *argument)
{
	return SYS(ioctl, fd, request, argument, 0, 0, 0);
}

/* Maps memory that a child shares with the agent, all pages present. Returns an address or an is_error() value. */
static inline void *sys_shared(u64 size)
{
	return (void *)SYS(mmap, 0, size, PROT_RW, MAP_ANON_SHARED | MAP_POPULATE, -1, 0);
}

static inline int is_error(const void *address)
{
	return (u64)address >= (u64)-4095;
}

static inline void sys_sleep_ms(u32 ms)
{
	struct timespec64 t = { ms / 1000, (s64)(ms % 1000) * 1000000 };

	SYS(nanosleep, &t, 0, 0, 0, 0, 0);
}

static inline s64 sys_now_ms(void)
{
	struct timespec64 t = { 0, 0 };

	SYS(clock_gettime, CLOCK_MONOTONIC, &t, 0, 0, 0, 0);
	return t.sec * 1000 + t.nsec / 1000000;
}

static inline void __attribute__((noreturn)) sys_exit(int code)
{
	for (;;)
		SYS(exit_group, code, 0, 0, 0, 0, 0);
}

/* Forks a child with the given pid, or any if 0. Returns 0 in the child, its pid in the parent, or minus an errno. */
static inline long sys_fork_as(s32 pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = pid > 0 ? (u64)&pid : 0, .set_tid_size = pid > 0 };

	return SYS(clone3, &args, sizeof(args), 0, 0, 0, 0);
}

#endif
