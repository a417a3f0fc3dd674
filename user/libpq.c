/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads one ELF file, for libpq's and libc's functions. Format: elf(5), the System V ABI and its AMD64 supplement.
 *
 * The symbols come from the dynamic section, as the loader sees them, and from the section headers (static programs
 * that bear symbols). Every number in the file is hostile: an offset is checked where it is used, by read_at() alone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "libpq.h"

#include <elf.h>
#include <sys/stat.h>

#define SEGMENTS_MAX 4096
#define SECTIONS_MAX 65535
#define TABLES_MAX 3 /* from the dynamic section, SHT_DYNSYM, SHT_SYMTAB: the ABI allows one of each */
#define TABLE_BYTES_MAX (1ULL << 30) /* of symbols or of their names */
#define DYNAMIC_MAX 4096 /* entries; glibc's own libraries have about 30 */
#define BUCKETS_MAX (1U << 22) /* of DT_GNU_HASH: about one a symbol */
#define CHAIN_MAX 65536 /* symbols in one bucket */
#define HITS_MAX 64 /* places of the names below in one string table: each normally stands once */
#define CODE_BYTES 4096 /* of one function that are searched for a call */
#define CHUNK 65536

/* What is looked for: libpq's functions by number, its accessors, libc's functions by number. */
enum {
	ACCESSOR_DB = PQ_FUNCTION_COUNT,
	ACCESSOR_USER,
	ACCESSOR_SOCKET,
	ACCESSOR_SSL,
	LIBC, /* + enum libc_function */
	LIBC_START = LIBC + LIBC_FUNCTION_COUNT,
	WANTED_COUNT,
};

static const char *const wanted_names[WANTED_COUNT] = {
	[PQ_SEND_QUERY] = "PQsendQuery",
	[PQ_SEND_QUERY_PARAMS] = "PQsendQueryParams",
	[PQ_SEND_PREPARE] = "PQsendPrepare",
	[PQ_SEND_QUERY_PREPARED] = "PQsendQueryPrepared",
	[PQ_FN] = "PQfn",
	[PQ_EXEC] = "PQexec",
	[PQ_EXEC_PARAMS] = "PQexecParams",
	[PQ_PREPARE] = "PQprepare",
	[PQ_EXEC_PREPARED] = "PQexecPrepared",
	[ACCESSOR_DB] = "PQdb",
	[ACCESSOR_USER] = "PQuser",
	[ACCESSOR_SOCKET] = "PQsocket",
	[ACCESSOR_SSL] = "PQsslInUse",
	[LIBC + LIBC_UNLINK] = "unlink",
	[LIBC + LIBC_UNLINKAT] = "unlinkat",
	[LIBC + LIBC_RMDIR] = "rmdir",
	[LIBC + LIBC_REMOVE] = "remove",
	[LIBC + LIBC_RENAME] = "rename",
	[LIBC + LIBC_RENAMEAT] = "renameat",
	[LIBC + LIBC_RENAMEAT2] = "renameat2",
	/* Their 64 twins are other names of the same code. */
	[LIBC + LIBC_TRUNCATE] = "truncate",
	[LIBC + LIBC_FTRUNCATE] = "ftruncate",
	[LIBC_START] = "__libc_start_main",
};

/* What these names begin with: searched for as bytes. */
static const char *const beginnings[] = {"PQ",	   "unlink",   "rmdir",	    "remove",
					 "rename", "truncate", "ftruncate", "__libc_start_main"};

#define WANTED_BYTES 20 /* of the longest name, PQsendQueryPrepared, with its NUL */

/* In libpq 13 to 18 the blocking functions send by calling their asynchronous twin. */
static const enum libpq_function inner_of[PQ_FUNCTION_COUNT] = {
	[PQ_EXEC] = PQ_SEND_QUERY,
	[PQ_EXEC_PARAMS] = PQ_SEND_QUERY_PARAMS,
	[PQ_PREPARE] = PQ_SEND_PREPARE,
	[PQ_EXEC_PREPARED] = PQ_SEND_QUERY_PREPARED,
};

