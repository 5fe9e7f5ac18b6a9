/*
 * The command line as a table; see options.h. Called by main.c.
 */
#include "lab/options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "lab/faults.h"

#define TOKEN_LIFE_SEC 86400

const char lab_options_usage[] =
	"usage: imdsgate-lab --listen ADDRESS:PORT [OPTION]…\n"
	"A local stand-in for Azure IMDS and Entra ID, for tests.\n"
	"\n"
	"  --listen ADDRESS:PORT    may be repeated; IPv4 or [IPv6]; port 0 takes a free one\n"
	"  --log FILE               JSON lines of what came in (standard output)\n"
	"  --identity NAME,CLIENT_ID,OBJECT_ID,RESOURCE_ID\n"
	"                           an identity of this machine; may be repeated\n"
	"  --identities FILE        JSON: tenant, identities and their credentials, unknown_resources\n"
	"  --tenant GUID            overrides the file's\n"
	"  --default NAME           the identity that a request without selector gets\n"
	"  --token-life SECONDS     of new tokens (86400)\n"
	"  --delay-ms N             wait before each answer (0)\n"
	"  --admin PATH             unix socket for faults and counters\n"
	"  --ready-fd N             gets a line per bound address, then is closed\n"
	"  --entra-url URL          how clients call Entra, for the audience of their assertions\n"
	"                           (http:// and the Host header)\n"
	"  --key FILE               RSA private key in PEM, instead of a new one\n"
	"  --help\n";

static int take_number(const char *name, const char *value, uint64_t min, uint64_t max,
	uint64_t *ret, struct ig_err *reterr_err)
{
	uint64_t n;

	if (ig_parse_u64(value, &n) < 0 || n < min || n > max)
		return ig_err_set(reterr_err, -EINVAL, "--%s: '%s' is no number, or out of range",
			name, value);
	*ret = n;
	return 0;
}

static int take_fd(const char *name, const char *value, int *ret, struct ig_err *reterr_err)
{
	uint64_t n = 0;
	int r = take_number(name, value, 0, INT_MAX, &n, reterr_err);

	if (r == 0)
		*ret = (int)n;
	return r;
}

static int take_more(const char *name, const char *value, const char **list, size_t max, size_t *n,
	struct ig_err *reterr_err)
{
	if (*n == max)
		return ig_err_set(reterr_err, -EINVAL, "--%s: more than %zu", name, max);
	list[(*n)++] = value;
	return 0;
}

static int take(
	struct lab_options *o, const char *name, const char *value, struct ig_err *reterr_err)
{
	const struct {
		const char *name;
		const char **to;
	} texts[] = {
		{"identities", &o->identities_file},
		{"tenant", &o->tenant},
		{"default", &o->default_identity},
		{"log", &o->log},
		{"admin", &o->admin},
		{"key", &o->key},
		{"entra-url", &o->entra_url},
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(texts); i++) {
		if (strcmp(name, texts[i].name) != 0)
			continue;
		*texts[i].to = value;
		return 0;
	}
	if (strcmp(name, "listen") == 0)
		return take_more(name, value, o->listen, LAB_LISTEN_MAX, &o->n_listen, reterr_err);
	if (strcmp(name, "identity") == 0)
		return take_more(name, value, o->identities, LAB_OPT_IDENTITIES_MAX,
			&o->n_identities, reterr_err);
	if (strcmp(name, "token-life") == 0)
		return take_number(name, value, LAB_TOKEN_LIFE_SEC_MIN, LAB_TOKEN_LIFE_SEC_MAX,
			&o->token_life_sec, reterr_err);
	if (strcmp(name, "delay-ms") == 0)
		return take_number(name, value, 0, LAB_DELAY_MSEC_MAX, &o->delay_msec, reterr_err);
	if (strcmp(name, "ready-fd") == 0)
		return take_fd(name, value, &o->ready_fd, reterr_err);
	return ig_err_set(reterr_err, -EINVAL, "there is no option --%s", name);
}

/* One option; *at stands on it and afterwards on its last word. Cuts "--name=VALUE" in place. */
static int parse_one(
	struct lab_options *o, int argc, char **argv, int *at, struct ig_err *reterr_err)
{
	char *name = argv[*at];
	char *value;

	if (!ig_str_has_prefix(name, "--") || !name[2])
		return ig_err_set(reterr_err, -EINVAL, "'%s' is no option", name);
	name += 2;
	if (strcmp(name, "help") == 0) {
		o->help = true;
		return 0;
	}
	value = strchr(name, '=');
	if (value)
		*value++ = '\0';
	else if (*at + 1 < argc)
		value = argv[++*at];
	else
		return ig_err_set(reterr_err, -EINVAL, "--%s: a value is missing", name);
	return take(o, name, value, reterr_err);
}

int lab_options_parse(int argc, char **argv, struct lab_options *ret, struct ig_err *reterr_err)
{
	struct lab_options o = {.token_life_sec = TOKEN_LIFE_SEC, .ready_fd = -1};

	for (int i = 1; i < argc; i++) {
		int r = parse_one(&o, argc, argv, &i, reterr_err);

		if (r < 0)
			return r;
	}
	if (!o.help && o.n_listen == 0)
		return ig_err_set(reterr_err, -EINVAL, "--listen is missing");
	*ret = o;
	return 0;
}
