/*
 * The tenant that the lab plays: its identities, and the resources that it does not know.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "lab/certificates.h"
#include "lab/federation.h"

#define LAB_IDENTITIES_MAX	  4096
#define LAB_UNKNOWN_RESOURCES_MAX 256
#define LAB_OTHER_TENANTS_MAX	  16

struct lab_identity {
	char *name;	   /* owned */
	char *client_id;   /* owned; a GUID */
	char *object_id;   /* owned; a GUID */
	char *resource_id; /* owned; ARM id, "" for an application without one */
	char *secret;	   /* owned; NULL: this identity has none */
	bool secret_expired;
	struct lab_certificates certificates;
	struct lab_federation federation;
	bool assigned; /* to the VM: IMDS hands out its tokens */
};

struct lab_directory {
	char *tenant; /* owned; a GUID */
	/* owned; GUIDs: tenants in which the same applications get tokens, and nothing else is */
	char *other_tenants[LAB_OTHER_TENANTS_MAX];
	size_t n_other_tenants;
	struct lab_identity **identities; /* owned, each on its own: their addresses are keys */
	size_t n_identities;
	const struct lab_identity *default_identity; /* one of the above, or NULL */
	char **unknown_resources;		     /* owned */
	size_t n_unknown_resources;
};

enum lab_select {
	LAB_SELECT_CLIENT_ID,
	LAB_SELECT_OBJECT_ID,
	LAB_SELECT_RESOURCE_ID,
	_LAB_SELECT_MAX
};

int lab_directory_init(struct lab_directory *directory);
void lab_directory_done(struct lab_directory *directory);

int lab_directory_set_tenant(
	struct lab_directory *directory, const char *tenant, struct ig_err *reterr_err);
/* "NAME,CLIENT_ID,OBJECT_ID,RESOURCE_ID" */
int lab_directory_add_text(
	struct lab_directory *directory, const char *text, struct ig_err *reterr_err);
/* {"tenant":…,"other_tenants":[…],"identities":[…],"unknown_resources":[…]}; unknown members are
 * refused. */
int lab_directory_load(
	struct lab_directory *directory, const char *path, struct ig_err *reterr_err);
/* What a request without a selector gets, as if it were the system-assigned identity. */
int lab_directory_set_default(
	struct lab_directory *directory, const char *name, struct ig_err *reterr_err);

/* Without regard to letter case, as Azure does. NULL when there is none. */
const struct lab_identity *lab_directory_find(const struct lab_directory *directory,
	enum lab_select by, const char *value, bool assigned_only);

/* The rule for no selector: the default, else the only one. 0, -ENOENT, or -E2BIG for several. */
int lab_directory_choose(
	const struct lab_directory *directory, const struct lab_identity **ret_identity);

bool lab_directory_has_tenant(const struct lab_directory *directory, const char *tenant);
bool lab_directory_knows_resource(const struct lab_directory *directory, const char *resource);
