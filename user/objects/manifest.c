/*
 * One manifest file's text to an object set; see manifest.h. Joins the YAML reader and the
 * validator and tells the validator where things stand. Touches no file and no store; whatever is
 * wrong anywhere in the text makes the whole of it wrong. Called by the directory reader.
 */
#include <errno.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "objects/manifest.h"
#include "objects/validate.h"
#include "objects/yaml.h"

IG_DEFINE_CLEANUP(struct ig_object_set *, ig_object_set_free);

struct reading {
	struct ig_validator *validator;
	struct ig_object_set *set;
	const struct ig_yaml_document *doc; /* the one being validated */
};

static void locate(const json_t *node, const char *key, unsigned int *ret_line,
	unsigned int *ret_column, void *userdata)
{
	const struct reading *reading = userdata;

	ig_yaml_locate(reading->doc, node, key, ret_line, ret_column);
}

static int read_document(
	const struct ig_yaml_document *doc, void *userdata, struct ig_err *reterr_err)
{
	struct reading *reading = userdata;

	reading->doc = doc;
	return ig_validator_add(reading->validator, ig_yaml_root(doc), reading->set, reterr_err);
}

int ig_manifest_parse(const char *name, const char *text, size_t len, const char *policy_namespace,
	struct ig_object_set **ret_set, struct ig_err *reterr_err)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = ig_object_set_new();
	_cleanup_(ig_validator_freep) struct ig_validator *validator = NULL;
	struct reading reading = {.set = set};
	const struct ig_validate_options options = {.file = name,
		.locate = locate,
		.userdata = &reading,
		.local = true,
		.policy_namespace = policy_namespace};
	int r;

	if (len > IG_MANIFEST_FILE_BYTES)
		return ig_err_at(reterr_err, -E2BIG, name, 0, 0, "larger than the %d bytes allowed",
			IG_MANIFEST_FILE_BYTES);
	if (!set || ig_validator_new(&options, &validator) < 0)
		return ig_err_at(reterr_err, -ENOMEM, name, 0, 0, "out of memory");
	reading.validator = validator;
	r = ig_yaml_parse(name, text, len, read_document, &reading, reterr_err);
	if (r < 0)
		return r;
	*ret_set = TAKE_PTR(set);
	return 0;
}