struct table {
	uint64_t symbols; /* offsets in the file */
	uint64_t symbol_count;
	uint64_t names;
	uint64_t names_size;
};

struct image {
	int fd;
	uint64_t size;
	Elf64_Ehdr header;
	Elf64_Phdr *segments;
	size_t segment_count;
	struct table tables[TABLES_MAX];
	size_t table_count;
	uint64_t relocations[2]; /* Elf64_Rela, offsets in the file: those of the PLT, all others */
	uint64_t relocations_size[2];
	struct libpq_place wanted[WANTED_COUNT];
};

static void cleanup_image(struct image *image)
{
	free(image->segments);
}

/* The only access to the file. */
static int read_at(const struct image *image, uint64_t offset, void *ret_bytes, uint64_t length)
{
	uint8_t *bytes = ret_bytes;

	if (offset > image->size || length > image->size - offset)
		return -EBADMSG;
	while (length > 0) {
		ssize_t n = pread(image->fd, bytes, length, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) /* it became shorter meanwhile */
			return -EBADMSG;
		bytes += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* The file offset of what is linked at an address, with the number of bytes from there to the segment's end. */
static int offset_of(const struct image *image, uint64_t address, uint32_t flags, uint64_t *ret_offset,
		     uint64_t *ret_rest)
{
	for (size_t i = 0; i < image->segment_count; i++) {
		const Elf64_Phdr *segment = &image->segments[i];

		if (segment->p_type != PT_LOAD || (segment->p_flags & flags) != flags)
			continue;
		if (address < segment->p_vaddr || address - segment->p_vaddr >= segment->p_filesz)
			continue;
		*ret_offset = segment->p_offset + (address - segment->p_vaddr);
		*ret_rest = segment->p_filesz - (address - segment->p_vaddr);
		return 0;
	}
	return -EBADMSG;
}

static int read_at_address(const struct image *image, uint64_t address, void *ret_bytes, uint64_t length)
{
	uint64_t offset, rest;
	int err = offset_of(image, address, 0, &offset, &rest);

	if (err)
		return err;
	return length <= rest ? read_at(image, offset, ret_bytes, length) : -EBADMSG;
}

static int read_header(struct image *image)
{
	Elf64_Ehdr *header = &image->header;

	if (read_at(image, 0, header, sizeof(*header)) || memcmp(header->e_ident, ELFMAG, SELFMAG))
		return -EBADMSG;
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64)
		return -ENOTSUP;
	if (header->e_type != ET_DYN && header->e_type != ET_EXEC)
		return -ENOENT;
	if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 || header->e_phnum > SEGMENTS_MAX)
		return -EBADMSG;
	return 0;
}

static int read_segments(struct image *image)
{
	image->segments = calloc(image->header.e_phnum, sizeof(Elf64_Phdr));
	if (!image->segments)
		return -ENOMEM;
	image->segment_count = image->header.e_phnum;
	return read_at(image, image->header.e_phoff, image->segments, image->segment_count * sizeof(Elf64_Phdr));
}

static int add_table(struct image *image, const struct table *table)
{
	if (table->symbol_count > TABLE_BYTES_MAX / sizeof(Elf64_Sym) || table->names_size > TABLE_BYTES_MAX)
		return -EFBIG;
	for (size_t i = 0; i < image->table_count; i++)
		if (image->tables[i].symbols == table->symbols)
			return 0;
	if (image->table_count < TABLES_MAX)
		image->tables[image->table_count++] = *table;
	return 0;
}

