/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kernel_btf.h"

#include <fcntl.h>

#include <linux/btf.h>

#include "util.h"

#define KERNEL_BTF "/sys/kernel/btf/vmlinux"
#define BTF_ROOM ((size_t)16 << 20) /* bytes; stock kernels have 4 to 8 million */

/* Bytes behind a struct btf_type, by its kind (Documentation/bpf/btf.rst). Negative: a kind we do not know. */
static ssize_t trailing_bytes(const struct btf_type *type)
{
	size_t length = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case 17: /* BTF_KIND_DECL_TAG */
		return sizeof(uint32_t);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return (ssize_t)(length * sizeof(struct btf_member));
	case BTF_KIND_ENUM:
		return (ssize_t)(length * sizeof(struct btf_enum));
	case BTF_KIND_FUNC_PROTO:
		return (ssize_t)(length * sizeof(struct btf_param));
	case BTF_KIND_DATASEC:
		return (ssize_t)(length * sizeof(struct btf_var_secinfo));
	case 19: /* BTF_KIND_ENUM64 */
		return (ssize_t)(length * 3 * sizeof(uint32_t));
	case 18: /* BTF_KIND_TYPE_TAG */
	case BTF_KIND_PTR:
	case BTF_KIND_FWD:
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case BTF_KIND_FUNC:
	case BTF_KIND_FLOAT:
		return 0;
	default:
		return -1;
	}
}

#define SLOTS (1u << 18) /* of the index: stock kernels have some 70,000 functions and typedefs */

struct kernel_btf {
	char *data; /* as the kernel gives it */
	const char *types, *types_end;
	const char *names, *names_end;
	uint32_t *offsets; /* of each type, by its id, from `types` */
	uint32_t count; /* of ids, with that of void */
	uint32_t *slots; /* ids by the hash of their name; 0: free */
	uint32_t indexed; /* slots in use */
};

static uint32_t hash_name(const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return (hash ^ hash >> 15) & (SLOTS - 1);
}

static const struct btf_type *type_by_id(const struct kernel_btf *btf, uint32_t id)
{
	return (const struct btf_type *)(btf->types + btf->offsets[id]);
}

static const char *name_of(const struct kernel_btf *btf, const struct btf_type *type)
{
	const char *name = btf->names + type->name_off;

	return name < btf->names_end ? name : "";
}

static int index_type(struct kernel_btf *btf, const struct btf_type *type, uint32_t id)
{
	uint32_t kind = BTF_INFO_KIND(type->info), slot;

	/* Tracepoints are typedefs: btf_trace_ and the name. */
	if (kind != BTF_KIND_FUNC && kind != BTF_KIND_TYPEDEF)
		return 0;
	if (++btf->indexed > SLOTS / 2)
		return -EPROTO;
	slot = hash_name(name_of(btf, type));
	while (btf->slots[slot])
		slot = (slot + 1) & (SLOTS - 1);
	btf->slots[slot] = id;
	return 0;
}

static int index_types(struct kernel_btf *btf)
{
	const char *at = btf->types;

	for (btf->count = 1; at + sizeof(struct btf_type) <= btf->types_end; btf->count++) {
		const struct btf_type *type = (const struct btf_type *)at;
		ssize_t trailing = trailing_bytes(type);

		if (trailing < 0 || index_type(btf, type, btf->count))
			return -EPROTO;
		btf->offsets[btf->count] = (uint32_t)(at - btf->types);
		at += sizeof(*type) + (size_t)trailing;
	}
	return 0;
}

/* Finds types and names in what was read. */
static int split(struct kernel_btf *btf, size_t length)
{
	const struct btf_header *header = (const struct btf_header *)btf->data;

	if (length < sizeof(*header) || header->magic != BTF_MAGIC ||
	    (size_t)header->hdr_len + header->type_off + header->type_len > length ||
	    (size_t)header->hdr_len + header->str_off + header->str_len > length || !header->str_len)
		return -EPROTO;
	btf->types = btf->data + header->hdr_len + header->type_off;
	btf->types_end = btf->types + header->type_len;
	btf->names = btf->data + header->hdr_len + header->str_off;
	btf->names_end = btf->names + header->str_len;
	if (btf->names_end[-1])
		return -EPROTO;
	btf->offsets = malloc((header->type_len / sizeof(struct btf_type) + 2) * sizeof(*btf->offsets));
	btf->slots = calloc(SLOTS, sizeof(*btf->slots));
	return btf->offsets && btf->slots ? index_types(btf) : -ENOMEM;
}

static int read_btf(char *to, size_t room, size_t *ret_length)
{
	_cleanup_close_ int fd = open(KERNEL_BTF, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got = 1;

	if (fd < 0)
		return -errno;
	while (length < room && (got = read(fd, to + length, room - length)) > 0)
		length += (size_t)got;
	if (got < 0)
		return -errno;
	*ret_length = length;
	return 0;
}

int kernel_btf_new(struct kernel_btf **ret_btf)
{
	struct kernel_btf *btf = calloc(1, sizeof(*btf));
	size_t length = 0;
	int error;

	if (!btf)
		return -ENOMEM;
	btf->data = malloc(BTF_ROOM);
	error = btf->data ? read_btf(btf->data, BTF_ROOM, &length) : -ENOMEM;
	if (!error)
		error = split(btf, length);
	if (error) {
		kernel_btf_free(btf);
		return error;
	}
	*ret_btf = btf;
	return 0;
}

void kernel_btf_free(struct kernel_btf *btf)
{
	if (!btf)
		return;
	free(btf->data);
	free(btf->offsets);
	free(btf->slots);
	free(btf);
}

struct kernel_function kernel_btf_find(const struct kernel_btf *btf, const char *name)
{
	struct kernel_function found = {};

	for (uint32_t slot = hash_name(name); btf->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
		const struct btf_type *type = type_by_id(btf, btf->slots[slot]);

		if (!streq(name_of(btf, type), name))
			continue;
		found.id = btf->slots[slot];
		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC && type->type && type->type < btf->count)
			found.arguments = BTF_INFO_VLEN(type_by_id(btf, type->type)->info);
		return found;
	}
	return found;
}
