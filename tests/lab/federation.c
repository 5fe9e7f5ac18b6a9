/*
 * Federated credentials; see federation.h. Must never match in part, without regard to letter case
 * or by a pattern: the real Entra ID does not, and an agent that relies on it has to fail here.
 * Called by identities.c and assertion.c.
 */
#include "lab/federation.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define AUDIENCE "api://AzureADTokenExchange"

static struct lab_federated *federated_free(struct lab_federated *f)
{
	if (!f)
		return NULL;
	free(f->issuer);
	free(f->subject);
	free(f->audience);
	lab_jwks_done(&f->jwks);
	free(f);
	return NULL;
}
IG_DEFINE_CLEANUP(struct lab_federated *, federated_free);

static int add(struct lab_federation *federation, json_t *object, struct ig_err *reterr_err)
{
	_cleanup_(federated_freep) struct lab_federated *f = calloc(1, sizeof(*f));
	const char *issuer = NULL, *subject = NULL, *audience = AUDIENCE;
	json_t *jwks = NULL; /* owned by object */
	json_error_t error;
	int r;

	if (!f)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	if (json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s:s, s?s, s:o}", "issuer", &issuer,
		    "subject", &subject, "audience", &audience, "jwks", &jwks) < 0)
		return ig_err_set(reterr_err, -EINVAL, "federated: %s", error.text);
	if (!*issuer || !*subject || !*audience)
		return ig_err_set(reterr_err, -EINVAL, "federated: a text is empty");
	if (federation->n == LAB_FEDERATED_MAX)
		return ig_err_set(reterr_err, -E2BIG, "federated: more than %d", LAB_FEDERATED_MAX);
	f->issuer = strdup(issuer);
	f->subject = strdup(subject);
	f->audience = strdup(audience);
	if (!f->issuer || !f->subject || !f->audience)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = lab_jwks_load(&f->jwks, jwks, reterr_err);
	if (r < 0)
		return r;
	federation->list[federation->n++] = TAKE_PTR(f);
	return 0;
}

int lab_federation_load(struct lab_federation *federation, json_t *list, struct ig_err *reterr_err)
{
	json_t *item; /* owned by list */
	size_t i;

	if (!json_is_array(list))
		return ig_err_set(reterr_err, -EINVAL, "federated: a list is expected");
	json_array_foreach (list, i, item) {
		int r = add(federation, item, reterr_err);

		if (r < 0)
			return r;
	}
	return 0;
}

void lab_federation_done(struct lab_federation *federation)
{
	for (size_t i = 0; i < federation->n; i++)
		(void)federated_free(federation->list[i]);
	*federation = (struct lab_federation){};
}

enum lab_federation_match lab_federation_find(const struct lab_federation *federation,
	const char *issuer, const char *audience, const char *subject,
	const struct lab_federated **ret)
{
	enum lab_federation_match match =
		federation->n ? LAB_FEDERATION_ISSUER : LAB_FEDERATION_NONE;

	for (size_t i = 0; i < federation->n; i++) {
		const struct lab_federated *f = federation->list[i];

		if (strcmp(f->issuer, issuer) != 0)
			continue;
		if (strcmp(f->audience, audience) != 0) {
			if (match < LAB_FEDERATION_AUDIENCE)
				match = LAB_FEDERATION_AUDIENCE;
			continue;
		}
		if (strcmp(f->subject, subject) != 0) {
			match = LAB_FEDERATION_SUBJECT;
			continue;
		}
		*ret = f;
		return LAB_FEDERATION_MATCH;
	}
	return match;
}
