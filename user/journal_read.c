/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "journal_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

struct journal_reader {
	int directory; /* -1: a single file */
	char *path;
	struct journal_segment_name *segments;
	size_t count, next; /* segments opened so far */
	uint64_t done, total; /* bytes of whole segments behind us; of all */
	struct journal_file file;
	struct buffer items; /* inflated */
	size_t at; /* in items */
	uint64_t number; /* of the next item */
	int64_t boot_to_real;
	int64_t last_real;
	uint64_t unknown;
	int pending; /* error that stands behind a fault that was told */
	bool open; /* a segment is */
	uint32_t before; /* number of the segment before it; 0: it is the first that is read */
	uint8_t before_chain[JOURNAL_CHAIN_BYTES]; /* what that one ended with */
	struct journal_fault fault;
	void (*head)(const struct journal_file *file, void *userdata); /* may be NULL */
	void *userdata;
};

/* --- attributes --- */

static size_t padded(size_t length)
{
	return (length + 7) & ~(size_t)7;
}

bool journal_attribute(struct span attributes, size_t *at, uint16_t *ret_tag, struct span *ret_value)
{
	struct journal_attribute_head head;

	if (!attributes.data || *at > attributes.length || attributes.length - *at < sizeof(head))
		return false;
	memcpy(&head, attributes.data + *at, sizeof(head));
	if (head.length > attributes.length - *at - sizeof(head))
		return false;
	*ret_tag = head.tag;
	*ret_value = (struct span){attributes.data + *at + sizeof(head), head.length};
	*at += sizeof(head) + padded(head.length);
	return true;
}

bool journal_text(struct span attributes, enum journal_tag tag, struct span *ret_text)
{
	struct span value;
	uint16_t found;

	for (size_t at = 0; journal_attribute(attributes, &at, &found, &value);) {
		if (found != tag)
			continue;
		*ret_text = value;
		return true;
	}
	return false;
}

bool journal_number(struct span attributes, enum journal_tag tag, uint64_t *ret_number)
{
	struct span value;

	if (!journal_text(attributes, tag, &value) || value.length != sizeof(*ret_number))
		return false;
	memcpy(ret_number, value.data, sizeof(*ret_number));
	return true;
}

const char *journal_kind_name(unsigned int kind)
{
	static const char *const names[JOURNAL_KIND_COUNT] = {
		[JOURNAL_RECORD] = "record",   [JOURNAL_START] = "start",   [JOURNAL_STOP] = "stop",
		[JOURNAL_POLICY] = "policy",   [JOURNAL_AGENTS] = "agents", [JOURNAL_VERDICT] = "verdict",
		[JOURNAL_HOLD] = "hold",       [JOURNAL_REVIEW] = "review", [JOURNAL_RELEASE] = "release",
		[JOURNAL_EXPIRE] = "expire",   [JOURNAL_STAKE] = "stake",   [JOURNAL_CLOCK] = "clock",
		[JOURNAL_SESSION] = "session", [JOURNAL_IGNORE] = "ignore", [JOURNAL_RESUME] = "resume",
		[JOURNAL_CGROUP] = "cgroup",   [JOURNAL_LOSS] = "loss",
	};

	return kind < JOURNAL_KIND_COUNT && names[kind] ? names[kind] : "?";
}

/* --- opening --- */

void journal_reader_free(struct journal_reader *reader)
{
	if (!reader)
		return;
	journal_file_close(&reader->file);
	cleanup_close(&reader->directory);
	buffer_free(&reader->items);
	free(reader->segments);
	free(reader->path);
	free(reader);
}

/*
 * How much of a segment is part of the journal: the next one's header says. What is behind that was written before a
 * failure that was not sure to be on disk, and stands in the next one again.
 */
static void cut_at_next(struct journal_reader *reader)
{
	struct journal_fault fault;
	struct journal_file next;
	char name[24];

	if (reader->next >= reader->count)
		return;
	journal_segment_file(reader->segments[reader->next].number, name);
	if (!journal_file_open(reader->directory, name, &next, &fault) &&
	    journal_file_header(&next)->previous == journal_file_header(&reader->file)->segment) {
		uint64_t size = MAX(journal_file_header(&next)->previous_size, reader->file.at);

		reader->file.promised = true;
		reader->file.size = MIN(reader->file.size, size);
	}
	journal_file_close(&next);
}

/* The segment at hand has to go on where the one before it ended. */
static int check_sequel(struct journal_reader *reader)
{
	const struct journal_header *header = journal_file_header(&reader->file);

	if (!reader->before)
		return 0;
	if (header->previous != reader->before)
		return journal_fault_at(&reader->file, 0, JOURNAL_FAULT_MISSING, &reader->fault,
					"it continues segment %u, and the one before it here is %u: what was between "
					"is missing",
					header->previous, reader->before);
	if (memcmp(header->previous_chain, reader->before_chain, JOURNAL_CHAIN_BYTES))
		return journal_fault_at(&reader->file, 0, JOURNAL_FAULT_CHAIN, &reader->fault,
					"segment %u does not end as it did when this one was begun", reader->before);
	return 0;
}

