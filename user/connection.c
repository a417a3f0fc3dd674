/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

static bool read_bytes(uint32_t pid, uint64_t address, void *to, size_t length)
{
	struct iovec local = {to, length}, remote = {(void *)(uintptr_t)address, length};

	return process_vm_readv((pid_t)pid, &local, 1, &remote, 1, 0) == (ssize_t)length;
}

/* The text that a pointer inside the connection leads to; empty where it does not fit or is not to be read. */
static void read_text(uint32_t pid, uint64_t connection, int32_t offset, char *to, size_t size)
{
	uint64_t pointer = 0;

	to[0] = '\0';
	if (offset < 0 || !read_bytes(pid, connection + (uint64_t)offset, &pointer, sizeof(pointer)) || !pointer)
		return;
	for (size_t i = 0; i < size; i++) {
		if (!read_bytes(pid, pointer + i, &to[i], 1))
			break;
		if (!to[i])
			return;
	}
	to[0] = '\0';
}

/* A duplicate of the process's descriptor: pidfd_getfd(2), Linux 5.6. */
static int borrow_descriptor(uint32_t pid, int fd)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0)
		return -1;
	return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
}

static int read_descriptor(const struct record_sql *record, const struct libpq_offsets *offsets)
{
	uint32_t pid = record->actor.process.pid;
	int fd = -1;

	if (offsets->socket < 0 || !read_bytes(pid, record->connection + (uint64_t)offsets->socket, &fd, sizeof(fd)))
		return -1;
	if (fd == -1 && offsets->socket_else >= 0 &&
	    !read_bytes(pid, record->connection + (uint64_t)offsets->socket_else, &fd, sizeof(fd)))
		return -1;
	return fd < 0 ? -1 : borrow_descriptor(pid, fd);
}

static void read_peer(int fd, struct connection *connection)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
		struct sockaddr_un local;
	} peer = {};
	socklen_t length = sizeof(peer);

	if (getpeername(fd, &peer.any, &length))
		return;
	if (peer.any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &peer.v4.sin_addr, connection->host, sizeof(connection->host));
		connection->port = ntohs(peer.v4.sin_port);
	} else if (peer.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &peer.v6.sin6_addr, connection->host, sizeof(connection->host));
		connection->port = ntohs(peer.v6.sin6_port);
	} else if (peer.any.sa_family == AF_UNIX) {
		snprintf(connection->host, sizeof(connection->host), "%.*s", (int)sizeof(peer.local.sun_path),
			 peer.local.sun_path);
	}
}

void connection_read(const struct record_sql *record, const struct libpq_offsets *offsets,
		     struct connection *ret_connection)
{
	_cleanup_close_ int fd = read_descriptor(record, offsets);

	*ret_connection = (struct connection){};
	read_text(record->actor.process.pid, record->connection, offsets->database, ret_connection->database,
		  sizeof(ret_connection->database));
	read_text(record->actor.process.pid, record->connection, offsets->user, ret_connection->user,
		  sizeof(ret_connection->user));
	if (fd >= 0)
		read_peer(fd, ret_connection);
}