static int read_section(const struct image *image, uint32_t index, Elf64_Shdr *ret_section)
{
	if (image->header.e_shentsize != sizeof(*ret_section) || index >= image->header.e_shnum)
		return -EBADMSG;
	if (image->header.e_shoff > image->size)
		return -EBADMSG;
	return read_at(image, image->header.e_shoff + (uint64_t)index * sizeof(*ret_section), ret_section,
		       sizeof(*ret_section));
}

/* Missing or damaged section headers do not keep a library from being loaded: then the dynamic section tells. */
static int find_section_tables(struct image *image)
{
	for (uint32_t i = 0; i < image->header.e_shnum; i++) {
		Elf64_Shdr symbols, names;
		int err;

		if (read_section(image, i, &symbols))
			return 0;
		if (symbols.sh_type != SHT_SYMTAB && symbols.sh_type != SHT_DYNSYM)
			continue;
		if (symbols.sh_entsize != sizeof(Elf64_Sym) || read_section(image, symbols.sh_link, &names) ||
		    names.sh_type != SHT_STRTAB)
			continue;
		err = add_table(image, &(struct table){
					       .symbols = symbols.sh_offset,
					       .symbol_count = symbols.sh_size / sizeof(Elf64_Sym),
					       .names = names.sh_offset,
					       .names_size = names.sh_size,
				       });
		if (err)
			return err;
	}
	return 0;
}

/*
 * DT_GNU_HASH does not say how many symbols there are: the last one ends the chain of the highest bucket. Layout:
 * four words (buckets, first hashed symbol, bloom words of 8 bytes, shift), bloom filter, buckets, chains.
 */
static int count_gnu_hash(const struct image *image, uint64_t address, uint64_t *ret_count)
{
	uint32_t head[4], buckets[256], hash, last = 0;
	uint64_t base;
	int err = read_at_address(image, address, head, sizeof(head));

	if (err)
		return err;
	if (head[0] > BUCKETS_MAX)
		return -EBADMSG;
	base = address + sizeof(head) + 8ULL * head[2];
	for (uint32_t i = 0; i < head[0]; i += ARRAY_SIZE(buckets)) {
		uint32_t n = MIN(head[0] - i, (uint32_t)ARRAY_SIZE(buckets));

		err = read_at_address(image, base + 4ULL * i, buckets, n * sizeof(buckets[0]));
		if (err)
			return err;
		for (uint32_t k = 0; k < n; k++)
			last = MAX(last, buckets[k]);
	}
	if (last < head[1]) {
		*ret_count = head[1];
		return 0;
	}
	base += 4ULL * head[0];
	for (uint32_t i = 0; i < CHAIN_MAX; i++, last++) {
		err = read_at_address(image, base + 4ULL * (last - head[1]), &hash, sizeof(hash));
		if (err)
			return err;
		if (hash & 1) {
			*ret_count = (uint64_t)last + 1;
			return 0;
		}
	}
	return -EBADMSG;
}

/* DT_HASH: the second word is the number of chains, one a symbol. */
static int count_symbols(const struct image *image, uint64_t hash, uint64_t gnu_hash, uint64_t *ret_count)
{
	uint32_t head[2];

	if (hash && !read_at_address(image, hash, head, sizeof(head))) {
		*ret_count = head[1];
		return 0;
	}
	return gnu_hash ? count_gnu_hash(image, gnu_hash, ret_count) : -EBADMSG;
}

#define DYNAMIC_TAGS 64 /* the tags read here are all below */

static int read_dynamic(const struct image *image, const Elf64_Phdr *segment, uint64_t values[static DYNAMIC_TAGS],
			uint64_t *ret_gnu_hash)
{
	uint64_t count = MIN(segment->p_filesz / sizeof(Elf64_Dyn), (uint64_t)DYNAMIC_MAX);

	for (uint64_t i = 0; i < count; i++) {
		Elf64_Dyn entry;
		int err = read_at(image, segment->p_offset + i * sizeof(entry), &entry, sizeof(entry));

		if (err)
			return err;
		if (entry.d_tag == DT_NULL)
			return 0;
		if (entry.d_tag > 0 && entry.d_tag < DYNAMIC_TAGS)
			values[entry.d_tag] = entry.d_un.d_val;
		else if (entry.d_tag == DT_GNU_HASH)
			*ret_gnu_hash = entry.d_un.d_ptr;
	}
	return 0;
}

