/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The journal's files. All numbers are little-endian; times named `boot` are nanoseconds of CLOCK_BOOTTIME, times named
 * `real` are nanoseconds since 1970, UTC.
 *
 * A journal is a directory of segments, 00000001.rpj and so on, read in the order of their numbers:
 *
 *	segment	struct journal_header, attributes (JOURNAL_HOST ...), then blocks
 *	block	struct journal_block, `stored` bytes of payload, the chain's value (32 bytes)
 *	payload	of JOURNAL_BLOCK_ITEMS: items, one zlib stream (RFC 1950); of JOURNAL_BLOCK_HEAD: attributes
 *	item	struct journal_item_head, `length` bytes, zeros up to a multiple of 8
 *		of JOURNAL_RECORD: the record as include/event.h has it; of all others: __u64 boot time, attributes
 *	attribute struct journal_attribute_head, `length` bytes, zeros up to a multiple of 8; a number is 8 bytes
 *
 * The chain: SHA-256(header with its attributes) to begin with; after each block SHA-256(the value before it, block
 * head, payload). The header of a segment holds the value that the segment before it ended with, and how long that was:
 * bytes behind it are what a crash or a full disk left, and were written again where they mattered.
 *
 * A head is a block that signs: its last attribute is an Ed25519 signature (RFC 8032) of JOURNAL_SIGNED_AS and all
 * attributes before it, among which is the chain's value before this block. A segment is closed by a head whose
 * JOURNAL_REASON is `rotated` or `stopped`; nothing may follow it.
 *
 * Versions: of a newer minor, unknown kinds of blocks, items and attributes are passed over by their lengths, and what
 * is appended to the fixed parts (journal_header.size) is not looked at. A newer major is refused.
 */
#ifndef REPRIEVE_JOURNAL_FORMAT_H
#define REPRIEVE_JOURNAL_FORMAT_H

#include "event.h"

#define JOURNAL_MAGIC "RPRVJNL\n"
#define JOURNAL_BLOCK_MAGIC 0x626a7072u /* "rpjb" */
#define JOURNAL_MAJOR 1
#define JOURNAL_MINOR 0
#define JOURNAL_SUFFIX ".rpj"
#define JOURNAL_SIGNED_AS "reprieve journal head 1\n"
#define JOURNAL_HEADER_MAX 65536u /* bytes of a header with its attributes */
#define JOURNAL_PAYLOAD_MAX (8u << 20) /* bytes of a block's payload, stored and inflated; a longer one is bad */
#define JOURNAL_CHAIN_BYTES 32
#define JOURNAL_LAYOUTS 32

struct journal_header {
	__u8 magic[8]; /* JOURNAL_MAGIC */
	__u16 major;
	__u16 minor;
	__u32 size; /* bytes of this header with its attributes */
	__u32 fixed; /* bytes before the attributes */
	__u32 crc; /* CRC-32 (zlib's) of the header with its attributes, this field zero */
	__u32 segment; /* number, from 1 */
	__u32 previous; /* number of the segment that this one continues; 0: none, the journal begins */
	__u64 previous_size; /* bytes of that one that are part of the journal */
	__u8 previous_chain[JOURNAL_CHAIN_BYTES]; /* the chain's value there; zeros: the journal begins */
	__u64 first_item; /* number of the first item, counted from 0 through the journal */
	__u64 time; /* boot, of this segment's making */
	__s64 boot_to_real; /* added to a boot time: real; at this segment's making */
	__u8 boot_id[16]; /* /proc/sys/kernel/random/boot_id */
	__u16 layout[JOURNAL_LAYOUTS]; /* by enum record_kind: size of the fixed part, as the writer knew it */
};

enum journal_block_kind {
	JOURNAL_BLOCK_ITEMS = 1,
	JOURNAL_BLOCK_HEAD = 2,
};

struct journal_block {
	__u32 magic; /* JOURNAL_BLOCK_MAGIC */
	__u16 kind; /* enum journal_block_kind */
	__u16 flags; /* 0 */
	__u32 stored; /* bytes of payload that follow */
	__u32 raw; /* bytes of payload when inflated */
	__u32 number; /* in its segment, from 0 */
	__u32 items;
	__u64 first_item; /* number of the first one */
	__u64 first_time; /* boot; 0: unknown. Of a head: when it was signed */
	__u64 last_time;
	__u32 payload_crc; /* CRC-32 of the payload as stored */
	__u32 head_crc; /* of the bytes before this field */
};

