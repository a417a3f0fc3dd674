/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "control_socket.h"

#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "control.h"
#include "opts.h"
#include "util.h"

#define LOCK_TRIES 40 /* of 50 ms each */

/*
 * Two daemons that start at the same time must not remove each other's socket: whoever looks at the path holds a lock
 * on its directory. Any user can take such a lock on a directory that he can read, so it is waited for only so long.
 */
static int lock_directory(const char *path, int *ret_fd)
{
	const struct timespec pause = {0, 50 * NSEC_PER_MSEC};
	char copy[CONTROL_PATH_BYTES];
	const char *directory;
	int fd;

	strcpy(copy, path);
	directory = dirname(copy);
	/* Whatever the umask: the group must reach the socket. */
	if (mkdir(directory, 0755) ? errno != EEXIST : chmod(directory, 0755))
		return -errno;
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (int i = 0; i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB); i++)
		nanosleep(&pause, NULL);
	*ret_fd = fd;
	return 0;
}

/* Removes a socket that nobody listens on. */
static int clear_path(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct stat status;
	int error;

	if (lstat(path, &status))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	error = control_connect(path, &fd);
	/* EAGAIN: its queue of connections is full, so there is a daemon. */
	if (!error || error == -EAGAIN)
		return -EADDRINUSE;
	if (error != -ECONNREFUSED)
		return error;
	return unlink(path) ? -errno : 0;
}

static int bind_path(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t mask;
	int error;

	error = clear_path(path);
	if (error)
		return error;
	strcpy(address.sun_path, path);
	/* By umask, so that the socket is at no time open to others. */
	mask = umask(0117);
	error = bind(fd, (const struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
	umask(mask);
	return error;
}

int control_socket_open(const char *path, gid_t group, int backlog, struct control_socket *ret_socket)
{
	_cleanup_close_ int lock = -1, fd = -1;
	struct stat status;
	int error;

	if (strlen(path) >= CONTROL_PATH_BYTES)
		return -ENAMETOOLONG;
	error = lock_directory(path, &lock);
	if (error)
		return error;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = bind_path(fd, path);
	if (error)
		return error;
	if (lstat(path, &status) || listen(fd, backlog))
		return -errno;
	/* Not root: the socket is the user's own, which is right as well. */
	if (group != (gid_t)-1 && geteuid() == 0 && lchown(path, (uid_t)-1, group))
		log_warning("%s: could not give it to the group " CONTROL_GROUP ": %s", path, strerror(errno));

	strcpy(ret_socket->path, path);
	ret_socket->dev = status.st_dev;
	ret_socket->ino = status.st_ino;
	ret_socket->fd = take_fd(&fd);
	return 0;
}

void control_socket_close(struct control_socket *socket)
{
	struct stat status;

	if (socket->fd < 0)
		return;
	if (!lstat(socket->path, &status) && status.st_ino == socket->ino && status.st_dev == socket->dev)
		unlink(socket->path);
	close(take_fd(&socket->fd));
}

int control_listen_report(int error, const char *path)
{
	switch (error) {
	case -EADDRINUSE:
		log_error("a daemon listens at %s already: ask it with `reprieve status`, stop it with "
			  "`systemctl stop reprieve`, or give --socket another path",
			  path);
		return EXIT_FAILED;
	case -EEXIST:
		log_error("%s is there and is no socket: move it away, or give --socket another path", path);
		return EXIT_FAILED;
	case -ENAMETOOLONG:
		log_error("%s: a socket's path has at most %zu bytes", path, CONTROL_PATH_BYTES - 1);
		return EXIT_USAGE;
	case -EACCES:
	case -EPERM:
		log_error("cannot listen at %s: %s; run as root, or give --socket a path in a directory of yours", path,
			  strerror(-error));
		return EXIT_LACKING;
	default:
		log_error("cannot listen at %s: %s", path, strerror(-error));
		return EXIT_FAILED;
	}
}