static int find_dynamic_table(struct image *image, const Elf64_Phdr *segment)
{
	uint64_t values[DYNAMIC_TAGS] = {0}, gnu_hash = 0, rest;
	struct table table = {0};
	int err = read_dynamic(image, segment, values, &gnu_hash);

	if (err)
		return err;
	table.names_size = values[DT_STRSZ];
	if (!values[DT_SYMTAB] || !values[DT_STRTAB])
		return 0;
	err = offset_of(image, values[DT_SYMTAB], 0, &table.symbols, &rest);
	if (!err)
		err = offset_of(image, values[DT_STRTAB], 0, &table.names, &rest);
	if (!err)
		err = count_symbols(image, values[DT_HASH], gnu_hash, &table.symbol_count);
	if (!err)
		err = add_table(image, &table);
	if (err)
		return err;
	if (!offset_of(image, values[DT_JMPREL], 0, &image->relocations[0], &rest))
		image->relocations_size[0] = MIN(values[DT_PLTRELSZ], rest);
	if (!offset_of(image, values[DT_RELA], 0, &image->relocations[1], &rest))
		image->relocations_size[1] = MIN(values[DT_RELASZ], rest);
	return 0;
}

/* The last damage met. It does not end the search: a library that the loader accepts may be damaged elsewhere. */
static int find_tables(struct image *image)
{
	int damage = 0, err;

	for (size_t i = 0; i < image->segment_count; i++) {
		if (image->segments[i].p_type != PT_DYNAMIC)
			continue;
		err = find_dynamic_table(image, &image->segments[i]);
		damage = err ? err : damage;
	}
	err = find_section_tables(image);
	return err ? err : damage;
}

struct hit {
	uint64_t name; /* st_name */
	int wanted;
};

static void match_name(const char *text, uint64_t position, struct hit *hits, size_t *count)
{
	for (int i = 0; i < WANTED_COUNT; i++) {
		if (!wanted_names[i] || strcmp(text, wanted_names[i]) != 0 || *count == HITS_MAX)
			continue;
		hits[*count].name = position;
		hits[(*count)++].wanted = i;
	}
}

/*
 * Where the names stand in a table of strings. The many files without a libpq are done with here, without a look at
 * their symbols. A name may be the tail of a longer one, so what stands before it does not count.
 */
static int find_names(const struct image *image, const struct table *table, struct hit *ret_hits, size_t *ret_count)
{
	_cleanup_free_ char *chunk = malloc(CHUNK + WANTED_BYTES + 1);
	uint64_t done = 0;

	if (!chunk)
		return -ENOMEM;
	for (*ret_count = 0; done < table->names_size; done += CHUNK) {
		size_t whole = (size_t)MIN(table->names_size - done, (uint64_t)CHUNK + WANTED_BYTES);
		size_t begins = MIN(whole, (size_t)CHUNK); /* a name that begins behind is the next chunk's */
		int err = read_at(image, table->names + done, chunk, whole);

		if (err)
			return err;
		chunk[whole] = '\0';
		for (size_t i = 0; i < ARRAY_SIZE(beginnings); i++) {
			char *at = chunk;

			while ((at = memmem(at, whole - (size_t)(at - chunk), beginnings[i], strlen(beginnings[i]))) &&
			       at < chunk + begins) {
				match_name(at, done + (uint64_t)(at - chunk), ret_hits, ret_count);
				at++;
			}
		}
	}
	return 0;
}

