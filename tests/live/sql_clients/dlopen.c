/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* dlopen LIBRARY CONNINFO STATEMENT: connects and sends with a libpq loaded from a path, as fast as a program can. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *(*connect_to)(const char *conninfo);
	void *(*exec)(void *connection, const char *statement);
	int (*status_of)(void *result);
	void *library;

	if (argc != 4) {
		fprintf(stderr, "usage: dlopen LIBRARY CONNINFO STATEMENT\n");
		return 2;
	}
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "dlopen: %s\n", dlerror());
		return 1;
	}
	connect_to = (void *(*)(const char *))dlsym(library, "PQconnectdb");
	exec = (void *(*)(void *, const char *))dlsym(library, "PQexec");
	status_of = (int (*)(void *))dlsym(library, "PQresultStatus");
	return status_of(exec(connect_to(argv[2]), argv[3])) == 1 /* PGRES_COMMAND_OK */ ? 0 : 1;
}
