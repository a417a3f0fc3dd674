/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loses a file through io_uring, without a system call that names it: victim_uring unlink|rename|truncate FILE [NEW]. Exit status 1
 * where the operation was refused, 77 where there is no io_uring, or no such operation in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int result;

	if (argc < 4)
		return 2;
	result = io_uring_queue_init(4, &ring, 0);
	if (result < 0) {
		printf("no io_uring here: %s", strerror(-result));
		return 77;
	}
	sqe = io_uring_get_sqe(&ring);
	if (argv[1][0] == 'r')
		io_uring_prep_renameat(sqe, AT_FDCWD, argv[2], AT_FDCWD, argv[3], 0);
	else if (argv[1][0] == 't')
		io_uring_prep_openat(sqe, AT_FDCWD, argv[2], O_WRONLY | O_TRUNC, 0);
	else
		io_uring_prep_unlinkat(sqe, AT_FDCWD, argv[2], 0);
	io_uring_submit(&ring);
	if (io_uring_wait_cqe(&ring, &cqe) < 0)
		return 2;
	if (cqe->res == -EINVAL) {
		printf("this kernel's io_uring has no %s", argv[1]);
		return 77;
	}
	return cqe->res < 0 ? 1 : 0;
}
