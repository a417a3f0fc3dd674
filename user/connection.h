/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a statement goes: read from the client's own PGconn and from the socket's peer, never from what it says. */
#ifndef REPRIEVE_CONNECTION_H
#define REPRIEVE_CONNECTION_H

#include "event.h"
#include "libpq.h"

struct connection {
	char database[128]; /* empty: not learned; the same below */
	char user[128];
	char host[112]; /* address of the peer, or the path of its socket */
	uint32_t port; /* 0: not learned, or a socket in the file system */
};

/*
 * connection_read - looks into the process at the connection that a record names
 *
 * Best while the process stands stopped; otherwise what is read may be of a moment later. What cannot be learned is left
 * empty. The peer is that of the descriptor: a proxy, where there is one.
 */
void connection_read(const struct record_sql *record, const struct libpq_offsets *offsets,
		     struct connection *ret_connection);

#endif
