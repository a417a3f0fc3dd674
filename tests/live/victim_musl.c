/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program of musl's: removes FILE and DIR in several ways, and says how each ended: victim_musl FILE DIR. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	printf("unlink: %s\n", unlink(argv[1]) ? strerror(errno) : "done");
	printf("unlinkat: %s\n", unlinkat(AT_FDCWD, argv[1], 0) ? strerror(errno) : "done");
	printf("remove: %s\n", remove(argv[1]) ? strerror(errno) : "done");
	printf("rename: %s\n", rename(argv[1], "elsewhere") ? strerror(errno) : "done");
	printf("renameat: %s\n", renameat(AT_FDCWD, argv[1], AT_FDCWD, "elsewhere") ? strerror(errno) : "done");
	printf("truncate: %s\n", truncate(argv[1], 0) ? strerror(errno) : "done");
	printf("ftruncate: %s\n", ftruncate(open(argv[1], O_RDWR), 0) ? strerror(errno) : "done");
	printf("rmdir: %s\n", rmdir(argv[2]) ? strerror(errno) : "done");
	return 0;
}
