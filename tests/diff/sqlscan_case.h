/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What test_sqlscan.c and its program in the kernel share. */
#ifndef REPRIEVE_SQLSCAN_CASE_H
#define REPRIEVE_SQLSCAN_CASE_H

#include "types.h"

struct sqlscan_case {
	__u32 length; /* in: bytes of text */
	__u32 hit; /* out: what sql_scan_hit() returned */
	char text[SQL_BYTES];
};

#endif
