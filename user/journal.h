/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The journal: everything that came into the pipeline, in the order in which it came, so that the same can be run again
 * without the machine. What the files hold is in journal_format.h.
 *
 * Writing never waits: items go into memory, a thread of the journal's own compresses, writes and syncs them. Items that
 * find that memory full, because the disk is, are counted and told of as JOURNAL_LOSS where they are missing.
 */
#ifndef REPRIEVE_JOURNAL_H
#define REPRIEVE_JOURNAL_H

#include "buffer.h"
#include "decode.h"
#include "journal_format.h"

/* --- reading --- */

/* Why a place of a journal cannot be read, or is not to be trusted. */
enum journal_fault_kind {
	JOURNAL_FAULT_NONE = 0,
	JOURNAL_FAULT_TORN = 1, /* the end of a segment that was never closed: a crash, or it is still being written */
	JOURNAL_FAULT_HEADER = 2, /* no journal, or a bad header */
	JOURNAL_FAULT_VERSION = 3, /* a newer major version */
	JOURNAL_FAULT_BLOCK = 4, /* a bad checksum, or bytes that are no block */
	JOURNAL_FAULT_CHAIN = 5, /* whole, and not what was written there */
	JOURNAL_FAULT_ITEM = 6, /* a block whose items make no sense */
	JOURNAL_FAULT_MISSING = 7, /* segments that should be there */
	JOURNAL_FAULT_SIGNATURE = 8,
	JOURNAL_FAULT_IO = 9,
	JOURNAL_FAULT_COUNT = 10,
};

struct journal_fault {
	enum journal_fault_kind kind;
	char segment[24]; /* file name */
	uint64_t offset; /* bytes from the segment's beginning */
	uint64_t block; /* number in the segment */
	int64_t time; /* real, of the last good item before it; 0: there is none */
	char what[160]; /* a sentence without a full stop */
};

struct journal_item {
	uint16_t kind; /* enum journal_kind */
	uint16_t flags; /* enum journal_flag */
	uint64_t number; /* from 0 through the whole journal; a gap: items of a bad block */
	uint64_t time; /* boot */
	int64_t real;
	/*
	 * JOURNAL_RECORD: the record's bytes, at a multiple of 8; not checked further than that they hold the record's
	 * size. All others: the attributes.
	 */
	struct span payload;
	uint32_t segment; /* number */
	uint64_t offset; /* of its block in the segment, bytes */
};

struct journal_reader;

/*
 * journal_open - opens a directory, or one segment by its file
 *
 * -EPROTONOSUPPORT: a newer major version; -EBADMSG: no journal; -ENOENT: the directory holds no segment; or what
 * open(2) says. *fault (may be NULL) then has words for people.
 */
int journal_open(const char *path, struct journal_reader **ret_reader, struct journal_fault *fault);
/* NULL is fine. */
void journal_reader_free(struct journal_reader *reader);

/*
 * journal_next - the next item
 *
 * Returns 1 and an item, whose payload stays until the next call; 0 at the end; -EBADMSG: something was passed over,
 * journal_reader_fault() says what, and the next call goes on behind it. Any other negative errno ends the reading
 * (-EIO, -ENOMEM, -EPROTONOSUPPORT). Memory does not grow with the journal. A torn end (JOURNAL_FAULT_TORN) is told so,
 * too: it is what a crash leaves.
 */
int journal_next(struct journal_reader *reader, struct journal_item *ret_item);
const struct journal_fault *journal_reader_fault(const struct journal_reader *reader);

/* Of the segment that the last item came from; before the first item, of the first segment. */
const struct journal_header *journal_reader_header(const struct journal_reader *reader);
/* A text of that header: JOURNAL_TAG_HOST, _KERNEL, _MACHINE, _VERSION. data NULL: none. */
struct span journal_reader_text(const struct journal_reader *reader, enum journal_tag tag);

/* How far the reading is: bytes of all segments, and those that are behind us. */
struct journal_progress {
	uint64_t done, total;
};
struct journal_progress journal_reader_progress(const struct journal_reader *reader);

/* Items of kinds that this version does not know, passed over so far. */
uint64_t journal_reader_unknown(const struct journal_reader *reader);

/* Attributes of an entry, or of a header. Each returns false where there is none of that tag and size. */
bool journal_number(struct span attributes, enum journal_tag tag, uint64_t *ret_number);
bool journal_text(struct span attributes, enum journal_tag tag, struct span *ret_text);
/* The next attribute behind *at, which starts at 0. False at the end, and where the bytes are no attribute. */
bool journal_attribute(struct span attributes, size_t *at, uint16_t *ret_tag, struct span *ret_value);

/* "record", "policy", "verdict", ...; "?" out of range. */
const char *journal_kind_name(unsigned int kind);

static inline void cleanup_journal_reader(struct journal_reader **reader)
{
	journal_reader_free(*reader);
}
#define _cleanup_journal_reader_ _cleanup_(cleanup_journal_reader)

/* --- writing --- */

struct journal;

