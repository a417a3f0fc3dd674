/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include "buffer.h"
#include "late_curl.h"
#include "sink_types.h"

#define BODY_BYTES ((size_t)256 << 10) /* of one request, but for a single event that is longer */
#define CONNECT_TIMEOUT_MS 5000L
#define TIMEOUT_MS 10000L

struct webhook {
	CURL *curl;
	char *url, *key; /* key: NULL without one */
	struct sink_queue *queue; /* of the delivery under way */
	struct buffer body;
	uint64_t delivery; /* number of the body */
	uint64_t instance; /* random: numbers of two daemons do not mix */
	size_t count; /* events of the body that was built; 0: none */
};

char *sink_webhook_name(const char *url)
{
	const char *host = strstr(url, "://"), *at;
	size_t scheme, length;
	char *name;

	host = host ? host + 3 : url;
	scheme = (size_t)(host - url);
	length = strcspn(host, "/?#");
	at = memrchr(host, '@', length);
	if (at) {
		length -= (size_t)(at + 1 - host);
		host = at + 1;
	}
	return asprintf(&name, "%.*s%.*s", (int)scheme, url, (int)length, host) < 0 ? NULL : name;
}

static void webhook_free(void *self)
{
	struct webhook *webhook = self;

	if (webhook->curl)
		curl_easy_cleanup(webhook->curl);
	buffer_free(&webhook->body);
	if (webhook->key)
		explicit_bzero(webhook->key, strlen(webhook->key));
	free(webhook->key);
	free(webhook->url);
	free(webhook);
}

/* What the receiver answers is of no interest, and must not reach standard output. */
static size_t discard(char *data, size_t size, size_t count, void *userdata)
{
	(void)data;
	(void)userdata;
	return size * count;
}

/* Called at least once a second: nonzero gives the request up. */
static int is_over(void *userdata, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct webhook *webhook = userdata;

	(void)a;
	(void)b;
	(void)c;
	(void)d;
	return sink_queue_is_over(webhook->queue);
}

/* "sha256=" and the HMAC in hexadecimal. */
static int sign(const struct webhook *webhook, char *signature, size_t size)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int length = 0;
	size_t at;

	if (!HMAC(EVP_sha256(), webhook->key, (int)strlen(webhook->key), (const unsigned char *)webhook->body.data,
		  webhook->body.length, digest, &length))
		return -EIO;
	at = (size_t)snprintf(signature, size, "sha256=");
	for (unsigned int i = 0; i < length && at + 2 < size; i++)
		at += (size_t)snprintf(signature + at, size - at, "%02x", digest[i]);
	return 0;
}

static struct curl_slist *headers_of(const struct webhook *webhook)
{
	char line[256], signature[2 * EVP_MAX_MD_SIZE + 16];
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/x-ndjson");

	headers = curl_slist_append(headers, "Expect:");
	snprintf(line, sizeof(line), "X-Reprieve-Delivery: %016jx-%ju", (uintmax_t)webhook->instance,
		 (uintmax_t)webhook->delivery);
	headers = curl_slist_append(headers, line);
	if (webhook->key && !sign(webhook, signature, sizeof(signature))) {
		snprintf(line, sizeof(line), "X-Reprieve-Signature: %s", signature);
		headers = curl_slist_append(headers, line);
	}
	return headers;
}

/* Kept over attempts, so that a receiver that took it and could not answer knows it again. */
static void build_body(struct webhook *webhook, const struct sink_event *events)
{
	if (webhook->count)
		return;
	buffer_clear(&webhook->body);
	webhook->delivery += 1;
	for (; events; events = events->next) {
		if (webhook->count && webhook->body.length + events->length + 1 > BODY_BYTES)
			break;
		buffer_add(&webhook->body, events->line, events->length);
		buffer_char(&webhook->body, '\n');
		webhook->count += 1;
	}
}

/* What an answer means: 2xx taken; 408, 425, 429 and 5xx later; anything else never. */
static int error_of_answer(long code)
{
	if (code >= 200 && code < 300)
		return 0;
	return code == 408 || code == 425 || code == 429 || code >= 500 ? -EBUSY : -EPERM;
}

static int error_of_transfer(CURLcode code)
{
	switch (code) {
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
		return -EHOSTUNREACH;
	case CURLE_ABORTED_BY_CALLBACK:
		return -ECANCELED;
	default:
		return -EIO;
	}
}

static int deliver(void *self, struct sink_queue *queue, const struct sink_event *events, size_t *ret_count)
{
	struct webhook *webhook = self;
	struct curl_slist *headers;
	long answer = 0;
	CURLcode code;
	int error;

	webhook->queue = queue;
	build_body(webhook, events);
	*ret_count = webhook->count;
	if (webhook->body.error) {
		webhook->count = 0;
		return -ENOMEM;
	}
	headers = headers_of(webhook);
	curl_easy_setopt(webhook->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(webhook->curl, CURLOPT_POSTFIELDS, webhook->body.data);
	curl_easy_setopt(webhook->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)webhook->body.length);
	code = curl_easy_perform(webhook->curl);
	curl_easy_getinfo(webhook->curl, CURLINFO_RESPONSE_CODE, &answer);
	curl_easy_setopt(webhook->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	error = code == CURLE_OK ? error_of_answer(answer) : error_of_transfer(code);
	if (!error || error == -EPERM)
		webhook->count = 0;
	return error;
}

static int set_up(struct webhook *webhook, const struct policy_sink *policy)
{
	const char *key = policy->secret_env ? getenv(policy->secret_env) : NULL;

	if (policy->secret_env && (!key || !*key))
		return -ENOKEY;
	if (late_curl())
		return -ENOENT;
	webhook->key = key ? strdup(key) : NULL;
	webhook->url = strdup(policy->url);
	webhook->curl = curl_easy_init();
	if (!webhook->url || !webhook->curl || (key && !webhook->key))
		return -ENOMEM;
	if (getrandom(&webhook->instance, sizeof(webhook->instance), 0) != sizeof(webhook->instance))
		return -EIO;
	curl_easy_setopt(webhook->curl, CURLOPT_URL, webhook->url);
	curl_easy_setopt(webhook->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(webhook->curl, CURLOPT_POST, 1L);
	curl_easy_setopt(webhook->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(webhook->curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(webhook->curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
	curl_easy_setopt(webhook->curl, CURLOPT_USERAGENT, "reprieve");
	curl_easy_setopt(webhook->curl, CURLOPT_WRITEFUNCTION, discard);
	curl_easy_setopt(webhook->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(webhook->curl, CURLOPT_XFERINFOFUNCTION, is_over);
	curl_easy_setopt(webhook->curl, CURLOPT_XFERINFODATA, webhook);
	return 0;
}

int sink_webhook_new(const struct policy_sink *policy, struct sink_queue **ret_queue)
{
	struct webhook *webhook = calloc(1, sizeof(*webhook));
	struct sink_target target = {deliver, webhook_free, webhook, NULL};
	int error;

	if (!webhook)
		return -ENOMEM;
	error = set_up(webhook, policy);
	if (!error) {
		target.name = sink_webhook_name(policy->url);
		error = target.name ? 0 : -ENOMEM;
	}
	if (error) {
		webhook_free(webhook);
		return error;
	}
	return sink_queue_new(&target, ret_queue);
}
