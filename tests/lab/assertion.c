/*
 * The rules for client assertions; see assertion.h. Where the real Entra ID is known to be lenient,
 * the lab is strict: what passes here has to pass there. Must never believe an assertion whose
 * signature it has not verified (until then its claims only choose the key), and never answer with
 * a part of it. Called by entra.c.
 */
#include "lab/assertion.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "lab/encode.h"
#include "lab/entra_error.h"
#include "lab/jws.h"

#define SKEW_SEC     300
#define LIFE_SEC_MAX 86400
#define TYP_URL	     "http://openid.net/specs/jwt/1.0"

struct check {
	const struct lab_assertion *assertion;
	const struct lab_jws *jws;
	struct lab_reply *reply;
};

/* ---- what both kinds have in common; true, or refused ---- */

static bool header_is_good(const struct check *c)
{
	const json_t *typ = json_object_get(c->jws->header, "typ"); /* owned by the header */
	const char *text = lab_jws_header(c->jws, "typ");

	if (typ && strcmp(text, "JWT") != 0 && strcmp(text, TYP_URL) != 0) {
		lab_entra_refuse(c->reply, 5002727,
			"Invalid JWT header type specified, must be 'JWT' or '" TYP_URL "'.");
		return false;
	}
	if (json_object_get(c->jws->header, "crit")) {
		lab_entra_refuse(c->reply, 50027, "JWT token has critical header parameters.");
		return false;
	}
	return true;
}

/* The text is the reason. */
static bool refuse_key(const struct check *c, const char *reason)
{
	lab_entra_refuse(c->reply, 700027,
		"Client assertion failed signature validation. [Reason - %s] Please use the keys that are configured for the app '%s'.",
		reason, c->assertion->identity->client_id);
	return false;
}

static bool signature_is_good(const struct check *c, EVP_PKEY *key)
{
	return lab_jws_verify(c->jws, key) ||
	       refuse_key(c, "The key was used, but the signature is wrong.");
}

static bool refuse_time(const struct check *c, uint64_t nbf, uint64_t exp)
{
	char now[LAB_STAMP_BYTES], from[LAB_STAMP_BYTES], until[LAB_STAMP_BYTES];

	lab_entra_refuse(c->reply, 700024,
		"Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s. At most %d seconds lie between the two.",
		lab_stamp(c->assertion->now_sec, now), lab_stamp(nbf, from), lab_stamp(exp, until),
		LIFE_SEC_MAX);
	return false;
}

/* A time that is there has to be a number. */
static bool read_time(const struct check *c, const char *name, bool needed, uint64_t *ret)
{
	return lab_jws_time(c->jws, name, ret) ||
	       (!needed && !json_object_get(c->jws->claims, name));
}

/* life_max_sec: 0 for any; without it nbf may be left out. */
static bool time_is_good(const struct check *c, uint64_t life_max_sec, uint64_t *ret_exp)
{
	uint64_t now = c->assertion->now_sec;
	uint64_t nbf = 0, exp = 0;
	bool there =
		read_time(c, "exp", true, &exp) && read_time(c, "nbf", life_max_sec != 0, &nbf);

	if (!there || exp <= now || nbf > now + SKEW_SEC || nbf >= exp)
		return refuse_time(c, nbf, exp);
	if (life_max_sec && exp - nbf > life_max_sec)
		return refuse_time(c, nbf, exp);
	*ret_exp = exp;
	return true;
}

/* ---- by certificate ---- */

/* An assertion of the application itself, were it only by intention. */
static bool is_own(const struct check *c)
{
	return json_object_get(c->jws->header, "x5t") ||
	       json_object_get(c->jws->header, "x5t#S256") ||
	       ig_str_equal_nocase(lab_jws_claim(c->jws, "iss"), c->assertion->identity->client_id);
}

/* PS256 goes with the new thumbprint and RS256 with the old one; if both are there, both have to be
 * right. NULL: refused. */
static const struct lab_certificate *choose_certificate(const struct check *c)
{
	const char *x5t = lab_jws_header(c->jws, "x5t");
	const char *x5t_s256 = lab_jws_header(c->jws, "x5t#S256");
	const struct lab_certificate *found =
		lab_certificates_find(&c->assertion->identity->certificates, x5t, x5t_s256);
	enum lab_jws_alg alg = lab_jws_alg(c->jws);

	if (alg == LAB_JWS_OTHER)
		(void)refuse_key(c, "The algorithm is neither RS256 nor PS256.");
	else if (!*(alg == LAB_JWS_PS256 ? x5t_s256 : x5t))
		(void)refuse_key(c, "The thumbprint that belongs to the algorithm is missing.");
	else if (!found)
		(void)refuse_key(c, "The key was not found.");
	else if (X509_cmp_current_time(X509_get0_notBefore(found->x509)) >= 0 ||
		 X509_cmp_current_time(X509_get0_notAfter(found->x509)) <= 0)
		(void)refuse_key(c, "The key used is expired.");
	else
		return found;
	return NULL;
}