#define JOURNAL_WINDOW_DEFAULT (100 * NSEC_PER_MSEC)
#define JOURNAL_SIZE_DEFAULT ((uint64_t)64 << 20)
#define JOURNAL_AGE_DEFAULT (24 * 3600 * NSEC_PER_SEC)
#define JOURNAL_CAP_DEFAULT ((uint64_t)4 << 30)
#define JOURNAL_MEMORY_DEFAULT ((size_t)64 << 20)
#define JOURNAL_KEY_DEFAULT "/etc/reprieve/journal.key"

/* What may change while it is open. */
struct journal_limits {
	uint64_t window; /* nanoseconds until an item is on disk, at most; 0: the default, as everywhere here */
	uint64_t size; /* bytes of a segment, about; a fourth of the cap where that is less */
	uint64_t age; /* nanoseconds that one segment is written to, at most */
	uint64_t cap; /* bytes of all segments, about; the oldest are removed */
	const char *group; /* that may read; NULL: none */
	bool redact; /* literals */
};

struct journal_options {
	const char *directory; /* made where it is not there */
	const char *key; /* file of the private key, made where it is not there; NULL: no heads are signed */
	struct journal_limits limits;
	size_t memory; /* bytes that may wait for the disk; 0: the default */
};

struct journal_state {
	int error; /* negative errno: nothing can be written now; 0: all is well */
	char failing[160]; /* what, in words, where error is set */
	uint64_t items; /* taken since it was opened */
	uint64_t committed; /* items that are on disk: all before this number of items */
	uint64_t lost; /* items */
	uint64_t bytes; /* of all segments, on disk */
	uint64_t raw, stored; /* bytes of items since it was opened, and what became of them */
	uint64_t waiting; /* bytes in memory */
	uint32_t segment; /* being written */
	uint32_t first; /* oldest kept */
	uint64_t syncs;
};

/*
 * journal_new - opens a journal for writing
 *
 * A new segment continues what is there. -EWOULDBLOCK: somebody else writes to it; otherwise what mkdir(2) and
 * open(2) say of directory or key. A disk that is full is no error here: see journal_state. Where it
 * fails, *ret_what (may be NULL) points at static words for what could not be done.
 */
int journal_new(const struct journal_options *options, struct journal **ret_journal, const char **ret_what);
/* Writes what waits, at most two seconds, signs, closes. NULL is fine. */
void journal_free(struct journal *journal);
int journal_set_limits(struct journal *journal, const struct journal_limits *limits);
void journal_get_state(struct journal *journal, struct journal_state *ret_state);

/* All of the following are for one thread, and fine with NULL: nothing is kept then. */

/* A record, before it is decoded. flags: enum journal_flag. */
void journal_record(struct journal *journal, const void *record, size_t size, uint16_t flags);

/* An entry: begun, filled in, ended. Empty and NULL texts are left out. */
void journal_begin(struct journal *journal, enum journal_kind kind, uint16_t flags, uint64_t time);
void journal_add_number(struct journal *journal, enum journal_tag tag, uint64_t number);
void journal_add_text(struct journal *journal, enum journal_tag tag, struct span text);
void journal_end(struct journal *journal);

/* Hands what was taken so far to the journal's thread; urgent: to be on disk at once, not only within the window. */
void journal_push(struct journal *journal, bool urgent);

/* Is the segment full, or old? Then the state is to be written again, behind journal_rotate. */
bool journal_wants_rotation(struct journal *journal);
void journal_rotate(struct journal *journal);
/* Are texts to be masked (limits.redact)? */
bool journal_redacts(const struct journal *journal);

/* --- checking --- */

struct journal_check {
	size_t segments;
	uint32_t first, last; /* numbers; first 0: it is a single segment */
	uint64_t items, bytes;
	uint64_t faults; /* met; the first one is `fault` */
	struct journal_fault fault;
	uint64_t torn; /* segments whose end is torn, as crashes leave them: no fault */
	bool open; /* the last segment was not closed: a guard is at work, was killed, or the end was cut off */
	uint64_t heads, signed_heads; /* that are sound; with a good signature by `key` */
	int64_t first_time, last_time; /* real, of the items; 0: none */
	int64_t signed_time; /* real, of the last signed head before the first fault; 0: none */
	uint64_t signed_items; /* items read before it: they are as they were written */
	uint64_t sound_items; /* items read before the first fault: what of them is behind that head is not signed */
	uint64_t lost; /* items that the writer itself told it could not take */
	uint64_t unknown; /* items of kinds that this version does not know */
	bool removed; /* older segments were removed for the cap, and a head says so */
	uint8_t key[32]; /* that signed; zeros: nothing is signed */
	bool key_given; /* compared with the one given */
};

/*
 * journal_verify - reads all of it and checks every byte
 *
 * key: 32 bytes of a public key kept elsewhere; NULL: the one in the journal is taken, which proves only that all was
 * signed by one key. each (may be NULL) is told of every fault, torn ends included. Returns 0 where the journal could
 * be read to its end, whatever is in it; otherwise as journal_open.
 */
int journal_verify(const char *path, const uint8_t *key,
		   void (*each)(const struct journal_fault *fault, void *userdata), void *userdata,
		   struct journal_check *ret_check);

/* Public key from a PEM file, of a public or a private key. -EBADMSG: it is no Ed25519 key. */
int journal_key_read(const char *path, uint8_t ret_key[32]);

#endif
