/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * dlopen LIBRARY [CONNINFO STATEMENT [child]]: connects and sends with a libpq loaded from a path, as fast as a program
 * can; from a child of its own; or only maps it and ends right away.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	void *(*connect_to)(const char *conninfo);
	void *(*exec)(void *connection, const char *statement);
	int (*status_of)(void *result);
	void *library;
	int status = 0;

	if (argc != 2 && argc != 4 && argc != 5) {
		fprintf(stderr, "usage: dlopen LIBRARY [CONNINFO STATEMENT [child]]\n");
		return 2;
	}
	if (argc == 2) {
		mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, open(argv[1], O_RDONLY), 0);
		_exit(0);
	}
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		fprintf(stderr, "dlopen: %s\n", dlerror());
		return 1;
	}
	connect_to = (void *(*)(const char *))dlsym(library, "PQconnectdb");
	exec = (void *(*)(void *, const char *))dlsym(library, "PQexec");
	status_of = (int (*)(void *))dlsym(library, "PQresultStatus");
	if (argc == 5 && fork() > 0) {
		wait(&status);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
	return status_of(exec(connect_to(argv[2]), argv[3])) == 1 /* PGRES_COMMAND_OK */ ? 0 : 1;
}
