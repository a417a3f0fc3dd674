/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tell.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "action.h"

/* Documentation/admin-guide/devices.txt: consoles, and the terminals of ssh, tmux and the like. */
#define MAJOR_CONSOLE 4
#define MAJOR_PTS_FIRST 136
#define MAJOR_PTS_LAST 143

static int write_line(int fd, const char *line, size_t length)
{
	return write(fd, line, length) == (ssize_t)length ? 0 : -errno;
}

static int tell_pipe(int proc, const char *line, size_t length)
{
	_cleanup_close_ int fd = openat(proc, "fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : write_line(fd, line, length);
}

/* Flags of the process's own descriptor, in octal behind "flags:" (proc(5)). */
static int own_flags(int proc, unsigned int *ret_flags)
{
	_cleanup_close_ int fd = openat(proc, "fdinfo/2", O_RDONLY | O_CLOEXEC);
	char text[512], *flags;
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (length <= 0)
		return -ENOENT;
	text[length] = '\0';
	flags = strstr(text, "flags:");
	if (!flags || sscanf(flags, "flags: %o", ret_flags) != 1)
		return -ENOENT;
	return 0;
}

/* Without O_APPEND the process would write over the line, at a position that it alone knows. */
static int tell_file(int proc, const char *line, size_t length)
{
	_cleanup_close_ int fd = -1;
	unsigned int flags;

	if (own_flags(proc, &flags) || !(flags & O_APPEND))
		return -ENOTTY;
	fd = openat(proc, "fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -errno : write_line(fd, line, length);
}

/* Out of the canonical mode a program draws the screen itself. */
static int tell_terminal(int proc, dev_t device, const char *line, size_t length)
{
	_cleanup_close_ int fd = -1;
	struct termios modes;

	if (major(device) != MAJOR_CONSOLE && (major(device) < MAJOR_PTS_FIRST || major(device) > MAJOR_PTS_LAST))
		return -ENOTTY;
	fd = openat(proc, "fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (tcgetattr(fd, &modes) || !(modes.c_lflag & ICANON) || !(modes.c_oflag & OPOST))
		return -ENOTTY;
	return write_line(fd, line, length);
}

/* A socket cannot be opened by its name in /proc; of other kinds than Unix ones the other end is no terminal of ours. */
static int tell_socket(pid_t pid, const char *line, size_t length)
{
	_cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	_cleanup_close_ int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, 2, 0);
	int domain, type;
	socklen_t size = sizeof(domain);

	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) || domain != AF_UNIX || type == SOCK_DGRAM)
		return -ENOTTY;
	return send(fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length ? 0 : -errno;
}

int tell_process(const struct process_id *process, const char *line, size_t length)
{
	_cleanup_close_ int proc = -1;
	struct stat facts;
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u", process->pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	/* The directory stays that process's, whoever gets its number later. */
	if (proc < 0 || !action_is_process(process))
		return -ESRCH;
	if (fstatat(proc, "fd/2", &facts, 0))
		return -errno;
	switch (facts.st_mode & S_IFMT) {
	case S_IFIFO:
		return tell_pipe(proc, line, length);
	case S_IFREG:
		return tell_file(proc, line, length);
	case S_IFCHR:
		return tell_terminal(proc, facts.st_rdev, line, length);
	case S_IFSOCK:
		return tell_socket((pid_t)process->pid, line, length);
	default:
		return -ENOTTY;
	}
}
