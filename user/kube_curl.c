/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#define KUBE_CURL_POINTERS
#include "kube_curl.h"

#include "late.h"
#include "util.h"

typeof(curl_easy_cleanup) *kube_curl_easy_cleanup;
typeof(curl_easy_getinfo) *kube_curl_easy_getinfo;
typeof(curl_easy_init) *kube_curl_easy_init;
typeof(curl_easy_setopt) *kube_curl_easy_setopt;
typeof(curl_easy_strerror) *kube_curl_easy_strerror;
typeof(curl_global_cleanup) *kube_curl_global_cleanup;
typeof(curl_global_init) *kube_curl_global_init;
typeof(curl_multi_add_handle) *kube_curl_multi_add_handle;
typeof(curl_multi_assign) *kube_curl_multi_assign;
typeof(curl_multi_cleanup) *kube_curl_multi_cleanup;
typeof(curl_multi_info_read) *kube_curl_multi_info_read;
typeof(curl_multi_init) *kube_curl_multi_init;
typeof(curl_multi_remove_handle) *kube_curl_multi_remove_handle;
typeof(curl_multi_setopt) *kube_curl_multi_setopt;
typeof(curl_multi_socket_action) *kube_curl_multi_socket_action;
typeof(curl_slist_append) *kube_curl_slist_append;
typeof(curl_slist_free_all) *kube_curl_slist_free_all;

int kube_curl_load(void)
{
	static const struct late_symbol symbols[] = {
		{"curl_easy_cleanup", &kube_curl_easy_cleanup},
		{"curl_easy_getinfo", &kube_curl_easy_getinfo},
		{"curl_easy_init", &kube_curl_easy_init},
		{"curl_easy_setopt", &kube_curl_easy_setopt},
		{"curl_easy_strerror", &kube_curl_easy_strerror},
		{"curl_global_cleanup", &kube_curl_global_cleanup},
		{"curl_global_init", &kube_curl_global_init},
		{"curl_multi_add_handle", &kube_curl_multi_add_handle},
		{"curl_multi_assign", &kube_curl_multi_assign},
		{"curl_multi_cleanup", &kube_curl_multi_cleanup},
		{"curl_multi_info_read", &kube_curl_multi_info_read},
		{"curl_multi_init", &kube_curl_multi_init},
		{"curl_multi_remove_handle", &kube_curl_multi_remove_handle},
		{"curl_multi_setopt", &kube_curl_multi_setopt},
		{"curl_multi_socket_action", &kube_curl_multi_socket_action},
		{"curl_slist_append", &kube_curl_slist_append},
		{"curl_slist_free_all", &kube_curl_slist_free_all},
	};

	return kube_curl_slist_free_all ? 0 : late_load("libcurl.so.4", symbols, ARRAY_SIZE(symbols));
}
