/*
 * The document of /metadata/instance: a plausible virtual machine that exists nowhere.
 */
#pragma once

#include <jansson.h>

#include "lab/reply.h"

/* NULL without memory. Owned by the caller. */
json_t *lab_instance_new(void);

/* Answers the element that path ("", "/compute", "/network/interface/0") names, as format ("json"
 * or "text") asks. */
void lab_instance_serve(
	const json_t *instance, const char *path, const char *format, struct lab_reply *reply);

/* A value of the document by its path, as text; "" when it is not there or no leaf. Owned by the
 * document. */
const char *lab_instance_text(const json_t *instance, const char *path);
