/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The listening socket of control.c and its place in the file system. */
#ifndef REPRIEVE_CONTROL_SOCKET_H
#define REPRIEVE_CONTROL_SOCKET_H

#include <sys/types.h>
#include <sys/un.h>

#define CONTROL_PATH_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)

struct control_socket {
	int fd; /* -1: not open */
	char path[CONTROL_PATH_BYTES];
	dev_t dev; /* of what was made at `path`, to remove nothing else */
	ino_t ino;
};

/* The errors of control_server_new. group: the socket's, or (gid_t)-1. backlog: see listen(2). */
int control_socket_open(const char *path, gid_t group, int backlog, struct control_socket *ret_socket);

/* Closes it, and removes the path where it still is this socket. Does nothing to one that is not open. */
void control_socket_close(struct control_socket *socket);

#endif
