/*
 * The identities of the lab's tenant; see identities.h. Filled once at start, read-only afterwards,
 * so pointers to identities stay valid until the end. Called by main.c, imds.c and entra.c.
 */
#include "lab/identities.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"

#define DEFAULT_TENANT "11112222-3333-4444-5555-666677778888"
#define FILE_BYTES     (4 * 1024 * 1024)
#define TEXT_FIELDS    4

static struct lab_identity *identity_free(struct lab_identity *id)
{
	if (!id)
		return NULL;
	free(id->name);
	free(id->client_id);
	free(id->object_id);
	free(id->resource_id);
	if (id->secret)
		explicit_bzero(id->secret, strlen(id->secret));
	free(id->secret);
	lab_certificates_done(&id->certificates);
	lab_federation_done(&id->federation);
	free(id);
	return NULL;
}
IG_DEFINE_CLEANUP(struct lab_identity *, identity_free);

int lab_directory_init(struct lab_directory *directory)
{
	*directory = (struct lab_directory){.tenant = strdup(DEFAULT_TENANT)};
	return directory->tenant ? 0 : -ENOMEM;
}

void lab_directory_done(struct lab_directory *directory)
{
	for (size_t i = 0; i < directory->n_identities; i++)
		(void)identity_free(directory->identities[i]);
	for (size_t i = 0; i < directory->n_unknown_resources; i++)
		free(directory->unknown_resources[i]);
	for (size_t i = 0; i < directory->n_other_tenants; i++)
		free(directory->other_tenants[i]);
	free(directory->identities);
	free(directory->unknown_resources);
	free(directory->tenant);
	*directory = (struct lab_directory){};
}

int lab_directory_set_tenant(
	struct lab_directory *directory, const char *tenant, struct ig_err *reterr_err)
{
	char *copy;

	if (!ig_parse_is_guid(tenant))
		return ig_err_set(reterr_err, -EINVAL, "tenant '%s' is not a GUID", tenant);
	copy = strdup(tenant);
	if (!copy)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	free(directory->tenant);
	directory->tenant = copy;
	return 0;
}

static int identity_check(const struct lab_directory *directory, const struct lab_identity *id,
	struct ig_err *reterr_err)
{
	if (!*id->name)
		return ig_err_set(reterr_err, -EINVAL, "an identity has no name");
	if (!ig_parse_is_guid(id->client_id))
		return ig_err_set(reterr_err, -EINVAL, "%s: client_id is not a GUID", id->name);
	if (!ig_parse_is_guid(id->object_id))
		return ig_err_set(reterr_err, -EINVAL, "%s: object_id is not a GUID", id->name);
	if (*id->resource_id && *id->resource_id != '/')
		return ig_err_set(
			reterr_err, -EINVAL, "%s: resource_id does not begin with '/'", id->name);
	for (size_t i = 0; i < directory->n_identities; i++)
		if (ig_str_equal_nocase(directory->identities[i]->name, id->name) ||
			ig_str_equal_nocase(directory->identities[i]->client_id, id->client_id))
			return ig_err_set(reterr_err, -EINVAL,
				"%s: its name or client_id is there twice", id->name);
	return 0;
}

/* Takes the identity over on success only. */
static int add_identity(
	struct lab_directory *directory, struct lab_identity *id, struct ig_err *reterr_err)
{
	struct lab_identity **more;
	int r = identity_check(directory, id, reterr_err);

	if (r < 0)
		return r;
	if (directory->n_identities == LAB_IDENTITIES_MAX)
		return ig_err_set(
			reterr_err, -E2BIG, "more than %d identities", LAB_IDENTITIES_MAX);
	more = reallocarray(
		directory->identities, directory->n_identities + 1, sizeof(*directory->identities));
	if (!more)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	directory->identities = more;
	more[directory->n_identities++] = id;
	return 0;
}

int lab_directory_add_text(
	struct lab_directory *directory, const char *text, struct ig_err *reterr_err)
{
	_cleanup_free_ char *copy = strdup(text);
	_cleanup_(identity_freep) struct lab_identity *id = calloc(1, sizeof(*id));
	const char *field[TEXT_FIELDS] = {};
	char *rest = copy;
	size_t n = 0;
	int r;

