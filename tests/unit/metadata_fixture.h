/*
 * MetadataPolicies, pods and requests written as one line of text each, and verdicts as text, for
 * the unit tests of the policy.
 *
 *	policy:  NAMESPACE/NAME [mode=audit] [host] [ns=a,b] [sa=…] [id=…] [label=k:v,…] [res=…]
 *	         [path=…] [ctr=…] [exe=…] [hostnet=no] [rate=N] [burst=N]
 *	         ("res=": an empty list)
 *	request: token res=… [id=NAME] | doc path=…, [pod=NAMESPACE/NAME] [ctr=…] [exe=…] [deleted]
 *	         (without a pod: a process of the host; open by default: /metadata/instance)
 *	verdict: allow|deny|wait|audit [REASON] by NAMESPACE/NAME|-
 */
#pragma once

#include "base/parse.h"
#include "policy/metadata.h"
#include "policy_fixture.h"

#define TEXT_MAX 512

static inline char *field_of(char *word, const char *key)
{
	size_t len = strlen(key);

	return strncmp(word, key, len) == 0 && word[len] == '=' ? word + len + 1 : NULL;
}

static inline struct ig_text_list list_of(char *text)
{
	struct ig_text_list list = {.items = calloc(8, sizeof(char *)), .given = true};
	char *save = NULL;

	assert_non_null(list.items);
	for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		assert_in_range(list.n, 0, 7);
		list.items[list.n++] = copy(t);
	}
	return list;
}

static inline struct ig_label *labels_of(char *text, size_t *ret_n)
{
	struct ig_label *labels = calloc(8, sizeof(*labels));
	char *save = NULL;
	size_t n = 0;

	assert_non_null(labels);
	for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		char *colon = strchr(t, ':');

		assert_non_null(colon);
		assert_in_range(n, 0, 7);
		*colon = '\0';
		labels[n].key = copy(t);
		labels[n++].value = copy(colon + 1);
	}
	*ret_n = n;
	return labels;
}

static inline bool policy_list_word(struct ig_metadata_policy *p, char *word)
{
	const struct {
		const char *key;
		struct ig_text_list *list;
	} lists[] = {{"ns", &p->namespaces}, {"sa", &p->service_accounts}, {"id", &p->identities},
		{"res", &p->resources}, {"path", &p->paths}, {"ctr", &p->containers},
		{"exe", &p->executables}};
	char *value;

	for (size_t i = 0; i < IG_ARRAY_SIZE(lists); i++)
		if ((value = field_of(word, lists[i].key))) {
			*lists[i].list = list_of(value);
			return true;
		}
	return false;
}

static inline void policy_word(struct ig_metadata_policy *p, char *word)
{
	char *value;

	if (policy_list_word(p, word))
		return;
	if (strcmp(word, "host") == 0)
		p->host = true;
	else if ((value = field_of(word, "mode")))
		p->mode = strcmp(value, "audit") == 0 ? IG_POLICY_MODE_AUDIT
			  : strcmp(value, "off") == 0 ? IG_POLICY_MODE_OFF
						      : IG_POLICY_MODE_ENFORCE;
	else if ((value = field_of(word, "label")))
		p->labels = labels_of(value, &p->n_labels);
	else if ((value = field_of(word, "hostnet")))
		p->host_network = strcmp(value, "no") == 0 ? IG_POLICY_HOST_NETWORK_DENY
							   : IG_POLICY_HOST_NETWORK_ALLOW;
	else if ((value = field_of(word, "rate")))
		assert_int_equal(ig_parse_u32(value, &p->rate_per_sec), 0);
	else if ((value = field_of(word, "burst")))
		assert_int_equal(ig_parse_u32(value, &p->rate_burst), 0);
	else
		fail_msg("unknown word \"%s\"", word);
}

/* "ns/name" → two copies */
static inline void names_of(char *text, char **ret_ns, char **ret_name)
{
	char *slash = strchr(text, '/');

	assert_non_null(slash);
	*slash = '\0';
	*ret_ns = copy(text);
	*ret_name = copy(slash + 1);
}

static inline void add_policy(struct ig_store *store, const char *source, const char *text)
{
	struct ig_object_set *set = ig_object_set_new();
	struct ig_metadata_policy p = {};
	char buf[TEXT_MAX], *save = NULL;

	assert_non_null(set);
	assert_in_range(strlen(text), 1, sizeof(buf) - 1);
	(void)stpcpy(buf, text);
	names_of(strtok_r(buf, " ", &save), &p.namespace, &p.name);
	for (char *w = strtok_r(NULL, " ", &save); w; w = strtok_r(NULL, " ", &save))
		policy_word(&p, w);
	assert_int_equal(ig_object_set_add(set, IG_OBJECT_METADATA_POLICY, &p), 0);
	assert_int_equal(ig_store_replace(store, source, set, NULL), 0);
}

