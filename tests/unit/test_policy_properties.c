/*
 * What must hold of whatever policies there are: random ones, asked random questions. Each property
 * compares what two sets of policies say to the same question.
 */
#include "metadata_fixture.h"

#define SYS	     "imdsgate-system"
#define ROUNDS	     400
#define QUESTIONS    12
#define POLICIES_MAX 7

static const char *one_of(unsigned int *seed, const char *const *choices, size_t n)
{
	return choices[(size_t)rand_r(seed) % n];
}

#define ONE_OF(seed, ...)                                                                          \
	one_of(seed, (const char *const[]){__VA_ARGS__},                                           \
		IG_ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

/* What is random about a policy, without its mode, which each property chooses. */
struct policy {
	const char *ns;
	const char *mode;
	char words[TEXT_MAX / 2];
};

struct policies {
	struct policy of[POLICIES_MAX];
	size_t n;
};

static void random_policy(unsigned int *seed, struct policy *p)
{
	p->ns = ONE_OF(seed, SYS, SYS, "team", "team", "other");
	p->mode = ONE_OF(seed, "", "", " mode=audit", " mode=off");
	(void)snprintf(p->words, sizeof(p->words), "%s%s%s%s%s%s%s%s%s%s%s",
		ONE_OF(seed, "", "", "", " host"),
		ONE_OF(seed, "", "", " ns=team", " ns=other,team"),
		ONE_OF(seed, "", "", " id=pay", " id="),
		ONE_OF(seed, "", "", " sa=web", " sa=default"),
		ONE_OF(seed, "", " label=app:web", " label=app:web,tier:front"),
		ONE_OF(seed, "", "", " res=a", " res=a,b", " res=*", " res="),
		ONE_OF(seed, "", "", " path=/metadata/attested",
			" path=/metadata/instance,/metadata/attested", " path="),
		ONE_OF(seed, "", "", "", " ctr=main", " ctr="),
		ONE_OF(seed, "", "", "", " exe=/a", " exe="), ONE_OF(seed, "", "", " hostnet=no"),
		ONE_OF(seed, "", " rate=5", " rate=7 burst=9"));
}

static void random_policies(unsigned int *seed, struct policies *ps)
{
	ps->n = (size_t)rand_r(seed) % (POLICIES_MAX + 1);
	for (size_t i = 0; i < ps->n; i++)
		random_policy(seed, &ps->of[i]);
}

static void random_question(unsigned int *seed, char *text, size_t len)
{
	(void)snprintf(text, len, "%s%s%s%s",
		ONE_OF(seed, "token res=a", "token res=b", "token res=c", "token res=a id=pay",
			"token res=b id=pay", "doc path=/metadata/instance/compute",
			"doc path=/metadata/attested", "doc path=/metadata/scheduledevents"),
		ONE_OF(seed, " pod=team/app", " pod=team/app", " pod=team/net", " pod=team/bare",
			" pod=other/app", ""),
		ONE_OF(seed, "", " ctr=main", " ctr=side"),
		ONE_OF(seed, "", " exe=/a", " exe=/a deleted", " exe=/b"));
}

enum keep { KEEP_ALL, KEEP_CLUSTER, KEEP_NAMESPACE };

/* mode: NULL: each its own. */
static struct ig_store *store_of(
	const struct policies *ps, enum keep keep, const char *mode, unsigned int *seed)
{
	struct ig_store *store = load(pods_text);
	char text[TEXT_MAX], source[32];

	for (size_t i = 0; i < ps->n; i++) {
		const struct policy *p = &ps->of[i];

		if (keep != KEEP_ALL && (strcmp(p->ns, SYS) == 0) != (keep == KEEP_CLUSTER))
			continue;
		(void)snprintf(text, sizeof(text), "%s/p%zu%s%s", p->ns, i, p->words,
			mode ? mode : p->mode);
		(void)snprintf(source, sizeof(source), "%010d-%zu", rand_r(seed), i);
		add_policy(store, source, text);
	}
	return store;
}

/* for messages */
static unsigned int current_round;

static bool passes(struct ig_policy_verdict v)
{
	return v.outcome == IG_POLICY_VERDICT_ALLOW;
}

typedef void property(const struct policies *ps, const char *const *questions, unsigned int *seed);

static void for_random_policies(property *holds)
{
	for (current_round = 0; current_round < ROUNDS; current_round++) {
		char texts[QUESTIONS][TEXT_MAX];
		const char *questions[QUESTIONS];
		struct policies ps;
		unsigned int seed = current_round;

		random_policies(&seed, &ps);
		for (size_t i = 0; i < QUESTIONS; i++) {
			random_question(&seed, texts[i], sizeof(texts[i]));
			questions[i] = texts[i];
		}
		holds(&ps, questions, &seed);
	}
}

#define EXPECT(condition, question)                                                                \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("round %u, \"%s\": not so: %s", current_round, question,          \
				#condition);                                                       \
	} while (0)

