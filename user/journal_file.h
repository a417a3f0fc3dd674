/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One segment, block by block: what reading, checking and continuing a journal share. Nothing in it is trusted. */
#ifndef REPRIEVE_JOURNAL_FILE_H
#define REPRIEVE_JOURNAL_FILE_H

#include "journal.h"

struct journal_segment_name {
	uint32_t number;
	uint64_t size; /* bytes */
};

struct journal_file {
	int fd; /* -1: none */
	uint64_t size; /* bytes that are read: not more than the file had when it was opened */
	uint64_t at; /* of the next block */
	struct buffer header; /* with its attributes */
	struct buffer payload; /* of the last block */
	uint8_t chain[JOURNAL_CHAIN_BYTES]; /* after the last block */
	uint8_t before[JOURNAL_CHAIN_BYTES]; /* before it */
	struct journal_block block; /* the last one */
	uint64_t offset; /* of it */
	uint32_t next_number; /* block */
	bool closed; /* a head has closed it */
	bool promised; /* the next segment says that this one is whole up to `size`: nothing in it can be torn */
	char name[24];
};

/* The segments of a directory by their numbers; the caller frees the list. An empty one is no error. */
int journal_list(int directory, struct journal_segment_name **ret_segments, size_t *ret_count);
void journal_segment_file(uint32_t number, char ret_name[24]);

/*
 * Opens a segment and checks its header. -EPROTONOSUPPORT, -EBADMSG, -ENOMEM, what open(2) and read(2) say; *fault is
 * filled in. The file is to be closed in every case.
 */
int journal_file_open(int directory, const char *name, struct journal_file *file, struct journal_fault *fault);
void journal_file_close(struct journal_file *file);

static inline const struct journal_header *journal_file_header(const struct journal_file *file)
{
	return (const struct journal_header *)file->header.data;
}

struct span journal_file_attributes(const struct journal_file *file);

/*
 * The next whole block: 1; 0 at the end; -EBADMSG: *fault says what was passed over, and the next call goes on behind
 * it. Behind a block that is not what was written, the chain goes on from the value that stands there.
 */
int journal_file_next(struct journal_file *file, struct journal_fault *fault);

/* Has a reader tell of every sound head, whose attributes are the file's payload. */
void journal_reader_watch(struct journal_reader *reader, void (*head)(const struct journal_file *file, void *userdata),
			  void *userdata);
/* Number of the first segment, 0 for a single file; and how many there are. */
uint32_t journal_reader_first(const struct journal_reader *reader);
size_t journal_reader_segments(const struct journal_reader *reader);
bool journal_reader_closed(const struct journal_reader *reader); /* the segment at hand, by a head */

/* SHA-256 of up to three pieces. -ENOMEM. */
int journal_hash(struct span a, struct span b, struct span c, uint8_t ret_hash[JOURNAL_CHAIN_BYTES]);
uint32_t journal_crc(const void *data, size_t length);
/* That of a header, with its field for it as zero. */
uint32_t journal_header_crc(const void *header, size_t size);

/* Fills in a fault at a place of a file. Returns -EBADMSG. */
int journal_fault_at(const struct journal_file *file, uint64_t offset, enum journal_fault_kind kind,
		     struct journal_fault *ret_fault, const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
