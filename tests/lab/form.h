/*
 * Name and value pairs as they stand in a query or a form body (application/x-www-form-urlencoded).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define LAB_FORM_PAIRS_MAX 64

struct lab_form {
	struct {
		char *name;  /* owned */
		char *value; /* owned */
	} pairs[LAB_FORM_PAIRS_MAX];
	size_t n;
};

/* Decodes %XX and '+'; ';' does not separate. -EBADMSG for bad escapes or a NUL, -E2BIG for too
 * many pairs. *ret has to be handed to lab_form_done() whatever the result is. */
int lab_form_parse(const char *text, size_t len, struct lab_form *ret);
void lab_form_done(struct lab_form *form);

const char *lab_form_get(const struct lab_form *form, const char *name); /* the first, or NULL */
bool lab_form_has_duplicates(const struct lab_form *form);

/* Decodes %XX, and '+' if plus_is_space, into a new string. -EBADMSG, -ENOMEM. */
int lab_percent_decode(const char *text, size_t len, bool plus_is_space, char **ret);
