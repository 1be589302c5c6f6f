// SPDX-License-Identifier: MIT
/*
 * Sends frames to the host through the virtio-serial port named kdf.channel. Never reads from it.
 *
 * QEMU's device handles a kick in the writing CPU (ioeventfd=off on its command line). So the bytes are in the host's
 * file when write() returns, and nothing needs to be drained.
 */

#include "agent.h"

#define PORTS "/sys/class/virtio-ports"
#define PORT_NAME "kdf.channel"

static int port = -1;

static int has_our_name(const char *entry)
{
	char path[128], name[32];
	struct text t = { path, 0, sizeof(path) - 1 };
	long fd, got;

	text_put(&t, PORTS "/");
	text_put(&t, entry);
	text_put(&t, "/name");
	path[t.used] = 0;
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return 0;
	got = sys_read((int)fd, name, sizeof(name) - 1);
	sys_close((int)fd);
	while (got > 0 && name[got - 1] == '\n')
		got--;
	name[got > 0 ? got : 0] = 0;
	return text_equal(name, PORT_NAME);
}

static long find_and_open(void)
{
	static char entries[2048];
	long dir = sys_open(PORTS, O_RDONLY, 0), got, found = -ENOENT;

	if (dir < 0)
		return dir;
	while (found < 0 && (got = SYS(getdents64, dir, entries, sizeof(entries), 0, 0, 0)) > 0) {
		for (long at = 0; at < got; at += ((struct dirent64 *)(entries + at))->reclen) {
			const char *name = ((struct dirent64 *)(entries + at))->name;
			char path[64];
			struct text t = { path, 0, sizeof(path) - 1 };

			if (name[0] == '.' || !has_our_name(name))
				continue;
			text_put(&t, "/dev/");
			text_put(&t, name);
			path[t.used] = 0;
			/* O_CLOEXEC: a user's program must not write to the channel. */
			found = sys_open(path, O_RDWR | O_CLOEXEC, 0);
			break;
		}
	}
	sys_close((int)dir);
	return found;
}

/* Waits at most ten seconds of guest time: the port appears after boot, by a message from the device. */
int channel_open(void)
{
	for (int tries = 0; tries < 1000; tries++) {
		long fd = find_and_open();

		if (fd >= 0) {
			/* Keep the low descriptors free for the workloads. */
			long high = SYS(fcntl, fd, F_DUPFD_CLOEXEC, 100, 0, 0, 0);

			if (high >= 0) {
				sys_close((int)fd);
				fd = high;
			}
			port = (int)fd;
			return 0;
		}
		sys_sleep_ms(10);
	}
	return -ENODEV;
}

static void send_all(const void *from, u64 size)
{
	const char *at = from;

	while (size) {
		long sent = sys_write(port, at, size);

		if (sent == -EINTR || sent == -EAGAIN)
			continue;
		if (sent <= 0)
			return; /* the host sees a truncated file and no token */
		at += sent;
		size -= (u64)sent;
	}
}

void channel_send_two(u32 type, u32 workload, const void *a, u64 a_size, const void *b, u64 b_size)
{
	struct {
		char magic[8];
		u32 type, workload;
		u64 size;
	} head = { { 'K', 'D', 'F', 'F', 'R', 'A', 'M', 'E' }, type, workload, a_size + b_size };

	if (port < 0)
		return;
	send_all(&head, sizeof(head));
	send_all(a, a_size);
	send_all(b, b_size);
}

void channel_send(u32 type, u32 workload, const void *payload, u64 size)
{
	channel_send_two(type, workload, payload, size, NULL, 0);
}

void channel_text(u32 type, u32 workload, const char *text)
{
	channel_send(type, workload, text, text_length(text));
}
