/*
 * The order in which rules come when nothing else ranks them: by namespace, then by name, byte for
 * byte. For this folder's own files; it keeps decisions free of the order of declaration.
 */
#pragma once

#include <string.h>

static inline int ig_policy_compare_names(
	const char *ns_a, const char *name_a, const char *ns_b, const char *name_b)
{
	int c = strcmp(ns_a, ns_b);

	return c ? c : strcmp(name_a, name_b);
}
