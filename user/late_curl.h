/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See late.h. */
#ifndef REPRIEVE_LATE_CURL_H
#define REPRIEVE_LATE_CURL_H

#include <curl/curl.h>

#include "late.h"
#include "util.h"

/* Wrappers of the same names that check types. */
#undef curl_easy_getinfo
#undef curl_easy_setopt

static typeof(curl_easy_cleanup) *late_curl_easy_cleanup;
static typeof(curl_easy_getinfo) *late_curl_easy_getinfo;
static typeof(curl_easy_init) *late_curl_easy_init;
static typeof(curl_easy_perform) *late_curl_easy_perform;
static typeof(curl_easy_setopt) *late_curl_easy_setopt;
static typeof(curl_slist_append) *late_curl_slist_append;
static typeof(curl_slist_free_all) *late_curl_slist_free_all;

static int late_curl(void)
{
	static const struct late_symbol symbols[] = {
		{"curl_easy_cleanup", &late_curl_easy_cleanup},	    {"curl_easy_getinfo", &late_curl_easy_getinfo},
		{"curl_easy_init", &late_curl_easy_init},	    {"curl_easy_perform", &late_curl_easy_perform},
		{"curl_easy_setopt", &late_curl_easy_setopt},	    {"curl_slist_append", &late_curl_slist_append},
		{"curl_slist_free_all", &late_curl_slist_free_all},
	};

	return late_curl_slist_free_all ? 0 : late_load("libcurl.so.4", symbols, ARRAY_SIZE(symbols));
}

#define curl_easy_cleanup late_curl_easy_cleanup
#define curl_easy_getinfo late_curl_easy_getinfo
#define curl_easy_init late_curl_easy_init
#define curl_easy_perform late_curl_easy_perform
#define curl_easy_setopt late_curl_easy_setopt
#define curl_slist_append late_curl_slist_append
#define curl_slist_free_all late_curl_slist_free_all

#endif