static bool names_are_good(const struct check *c)
{
	const char *client_id = c->assertion->identity->client_id;

	if (!ig_str_equal_nocase(lab_jws_claim(c->jws, "iss"), client_id) ||
		!ig_str_equal_nocase(lab_jws_claim(c->jws, "sub"), client_id)) {
		lab_entra_refuse(c->reply, 700021,
			"Client assertion application identifier doesn't match 'client_id' parameter. Issuer and subject have to be '%s'.",
			client_id);
		return false;
	}
	if (strcmp(lab_jws_claim(c->jws, "aud"), c->assertion->url) != 0) {
		lab_entra_refuse(c->reply, 700023,
			"Client assertion audience claim does not match Realm issuer. Expected '%s'.",
			c->assertion->url);
		return false;
	}
	return true;
}

static bool is_new(const struct check *c, uint64_t exp)
{
	const struct lab_assertion *a = c->assertion;
	const char *jti = lab_jws_claim(c->jws, "jti");
	int r;

	if (!*jti) {
		lab_entra_refuse(c->reply, 50013, "Assertion is not valid: it has no 'jti'.");
		return false;
	}
	r = lab_replay_use(a->replay, a->identity->client_id, jti, a->now_sec, exp);
	if (r == -EEXIST)
		lab_entra_refuse(
			c->reply, 50013, "Assertion is not valid: its 'jti' was used before.");
	else if (r < 0)
		lab_reply_failure(c->reply, r);
	return r == 0;
}

static bool by_certificate(const struct check *c)
{
	const struct lab_certificate *certificate = choose_certificate(c);
	uint64_t exp = 0;

	return certificate && signature_is_good(c, X509_get0_pubkey(certificate->x509)) &&
	       names_are_good(c) && time_is_good(c, LIFE_SEC_MAX, &exp) && is_new(c, exp);
}

/* ---- by federation ---- */

/* A text, or a list of exactly one, as Kubernetes writes it. Otherwise "", which matches nothing.
 */
static const char *audience_of(const struct lab_jws *jws)
{
	const json_t *aud = json_object_get(jws->claims, "aud"); /* owned by the claims */
	const char *text;

	if (json_is_array(aud) && json_array_size(aud) == 1)
		aud = json_array_get(aud, 0);
	text = json_string_value(aud);
	return text ? text : "";
}

static bool refuse_match(const struct check *c, enum lab_federation_match match)
{
	static const struct {
		unsigned int code;
		const char *what;
	} table[_LAB_FEDERATION_MAX] = {
		[LAB_FEDERATION_NONE] = {70021, "presented assertion"},
		[LAB_FEDERATION_ISSUER] = {700211, "presented assertion issuer"},
		[LAB_FEDERATION_AUDIENCE] = {700212, "presented assertion audience"},
		[LAB_FEDERATION_SUBJECT] = {700213, "presented assertion subject"},
	};

	lab_entra_refuse(c->reply, table[match].code,
		"No matching federated identity record found for %s. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
		table[match].what);
	return false;
}

/* Only RS256, and only with a key that is named: other things Entra does not take from an issuer.
 */
static bool by_federation(const struct check *c)
{
	const struct lab_federated *f = NULL;
	enum lab_federation_match match = lab_federation_find(&c->assertion->identity->federation,
		lab_jws_claim(c->jws, "iss"), audience_of(c->jws), lab_jws_claim(c->jws, "sub"),
		&f);
	uint64_t exp = 0;
	EVP_PKEY *key;

	if (match != LAB_FEDERATION_MATCH)
		return refuse_match(c, match);
	if (lab_jws_alg(c->jws) != LAB_JWS_RS256)
		return refuse_key(c, "The algorithm is not RS256.");
	key = lab_jwks_find(&f->jwks, lab_jws_header(c->jws, "kid"));
	if (!key)
		return refuse_key(c, "The key was not found.");
	return signature_is_good(c, key) && time_is_good(c, 0, &exp);
}

enum lab_assertion_by lab_assertion_check(
	const struct lab_assertion *assertion, struct lab_reply *reply)
{
	_cleanup_(lab_jws_donep) struct lab_jws jws = {};
	struct check c = {.assertion = assertion, .jws = &jws, .reply = reply};
	int r = lab_jws_parse(assertion->text, &jws);

	if (r == -EBADMSG) {
		lab_entra_refuse(reply, 50027, "JWT token is invalid or malformed.");
		return LAB_ASSERTION_REFUSED;
	}
	if (r < 0) {
		lab_reply_failure(reply, r);
		return LAB_ASSERTION_REFUSED;
	}
	if (!header_is_good(&c))
		return LAB_ASSERTION_REFUSED;
	if (is_own(&c))
		return by_certificate(&c) ? LAB_ASSERTION_CERTIFICATE : LAB_ASSERTION_REFUSED;
	return by_federation(&c) ? LAB_ASSERTION_FEDERATION : LAB_ASSERTION_REFUSED;
}
