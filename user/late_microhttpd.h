/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* See late.h. */
#ifndef REPRIEVE_LATE_MICROHTTPD_H
#define REPRIEVE_LATE_MICROHTTPD_H

#include <microhttpd.h>

#include "late.h"
#include "util.h"

static typeof(MHD_add_response_header) *late_MHD_add_response_header;
static typeof(MHD_create_response_from_buffer) *late_MHD_create_response_from_buffer;
static typeof(MHD_destroy_response) *late_MHD_destroy_response;
static typeof(MHD_get_daemon_info) *late_MHD_get_daemon_info;
static typeof(MHD_queue_response) *late_MHD_queue_response;
static typeof(MHD_run) *late_MHD_run;
static typeof(MHD_start_daemon) *late_MHD_start_daemon;
static typeof(MHD_stop_daemon) *late_MHD_stop_daemon;

static int late_microhttpd(void)
{
	static const struct late_symbol symbols[] = {
		{"MHD_add_response_header", &late_MHD_add_response_header},
		{"MHD_create_response_from_buffer", &late_MHD_create_response_from_buffer},
		{"MHD_destroy_response", &late_MHD_destroy_response},
		{"MHD_get_daemon_info", &late_MHD_get_daemon_info},
		{"MHD_queue_response", &late_MHD_queue_response},
		{"MHD_run", &late_MHD_run},
		{"MHD_start_daemon", &late_MHD_start_daemon},
		{"MHD_stop_daemon", &late_MHD_stop_daemon},
	};

	return late_MHD_stop_daemon ? 0 : late_load("libmicrohttpd.so.12", symbols, ARRAY_SIZE(symbols));
}

#define MHD_add_response_header late_MHD_add_response_header
#define MHD_create_response_from_buffer late_MHD_create_response_from_buffer
#define MHD_destroy_response late_MHD_destroy_response
#define MHD_get_daemon_info late_MHD_get_daemon_info
#define MHD_queue_response late_MHD_queue_response
#define MHD_run late_MHD_run
#define MHD_start_daemon late_MHD_start_daemon
#define MHD_stop_daemon late_MHD_stop_daemon

#endif
