/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A static program that removes all files of a directory by raw system calls: victim_static DIR. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;
	struct dirent *entry;

	if (!dir)
		return 2;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			syscall(SYS_unlinkat, dirfd(dir), entry->d_name, 0);
	return 0;
}