static void match_symbol(struct image *image, const Elf64_Sym *symbol, const struct hit *hits, size_t count)
{
	uint64_t offset, rest;

	if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0)
		return;
	if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC && ELF64_ST_TYPE(symbol->st_info) != STT_NOTYPE)
		return;
	for (size_t i = 0; i < count; i++) {
		struct libpq_place *place = &image->wanted[hits[i].wanted];

		if (hits[i].name != symbol->st_name || place->address)
			continue;
		if (offset_of(image, symbol->st_value, PF_X, &offset, &rest) || offset >= image->size)
			continue;
		*place = (struct libpq_place){symbol->st_value, offset, MIN(symbol->st_size, rest)};
	}
}

static int find_symbols(struct image *image, const struct table *table)
{
	_cleanup_free_ Elf64_Sym *symbols = NULL;
	const uint64_t batch = CHUNK / sizeof(*symbols);
	struct hit hits[HITS_MAX];
	size_t count;
	int err = find_names(image, table, hits, &count);

	if (err || count == 0)
		return err;
	symbols = calloc(batch, sizeof(*symbols));
	if (!symbols)
		return -ENOMEM;
	for (uint64_t done = 0; done < table->symbol_count; done += batch) {
		uint64_t n = MIN(table->symbol_count - done, batch);

		err = read_at(image, table->symbols + done * sizeof(*symbols), symbols, n * sizeof(*symbols));
		if (err)
			return err;
		for (uint64_t i = 0; i < n; i++)
			match_symbol(image, &symbols[i], hits, count);
	}
	return 0;
}

static int32_t load32(const uint8_t *bytes)
{
	int32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/* Whether the relocation of a GOT slot, if it is this one, puts the function's address there. */
static bool relocation_leads_to(const struct image *image, const Elf64_Rela *relocation, uint64_t function)
{
	Elf64_Sym symbol;

	switch (ELF64_R_TYPE(relocation->r_info)) {
	case R_X86_64_RELATIVE:
		return (uint64_t)relocation->r_addend == function;
	case R_X86_64_JUMP_SLOT:
	case R_X86_64_GLOB_DAT:
		break;
	default:
		return false;
	}
	/* The first table is the dynamic one wherever there are relocations. */
	if (ELF64_R_SYM(relocation->r_info) >= image->tables[0].symbol_count ||
	    read_at(image, image->tables[0].symbols + ELF64_R_SYM(relocation->r_info) * sizeof(symbol), &symbol,
		    sizeof(symbol)))
		return false;
	return symbol.st_value == function;
}

static bool slot_leads_to(const struct image *image, uint64_t slot, uint64_t function)
{
	for (size_t i = 0; i < ARRAY_SIZE(image->relocations); i++) {
		uint64_t count = image->relocations_size[i] / sizeof(Elf64_Rela);
		Elf64_Rela batch[128];

		for (uint64_t done = 0; done < count; done += ARRAY_SIZE(batch)) {
			uint64_t n = MIN(count - done, (uint64_t)ARRAY_SIZE(batch));

			if (read_at(image, image->relocations[i] + done * sizeof(batch[0]), batch,
				    n * sizeof(batch[0])))
				break;
			for (uint64_t k = 0; k < n; k++)
				if (batch[k].r_offset == slot)
					return relocation_leads_to(image, &batch[k], function);
		}
	}
	return false;
}

/* A PLT entry: [endbr64] [bnd] jmp *slot(%rip) */
static bool plt_leads_to(const struct image *image, uint64_t entry, uint64_t function)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	uint8_t code[11];
	size_t at = 0;

	if (read_at_address(image, entry, code, sizeof(code)))
		return false;
	if (memcmp(code, endbr64, sizeof(endbr64)) == 0)
		at = sizeof(endbr64);
	if (code[at] == 0xf2)
		at++;
	if (code[at] != 0xff || code[at + 1] != 0x25)
		return false;
	return slot_leads_to(image, entry + at + 6 + (uint64_t)(int64_t)load32(code + at + 2), function);
}