struct journal_item_head {
	__u32 length; /* bytes that follow, without the padding */
	__u16 kind; /* enum journal_kind */
	__u16 flags; /* enum journal_flag */
};

enum journal_flag {
	JOURNAL_REDACTED = 1 << 0, /* literals or secrets were masked in it before it was written */
	/*
	 * Not news: at the beginning of a segment the state is written again (policy, agents, processes), for readers to
	 * whom the segments before are lost. Who comes from the segment before passes over these.
	 */
	JOURNAL_AGAIN = 1 << 1,
};

enum journal_kind {
	JOURNAL_RECORD = 1, /* a record, as it came, in the order in which the pipeline took them */
	JOURNAL_START = 2, /* a guard begins: HOST, KERNEL, VERSION, PID, FACTS (JSON: tiers, options) */
	JOURNAL_STOP = 3, /* ... and ends by itself */
	JOURNAL_POLICY = 4, /* in force from here: GENERATION, ORIGIN, TEXT, OBSERVE, USERS */
	JOURNAL_AGENTS = 5, /* TEXT: the built-in signatures (YAML); AGENT + NAME for each index in use */
	/* What userspace decided on the record before, where that is more than the record says: see journal_tag. */
	JOURNAL_VERDICT = 6,
	JOURNAL_HOLD = 7, /* a question changed: HOLD, CHANGE, STATE, and when it begins who and what */
	/* What came from outside of the records, at its place among them. Replay does the same. */
	JOURNAL_REVIEW =
		8, /* somebody decided: HOLD, VERDICT, SCOPE, DURATION, PID, UID, USER, COMM, SESSION, TEXT, ERROR */
	JOURNAL_RELEASE = 9, /* all open questions were answered by their rules */
	JOURNAL_EXPIRE = 10, /* deadlines that were over by TIME were acted on */
	JOURNAL_STAKE = 11, /* HOLD, FILES, DIRECTORIES, BYTES, KNOWN, AT_LEAST, NOTE */
	JOURNAL_CLOCK = 12, /* OFFSET: boot to real from here on */
	JOURNAL_SESSION = 13, /* a session was set up: SESSION_ID, NAME, WORKSPACE, AGENT */
	JOURNAL_IGNORE = 14, /* SESSION_ID: the guard's self-test, whose records do not count */
	JOURNAL_RESUME = 15, /* what was held before TIME was held by a guard before this one */
	JOURNAL_CGROUP = 16, /* CGROUP, PATH: the kernel tells the number only */
	JOURNAL_LOSS = 17, /* items that the journal itself could not take before this place: LOST, REASON */
	JOURNAL_KIND_COUNT = 18,
};

struct journal_attribute_head {
	__u16 tag; /* enum journal_tag */
	__u16 zero;
	__u32 length; /* bytes that follow, without the padding */
};

