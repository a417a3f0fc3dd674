/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An engine behind a socket: what `reprieve status`, `pending`, `approve` and the others ask is answered here. */
#ifndef REPRIEVE_SERVE_H
#define REPRIEVE_SERVE_H

#include "control.h"
#include "engine.h"

struct serve {
	struct engine *engine; /* set once it guards; a request that comes before is answered when it does */
	struct control_server *server;
	bool alone; /* of `reprieve run`: guards one command, takes no other sessions */
};

/* Listens; see control_server_new, control_listen_report. */
int serve_open(sd_event *event, const char *path, struct serve *serve);
void serve_close(struct serve *serve);

/* For struct engine_options; userdata is the struct serve. */
bool serve_has_readers(void *userdata);
void serve_publish(const char *line, size_t length, const struct session *session, int op, enum verdict verdict,
		   void *userdata);

/* Does anybody listen? */
bool serve_has_readers(void *userdata);

#endif