/*
 * Whether the code of `outer` calls (or ends in a jump to) `inner`: directly, through the PLT or through the GOT. A
 * compiler that may inline across exported functions (clang, -fno-semantic-interposition) can leave `inner` as a
 * symbol that `outer` never calls. Every byte is tried as a start: four bytes that lead there by chance do not occur.
 */
static bool calls(const struct image *image, const struct libpq_place *outer, const struct libpq_place *inner)
{
	uint8_t code[CODE_BYTES];
	uint64_t length = MIN(outer->size, sizeof(code));

	if (read_at(image, outer->offset, code, length))
		return false;
	for (uint64_t i = 0; i + 5 <= length; i++) {
		uint64_t target = outer->address + i + 5 + (uint64_t)(int64_t)load32(code + i + 1);

		if (code[i] != 0xe8 && code[i] != 0xe9)
			continue;
		if (target == inner->address || plt_leads_to(image, target, inner->address))
			return true;
	}
	for (uint64_t i = 0; i + 6 <= length; i++)
		if (code[i] == 0xff && (code[i + 1] == 0x15 || code[i + 1] == 0x25) &&
		    slot_leads_to(image, outer->address + i + 6 + (uint64_t)(int64_t)load32(code + i + 2),
				  inner->address))
			return true;
	return false;
}

/* Every way to send is covered by one probe: the inner function's, or the outer's where it does not pass the inner. */
static uint32_t choose_probes(const struct image *image)
{
	uint32_t probe = 0;

	for (int i = PQ_SEND_QUERY; i <= PQ_FN; i++)
		if (image->wanted[i].address)
			probe |= 1U << i;
	for (int i = PQ_EXEC; i < PQ_FUNCTION_COUNT; i++) {
		const struct libpq_place *inner = &image->wanted[inner_of[i]];

		if (!image->wanted[i].address)
			continue;
		/* Without a size there is no telling; the libraries that were looked at all call the inner one. */
		if (!inner->address || (image->wanted[i].size && !calls(image, &image->wanted[i], inner)))
			probe |= 1U << i;
	}
	return probe;
}

/* A function that goes through another one that is probed is none of these: it would stop a process twice. */
static uint32_t choose_libc_probes(const struct image *image)
{
	const struct libpq_place *functions = &image->wanted[LIBC];
	uint32_t probe = 0;

	if (!image->wanted[LIBC_START].address || !functions[LIBC_UNLINK].address)
		return 0;
	for (int i = 1; i < LIBC_FUNCTION_COUNT; i++)
		if (functions[i].address &&
		    (i != LIBC_REMOVE || !calls(image, &functions[LIBC_REMOVE], &functions[LIBC_UNLINK])))
			probe |= 1U << i;
	return probe;
}

/* [opcode] disp(%rdi),%reg at the start of the code: mov to 32 or 64 bits, or movzbl. The bytes it takes, or 0. */
static size_t decode_load(const uint8_t *code, size_t length, int32_t *ret_offset)
{
	size_t at = 0;

	if (length < 8)
		return 0;
	if (code[0] == 0x48)
		at = 1;
	if (code[at] == 0x8b)
		at++;
	else if (at == 0 && code[0] == 0x0f && code[1] == 0xb6)
		at = 2;
	else
		return 0;
	if ((code[at] & 0xc7) == 0x47) { /* modrm: 8-bit displacement, base rdi */
		*ret_offset = (int8_t)code[at + 1];
		return at + 2;
	}
	if ((code[at] & 0xc7) != 0x87) /* 32-bit displacement */
		return 0;
	*ret_offset = load32(code + at + 1);
	return at + 5;
}

/*
 * The accessors of libpq 13 to 18 all begin
 *	[endbr64] [push %rbp; mov %rsp,%rbp] test %rdi,%rdi; je NULL; load
 * and PQsocket of 18 goes on
 *	cmp $-1,%eax; je ELSE; ret; ... ELSE: load; ret
 */
