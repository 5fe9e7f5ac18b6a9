/*
 * Which pod was seen last behind a gate listener. The record of its end names it: then the pod is
 * often not declared any more, so it is kept here. Used by gate_listeners.c.
 */
#pragma once

#include "objects/object.h"

/* NULL, or owned. */
struct ig_listener_pod {
	char *namespace, *name, *uid;
};

/* Without memory nothing is known. */
void ig_listener_pod_note(struct ig_listener_pod *noted, const struct ig_pod *pod);
void ig_listener_pod_done(struct ig_listener_pod *noted);
