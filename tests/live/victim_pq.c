/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A client of a libpq that it loads from a path, with no server: victim_pq LIBRARY. It connects to a socket that is not
 * there, as libpq would, and sends at once. Built with -DLIBRARY it is that library, with the one function that is probed.
 */
#ifdef LIBRARY

static int send_query(void *connection, const char *statement)
{
	return connection && statement[0];
}

extern __typeof__(send_query) PQsendQuery __attribute__((alias("send_query")));

#else

#include <dlfcn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	static const struct sockaddr_un server = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/.s.PGSQL.1"};
	int (*send_query)(void *connection, const char *statement);
	void *library;

	if (argc != 2)
		return 2;
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "dlopen: %s\n", dlerror());
		return 1;
	}
	send_query = (int (*)(void *, const char *))dlsym(library, "PQsendQuery");
	connect(socket(AF_UNIX, SOCK_STREAM, 0), (const struct sockaddr *)&server, sizeof(server));
	return send_query(library, "drop table orders") ? 0 : 1;
}

#endif
