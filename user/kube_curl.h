/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the files of the Kubernetes API need of libcurl, loaded late as late.h has it: most daemons run in no cluster. The
 * pointers are in kube_curl.c, since several files share them.
 */
#ifndef REPRIEVE_KUBE_CURL_H
#define REPRIEVE_KUBE_CURL_H

#include <curl/curl.h>

/* Wrappers of the same names that check types. */
#undef curl_easy_getinfo
#undef curl_easy_setopt
#undef curl_multi_setopt

extern typeof(curl_easy_cleanup) *kube_curl_easy_cleanup;
extern typeof(curl_easy_getinfo) *kube_curl_easy_getinfo;
extern typeof(curl_easy_init) *kube_curl_easy_init;
extern typeof(curl_easy_setopt) *kube_curl_easy_setopt;
extern typeof(curl_easy_strerror) *kube_curl_easy_strerror;
extern typeof(curl_global_cleanup) *kube_curl_global_cleanup;
extern typeof(curl_global_init) *kube_curl_global_init;
extern typeof(curl_multi_add_handle) *kube_curl_multi_add_handle;
extern typeof(curl_multi_assign) *kube_curl_multi_assign;
extern typeof(curl_multi_cleanup) *kube_curl_multi_cleanup;
extern typeof(curl_multi_info_read) *kube_curl_multi_info_read;
extern typeof(curl_multi_init) *kube_curl_multi_init;
extern typeof(curl_multi_remove_handle) *kube_curl_multi_remove_handle;
extern typeof(curl_multi_setopt) *kube_curl_multi_setopt;
extern typeof(curl_multi_socket_action) *kube_curl_multi_socket_action;
extern typeof(curl_slist_append) *kube_curl_slist_append;
extern typeof(curl_slist_free_all) *kube_curl_slist_free_all;

/* As late_load(); nothing of the above may be called before. */
int kube_curl_load(void);

#ifndef KUBE_CURL_POINTERS
#define curl_easy_cleanup kube_curl_easy_cleanup
#define curl_easy_getinfo kube_curl_easy_getinfo
#define curl_easy_init kube_curl_easy_init
#define curl_easy_setopt kube_curl_easy_setopt
#define curl_easy_strerror kube_curl_easy_strerror
#define curl_global_cleanup kube_curl_global_cleanup
#define curl_global_init kube_curl_global_init
#define curl_multi_add_handle kube_curl_multi_add_handle
#define curl_multi_assign kube_curl_multi_assign
#define curl_multi_cleanup kube_curl_multi_cleanup
#define curl_multi_info_read kube_curl_multi_info_read
#define curl_multi_init kube_curl_multi_init
#define curl_multi_remove_handle kube_curl_multi_remove_handle
#define curl_multi_setopt kube_curl_multi_setopt
#define curl_multi_socket_action kube_curl_multi_socket_action
#define curl_slist_append kube_curl_slist_append
#define curl_slist_free_all kube_curl_slist_free_all
#endif

#endif
