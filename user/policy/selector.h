/*
 * How a caller says which identity it wants. Values are as sent; they compare without regard to
 * letter case (GUIDs, ARM resource ids).
 */
#pragma once

#include <imdsgate/limits.h>

enum ig_selector_kind {
	IG_SELECTOR_NONE,	 /* "whatever I have" */
	IG_SELECTOR_CLIENT_ID,	 /* client_id */
	IG_SELECTOR_OBJECT_ID,	 /* object_id, principal_id */
	IG_SELECTOR_RESOURCE_ID, /* msi_res_id, mi_res_id */
	_IG_SELECTOR_KIND_MAX
};

struct ig_selector {
	enum ig_selector_kind kind;
	char value[IG_SELECTOR_BYTES + 1]; /* "" for NONE */
};