/* team/app and other/app (account web, labels app:web, tier:front), team/net on the host's network,
 * team/bare without account or labels, imdsgate-system/app */
static const char pods_text[] __attribute__((unused)) = ACCOUNT_POD("team", "app",
	"app: web, tier: front", "web") ACCOUNT_POD("other", "app", "app: web, tier: front", "web")
	ACCOUNT_POD("team", "net", "app: web", "web, hostNetwork: true") POD("team", "bare", "")
		ACCOUNT_POD("imdsgate-system", "app", "app: web", "web");

struct question {
	char text[TEXT_MAX]; /* the words, cut into pieces */
	struct ig_identity identity;
	struct ig_policy_request request;
};

static inline void question_word(struct question *q, const struct ig_store *store, char *word)
{
	struct ig_policy_request *r = &q->request;
	char *value, *slash;

	if ((value = field_of(word, "pod"))) {
		slash = strchr(value, '/');
		assert_non_null(slash);
		*slash = '\0';
		r->pod = ig_store_pod_by_name(store, value, slash + 1);
		assert_non_null(r->pod);
	} else if ((value = field_of(word, "res")))
		r->resource = value;
	else if ((value = field_of(word, "id"))) {
		q->identity.namespace = q->identity.client_id = (char *)"";
		q->identity.name = value;
		r->identity = &q->identity;
	} else if ((value = field_of(word, "path"))) {
		r->path = value;
		r->path_default_allowed = strncmp(value, "/metadata/instance", 18) == 0;
	} else if ((value = field_of(word, "ctr")))
		r->container = value;
	else if ((value = field_of(word, "exe")))
		r->exe = value;
	else if (strcmp(word, "deleted") == 0)
		r->exe_deleted = true;
	else
		fail_msg("unknown word \"%s\"", word);
}

static inline void question_init(struct question *q, const struct ig_store *store, const char *text)
{
	char *save = NULL, *word;

	*q = (struct question){};
	assert_in_range(strlen(text), 1, sizeof(q->text) - 1);
	(void)stpcpy(q->text, text);
	word = strtok_r(q->text, " ", &save);
	q->request.kind =
		strcmp(word, "doc") == 0 ? IG_POLICY_REQUEST_DOCUMENT : IG_POLICY_REQUEST_TOKEN;
	while ((word = strtok_r(NULL, " ", &save)))
		question_word(q, store, word);
}

static inline struct ig_policy_verdict check(
	const struct ig_store *store, const struct ig_policy_options *options, const char *text)
{
	struct question q;

	question_init(&q, store, text);
	return ig_policy_check(store, options, &q.request);
}

static inline const char *verdict_text(struct ig_policy_verdict v, char *buf, size_t len)
{
	static const char *const outcomes[] = {[IG_POLICY_VERDICT_ALLOW] = "allow",
		[IG_POLICY_VERDICT_DENY] = "deny",
		[IG_POLICY_VERDICT_NEEDS_CONTAINER] = "wait"};

	(void)snprintf(buf, len, "%s%s%s by %s%s%s", v.would_deny ? "audit" : outcomes[v.outcome],
		v.reason ? " " : "", v.reason ? v.reason : "", v.policy ? v.policy->namespace : "",
		v.policy ? "/" : "-", v.policy ? v.policy->name : "");
	/* only what passes can be remarked upon */
	assert_true(!v.would_deny || v.outcome == IG_POLICY_VERDICT_ALLOW);
	return buf;
}

/* Policies in one string, separated by ';'. With a seed they come in some other order. */
static inline struct ig_store *load_policies(const char *policies, unsigned int *seed)
{
	struct ig_store *store = load(pods_text);
	char buf[8 * TEXT_MAX], source[32], *save = NULL;
	unsigned int n = 0;

	assert_in_range(strlen(policies), 0, sizeof(buf) - 1);
	(void)stpcpy(buf, policies);
	for (char *p = strtok_r(buf, ";", &save); p; p = strtok_r(NULL, ";", &save)) {
		(void)snprintf(source, sizeof(source), "%010d-%u", seed ? rand_r(seed) : 0, n++);
		add_policy(store, source, p + strspn(p, " "));
	}
	return store;
}
