/*
 * Objects that no manifest was read for. Included after cmocka's headers.
 */
#pragma once

#include <string.h>

#include "objects/object.h"

static inline char *copy(const char *s)
{
	char *c = strdup(s);

	assert_non_null(c);
	return c;
}

static inline struct ig_identity identity_of(
	enum ig_identity_type type, const char *ns, const char *name, const char *client_id)
{
	return (struct ig_identity){.type = type,
		.namespace = copy(ns),
		.name = copy(name),
		.client_id = copy(client_id),
		.resource_id = copy(""),
		.object_id = copy(""),
		.tenant_id = copy(""),
		.ad_endpoint = copy(""),
		.secret_name = copy(""),
		.auxiliary_tenants = copy(""),
		.federated_token_file = copy("")};
}

static inline struct ig_service_account account_of(
	const char *ns, const char *name, const char *client_id)
{
	return (struct ig_service_account){.namespace = copy(ns),
		.name = copy(name),
		.identity = identity_of(IG_IDENTITY_FEDERATED, ns, name, client_id)};
}
