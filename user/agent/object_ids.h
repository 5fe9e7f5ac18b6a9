/*
 * Object ids of identities, learned from the tokens that were fetched for them: AzureIdentity has
 * no field for it, and clients may ask by it.
 */
#pragma once

struct ig_object_ids;

int ig_object_ids_new(struct ig_object_ids **ret);
struct ig_object_ids *ig_object_ids_free(struct ig_object_ids *ids);

int ig_object_ids_learn(
	struct ig_object_ids *ids, const char *ns, const char *name, const char *object_id);
/* NULL: not known. */
const char *ig_object_ids_get(const struct ig_object_ids *ids, const char *ns, const char *name);
void ig_object_ids_clear(struct ig_object_ids *ids);
