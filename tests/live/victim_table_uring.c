/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Loses content through io_uring, by no system call but io_uring_enter: victim_table_uring OPERATION WAY DIR:DESCRIPTOR:OFFSET,
 * all but WAY as victim_table has it.
 *
 * WAY: who carries it out. `inline`: this thread, as far as the kernel lets it; `worker`: a worker of io_uring;
 * `sqpoll`: the kernel's thread that polls the ring; `linked`: this thread, at the end of a call of another kind, which what
 * it waited for came with.
 *
 * Exit status: 0 where it was done, its errno where it failed, 77 where this io_uring has no such operation, 78 where there is
 * no io_uring.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK 4096
#define EXCHANGE 2 /* RENAME_EXCHANGE */
#define FTRUNCATE 55 /* IORING_OP_FTRUNCATE, since 6.9: the library's header may be older */
#define UNSUPPORTED 77
#define NO_RING 78

struct place {
	char f[4200], g[4200], d[4200], new_name[4200], device[4200];
	int descriptor;
	unsigned long long offset;
};

enum object {
	NAMES,
	DESCRIPTOR,
	OPENED, /* for writing, through the ring too */
	APPENDED, /* the same, for appending */
};

struct operation {
	const char *name;
	enum object object;
	int opcode; /* of what loses something */
	void (*prepare)(struct io_uring_sqe *sqe, const struct place *place, int fd);
	bool seeks; /* to the end of DESCRIPTOR before */
};

static struct io_uring ring;
static unsigned int way_flags; /* of each submission */
static bool linked;
static int ends[2]; /* of the pipe that `linked` waits for */
static char bytes[2] = "XX";
static const struct open_how creates = {.flags = O_WRONLY | O_CREAT | O_TRUNC, .mode = 0644};

/* --- the submissions --- */

static void prepare_unlink(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_unlinkat(sqe, fd, place->f, 0);
}

static void prepare_rmdir(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_unlinkat(sqe, fd, place->d, AT_REMOVEDIR);
}

static void prepare_rename(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_renameat(sqe, fd, place->f, fd, place->new_name, 0);
}

static void prepare_rename_over(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_renameat(sqe, fd, place->f, fd, place->g, 0);
}

static void prepare_exchange(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_renameat(sqe, fd, place->f, fd, place->g, EXCHANGE);
}

static void prepare_open_truncates(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_openat(sqe, fd, place->f, O_WRONLY | O_TRUNC, 0);
}

static void prepare_creat(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_openat2(sqe, fd, place->f, (struct open_how *)&creates);
}

static void prepare_ftruncate(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	(void)place;
	io_uring_prep_rw(FTRUNCATE, sqe, fd, NULL, 0, 1);
}

static void prepare_punch(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	(void)place;
	io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BLOCK);
}

static void prepare_write(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	(void)place;
	io_uring_prep_write(sqe, fd, bytes, sizeof(bytes), 0);
}

static void prepare_write_fixed(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	(void)place;
	io_uring_prep_write_fixed(sqe, fd, bytes, sizeof(bytes), 0, 0);
}

static void prepare_write_device(struct io_uring_sqe *sqe, const struct place *place, int fd)
{
	io_uring_prep_write(sqe, fd, bytes, sizeof(bytes), place->offset);
}

static const struct operation operations[] = {
	{"unlink", NAMES, IORING_OP_UNLINKAT, prepare_unlink, false},
	{"rmdir", NAMES, IORING_OP_UNLINKAT, prepare_rmdir, false},
	{"rename", NAMES, IORING_OP_RENAMEAT, prepare_rename, false},
	{"rename-over", NAMES, IORING_OP_RENAMEAT, prepare_rename_over, false},
	{"rename-exchange", NAMES, IORING_OP_RENAMEAT, prepare_exchange, false},
	{"open-truncates", NAMES, IORING_OP_OPENAT, prepare_open_truncates, false},
	{"creat", NAMES, IORING_OP_OPENAT2, prepare_creat, false},
	{"ftruncate", DESCRIPTOR, FTRUNCATE, prepare_ftruncate, false},
	{"punch", DESCRIPTOR, IORING_OP_FALLOCATE, prepare_punch, false},
	{"write-old", DESCRIPTOR, IORING_OP_WRITE, prepare_write, false},
	{"write-behind", DESCRIPTOR, IORING_OP_WRITE, prepare_write, true},
	{"write-fixed", DESCRIPTOR, IORING_OP_WRITE_FIXED, prepare_write_fixed, false},
	{"punch-appended", APPENDED, IORING_OP_FALLOCATE, prepare_punch, false},
	{"overwrite", OPENED, IORING_OP_WRITE, prepare_write, false},
	{"rawwrite", OPENED, IORING_OP_WRITE, prepare_write_device, false},
};

/* --- one after the other --- */

/* For what loses something: by itself, or behind a read of the pipe. */
static struct io_uring_sqe *next_submission(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	static char byte;

	if (!linked)
		return sqe;
	io_uring_prep_read(sqe, ends[0], &byte, 1, -1);
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
	io_uring_sqe_set_data(sqe, &byte);
	return io_uring_get_sqe(&ring);
}

