/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "action.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PAGE_BYTES 4096u

int process_start_ticks(pid_t pid, uint64_t *ret_ticks)
{
	char path[64], line[1024], *after;
	_cleanup_fclose_ FILE *file = NULL;
	unsigned long long ticks;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file || !fgets(line, sizeof(line), file))
		return -ESRCH;
	/* The name may hold blanks and parentheses; fields are counted from its end. starttime is the 22nd. */
	after = strrchr(line, ')');
	if (!after ||
	    sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &ticks) != 1)
		return -ESRCH;
	*ret_ticks = ticks;
	return 0;
}

/* /proc shows the start in ticks, cut off; so one more is allowed for. */
bool action_is_process(const struct process_id *process)
{
	uint64_t ticks, wanted = process->start / (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));

	if (process_start_ticks((pid_t)process->pid, &ticks))
		return false;
	return ticks == wanted || ticks + 1 == wanted || ticks == wanted + 1;
}

char action_thread_state(pid_t pid, pid_t tid)
{
	char path[64], line[512] = "", *after;
	_cleanup_fclose_ FILE *file = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	file = fopen(path, "re");
	after = file && fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	return after && after[1] ? after[2] : 0;
}

int action_signal(const struct process_id *process, int signal)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);

	if (pidfd < 0)
		return -errno;
	/* Looked at behind the open: the descriptor cannot turn into another process. */
	if (!action_is_process(process))
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) ? -errno : 0;
}

static ssize_t read_piece(pid_t pid, uint64_t address, char *to, size_t length)
{
	struct iovec local = {to, length}, remote = {(void *)(uintptr_t)address, length};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

int action_read_text(pid_t pid, uint64_t address, size_t limit, char **ret_text, size_t *ret_length)
{
	_cleanup_free_ char *text = malloc(limit + 1);
	size_t length = 0;

	if (!text)
		return -ENOMEM;
	while (length < limit) {
		/* Up to the end of a page: the next one may not be there, and a read over both would bring nothing. */
		size_t piece = MIN(limit - length, PAGE_BYTES - (address + length) % PAGE_BYTES);
		ssize_t got = read_piece(pid, address + length, text + length, piece);
		char *end;

		if (got <= 0)
			return -EFAULT;
		end = memchr(text + length, '\0', (size_t)got);
		if (end) {
			*ret_length = (size_t)(end - text);
			*ret_text = take_pointer(text);
			return 0;
		}
		length += (size_t)got;
	}
	text[length] = '\0';
	*ret_length = length;
	*ret_text = take_pointer(text);
	return -E2BIG;
}
