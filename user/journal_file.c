/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "journal_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <zlib.h>

#define SCAN_BYTES 65536 /* looked through at a time for the next block */
#define BEGUN_BYTES 512 /* a segment that got as far as its first head is longer */

/* --- sums --- */

int journal_hash(struct span a, struct span b, struct span c, uint8_t ret_hash[JOURNAL_CHAIN_BYTES])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) &&
		    EVP_DigestUpdate(context, a.data, a.length) && EVP_DigestUpdate(context, b.data, b.length) &&
		    EVP_DigestUpdate(context, c.data, c.length) && EVP_DigestFinal_ex(context, ret_hash, NULL);

	EVP_MD_CTX_free(context);
	return done ? 0 : -ENOMEM;
}

uint32_t journal_crc(const void *data, size_t length)
{
	return (uint32_t)crc32_z(0, data, length);
}

uint32_t journal_header_crc(const void *header, size_t size)
{
	static const unsigned char zeros[sizeof(__u32)];
	size_t at = offsetof(struct journal_header, crc), behind = at + sizeof(zeros);
	uLong crc = crc32_z(0, header, at);

	crc = crc32_z(crc, zeros, sizeof(zeros));
	return (uint32_t)crc32_z(crc, (const unsigned char *)header + behind, size - behind);
}

int journal_fault_at(const struct journal_file *file, uint64_t offset, enum journal_fault_kind kind,
		     struct journal_fault *ret_fault, const char *format, ...)
{
	va_list args;

	*ret_fault = (struct journal_fault){.kind = kind, .offset = offset, .block = file->next_number};
	snprintf(ret_fault->segment, sizeof(ret_fault->segment), "%s", file->name);
	va_start(args, format);
	vsnprintf(ret_fault->what, sizeof(ret_fault->what), format, args);
	va_end(args);
	return -EBADMSG;
}

/* --- files --- */

void journal_segment_file(uint32_t number, char ret_name[24])
{
	snprintf(ret_name, 24, "%08u" JOURNAL_SUFFIX, number);
}

/* 0: the name of no segment. */
static uint32_t number_of(const char *name)
{
	size_t digits = strspn(name, "0123456789");
	unsigned long long number;

	if (digits < 8 || digits > 10 || !streq(name + digits, JOURNAL_SUFFIX))
		return 0;
	number = strtoull(name, NULL, 10);
	return number <= UINT32_MAX ? (uint32_t)number : 0;
}

static int by_number(const void *left, const void *right)
{
	const struct journal_segment_name *a = left, *b = right;

	return a->number < b->number ? -1 : a->number > b->number;
}