static void leave_segment(struct journal_reader *reader)
{
	if (reader->open) {
		reader->before = journal_file_header(&reader->file)->segment;
		memcpy(reader->before_chain, reader->file.chain, sizeof(reader->before_chain));
	}
	reader->done += reader->next ? reader->segments[reader->next - 1].size : 0;
	reader->open = false;
}

static int open_segment(struct journal_reader *reader)
{
	char name[24];
	int error;

	leave_segment(reader);
	journal_file_close(&reader->file);
	if (reader->directory >= 0)
		journal_segment_file(reader->segments[reader->next].number, name);
	reader->next += 1;
	error = journal_file_open(reader->directory >= 0 ? reader->directory : AT_FDCWD,
				  reader->directory >= 0 ? name : reader->path, &reader->file, &reader->fault);
	reader->fault.time = reader->last_real;
	if (error)
		return error;
	reader->open = true;
	reader->boot_to_real = journal_file_header(&reader->file)->boot_to_real;
	reader->number = journal_file_header(&reader->file)->first_item;
	buffer_clear(&reader->items);
	reader->at = 0;
	if (reader->directory >= 0)
		cut_at_next(reader);
	error = check_sequel(reader);
	reader->fault.time = reader->last_real;
	return error;
}

static int list_segments(struct journal_reader *reader)
{
	struct stat facts;
	int error;

	if (stat(reader->path, &facts))
		return -errno;
	if (!S_ISDIR(facts.st_mode)) {
		reader->segments = calloc(1, sizeof(*reader->segments));
		reader->count = 1;
		if (!reader->segments)
			return -ENOMEM;
		reader->segments[0].size = (uint64_t)facts.st_size;
		return 0;
	}
	reader->directory = open(reader->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (reader->directory < 0)
		return -errno;
	error = journal_list(reader->directory, &reader->segments, &reader->count);
	if (error)
		return error;
	return reader->count ? 0 : -ENOENT;
}

static int reader_start(struct journal_reader *reader)
{
	int error = list_segments(reader);

	if (error) {
		reader->fault.kind = JOURNAL_FAULT_IO;
		snprintf(reader->fault.what, sizeof(reader->fault.what), "%s",
			 error == -ENOENT && reader->directory >= 0 ? "no segment of a journal is in this directory"
								    : strerror(-error));
		return error;
	}
	for (size_t i = 0; i < reader->count; i++)
		reader->total += reader->segments[i].size;
	error = open_segment(reader);
	/* A segment of which a crash left not even the header: the next one, if any, goes on. */
	if (error == -EBADMSG && reader->fault.kind == JOURNAL_FAULT_TORN && reader->directory >= 0) {
		reader->pending = error;
		return 0;
	}
	return error;
}

int journal_open(const char *path, struct journal_reader **ret_reader, struct journal_fault *fault)
{
	struct journal_reader *reader = calloc(1, sizeof(*reader));
	int error;

	if (!reader)
		return -ENOMEM;
	reader->directory = -1;
	reader->file.fd = -1;
	reader->path = strdup(path);
	error = reader->path ? reader_start(reader) : -ENOMEM;
	if (error) {
		if (fault)
			*fault = reader->fault;
		journal_reader_free(reader);
		return error;
	}
	*ret_reader = reader;
	return 0;
}

/* --- items --- */

static int bad_items(struct journal_reader *reader, const char *what)
{
	reader->at = reader->items.length;
	journal_fault_at(&reader->file, reader->file.offset, JOURNAL_FAULT_ITEM, &reader->fault, "%s", what);
	reader->fault.block = reader->file.block.number;
	reader->fault.time = reader->last_real;
	return -EBADMSG;
}

static int inflate_block(struct journal_reader *reader)
{
	const struct journal_block *block = &reader->file.block;
	uLongf length = block->raw;
	int result;

	buffer_clear(&reader->items);
	reader->at = 0;
	if (!buffer_reserve(&reader->items, MAX(block->raw, 1u)))
		return -ENOMEM;
	result = uncompress((Bytef *)reader->items.data, &length, (const Bytef *)reader->file.payload.data,
			    block->stored);
	if (result == Z_MEM_ERROR)
		return -ENOMEM;
	if (result != Z_OK || length != block->raw)
		return bad_items(reader, "the block cannot be inflated to the size that it states");
	reader->items.length = length;
	reader->number = block->first_item;
	return 0;
}

/* One record, which has to hold the size that it states; its head has the time. */
static int take_record(struct journal_reader *reader, struct journal_item *item)
{
	struct record head;
	size_t size;

	if (record_size(item->payload.data, item->payload.length, &size) || size != item->payload.length)
		return bad_items(reader, "a record is longer or shorter than its place");
	memcpy(&head, item->payload.data, sizeof(head));
	item->time = head.time;
	return 1;
}

static int take_entry(struct journal_reader *reader, struct journal_item *item)
{
	uint64_t offset;

	if (item->payload.length < sizeof(item->time))
		return bad_items(reader, "an entry is too short");
	memcpy(&item->time, item->payload.data, sizeof(item->time));
	item->payload.data += sizeof(item->time);
	item->payload.length -= sizeof(item->time);
	if (item->kind == JOURNAL_CLOCK && journal_number(item->payload, JOURNAL_TAG_OFFSET, &offset))
		reader->boot_to_real = (int64_t)offset;
	return 1;
}

/* The next item of the block at hand: 1; 0 where it is done. */
static int take_item(struct journal_reader *reader, struct journal_item *item)
{
	size_t left = reader->items.length - reader->at;
	struct journal_item_head head;
	int result;

	if (!left)
		return 0;
	if (left < sizeof(head))
		return bad_items(reader, "a block ends within an item");
	memcpy(&head, reader->items.data + reader->at, sizeof(head));
	if (head.length > left - sizeof(head))
		return bad_items(reader, "an item is longer than its block");
	*item = (struct journal_item){.kind = head.kind,
				      .flags = head.flags,
				      .number = reader->number++,
				      .segment = journal_file_header(&reader->file)->segment,
				      .offset = reader->file.offset};
	item->payload = (struct span){reader->items.data + reader->at + sizeof(head), head.length};
	reader->at += MIN(left, sizeof(head) + padded(head.length));
	result = head.kind == JOURNAL_RECORD ? take_record(reader, item) : take_entry(reader, item);
	if (result < 0)
		return result;
	item->real = (int64_t)(item->time + (uint64_t)reader->boot_to_real);
	reader->last_real = item->real;
	return 1;
}

/* Brings the next block of items, or the next segment: 1; 0 at the end of all. */
static int advance(struct journal_reader *reader)
{
	int result = reader->open ? journal_file_next(&reader->file, &reader->fault) : 0;

	if (result < 0) {
		reader->fault.time = reader->last_real;
		return result;
	}
	if (result && reader->file.block.kind == JOURNAL_BLOCK_HEAD && reader->head)
		reader->head(&reader->file, reader->userdata);
	if (result && reader->file.block.kind != JOURNAL_BLOCK_ITEMS)
		return 1;
	if (result) {
		result = inflate_block(reader);
		return result ? result : 1;
	}
	if (reader->next >= reader->count)
		return 0;
	result = open_segment(reader);
	return result ? result : 1;
}

int journal_next(struct journal_reader *reader, struct journal_item *ret_item)
{
	int result = reader->pending;

	reader->pending = 0;
	while (!result) {
		result = take_item(reader, ret_item);
		if (result > 0 && (!ret_item->kind || ret_item->kind >= JOURNAL_KIND_COUNT)) {
			reader->unknown += 1;
			result = 0;
			continue;
		}
		if (result)
			return result;
		result = advance(reader);
		if (result <= 0)
			return result;
		result = 0;
	}
	return result;
}

const struct journal_fault *journal_reader_fault(const struct journal_reader *reader)
{
	return &reader->fault;
}

const struct journal_header *journal_reader_header(const struct journal_reader *reader)
{
	static const struct journal_header none;

	return reader->open ? journal_file_header(&reader->file) : &none;
}

struct span journal_reader_text(const struct journal_reader *reader, enum journal_tag tag)
{
	struct span text = {NULL, 0};

	if (reader->open)
		journal_text(journal_file_attributes(&reader->file), tag, &text);
	return text;
}

struct journal_progress journal_reader_progress(const struct journal_reader *reader)
{
	return (struct journal_progress){MIN(reader->done + reader->file.at, reader->total), reader->total};
}

uint64_t journal_reader_unknown(const struct journal_reader *reader)
{
	return reader->unknown;
}

void journal_reader_watch(struct journal_reader *reader, void (*head)(const struct journal_file *file, void *userdata),
			  void *userdata)
{
	reader->head = head;
	reader->userdata = userdata;
}

uint32_t journal_reader_first(const struct journal_reader *reader)
{
	return reader->directory >= 0 ? reader->segments[0].number : 0;
}

size_t journal_reader_segments(const struct journal_reader *reader)
{
	return reader->count;
}

bool journal_reader_closed(const struct journal_reader *reader)
{
	return reader->open && reader->file.closed;
}