static void decode_accessor(const struct image *image, const struct libpq_place *place, int32_t *offset, int32_t *other)
{
	static const uint8_t skipped[][4] = {{0xf3, 0x0f, 0x1e, 0xfa}, {0x55, 0x48, 0x89, 0xe5}};
	static const uint8_t test[] = {0x48, 0x85, 0xff, 0x74}, compare[] = {0x83, 0xf8, 0xff, 0x74};
	uint8_t code[64] = {0};
	size_t at = 0, length;
	int32_t first, second;

	if (!place->address || read_at(image, place->offset, code, MIN(place->size, sizeof(code))))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(skipped); i++)
		if (memcmp(code + at, skipped[i], sizeof(skipped[i])) == 0)
			at += sizeof(skipped[i]);
	if (memcmp(code + at, test, sizeof(test)) != 0)
		return;
	at += sizeof(test) + 1;
	length = decode_load(code + at, sizeof(code) - at, &first);
	if (length == 0 || first < 0)
		return;
	at += length;
	if (other && memcmp(code + at, compare, sizeof(compare)) == 0) {
		at += sizeof(compare) + 1 + code[at + sizeof(compare)];
		if (at >= sizeof(code) || !decode_load(code + at, sizeof(code) - at, &second) || second < 0)
			return;
		*other = second;
	}
	*offset = first;
}

static void decode_offsets(const struct image *image, struct libpq_offsets *ret_offsets)
{
	*ret_offsets = (struct libpq_offsets){-1, -1, -1, -1, -1};
	decode_accessor(image, &image->wanted[ACCESSOR_DB], &ret_offsets->database, NULL);
	decode_accessor(image, &image->wanted[ACCESSOR_USER], &ret_offsets->user, NULL);
	decode_accessor(image, &image->wanted[ACCESSOR_SOCKET], &ret_offsets->socket, &ret_offsets->socket_else);
	decode_accessor(image, &image->wanted[ACCESSOR_SSL], &ret_offsets->ssl, NULL);
}

int libpq_inspect(int fd, struct libpq_functions *ret_functions)
{
	_cleanup_(cleanup_image) struct image image = {.fd = fd};
	struct stat status;
	uint32_t probe, probe_libc;
	int err, damage;

	if (fstat(fd, &status))
		return -errno;
	image.size = (uint64_t)MAX(status.st_size, 0);
	err = read_header(&image);
	if (!err)
		err = read_segments(&image);
	if (err)
		return err;
	damage = find_tables(&image);
	for (size_t i = 0; i < image.table_count; i++) {
		err = find_symbols(&image, &image.tables[i]);
		damage = err ? err : damage;
	}
	probe = choose_probes(&image);
	probe_libc = choose_libc_probes(&image);
	if (!probe && !probe_libc)
		return damage ? damage : -ENOENT;
	memcpy(ret_functions->libc.place, &image.wanted[LIBC], sizeof(ret_functions->libc.place));
	ret_functions->libc.probe = probe_libc;
	ret_functions->libc.zero = 0;
	memcpy(ret_functions->place, image.wanted, sizeof(ret_functions->place));
	ret_functions->probe = probe;
	decode_offsets(&image, &ret_functions->offsets);
	return 0;
}

enum libpq_function libpq_outer_function(const struct libpq_functions *functions, enum libpq_function probed,
					 int64_t caller)
{
	for (int i = PQ_EXEC; i < PQ_FUNCTION_COUNT; i++) {
		const struct libpq_place *outer = &functions->place[i];
		uint64_t address = functions->place[probed].address + (uint64_t)caller;

		/* The call may be the last instruction: then it returns to the first byte behind the function. */
		if (inner_of[i] == probed && outer->address && address > outer->address &&
		    address - outer->address <= outer->size)
			return i;
	}
	return probed;
}
