/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What stays of the guard in the kernel when the daemon ends: its maps and links, pinned below one directory of a BPF
 * file system. Programs go on deciding, holds stay, and the next daemon takes everything over.
 */
#ifndef REPRIEVE_PINS_H
#define REPRIEVE_PINS_H

#include <stdint.h>

struct bpf_object;
struct bpf_link;

#include "util.h"

#define PINS_DEFAULT "/sys/fs/bpf/reprieve"

/* Is there a guard below this directory? */
bool pins_exist(const char *directory);

/*
 * pins_prepare - has an object that is not loaded yet share the maps of the directory, and pin those it makes
 *
 * Makes the directory (0700). Constants are the object's own. -EOPNOTSUPP: it lies on no BPF file system, or what mkdir
 * says. That a pinned map is of another shape (another release's) comes out at the load, as -EINVAL.
 */
int pins_prepare(const char *directory, struct bpf_object *object);

/* Pins a link as one of this instance's, so that it stays attached. What bpf_link__pin says. */
int pins_keep(const char *directory, uint32_t instance, unsigned int number, struct bpf_link *link);

/* The same of a link's descriptor: bpf_obj_pin's errno, negative. */
int pins_keep_fd(const char *directory, uint32_t instance, unsigned int number, int link);

/* The same of a link to a libc, by its descriptor: bpf_obj_pin's errno, negative. They come off together. */
int pins_keep_libc(const char *directory, uint32_t instance, unsigned int number, int link);
void pins_drop_libc(const char *directory, uint32_t instance);

/* Takes the links of every other instance off. */
void pins_drop_others(const char *directory, uint32_t instance);

/* Takes everything off: links, then maps. */
void pins_remove(const char *directory);

#endif
