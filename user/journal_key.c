/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "journal_key.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>

struct journal_key {
	EVP_PKEY *key;
};

static bool is_ed25519(const EVP_PKEY *key)
{
	return key && EVP_PKEY_base_id(key) == EVP_PKEY_ED25519;
}

/* Of a private or a public key; in this order, since the readers skip what is of another kind. */
static EVP_PKEY *read_pem(const char *path, int *ret_error)
{
	FILE *file = fopen(path, "re");
	EVP_PKEY *key;

	*ret_error = file ? -EBADMSG : -errno;
	if (!file)
		return NULL;
	key = PEM_read_PrivateKey(file, NULL, NULL, (void *)"");
	if (!key) {
		rewind(file);
		key = PEM_read_PUBKEY(file, NULL, NULL, NULL);
	}
	fclose(file);
	if (is_ed25519(key))
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

int journal_key_public_path(const char *path, char *ret_path, size_t bytes)
{
	size_t length = strlen(path);
	int stem = (int)(length > 4 && streq(path + length - 4, ".key") ? length - 4 : length);

	if ((size_t)snprintf(ret_path, bytes, "%.*s.pub", stem, path) >= bytes)
		return -ENAMETOOLONG;
	return 0;
}

/* Another name first: a key that is half written must never be taken for one. */
static int write_pem(const char *path, mode_t mode, EVP_PKEY *key, bool private)
{
	char temporary[PATH_MAX];
	FILE *file;
	int fd, done;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary))
		return -ENAMETOOLONG;
	unlink(temporary);
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	file = fdopen(fd, "w");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	done = private ? PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) : PEM_write_PUBKEY(file, key);
	done = done && !fchmod(fd, mode) && !fflush(file) && !fsync(fd);
	if (fclose(file) || !done || rename(temporary, path)) {
		int error = errno ? -errno : -EIO;

		unlink(temporary);
		return error;
	}
	return 0;
}

static int make_parent(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	return mkdir(dirname(copy), 0755) && errno != EEXIST ? -errno : 0;
}

static int make_key(const char *path, EVP_PKEY **ret_key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_id(EVP_PKEY_ED25519, NULL);
	EVP_PKEY *key = NULL;
	int error = -EIO;

	if (context && EVP_PKEY_keygen_init(context) > 0 && EVP_PKEY_keygen(context, &key) > 0)
		error = make_parent(path);
	EVP_PKEY_CTX_free(context);
	if (!error)
		error = write_pem(path, 0600, key, true);
	if (error) {
		EVP_PKEY_free(key);
		return error;
	}
	*ret_key = key;
	return 0;
}

int journal_key_load(const char *path, struct journal_key **ret_key)
{
	struct journal_key *key = calloc(1, sizeof(*key));
	char public[PATH_MAX];
	int error;

	if (!key)
		return -ENOMEM;
	key->key = read_pem(path, &error);
	if (!key->key && error == -ENOENT)
		error = make_key(path, &key->key);
	if (!key->key) {
		free(key);
		return error;
	}
	/* The public part can be printed from the private one at any time: without it signing goes on. */
	if (!journal_key_public_path(path, public, sizeof(public)) && access(public, F_OK) &&
	    write_pem(public, 0644, key->key, false))
		log_warning("%s: the public part of the journal's key cannot be written there", public);
	*ret_key = key;
	return 0;
}

void journal_key_free(struct journal_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->key);
	free(key);
}

void journal_key_public(const struct journal_key *key, uint8_t ret_public[JOURNAL_KEY_BYTES])
{
	size_t length = JOURNAL_KEY_BYTES;

	memset(ret_public, 0, JOURNAL_KEY_BYTES);
	EVP_PKEY_get_raw_public_key(key->key, ret_public, &length);
}

/* What is signed: the purpose before the data, so that no signature can be taken for one of something else. */
static int signed_text(struct span data, struct buffer *text)
{
	buffer_text(text, JOURNAL_SIGNED_AS);
	buffer_add(text, data.data, data.length);
	return text->error;
}

int journal_sign(const struct journal_key *key, struct span data, uint8_t ret_signature[JOURNAL_SIGNATURE_BYTES])
{
	_cleanup_buffer_ struct buffer text = {};
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t length = JOURNAL_SIGNATURE_BYTES;
	bool done = context && !signed_text(data, &text) &&
		    EVP_DigestSignInit(context, NULL, NULL, NULL, key->key) > 0 &&
		    EVP_DigestSign(context, ret_signature, &length, (const unsigned char *)text.data, text.length) > 0;

	EVP_MD_CTX_free(context);
	return done ? 0 : -EIO;
}

bool journal_signature_good(const uint8_t public[JOURNAL_KEY_BYTES], struct span data, struct span signature)
{
	_cleanup_buffer_ struct buffer text = {};
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, JOURNAL_KEY_BYTES);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = key && context && signature.length == JOURNAL_SIGNATURE_BYTES && !signed_text(data, &text) &&
		    EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) > 0 &&
		    EVP_DigestVerify(context, (const unsigned char *)signature.data, signature.length,
				     (const unsigned char *)text.data, text.length) == 1;

	EVP_MD_CTX_free(context);
	EVP_PKEY_free(key);
	return good;
}

int journal_key_read(const char *path, uint8_t ret_key[32])
{
	int error;
	struct journal_key key = {.key = read_pem(path, &error)};

	if (!key.key)
		return error;
	journal_key_public(&key, ret_key);
	EVP_PKEY_free(key.key);
	return 0;
}

int journal_key_pem(const uint8_t public[JOURNAL_KEY_BYTES], char **ret_text)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, JOURNAL_KEY_BYTES);
	BIO *memory = BIO_new(BIO_s_mem());
	char *bytes, *text = NULL;
	long length = 0;

	if (key && memory && PEM_write_bio_PUBKEY(memory, key))
		length = BIO_get_mem_data(memory, &bytes);
	if (length > 0)
		text = strndup(bytes, (size_t)length);
	BIO_free(memory);
	EVP_PKEY_free(key);
	if (!text)
		return -ENOMEM;
	*ret_text = text;
	return 0;
}