static bool same_verdict(struct ig_policy_verdict a, struct ig_policy_verdict b)
{
	char text_a[TEXT_MAX], text_b[TEXT_MAX];

	return strcmp(verdict_text(a, text_a, sizeof(text_a)),
		       verdict_text(b, text_b, sizeof(text_b))) == 0 &&
	       a.rate_per_sec == b.rate_per_sec && a.rate_burst == b.rate_burst;
}

static void order_is_nothing(
	const struct policies *ps, const char *const *questions, unsigned int *seed)
{
	_cleanup_(ig_store_freep) struct ig_store *a = store_of(ps, KEEP_ALL, NULL, seed);
	_cleanup_(ig_store_freep) struct ig_store *b = store_of(ps, KEEP_ALL, NULL, seed);

	for (size_t i = 0; i < QUESTIONS; i++)
		EXPECT(same_verdict(check(a, &own, questions[i]), check(b, &own, questions[i])),
			questions[i]);
}

/* Whatever the namespaces' policies are: what passes with them passes without them. */
static void namespaces_only_narrow(
	const struct policies *ps, const char *const *questions, unsigned int *seed)
{
	_cleanup_(ig_store_freep) struct ig_store *all = store_of(ps, KEEP_ALL, NULL, seed);
	_cleanup_(ig_store_freep) struct ig_store *cluster = store_of(ps, KEEP_CLUSTER, NULL, seed);

	for (size_t i = 0; i < QUESTIONS; i++) {
		struct ig_policy_verdict with = check(all, &own, questions[i]);
		struct ig_policy_verdict without = check(cluster, &own, questions[i]);

		EXPECT(!passes(with) || passes(without), questions[i]);
		EXPECT(without.outcome != IG_POLICY_VERDICT_DENY ||
				with.outcome == IG_POLICY_VERDICT_DENY,
			questions[i]);
		/* nor do they give more room */
		EXPECT(!without.rate_per_sec ||
				(with.rate_per_sec && with.rate_per_sec <= without.rate_per_sec),
			questions[i]);
	}
}

/* A pod gets under audit all that it gets without policies, at once, and at any rate. */
static void audit_denies_nothing(
	const struct policies *ps, const char *const *questions, unsigned int *seed)
{
	static const struct policies none = {};
	_cleanup_(ig_store_freep) struct ig_store *audit =
		store_of(ps, KEEP_ALL, " mode=audit", seed);
	_cleanup_(ig_store_freep) struct ig_store *nothing = store_of(&none, KEEP_ALL, NULL, seed);

	for (size_t i = 0; i < QUESTIONS; i++) {
		struct ig_policy_verdict v = check(audit, &own, questions[i]);

		EXPECT(passes(v) || !passes(check(nothing, &own, questions[i])), questions[i]);
		EXPECT(v.outcome != IG_POLICY_VERDICT_NEEDS_CONTAINER, questions[i]);
		EXPECT(v.rate_per_sec == 0 && v.rate_burst == 0, questions[i]);
	}
}

/* Enforcing stops exactly what audit has remarked upon; and audit lets no pod have what it has
 * neither by enforcing nor without policies. */
static void audit_foretells(
	const struct policies *ps, const char *const *questions, unsigned int *seed)
{
	static const struct policies none = {};
	_cleanup_(ig_store_freep) struct ig_store *audit =
		store_of(ps, KEEP_ALL, " mode=audit", seed);
	_cleanup_(ig_store_freep) struct ig_store *enforce = store_of(ps, KEEP_ALL, "", seed);
	_cleanup_(ig_store_freep) struct ig_store *nothing = store_of(&none, KEEP_ALL, NULL, seed);

	for (size_t i = 0; i < QUESTIONS; i++) {
		struct ig_policy_verdict a = check(audit, &own, questions[i]);
		struct ig_policy_verdict e = check(enforce, &own, questions[i]);
		bool pod = strstr(questions[i], "pod=") != NULL;

		EXPECT(passes(e) == (passes(a) && !a.would_deny), questions[i]);
		EXPECT(!pod || !passes(a) || passes(e) ||
				passes(check(nothing, &own, questions[i])),
			questions[i]);
	}
}