static int add_segment(int directory, const char *name, struct journal_segment_name **segments, size_t *count)
{
	struct journal_segment_name *grown;
	uint32_t number = number_of(name);
	struct stat facts;

	if (!number || fstatat(directory, name, &facts, AT_SYMLINK_NOFOLLOW) || !S_ISREG(facts.st_mode))
		return 0;
	grown = reallocarray(*segments, *count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*segments = grown;
	grown[*count] = (struct journal_segment_name){number, (uint64_t)facts.st_size};
	*count += 1;
	return 0;
}

int journal_list(int directory, struct journal_segment_name **ret_segments, size_t *ret_count)
{
	_cleanup_free_ struct journal_segment_name *segments = NULL;
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
	struct dirent *entry;
	size_t count = 0;
	DIR *stream;

	if (fd < 0)
		return -errno;
	stream = fdopendir(fd);
	if (!stream) {
		close(fd);
		return -ENOMEM;
	}
	while (!error && (entry = readdir(stream)))
		error = add_segment(directory, entry->d_name, &segments, &count);
	closedir(stream);
	if (error)
		return error;
	if (count)
		qsort(segments, count, sizeof(*segments), by_number);
	*ret_segments = take_pointer(segments);
	*ret_count = count;
	return 0;
}

void journal_file_close(struct journal_file *file)
{
	cleanup_close(&file->fd);
	buffer_free(&file->header);
	buffer_free(&file->payload);
	*file = (struct journal_file){.fd = -1};
}

/* All of it: -ENODATA where the file ends before, -EIO and others as pread(2). */
static int read_at(const struct journal_file *file, uint64_t offset, void *bytes, size_t length)
{
	char *to = bytes;

	while (length) {
		ssize_t got = pread(file->fd, to, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			return -ENODATA;
		to += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return 0;
}

static int fault_io(const struct journal_file *file, uint64_t offset, int error, struct journal_fault *fault)
{
	journal_fault_at(file, offset, JOURNAL_FAULT_IO, fault, "cannot be read: %s", strerror(-error));
	return error;
}

static int check_header(struct journal_file *file, struct journal_fault *fault)
{
	const struct journal_header *header = journal_file_header(file);

	if (journal_header_crc(file->header.data, file->header.length) != header->crc)
		return journal_fault_at(file, 0, JOURNAL_FAULT_HEADER, fault, "the header's checksum is wrong");
	if (header->fixed < sizeof(*header) || header->fixed > header->size || !header->segment)
		return journal_fault_at(file, 0, JOURNAL_FAULT_HEADER, fault, "the header makes no sense");
	return journal_hash((struct span){file->header.data, file->header.length}, (struct span){NULL, 0},
			    (struct span){NULL, 0}, file->chain);
}

/* Magic and version before all else: what follows them may mean something else in another major version. */
static int read_header(struct journal_file *file, struct journal_fault *fault)
{
	struct journal_header fixed;
	int error;

	if (file->size < sizeof(fixed))
		return journal_fault_at(file, 0, JOURNAL_FAULT_TORN, fault, "the header is not whole");
	error = read_at(file, 0, &fixed, sizeof(fixed));
	if (error)
		return fault_io(file, 0, error, fault);
	if (memcmp(fixed.magic, JOURNAL_MAGIC, sizeof(fixed.magic)))
		return journal_fault_at(file, 0, JOURNAL_FAULT_HEADER, fault,
					"this is no segment of a journal: it does not begin with \"RPRVJNL\"");
	if (fixed.major != JOURNAL_MAJOR) {
		journal_fault_at(file, 0, JOURNAL_FAULT_VERSION, fault,
				 "the journal is of version %u.%u, and this program reads %u.x: use a newer one",
				 fixed.major, fixed.minor, JOURNAL_MAJOR);
		return -EPROTONOSUPPORT;
	}
	if (fixed.size > file->size && file->size < BEGUN_BYTES)
		return journal_fault_at(file, 0, JOURNAL_FAULT_TORN, fault, "the header is not whole");
	if (fixed.size < sizeof(fixed) || fixed.size > JOURNAL_HEADER_MAX || fixed.size > file->size)
		return journal_fault_at(file, 0, JOURNAL_FAULT_HEADER, fault, "the header makes no sense");
	if (!buffer_reserve(&file->header, fixed.size))
		return -ENOMEM;
	error = read_at(file, 0, file->header.data, fixed.size);
	if (error)
		return fault_io(file, 0, error, fault);
	file->header.length = fixed.size;
	file->at = fixed.size;
	return check_header(file, fault);
}

int journal_file_open(int directory, const char *name, struct journal_file *file, struct journal_fault *fault)
{
	const char *slash = strrchr(name, '/');
	struct stat facts;

	*file = (struct journal_file){.fd = -1};
	snprintf(file->name, sizeof(file->name), "%s", slash ? slash + 1 : name);
	file->fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0 || fstat(file->fd, &facts))
		return fault_io(file, 0, -errno, fault);
	if (!S_ISREG(facts.st_mode))
		return journal_fault_at(file, 0, JOURNAL_FAULT_HEADER, fault, "this is no file");
	file->size = (uint64_t)facts.st_size;
	return read_header(file, fault);
}

struct span journal_file_attributes(const struct journal_file *file)
{
	const struct journal_header *header = journal_file_header(file);

	if (!file->header.length)
		return (struct span){NULL, 0};
	return (struct span){file->header.data + header->fixed, header->size - header->fixed};
}

/* --- blocks --- */

static bool is_block(const struct journal_block *block)
{
	return block->magic == JOURNAL_BLOCK_MAGIC && block->stored <= JOURNAL_PAYLOAD_MAX &&
	       block->raw <= JOURNAL_PAYLOAD_MAX &&
	       journal_crc(block, offsetof(struct journal_block, head_crc)) == block->head_crc;
}

/* Where in these bytes a block's head stands; `length` where none does. */
static size_t find_block(const char *bytes, size_t length)
{
	struct journal_block block;

	for (size_t at = 0; at + sizeof(block) <= length; at++) {
		memcpy(&block, bytes + at, sizeof(block));
		if (block.magic == JOURNAL_BLOCK_MAGIC && is_block(&block))
			return at;
	}
	return length;
}

/* The next head at or behind `from`; the end where there is none. */
static int seek_block(const struct journal_file *file, uint64_t from, uint64_t *ret_offset)
{
	_cleanup_free_ char *bytes = malloc(SCAN_BYTES);

	if (!bytes)
		return -ENOMEM;
	while (from + sizeof(struct journal_block) <= file->size) {
		size_t length = (size_t)MIN((uint64_t)SCAN_BYTES, file->size - from), at;
		int error = read_at(file, from, bytes, length);

		if (error)
			return error;
		at = find_block(bytes, length);
		if (at < length) {
			*ret_offset = from + at;
			return 0;
		}
		from += length - sizeof(struct journal_block) + 1;
	}
	*ret_offset = file->size;
	return 0;
}

/*
 * Is what stands at the file's end the beginning of a block, as a crash leaves it? Anything else there was written
 * otherwise: bytes of a whole block that were changed are never taken for a torn one.
 */
static bool is_torn(const struct journal_file *file)
{
	uint64_t left = file->size - file->at;
	char bytes[sizeof(struct journal_block)] = {};
	struct journal_block block;

	if (left < sizeof(block))
		return true;
	if (read_at(file, file->at, bytes, sizeof(bytes)))
		return false;
	memcpy(&block, bytes, sizeof(block));
	if (is_block(&block))
		return true;
	/* A file system that lost power may have made the file longer, and not written to it. */
	for (size_t i = 0; i < sizeof(bytes); i++)
		if (bytes[i])
			return false;
	return true;
}

/* Behind a place where no block is: -EBADMSG with what it is, or why the rest cannot be read. */
static int pass_over(struct journal_file *file, struct journal_fault *fault)
{
	uint64_t from = file->at, next;
	bool torn = is_torn(file) && !file->promised;
	int error = seek_block(file, from + 1, &next);

	if (error)
		return error == -ENOMEM ? error : fault_io(file, from, error, fault);
	file->at = next;
	if (file->closed)
		return journal_fault_at(file, from, JOURNAL_FAULT_BLOCK, fault,
					"%llu bytes behind the head that closed this segment",
					(unsigned long long)(next - from));
	if (torn && next == file->size)
		return journal_fault_at(file, from, JOURNAL_FAULT_TORN, fault, "the last %llu bytes are no whole block",
					(unsigned long long)(next - from));
	return journal_fault_at(file, from, JOURNAL_FAULT_BLOCK, fault, "%llu bytes are no block",
				(unsigned long long)(next - from));
}

/* Payload and chain of the block whose head is at hand. */
static int read_payload(struct journal_file *file, uint8_t ret_chain[JOURNAL_CHAIN_BYTES])
{
	const struct journal_block *block = &file->block;
	uint64_t at = file->offset + sizeof(*block);
	int error;

	buffer_clear(&file->payload);
	if (!buffer_reserve(&file->payload, block->stored + 1))
		return -ENOMEM;
	error = read_at(file, at, file->payload.data, block->stored);
	if (!error)
		error = read_at(file, at + block->stored, ret_chain, JOURNAL_CHAIN_BYTES);
	if (error)
		return error;
	file->payload.length = block->stored;
	return 0;
}

static int check_block(struct journal_file *file, const uint8_t *stored_chain, struct journal_fault *fault)
{
	const struct journal_block *block = &file->block;
	struct span chain = {(const char *)file->chain, sizeof(file->chain)};
	uint32_t expected = file->next_number;
	uint8_t computed[JOURNAL_CHAIN_BYTES];
	int error;

	if (journal_crc(file->payload.data, block->stored) != block->payload_crc) {
		memcpy(file->chain, stored_chain, sizeof(file->chain));
		return journal_fault_at(file, file->offset, JOURNAL_FAULT_BLOCK, fault,
					"the checksum of %u bytes is wrong", block->stored);
	}
	error = journal_hash(chain, (struct span){(const char *)block, sizeof(*block)},
			     (struct span){file->payload.data, block->stored}, computed);
	if (error)
		return error;
	memcpy(file->before, file->chain, sizeof(file->before));
	memcpy(file->chain, stored_chain, sizeof(file->chain));
	if (memcmp(computed, stored_chain, sizeof(computed)))
		return journal_fault_at(file, file->offset, JOURNAL_FAULT_CHAIN, fault,
					"the chain is broken: what stands here is not what was written");
	if (file->closed)
		return journal_fault_at(file, file->offset, JOURNAL_FAULT_CHAIN, fault,
					"a block behind the head that closed this segment");
	if (block->number != expected)
		return journal_fault_at(file, file->offset, JOURNAL_FAULT_CHAIN, fault, "this is block %u, not %u",
					block->number, expected);
	return 0;
}

static bool closes(const struct journal_file *file)
{
	struct span attributes = {file->payload.data, file->payload.length}, reason;

	return file->block.kind == JOURNAL_BLOCK_HEAD && journal_text(attributes, JOURNAL_TAG_REASON, &reason) &&
	       ((reason.length == 7 && (!memcmp(reason.data, "rotated", 7) || !memcmp(reason.data, "stopped", 7))));
}

int journal_file_next(struct journal_file *file, struct journal_fault *fault)
{
	uint8_t stored_chain[JOURNAL_CHAIN_BYTES];
	uint64_t left = file->size - file->at;
	int error;

	if (!left)
		return 0;
	if (left < sizeof(file->block) || read_at(file, file->at, &file->block, sizeof(file->block)) ||
	    !is_block(&file->block))
		return pass_over(file, fault);
	if (left < sizeof(file->block) + file->block.stored + JOURNAL_CHAIN_BYTES)
		return pass_over(file, fault);
	file->offset = file->at;
	error = read_payload(file, stored_chain);
	if (error)
		return error == -ENOMEM ? error : fault_io(file, file->offset, error, fault);
	file->at += sizeof(file->block) + file->block.stored + JOURNAL_CHAIN_BYTES;
	error = check_block(file, stored_chain, fault);
	file->next_number = file->block.number + 1;
	file->closed = file->closed || (!error && closes(file));
	return error ? error : 1;
}
