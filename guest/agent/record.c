// SPDX-License-Identifier: MIT
/* Uses the device /sys/kernel/debug/kcov_dataflow. docs/architecture.md, "The kernel ABI", has its numbers. */

#include "agent.h"

#define DEVICE "/sys/kernel/debug/kcov_dataflow"
#define KCOV_DF_INIT_TRACE 0x80086401UL
#define KCOV_DF_ENABLE 0x6464UL
#define KCOV_DF_DISABLE 0x6465UL
#define KCOV_DF_INFO 0x80106402UL

int record_present(void)
{
	long fd = sys_open(DEVICE, O_RDWR | O_CLOEXEC, 0);

	if (fd < 0)
		return 0;
	sys_close((int)fd);
	return 1;
}

long record_open(struct recorder *r, u64 capacity)
{
	long fd = sys_open(DEVICE, O_RDWR, 0), ret;

	if (fd < 0)
		return fd;
	/* Let it survive exec, and keep the low descriptors free for the workloads. */
	r->fd = (int)SYS(fcntl, fd, F_DUPFD, 110, 0, 0, 0);
	sys_close((int)fd);
	if (r->fd < 0)
		return r->fd;
	ret = sys_ioctl(r->fd, KCOV_DF_INIT_TRACE, (void *)capacity);
	if (ret < 0) {
		sys_close(r->fd);
		return ret;
	}
	r->capacity = capacity;
	r->words = (void *)SYS(mmap, 0, capacity * sizeof(u64), PROT_RW, MAP_SHARED, r->fd, 0);
	if (is_error((const void *)r->words)) {
		sys_close(r->fd);
		return (long)r->words;
	}
	return 0;
}

void record_close(struct recorder *r)
{
	SYS(munmap, r->words, r->capacity * sizeof(u64), 0, 0, 0, 0);
	sys_close(r->fd);
	r->fd = -1;
}

long record_on(const struct recorder *r)
{
	return sys_ioctl(r->fd, KCOV_DF_ENABLE, NULL);
}

long record_off(const struct recorder *r)
{
	return sys_ioctl(r->fd, KCOV_DF_DISABLE, NULL);
}

long record_info(const struct recorder *r, struct info *info)
{
	return sys_ioctl(r->fd, KCOV_DF_INFO, info);
}