	if (!copy || !id)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	while (rest && n < TEXT_FIELDS)
		field[n++] = strsep(&rest, ",");
	if (n != TEXT_FIELDS || rest)
		return ig_err_set(reterr_err, -EINVAL,
			"'%s' is not NAME,CLIENT_ID,OBJECT_ID,RESOURCE_ID", text);
	id->name = strdup(field[0]);
	id->client_id = strdup(field[1]);
	id->object_id = strdup(field[2]);
	id->resource_id = strdup(field[3]);
	id->assigned = true;
	if (!id->name || !id->client_id || !id->object_id || !id->resource_id)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = add_identity(directory, id, reterr_err);
	if (r == 0)
		(void)TAKE_PTR(id);
	return r;
}

/* An identity of the file as it stands there; everything is owned by the file. */
struct entry {
	const char *name;
	const char *client_id;
	const char *object_id;
	const char *resource_id;
	const char *secret;
	const char *certificate;
	json_t *federated;
	int secret_expired;
	int assigned; /* -1: it does not say */
};

static int unpack_entry(json_t *object, struct entry *ret, struct ig_err *reterr_err)
{
	struct entry e = {.resource_id = "", .assigned = -1};
	json_error_t error;

	if (json_unpack_ex(object, &error, JSON_STRICT,
		    "{s:s, s:s, s:s, s?s, s?s, s?b, s?s, s?o, s?b}", "name", &e.name, "client_id",
		    &e.client_id, "object_id", &e.object_id, "resource_id", &e.resource_id,
		    "secret", &e.secret, "secret_expired", &e.secret_expired, "certificate",
		    &e.certificate, "federated", &e.federated, "assigned", &e.assigned) < 0)
		return ig_err_set(reterr_err, -EINVAL, "an identity is wrong: %s", error.text);
	*ret = e;
	return 0;
}

static int load_credentials(
	struct lab_identity *id, const struct entry *e, struct ig_err *reterr_err)
{
	int r = 0;

	id->secret_expired = e->secret_expired != 0;
	if (e->certificate)
		r = lab_certificates_load(&id->certificates, e->certificate, reterr_err);
	if (r == 0 && e->federated)
		r = lab_federation_load(&id->federation, e->federated, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "%s", e->name) : 0;
}

/* An identity that Entra has credentials of is an application, or used from elsewhere: unless
 * "assigned" says otherwise, IMDS does not know it. */
static int add_json(struct lab_directory *directory, json_t *object, struct ig_err *reterr_err)
{
	_cleanup_(identity_freep) struct lab_identity *id = calloc(1, sizeof(*id));
	struct entry e = {};
	int r = unpack_entry(object, &e, reterr_err);

	if (r < 0)
		return r;
	if (!id)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	id->name = strdup(e.name);
	id->client_id = strdup(e.client_id);
	id->object_id = strdup(e.object_id);
	id->resource_id = strdup(e.resource_id);
	id->secret = e.secret ? strdup(e.secret) : NULL;
	id->assigned =
		e.assigned < 0 ? !e.secret && !e.certificate && !e.federated : e.assigned != 0;
	if (!id->name || !id->client_id || !id->object_id || !id->resource_id ||
		(e.secret && !id->secret))
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = load_credentials(id, &e, reterr_err);
	if (r == 0)
		r = add_identity(directory, id, reterr_err);
	if (r == 0)
		(void)TAKE_PTR(id);
	return r;
}

static int add_unknown_resource(
	struct lab_directory *directory, json_t *value, struct ig_err *reterr_err)
{
	_cleanup_free_ char *copy = NULL;
	char **more;

	if (!json_is_string(value))
		return ig_err_set(reterr_err, -EINVAL, "unknown_resources: not a string");
	if (directory->n_unknown_resources == LAB_UNKNOWN_RESOURCES_MAX)
		return ig_err_set(reterr_err, -E2BIG, "more than %d unknown_resources",
			LAB_UNKNOWN_RESOURCES_MAX);
	copy = strdup(json_string_value(value));
	more = copy ? reallocarray(directory->unknown_resources, directory->n_unknown_resources + 1,
			      sizeof(*more))
		    : NULL;
	if (!more)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	directory->unknown_resources = more;
	more[directory->n_unknown_resources++] = TAKE_PTR(copy);
	return 0;
}

static int add_other_tenant(
	struct lab_directory *directory, json_t *value, struct ig_err *reterr_err)
{
	const char *tenant = json_string_value(value);
	char *copy;

	if (!tenant || !ig_parse_is_guid(tenant))
		return ig_err_set(reterr_err, -EINVAL, "other_tenants: not a GUID");
	if (directory->n_other_tenants == LAB_OTHER_TENANTS_MAX)
		return ig_err_set(
			reterr_err, -E2BIG, "more than %d other_tenants", LAB_OTHER_TENANTS_MAX);
	copy = strdup(tenant);
	if (!copy)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	directory->other_tenants[directory->n_other_tenants++] = copy;
	return 0;
}