/* A layer that is off is not there; the other is as it was. */
static void off_is_absent(
	const struct policies *ps, const char *const *questions, unsigned int *seed)
{
	static const enum keep keeps[] = {KEEP_CLUSTER, KEEP_NAMESPACE};

	for (size_t k = 0; k < IG_ARRAY_SIZE(keeps); k++) {
		struct policies off = *ps;
		_cleanup_(ig_store_freep) struct ig_store *absent =
			store_of(ps, keeps[k], NULL, seed);
		_cleanup_(ig_store_freep) struct ig_store *present = NULL;

		for (size_t i = 0; i < off.n; i++)
			if ((strcmp(off.of[i].ns, SYS) == 0) != (keeps[k] == KEEP_CLUSTER))
				off.of[i].mode = " mode=off";
		present = store_of(&off, KEEP_ALL, NULL, seed);
		for (size_t i = 0; i < QUESTIONS; i++) {
			struct ig_policy_verdict a = check(absent, &own, questions[i]);
			struct ig_policy_verdict b = check(present, &own, questions[i]);

			EXPECT(a.outcome == b.outcome && a.reason == b.reason, questions[i]);
			EXPECT(a.would_deny == b.would_deny && a.rate_per_sec == b.rate_per_sec,
				questions[i]);
		}
	}
}

/* The host's processes have what a policy for them says, and nothing without. */
static void host_needs_a_policy(
	const struct policies *ps, const char *const *questions, unsigned int *seed)
{
	_cleanup_(ig_store_freep) struct ig_store *store = store_of(ps, KEEP_ALL, NULL, seed);
	bool any = false;

	for (size_t i = 0; i < ps->n; i++)
		any = any ||
		      (strcmp(ps->of[i].ns, SYS) == 0 && strstr(ps->of[i].words, " host") != NULL &&
			      strcmp(ps->of[i].mode, " mode=off") != 0);
	for (size_t i = 0; i < QUESTIONS; i++)
		if (!strstr(questions[i], "pod="))
			EXPECT(any || check(store, &own, questions[i]).outcome ==
						IG_POLICY_VERDICT_DENY,
				questions[i]);
}

#define PROPERTY_TEST(name)                                                                        \
	static void test_##name(void **state)                                                      \
	{                                                                                          \
		(void)state;                                                                       \
		for_random_policies(name);                                                         \
	}

PROPERTY_TEST(order_is_nothing)
PROPERTY_TEST(namespaces_only_narrow)
PROPERTY_TEST(audit_denies_nothing)
PROPERTY_TEST(audit_foretells)
PROPERTY_TEST(off_is_absent)
PROPERTY_TEST(host_needs_a_policy)

/* The questions are worth asking: every outcome and every reason comes up, and often. */
static void test_questions_are_varied(void **state)
{
	unsigned int outcomes[_IG_POLICY_VERDICT_MAX] = {}, reasons[_IG_POLICY_DENIAL_MAX] = {};
	unsigned int would_deny = 0, seed = 0;

	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		_cleanup_(ig_store_freep) struct ig_store *store = NULL;
		struct policies ps;

		random_policies(&seed, &ps);
		store = store_of(&ps, KEEP_ALL, NULL, &seed);
		for (size_t i = 0; i < QUESTIONS; i++) {
			struct ig_policy_verdict v;
			char text[TEXT_MAX];

			random_question(&seed, text, sizeof(text));
			v = check(store, &own, text);
			outcomes[v.outcome]++;
			would_deny += v.would_deny;
			for (int d = 0; d < _IG_POLICY_DENIAL_MAX; d++)
				reasons[d] +=
					v.reason == ig_policy_denial_name((enum ig_policy_denial)d);
		}
	}
	for (int i = 0; i < _IG_POLICY_VERDICT_MAX; i++)
		assert_in_range(outcomes[i], 20, ROUNDS * QUESTIONS);
	for (int i = 0; i < _IG_POLICY_DENIAL_MAX; i++)
		assert_in_range(reasons[i], 5, ROUNDS * QUESTIONS);
	assert_in_range(would_deny, 50, ROUNDS * QUESTIONS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_is_nothing),
		cmocka_unit_test(test_namespaces_only_narrow),
		cmocka_unit_test(test_audit_denies_nothing),
		cmocka_unit_test(test_audit_foretells),
		cmocka_unit_test(test_off_is_absent),
		cmocka_unit_test(test_host_needs_a_policy),
		cmocka_unit_test(test_questions_are_varied),
	};

	return cmocka_run_group_tests_name("policy properties", tests, NULL, NULL);
}
