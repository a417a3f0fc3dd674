/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>

#include "buffer.h"
#include "sink_types.h"

/* syslog(3) would do, but it tells of no failure and waits as long as the receiver pleases. */
static int connect_log(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct timeval timeout = {.tv_sec = 1};

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return take_fd(&fd);
}

/* RFC 3164, without the host, as local programs send it. */
static void add_header(struct buffer *message, enum verdict verdict)
{
	time_t now = time(NULL);
	struct tm local;
	char stamp[32];

	localtime_r(&now, &local);
	strftime(stamp, sizeof(stamp), "%b %e %H:%M:%S", &local);
	buffer_format(message, "<%d>%s reprieve[%d]: ", LOG_AUTHPRIV | sink_priority(verdict), stamp, (int)getpid());
}

static int deliver(void *self, struct sink_queue *queue, const struct sink_event *events, size_t *ret_count)
{
	_cleanup_close_ int fd = connect_log();
	_cleanup_buffer_ struct buffer message = {};

	(void)self;
	(void)queue;
	*ret_count = 1;
	if (fd < 0)
		return fd;
	add_header(&message, events->verdict);
	buffer_add(&message, events->line, events->length);
	if (message.error)
		return message.error;
	if (send(fd, message.data, message.length, MSG_NOSIGNAL) >= 0)
		return 0;
	/* Larger than a datagram can be: it never will be taken. */
	return errno == EMSGSIZE ? -EPERM : -errno;
}

int sink_syslog_new(struct sink_queue **ret_queue)
{
	struct sink_target target = {.deliver = deliver, .name = strdup("syslog")};

	return target.name ? sink_queue_new(&target, ret_queue) : -ENOMEM;
}
