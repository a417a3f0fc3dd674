/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "kernel_btf.h"

#include <fcntl.h>

#include <linux/btf.h>

#include "buffer.h"
#include "util.h"

#define KERNEL_BTF "/sys/kernel/btf/vmlinux"
#define BTF_ROOM ((size_t)16 << 20) /* bytes; stock kernels have 4 to 8 million */
#define NAME_MARGIN 16 /* bytes behind the last name that are read with it: see hash_name */

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

#define CHAINS (1u << 16) /* of the index: stock kernels have some 100,000 functions, typedefs and structures */

struct kernel_btf {
	char *data; /* as the kernel gives it */
	const char *types, *types_end;
	const char *names, *names_end;
	uint32_t *offsets; /* of each type, by its id, from `types` */
	uint32_t count; /* of ids, with that of void */
	uint32_t *chains; /* the last id for each hash of a name; 0: none */
	uint32_t *before; /* of each id in a chain, the one before it */
};

/* Eight bytes of a name, those from its NUL on as 0. */
static uint64_t name_word(const char *name, bool *ret_ended)
{
	uint64_t word, ends;

	memcpy(&word, name, sizeof(word));
	ends = (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;
	*ret_ended = ends;
	return ends ? word & (((ends & -ends) >> 7) - 1) : word;
}

/* Of the first sixteen bytes, since to go through all of every name takes longest of all that an index needs. */
static uint32_t hash_name(const char *name)
{
	bool ended;
	uint64_t hash = name_word(name, &ended) * 0x9e3779b97f4a7c15ull;

	if (!ended)
		hash = (hash ^ hash >> 29 ^ name_word(name + 8, &ended)) * 0xbf58476d1ce4e5b9ull;
	return (uint32_t)(hash >> 48);
}

_Static_assert(CHAINS == 1u << 16, "a hash of 16 bits");

static const struct btf_type *type_by_id(const struct kernel_btf *btf, uint32_t id)
{
	return (const struct btf_type *)(btf->types + btf->offsets[id]);
}

static const char *name_of(const struct kernel_btf *btf, const struct btf_type *type)
{
	const char *name = btf->names + type->name_off;

	return name < btf->names_end ? name : "";
}

static void index_type(struct kernel_btf *btf, const struct btf_type *type, uint32_t id)
{
	uint32_t kind = BTF_INFO_KIND(type->info), *chain;
	const char *name;

	/* Tracepoints are typedefs: btf_trace_ and the name. */
	if (kind != BTF_KIND_FUNC && kind != BTF_KIND_TYPEDEF && kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION)
		return;
	name = name_of(btf, type);
	if (!*name)
		return;
	chain = &btf->chains[hash_name(name)];
	btf->before[id] = *chain;
	*chain = id;
}

static int index_types(struct kernel_btf *btf)
{
	const char *at = btf->types;

	for (btf->count = 1; at + sizeof(struct btf_type) <= btf->types_end; btf->count++) {
		const struct btf_type *type = (const struct btf_type *)at;
		ssize_t trailing = trailing_bytes(type);

		if (trailing < 0)
			return -EPROTO;
		index_type(btf, type, btf->count);
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
	btf->before = malloc((header->type_len / sizeof(struct btf_type) + 2) * sizeof(*btf->before));
	btf->chains = calloc(CHAINS, sizeof(*btf->chains));
	return btf->offsets && btf->before && btf->chains ? index_types(btf) : -ENOMEM;
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
	btf->data = malloc(BTF_ROOM + NAME_MARGIN);
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
	free(btf->before);
	free(btf->chains);
	free(btf);
}

/* Asked for a name that may lie anywhere, and so be shorter than what hash_name reads. */
static uint32_t hash_of(const char *name)
{
	char copy[NAME_MARGIN + 1] = "";

	memcpy(copy, name, strnlen(name, NAME_MARGIN));
	return hash_name(copy);
}

/* The first type of that name and one of two kinds; 0: there is none. A chain has the last one first. */
static uint32_t find_type(const struct kernel_btf *btf, const char *name, uint32_t kind, uint32_t other_kind)
{
	uint32_t first = 0;

	for (uint32_t id = btf->chains[hash_of(name)]; id; id = btf->before[id]) {
		const struct btf_type *type = type_by_id(btf, id);
		uint32_t found = BTF_INFO_KIND(type->info);

		if ((found == kind || found == other_kind) && streq(name_of(btf, type), name))
			first = id;
	}
	return first;
}

struct kernel_function kernel_btf_find(const struct kernel_btf *btf, const char *name)
{
	struct kernel_function found = {.id = find_type(btf, name, BTF_KIND_FUNC, BTF_KIND_TYPEDEF)};
	const struct btf_type *type;

	if (!found.id)
		return found;
	type = type_by_id(btf, found.id);
	if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC && type->type && type->type < btf->count)
		found.arguments = BTF_INFO_VLEN(type_by_id(btf, type->type)->info);
	return found;
}

/* --- an extract --- */

struct extract {
	const struct kernel_btf *from;
	uint32_t *new_ids; /* by the kernel's id; 0: not taken */
	uint32_t *taken; /* the kernel's ids in the order of the new ones, from 1 */
	uint32_t count;
	uint32_t pointer; /* the new id of the one pointer there is: nothing follows them */
	struct buffer types, names;
};

static uint32_t take_type(struct extract *extract, uint32_t id)
{
	const struct btf_type *type;
	uint32_t kind;

	if (!id || id >= extract->from->count)
		return 0;
	if (extract->new_ids[id])
		return extract->new_ids[id];
	type = type_by_id(extract->from, id);
	kind = BTF_INFO_KIND(type->info);
	if (kind == BTF_KIND_FUNC_PROTO)
		return 0;
	if (kind == BTF_KIND_PTR && extract->pointer)
		return extract->pointer;
	extract->taken[++extract->count] = id;
	extract->new_ids[id] = extract->count;
	if (kind == BTF_KIND_PTR)
		extract->pointer = extract->count;
	return extract->count;
}

static uint32_t take_name(struct extract *extract, uint32_t offset)
{
	const char *name = extract->from->names + offset;
	uint32_t at = (uint32_t)extract->names.length;

	if (!offset || name >= extract->from->names_end)
		return 0;
	buffer_add(&extract->names, name, strlen(name) + 1);
	return at;
}

static void copy_members(struct extract *extract, const struct btf_type *type)
{
	const struct btf_member *members = (const struct btf_member *)(type + 1);

	for (uint32_t i = 0; i < BTF_INFO_VLEN(type->info); i++) {
		struct btf_member member = {.name_off = take_name(extract, members[i].name_off),
					    .type = take_type(extract, members[i].type),
					    .offset = members[i].offset};

		buffer_add(&extract->types, &member, sizeof(member));
	}
}

/* Writes one type, and takes those that it is made of. */
static void copy_type(struct extract *extract, const struct btf_type *type)
{
	const struct btf_array *array = (const struct btf_array *)(type + 1);
	struct btf_type copy = {.name_off = take_name(extract, type->name_off), .info = type->info, .size = type->size};
	uint32_t kind = BTF_INFO_KIND(type->info);

	switch (kind) {
	case BTF_KIND_PTR:
		copy.type = 0;
		break;
	case BTF_KIND_TYPEDEF:
	case BTF_KIND_VOLATILE:
	case BTF_KIND_CONST:
	case BTF_KIND_RESTRICT:
	case 18: /* BTF_KIND_TYPE_TAG */
		copy.type = take_type(extract, type->type);
		break;
	case BTF_KIND_ENUM:
	case 19: /* BTF_KIND_ENUM64 */
		copy.info &= ~0xffffu; /* its values are asked for by nobody */
		break;
	}
	buffer_add(&extract->types, &copy, sizeof(copy));
	if (kind == BTF_KIND_INT) {
		buffer_add(&extract->types, type + 1, sizeof(uint32_t));
	} else if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION) {
		copy_members(extract, type);
	} else if (kind == BTF_KIND_ARRAY) {
		struct btf_array element = {take_type(extract, array->type), take_type(extract, array->index_type),
					    array->nelems};

		buffer_add(&extract->types, &element, sizeof(element));
	}
}