bool lab_directory_has_tenant(const struct lab_directory *directory, const char *tenant)
{
	bool found = ig_str_equal_nocase(tenant, directory->tenant);

	for (size_t i = 0; !found && i < directory->n_other_tenants; i++)
		found = ig_str_equal_nocase(tenant, directory->other_tenants[i]);
	return found;
}

static int add_all(struct lab_directory *directory, json_t *list,
	int (*add)(struct lab_directory *, json_t *, struct ig_err *), struct ig_err *reterr_err)
{
	json_t *item; /* owned by list */
	size_t i;

	if (list && !json_is_array(list))
		return ig_err_set(reterr_err, -EINVAL, "a list is expected");
	json_array_foreach (list, i, item) {
		int r = add(directory, item, reterr_err);

		if (r < 0)
			return r;
	}
	return 0;
}

int lab_directory_load(struct lab_directory *directory, const char *path, struct ig_err *reterr_err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_(json_decrefp) json_t *root = NULL;
	json_t *identities = NULL, *unknown = NULL, *tenants = NULL; /* owned by root */
	const char *tenant = NULL;
	json_error_t error;
	size_t len = 0;
	int r = ig_fd_read_file(AT_FDCWD, path, FILE_BYTES, &text, &len);

	if (r < 0)
		return ig_err_set(reterr_err, r, "%s: %s", path, strerror(-r));
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return ig_err_at(reterr_err, -EINVAL, path, (unsigned int)error.line,
			(unsigned int)error.column, "%s", error.text);
	if (json_unpack_ex(root, &error, JSON_STRICT, "{s?s, s?o, s?o, s?o}", "tenant", &tenant,
		    "other_tenants", &tenants, "identities", &identities, "unknown_resources",
		    &unknown) < 0)
		return ig_err_set(reterr_err, -EINVAL, "%s: %s", path, error.text);
	if (tenant)
		r = lab_directory_set_tenant(directory, tenant, reterr_err);
	if (r == 0)
		r = add_all(directory, tenants, add_other_tenant, reterr_err);
	if (r == 0)
		r = add_all(directory, identities, add_json, reterr_err);
	if (r == 0)
		r = add_all(directory, unknown, add_unknown_resource, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "%s", path) : 0;
}

int lab_directory_set_default(
	struct lab_directory *directory, const char *name, struct ig_err *reterr_err)
{
	for (size_t i = 0; i < directory->n_identities; i++) {
		const struct lab_identity *id = directory->identities[i];

		if (id->assigned && ig_str_equal_nocase(id->name, name)) {
			directory->default_identity = id;
			return 0;
		}
	}
	return ig_err_set(reterr_err, -ENOENT, "no identity '%s' is assigned to the machine", name);
}

static const char *field_of(const struct lab_identity *id, enum lab_select by)
{
	switch (by) {
	case LAB_SELECT_CLIENT_ID: return id->client_id;
	case LAB_SELECT_OBJECT_ID: return id->object_id;
	case LAB_SELECT_RESOURCE_ID: return id->resource_id;
	case _LAB_SELECT_MAX: break;
	}
	return "";
}

const struct lab_identity *lab_directory_find(const struct lab_directory *directory,
	enum lab_select by, const char *value, bool assigned_only)
{
	if (!*value)
		return NULL;
	for (size_t i = 0; i < directory->n_identities; i++) {
		const struct lab_identity *id = directory->identities[i];

		if (assigned_only && !id->assigned)
			continue;
		if (ig_str_equal_nocase(field_of(id, by), value))
			return id;
	}
	return NULL;
}

int lab_directory_choose(
	const struct lab_directory *directory, const struct lab_identity **ret_identity)
{
	const struct lab_identity *only = NULL;

	if (directory->default_identity) {
		*ret_identity = directory->default_identity;
		return 0;
	}
	for (size_t i = 0; i < directory->n_identities; i++) {
		if (!directory->identities[i]->assigned)
			continue;
		if (only)
			return -E2BIG;
		only = directory->identities[i];
	}
	if (!only)
		return -ENOENT;
	*ret_identity = only;
	return 0;
}

bool lab_directory_knows_resource(const struct lab_directory *directory, const char *resource)
{
	for (size_t i = 0; i < directory->n_unknown_resources; i++)
		if (strcmp(directory->unknown_resources[i], resource) == 0)
			return false;
	return true;
}
