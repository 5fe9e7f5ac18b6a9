/*
 * The unix socket through which a test switches faults and reads the counters: one JSON object a
 * line, one JSON object back.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"

struct event_base;
struct lab;
struct lab_admin;

/* Replaces a socket that is there already, but nothing else. lab is borrowed. */
int lab_admin_new(struct event_base *base, struct lab *lab, const char *path,
	struct lab_admin **ret, struct ig_err *reterr_err);
struct lab_admin *lab_admin_free(struct lab_admin *admin); /* removes the socket */
IG_DEFINE_CLEANUP(struct lab_admin *, lab_admin_free);