static int write_extract(const struct extract *extract, int fd)
{
	struct btf_header header = {.magic = BTF_MAGIC,
				    .version = BTF_VERSION,
				    .hdr_len = sizeof(header),
				    .type_len = (uint32_t)extract->types.length,
				    .str_off = (uint32_t)extract->types.length,
				    .str_len = (uint32_t)extract->names.length};

	if (write(fd, &header, sizeof(header)) != (ssize_t)sizeof(header) ||
	    write(fd, extract->types.data, extract->types.length) != (ssize_t)extract->types.length ||
	    write(fd, extract->names.data, extract->names.length) != (ssize_t)extract->names.length)
		return -EIO;
	return 0;
}

int kernel_btf_extract(const struct kernel_btf *btf, const char *const *names, size_t count, int fd)
{
	_cleanup_free_ uint32_t *new_ids = calloc(btf->count, sizeof(*new_ids));
	_cleanup_free_ uint32_t *taken = calloc(btf->count + 1, sizeof(*taken));
	struct extract extract = {.from = btf, .new_ids = new_ids, .taken = taken};
	int error;

	if (!new_ids || !taken)
		return -ENOMEM;
	buffer_char(&extract.names, '\0');
	for (size_t i = 0; i < count; i++)
		take_type(&extract, find_type(btf, names[i], BTF_KIND_STRUCT, BTF_KIND_UNION));
	/* What is taken grows meanwhile, by what these are made of. */
	for (uint32_t i = 1; i <= extract.count; i++)
		copy_type(&extract, type_by_id(btf, taken[i]));
	error = extract.types.error || extract.names.error ? -ENOMEM : write_extract(&extract, fd);
	buffer_free(&extract.types);
	buffer_free(&extract.names);
	return error;
}
