/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which files hold a libpq or a libc, where their functions lie in them, and which of those to probe.
 *
 * libpq.c reads one ELF file. libpq_files.c finds the files: what processes map, and what the loader would map.
 * Nothing here attaches anything.
 */
#ifndef REPRIEVE_LIBPQ_H
#define REPRIEVE_LIBPQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event.h"
#include "util.h"

/* Where one function lies. */
struct libpq_place {
	uint64_t address; /* as linked (st_value); 0: the file has no such function */
	uint64_t offset; /* in the file: what a uprobe is attached to */
	uint64_t size; /* bytes; 0: the symbol does not say */
};

/*
 * Where a PGconn keeps what a connection's target is read from, in bytes from its start; -1: not learned. The layout
 * is private to libpq and differs by version, so it is decoded from the code of the accessor functions.
 */
struct libpq_offsets {
	int32_t database; /* char * (PQdb) */
	int32_t user; /* char * (PQuser) */
	int32_t socket; /* int (PQsocket) */
	int32_t socket_else; /* int: where it is when `socket` holds -1 (libpq 18: altsock, then sock) */
	int32_t ssl; /* bool (PQsslInUse) */
};

/* A libc: a file with a function `unlink` and the one that starts a program. Wrappers that are preloaded are none. */
struct libc_functions {
	struct libpq_place place[LIBC_FUNCTION_COUNT]; /* by enum libc_function */
	uint32_t probe; /* bit n: probe enum libc_function n; 0: there is no libc in the file */
	uint32_t zero; /* no padding: these are compared as bytes */
};

struct libpq_functions {
	struct libc_functions libc;
	struct libpq_place place[PQ_FUNCTION_COUNT]; /* by enum libpq_function */
	uint32_t probe; /* bit n: probe enum libpq_function n; every statement passes one of these; 0: no libpq */
	struct libpq_offsets offsets;
};

/*
 * Reads the ELF file behind a descriptor that is open for reading. Its position is not used. Safe on any bytes; reads
 * in pieces, never through a mapping, since a file that shrinks under a mapping kills its reader with SIGBUS.
 * -ENOENT: neither in it. -ENOTSUP: ELF, but not for 64-bit x86. -EBADMSG: not ELF, or damaged. -EFBIG: a symbol
 * table beyond any sense. Other negative errnos: reading failed. On FUSE and NFS it takes as long as their server does.
 */
int libpq_inspect(int fd, struct libpq_functions *ret_functions);

/*
 * The function that the program called, given the one that was probed and `caller`, the return address less the
 * address of the probed function (record_sql.caller): PQ_EXEC when PQexec made the call to PQsendQuery, PQ_SEND_QUERY
 * when the program did.
 */
enum libpq_function libpq_outer_function(const struct libpq_functions *functions, enum libpq_function probed,
					 int64_t caller);

_Static_assert(sizeof(struct libpq_functions) ==
		       sizeof(struct libc_functions) + PQ_FUNCTION_COUNT * sizeof(struct libpq_place) + 4 + 20,
	       "no padding: these are compared as bytes");

/* One file that holds a libpq or a libc. */
struct libpq_library {
	uint64_t id; /* from 1 in the order of finding; fit to be a probe's cookie */
	dev_t dev; /* as stat(2) has it: on overlayfs and btrfs not the number in /proc/PID/maps */
	ino_t ino;
	uint64_t size; /* bytes */
	struct timespec changed; /* ctime */
	bool overlay; /* reached through an overlayfs */
	char path[32]; /* "/proc/self/fd/N": names the file in this process, and during the call of `found` only */
	char *name; /* as its first finder saw it, for messages; another mount namespace may know another file by it */
	struct libpq_functions functions;
};

/* The files looked at so far, and the libraries of one kind among them. Not safe for use by two threads at a time. */
struct libpq_set;

/*
 * Called for each file with a library of the set's kind that was not found before. Attach the probes here, before returning: a file that
 * turns out later to be the same one (below) is recognised by the breakpoints in it. A negative return is passed on
 * by the scan, after its end, and the file will be found again.
 */
typedef int (*libpq_found_fn)(const struct libpq_library *library, void *data);

/* A file as a RECORD_MAP tells it. */
struct libpq_wanted {
	uint32_t dev; /* kernel encoding: major << 20 | minor */
	uint64_t ino;
	const char *name; /* last component, without NUL; NULL: not known */
	size_t name_length;
};

int libpq_set_new(struct libpq_set **ret_set);
int libpq_set_new_for_libc(struct libpq_set **ret_set); /* finds libcs, and no libpq */
void libpq_set_free(struct libpq_set *set);

static inline void cleanup_libpq_set(struct libpq_set **set)
{
	libpq_set_free(*set);
}
#define _cleanup_libpq_set_ _cleanup_(cleanup_libpq_set)

/*
 * Each file is looked at once, and again when its inode changed. One inode can be reached under several device
 * numbers (overlayfs: once for each mount that has it in a layer, and directly), while the kernel keeps the uprobes of
 * all of them in one place; a second probe there would report each statement twice. So a library with the same
 * functions as a known one, and the same inode or, on overlayfs, the same size and ctime, is passed over if its
 * functions bear breakpoints already.
 *
 * libpq_scan_processes(): every executable mapping of every process, in all mount namespaces, deleted files too.
 * libpq_scan_loader(): what the dynamic loader's cache lists as libpq*, so that the probes precede the first user.
 * cache_path NULL: /etc/ld.so.cache. Where there is none (musl): 0.
 * libpq_inspect_process(): after a RECORD_MAP, which is made before the file is mapped: for a few milliseconds it is
 * waited for. A mapping is the wanted one by its numbers or its name: on overlayfs /proc/PID/maps shows the layer's
 * numbers before Linux 6.8 ("fs/proc: show correct device and inode numbers in /proc/pid/maps") and the overlay's
 * since. Where there is neither, all executable mappings are looked at and -ENOENT is returned. -ESRCH: the process is
 * gone.
 *
 * All need CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE (map_files). They return 0 or the first error of `found`; a file
 * that cannot be read is passed over, and looked at again the next time.
 */
int libpq_scan_processes(struct libpq_set *set, libpq_found_fn found, void *data);
int libpq_scan_loader(struct libpq_set *set, const char *cache_path, libpq_found_fn found, void *data);
int libpq_inspect_process(struct libpq_set *set, pid_t pid, const struct libpq_wanted *wanted, libpq_found_fn found,
			  void *data);
/* All that a process maps to execute. */
int libpq_inspect_all(struct libpq_set *set, pid_t pid, libpq_found_fn found, void *data);

/* Borrowed from the set; NULL if there is no such library. */
const struct libpq_library *libpq_library_by_id(const struct libpq_set *set, uint64_t id);

size_t libpq_library_count(const struct libpq_set *set);

/*
 * libpq_outer_function() for a record: `id` is its library, 0 where the kernel has no cookies (before Linux 5.15);
 * then every known library is asked, and the first that recognises the caller answers.
 */
enum libpq_function libpq_set_outer_function(const struct libpq_set *set, uint64_t id, enum libpq_function probed,
					     int64_t caller);

#endif
