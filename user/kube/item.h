/*
 * What is caught of an object or event while it passes by, and the making of the item that is
 * handed out. The part of pick.c that knows what the API server's texts mean; private to it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "kube/pick.h"

/* Texts of the body. All are "" while unknown. */
struct ig_kube_caught {
	char list_version[IG_KUBE_VERSION_BYTES + 1];
	char next[IG_KUBE_CONTINUE_BYTES + 1];
	char type[32];
	char ns[IG_KUBE_NAME_BYTES + 1];
	char name[IG_KUBE_NAME_BYTES + 1];
	char uid[IG_KUBE_UID_BYTES + 1];
	char version[IG_KUBE_VERSION_BYTES + 1];
	char code[8];
	char reason[IG_KUBE_REASON_BYTES + 1];
	char message[IG_KUBE_MESSAGE_BYTES + 1];
	char retry_after[16];
};

/* The text of a JSON string, quotes included, to be freed; NULL if a C string cannot hold it. */
char *ig_kube_decode(const char *json, size_t len);

/* The same into `field` of `size` bytes. A text that is too long is cut between two characters if
 * `may_cut`, else -EBADMSG, as is one that cannot be decoded; `field` is untouched then. */
int ig_kube_catch(const char *json, size_t len, bool may_cut, char *field, size_t size);

/* ADDED, … */
enum ig_kube_event ig_kube_event_of(const char *type);

/* Fills *ret_item, which borrows from `caught`, with a new reference in `object`. text is the
 * wanted part as JSON, which may have overflown; unusable: why there is none, or NULL. -EBADMSG if
 * the item lacks what every one has, -ENOMEM. */
int ig_kube_item_make(enum ig_kube_event event, const struct ig_kube_caught *caught,
	const struct ig_buf *text, const char *unusable, struct ig_kube_item *ret_item);
