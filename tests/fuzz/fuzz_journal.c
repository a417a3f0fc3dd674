/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Any bytes as a segment of a journal: the reader and `verify` must not crash, must end, and must stay within the
 * bounds that they state; what they hand out must be safe to decode and to redact. libFuzzer: clang
 * -fsanitize=fuzzer,address,undefined.
 *
 * Odd first byte: the rest is the file. Even: the rest is put into a file whose checksums and chain are right, so that
 * what lies behind them is reached: pieces of two bytes of length, one of kind, and the piece; an odd kind is deflated.
 */
#include <assert.h>
#include <sys/mman.h>
#include <zlib.h>

#include "journal_file.h"
#include "redact.h"

static void add_block(struct buffer *file, uint8_t *chain, uint32_t number, uint8_t kind, struct span piece)
{
	struct journal_block block = {.magic = JOURNAL_BLOCK_MAGIC, .number = number, .items = 1, .first_item = number};
	uLongf length = compressBound(piece.length);
	_cleanup_free_ Bytef *packed = malloc(length);
	struct span payload = piece;

	block.kind = kind & 1 ? JOURNAL_BLOCK_ITEMS : kind & 2 ? JOURNAL_BLOCK_HEAD : kind;
	/* One in four is left as it is, and is then no zlib stream. */
	if ((kind & 1) && (kind & 6) != 6) {
		compress2(packed, &length, (const Bytef *)piece.data, piece.length, 1);
		payload = (struct span){(const char *)packed, length};
	}
	block.raw = (uint32_t)piece.length;
	block.stored = (uint32_t)payload.length;
	block.payload_crc = journal_crc(payload.data, payload.length);
	block.head_crc = journal_crc(&block, offsetof(struct journal_block, head_crc));
	journal_hash((struct span){(const char *)chain, JOURNAL_CHAIN_BYTES},
		     (struct span){(const char *)&block, sizeof(block)}, payload, chain);
	buffer_add(file, &block, sizeof(block));
	buffer_add(file, payload.data, payload.length);
	buffer_add(file, chain, JOURNAL_CHAIN_BYTES);
}

/* A header with what the bytes have to say as its attributes, then blocks. */
static void build(const uint8_t *data, size_t size, struct buffer *file)
{
	size_t attributes = MIN(size ? (size_t)data[0] : 0, size);
	struct journal_header header = {.major = JOURNAL_MAJOR, .fixed = sizeof(header), .segment = 1};
	uint8_t chain[JOURNAL_CHAIN_BYTES];
	uint32_t number = 0;

	memcpy(header.magic, JOURNAL_MAGIC, sizeof(header.magic));
	header.size = (uint32_t)(sizeof(header) + attributes);
	buffer_add(file, &header, sizeof(header));
	buffer_add(file, data, attributes);
	header.crc = journal_header_crc(file->data, file->length);
	memcpy(file->data, &header, sizeof(header));
	journal_hash((struct span){file->data, file->length}, (struct span){NULL, 0}, (struct span){NULL, 0}, chain);
	for (size_t at = attributes; at + 3 <= size;) {
		size_t length = MIN((size_t)(data[at] | data[at + 1] << 8), size - at - 3);

		add_block(file, chain, number++, data[at + 2], (struct span){(const char *)data + at + 3, length});
		at += 3 + length;
	}
}

static void use_record(const struct journal_item *item)
{
	_cleanup_buffer_ struct buffer masked = {};
	struct event event;

	if (redact_record(item->payload.data, item->payload.length, &masked))
		assert(event_decode(masked.data, masked.length, &event, NULL) != -EBADMSG);
	if (!event_decode(item->payload.data, item->payload.length, &event, NULL))
		assert(event.head.size == item->payload.length);
}

static void use_entry(const struct journal_item *item)
{
	_cleanup_buffer_ struct buffer masked = {};
	struct span value;
	uint64_t number;
	uint16_t tag;

	for (size_t at = 0; journal_attribute(item->payload, &at, &tag, &value);) {
		buffer_clear(&masked);
		redact_text(value, &masked);
		redact_args(value, &masked);
		redact_sql(value, &masked);
	}
	journal_number(item->payload, JOURNAL_TAG_HOLD, &number);
}

static void read_all(const char *path)
{
	_cleanup_journal_reader_ struct journal_reader *reader = NULL;
	struct journal_fault fault = {};
	struct journal_item item;
	int result;

	if (journal_open(path, &reader, &fault)) {
		assert(fault.kind && fault.what[0]);
		return;
	}
	while ((result = journal_next(reader, &item))) {
		if (result == -EBADMSG) {
			assert(journal_reader_fault(reader)->kind && journal_reader_fault(reader)->what[0]);
			continue;
		}
		if (result < 0)
			break;
		if (item.kind == JOURNAL_RECORD)
			use_record(&item);
		else
			use_entry(&item);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_buffer_ struct buffer file = {};
	_cleanup_close_ int fd = -1;
	struct journal_check check;
	char path[64];

	if (!size)
		return 0;
	if (data[0] & 1)
		buffer_add(&file, data + 1, size - 1);
	else
		build(data + 1, size - 1, &file);
	fd = memfd_create("journal", MFD_CLOEXEC);
	if (fd < 0 || write(fd, file.data, file.length) != (ssize_t)file.length)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_all(path);
	if (!journal_verify(path, NULL, NULL, NULL, &check))
		assert(check.sound_items <= check.items && check.signed_items <= check.sound_items);
	return 0;
}
