/*
 * jansson's memory; see json.h. Called by whoever parses secrets.
 *
 * jansson has no allocator per document, so it is one for the process. What was allocated before
 * comes from malloc() as well: the order of calls does not matter.
 */
#include "base/json.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static void wiping_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

void ig_json_wipe_memory(void)
{
	json_set_alloc_funcs(malloc, wiping_free);
}