/* Result of what was submitted, negative errno included. */
static int complete(struct io_uring_sqe *sqe, unsigned int flags)
{
	struct io_uring_cqe *cqe;
	bool is_last = false;
	int result;

	io_uring_sqe_set_flags(sqe, way_flags | flags);
	io_uring_sqe_set_data(sqe, NULL);
	result = io_uring_submit(&ring);
	if (linked && write(ends[1], "", 1) != 1)
		return -errno;
	while (result >= 0 && !is_last) {
		result = io_uring_wait_cqe(&ring, &cqe);
		if (result < 0)
			break;
		result = cqe->res;
		is_last = !io_uring_cqe_get_data(cqe);
		io_uring_cqe_seen(&ring, cqe);
	}
	return result;
}

static int perform(const struct operation *operation, const struct place *place, int fd, unsigned int flags)
{
	struct io_uring_sqe *sqe = next_submission();

	operation->prepare(sqe, place, fd);
	return complete(sqe, flags);
}

static int open_by_ring(const char *path, int flags)
{
	struct io_uring_sqe *sqe = next_submission();

	io_uring_prep_openat(sqe, AT_FDCWD, path, flags, 0);
	return complete(sqe, 0);
}

/* Both the file and the buffer registered with the ring; which 5.10's polling thread wants of each file. */
static int perform_registered(const struct operation *operation, const struct place *place)
{
	const struct iovec buffer = {bytes, sizeof(bytes)};
	int error = io_uring_register_files(&ring, &place->descriptor, 1);

	if (!error)
		error = io_uring_register_buffers(&ring, &buffer, 1);
	return error ? error : perform(operation, place, 0, IOSQE_FIXED_FILE);
}

static int perform_on_descriptor(const struct operation *operation, const struct place *place)
{
	if (operation->seeks && lseek(place->descriptor, 0, SEEK_END) < 0)
		return -errno;
	if (operation->opcode == IORING_OP_WRITE_FIXED || ring.flags & IORING_SETUP_SQPOLL)
		return perform_registered(operation, place);
	return perform(operation, place, place->descriptor, 0);
}

static int perform_opened(const struct operation *operation, const struct place *place)
{
	int flags = O_WRONLY | (operation->object == APPENDED ? O_APPEND : 0);
	int fd = open_by_ring(operation->prepare == prepare_write_device ? place->device : place->f, flags);
	int result = fd < 0 ? fd : perform(operation, place, fd, 0);

	return result >= 0 && fsync(fd) ? -errno : result;
}

static int perform_any(const struct operation *operation, const struct place *place)
{
	switch (operation->object) {
	case DESCRIPTOR:
		return perform_on_descriptor(operation, place);
	case OPENED:
	case APPENDED:
		return perform_opened(operation, place);
	default:
		return perform(operation, place, AT_FDCWD, 0);
	}
}

/* --- what there is --- */

/* 5.10's polling thread neither opens nor takes a descriptor that is not registered. */
static bool is_supported(const struct operation *operation)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
	bool polled = ring.flags & IORING_SETUP_SQPOLL, supported;

	supported = probe && io_uring_opcode_supported(probe, operation->opcode) &&
		    (!polled || operation->object == DESCRIPTOR || ring.features & IORING_FEAT_SQPOLL_NONFIXED);
	io_uring_free_probe(probe);
	return supported;
}

static int make_ring(const char *way)
{
	struct io_uring_params params = {};

	if (!strcmp(way, "worker"))
		way_flags = IOSQE_ASYNC;
	if (!strcmp(way, "sqpoll"))
		params.flags = IORING_SETUP_SQPOLL;
	linked = !strcmp(way, "linked");
	if (linked && pipe(ends))
		return -errno;
	return io_uring_queue_init_params(4, &ring, &params);
}

static int read_place(char *word, struct place *place)
{
	const char *dir = strsep(&word, ":"), *descriptor = strsep(&word, ":");

	if (!descriptor || !word)
		return -1;
	place->descriptor = atoi(descriptor);
	place->offset = strtoull(word, NULL, 10);
	snprintf(place->f, sizeof(place->f), "%s/f", dir);
	snprintf(place->g, sizeof(place->g), "%s/g", dir);
	snprintf(place->d, sizeof(place->d), "%s/d", dir);
	snprintf(place->new_name, sizeof(place->new_name), "%s/new", dir);
	snprintf(place->device, sizeof(place->device), "%s/dev", dir);
	return 0;
}

int main(int argc, char **argv)
{
	const struct operation *operation = operations, *end = operations + sizeof(operations) / sizeof(operations[0]);
	static struct place place;
	int result;

	while (argc > 3 && operation < end && strcmp(operation->name, argv[1]))
		operation++;
	if (argc != 4 || operation == end || read_place(argv[3], &place))
		return 97;
	if (make_ring(argv[2]) < 0)
		return NO_RING;
	if (!is_supported(operation))
		return UNSUPPORTED;
	result = perform_any(operation, &place);
	return result < 0 ? -result : 0;
}
