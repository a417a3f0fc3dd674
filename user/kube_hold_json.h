/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Holds as objects of Kubernetes: what their status tells, and what a person's spec asks. */
#ifndef REPRIEVE_KUBE_HOLD_JSON_H
#define REPRIEVE_KUBE_HOLD_JSON_H

#include <jansson.h>

#include "hold.h"

#define KUBE_HOLDS_GROUP "reprieve.dev/v1alpha1"
#define KUBE_LABEL_BYTES 64 /* of a label's value, with its NUL */

/* What a spec asks. Texts are borrowed from it. */
struct kube_asked {
	bool decided; /* false: nothing is asked yet */
	struct hold_decision decision;
	const char *by; /* as stated; NULL: not stated */
	const char *reason; /* may be NULL */
};

/* -EINVAL: it makes no sense, and ret_error says why; ret_asked is then what could be read, for the record. */
int kube_hold_asked(const json_t *spec, struct kube_asked *ret_asked, char *ret_error, size_t error_bytes);

/* Who wrote spec.decision, as clients call themselves in managedFields: anybody may call himself so. NULL: not told. */
const char *kube_hold_manager(const json_t *object);

/* Pending, TimedOut, Approved, Denied or Ended. */
const char *kube_hold_phase(enum hold_state state);
bool kube_phase_is_open(const char *phase);

/* The status of an object from what hold_json() tells of the hold: a new reference, or NULL without memory. */
json_t *kube_hold_status(const json_t *hold, const char *node);

/* A node's name as a label's value: cut, and told apart by a hash, where it is longer than a label may be. */
void kube_node_label(const char *node, char ret_label[KUBE_LABEL_BYTES]);

#endif
