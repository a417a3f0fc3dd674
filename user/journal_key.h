/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The key that signs the journal's heads: Ed25519, in PEM files (PKCS #8 and SubjectPublicKeyInfo). */
#ifndef REPRIEVE_JOURNAL_KEY_H
#define REPRIEVE_JOURNAL_KEY_H

#include "journal.h"

#define JOURNAL_KEY_BYTES 32
#define JOURNAL_SIGNATURE_BYTES 64

struct journal_key; /* private */

/*
 * Reads the private key, or makes one: FILE with mode 0600, and beside it the public part, FILE with .pub for .key (or
 * .pub behind it), mode 0644. -EBADMSG: no Ed25519 key; or what open(2) and mkdir(2) say.
 */
int journal_key_load(const char *path, struct journal_key **ret_key);
void journal_key_free(struct journal_key *key);
void journal_key_public(const struct journal_key *key, uint8_t ret_public[JOURNAL_KEY_BYTES]);

/* -EIO: libcrypto fails. The message is JOURNAL_SIGNED_AS and then `data`. */
int journal_sign(const struct journal_key *key, struct span data, uint8_t ret_signature[JOURNAL_SIGNATURE_BYTES]);
bool journal_signature_good(const uint8_t public[JOURNAL_KEY_BYTES], struct span data, struct span signature);

/* Where the public part of a private key's file lies. -ENAMETOOLONG. */
int journal_key_public_path(const char *path, char *ret_path, size_t bytes);

/* The public key as a PEM text, for people: malloc'ed. */
int journal_key_pem(const uint8_t public[JOURNAL_KEY_BYTES], char **ret_text);

#endif