/* Numbers unless said otherwise; text has no NUL. */
enum journal_tag {
	JOURNAL_TAG_HOST = 1, /* text */
	JOURNAL_TAG_KERNEL = 2, /* text: release */
	JOURNAL_TAG_MACHINE = 3, /* text: as uname has it */
	JOURNAL_TAG_VERSION = 4, /* text: of the program */
	JOURNAL_TAG_PID = 5,
	JOURNAL_TAG_FACTS = 6, /* text: JSON */
	JOURNAL_TAG_GENERATION = 7,
	JOURNAL_TAG_ORIGIN = 8, /* text: the file, or what else it came from */
	JOURNAL_TAG_TEXT = 9, /* text: whole; of a review: the reason given */
	JOURNAL_TAG_OBSERVE = 10, /* 1: mode observe, whatever the policy says */
	JOURNAL_TAG_USERS = 11, /* text: JSON object of the users that rules name, with their uids */
	JOURNAL_TAG_AGENT = 12, /* index */
	JOURNAL_TAG_NAME = 13, /* text */
	JOURNAL_TAG_HOLD = 14, /* number */
	JOURNAL_TAG_CHANGE = 15, /* text: opened, stake, timed-out, closed */
	JOURNAL_TAG_STATE = 16, /* enum hold_state */
	JOURNAL_TAG_VERDICT = 17, /* enum verdict */
	JOURNAL_TAG_SCOPE = 18, /* enum grant_scope */
	JOURNAL_TAG_DURATION = 19, /* nanoseconds */
	JOURNAL_TAG_UID = 20,
	JOURNAL_TAG_USER = 21, /* text; of JOURNAL_VERDICT: of the connection */
	JOURNAL_TAG_COMM = 22, /* text */
	JOURNAL_TAG_SESSION = 23, /* text id of the session */
	JOURNAL_TAG_ERROR = 24, /* text: why it was refused */
	JOURNAL_TAG_FILES = 25,
	JOURNAL_TAG_DIRECTORIES = 26,
	JOURNAL_TAG_BYTES = 27,
	JOURNAL_TAG_KNOWN = 28,
	JOURNAL_TAG_AT_LEAST = 29,
	JOURNAL_TAG_NOTE = 30, /* text */
	JOURNAL_TAG_OFFSET = 31, /* signed nanoseconds */
	JOURNAL_TAG_SESSION_ID = 32, /* struct session_id */
	JOURNAL_TAG_WORKSPACE = 33, /* text */
	JOURNAL_TAG_CGROUP = 34,
	JOURNAL_TAG_PATH = 35, /* text */
	JOURNAL_TAG_LOST = 36, /* items, since the journal was opened */
	JOURNAL_TAG_REASON = 37, /* text: of a head rotated, stopped, tick, kept; of a loss what failed */
	JOURNAL_TAG_RULE = 38, /* index; RULE_DEFAULT */
	JOURNAL_TAG_RULE_NAME = 39, /* text; none: the default, or not known */
	JOURNAL_TAG_FLAGS = 40, /* enum op_flag, after all was done */
	JOURNAL_TAG_RESULT = 41, /* signed: of what was done to the process, 0 or a negative errno */
	JOURNAL_TAG_CLASSES = 42, /* mask of 1 << enum sql_class, of the whole statement before any redaction */
	JOURNAL_TAG_TABLE = 43, /* text; once for each */
	JOURNAL_TAG_TABLES_KNOWN = 44,
	JOURNAL_TAG_TRUST = 45, /* text: how the classes were found */
	JOURNAL_TAG_STATEMENT = 46, /* text: where more of it was read than the record holds */
	JOURNAL_TAG_CUT = 47, /* 1: the statement is longer than what was read */
	JOURNAL_TAG_FUNCTION = 48, /* enum libpq_function that the program called */
	JOURNAL_TAG_DATABASE = 49, /* text */
	JOURNAL_TAG_SERVER = 50, /* text: host of the connection */
	JOURNAL_TAG_PORT = 51,
	JOURNAL_TAG_PROCESS = 52, /* struct process_id */
	JOURNAL_TAG_OP = 53, /* enum op */
	JOURNAL_TAG_SINCE = 54, /* boot */
	JOURNAL_TAG_DEADLINE = 55, /* boot */
	/* of heads */
	JOURNAL_TAG_SEGMENT = 56,
	JOURNAL_TAG_BLOCK = 57, /* number of this block in its segment */
	JOURNAL_TAG_CHAIN = 58, /* 32 bytes: before this block */
	JOURNAL_TAG_TIME = 59, /* boot */
	JOURNAL_TAG_REAL = 60, /* real */
	JOURNAL_TAG_ITEMS = 61, /* of the journal, before this block */
	JOURNAL_TAG_FIRST_KEPT = 62, /* the oldest segment that is still there; those before were removed for the cap */
	JOURNAL_TAG_PUBLIC_KEY = 63, /* 32 bytes, Ed25519 */
	JOURNAL_TAG_SIGNATURE = 64, /* 64 bytes, Ed25519; always the last */
	JOURNAL_TAG_COUNT = 65,
};

_Static_assert(sizeof(struct journal_header) == 176, "layout");
_Static_assert(sizeof(struct journal_block) == 56, "layout");
_Static_assert(sizeof(struct journal_item_head) == 8, "layout");
_Static_assert(sizeof(struct journal_attribute_head) == 8, "layout");
_Static_assert(RECORD_KIND_COUNT <= JOURNAL_LAYOUTS, "layout");

#endif
