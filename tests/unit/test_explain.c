/*
 * Explanations: what is told about every kind of rule, in which order, how much of it, and that it
 * is what happens.
 */
#include "metadata_fixture.h"
#include "policy/explain.h"

#define SYS "imdsgate-system"

/* One step a line: RULE NAMESPACE/NAME OUTCOME (DETAIL) [MODE] *; '*' marks what counted. */
static void step_text(const struct ig_explain_step *s, char *buf, size_t len)
{
	char omitted[32] = "";

	if (s->n_omitted)
		(void)snprintf(omitted, sizeof(omitted), " %zu", s->n_omitted);
	(void)snprintf(buf, len, "%s%s%s%s%s %s%s%s%s%s%s%s%s%s%s\n", ig_explain_rule_name(s->rule),
		s->name[0] ? " " : "", s->namespace, s->name[0] ? "/" : "", s->name, s->outcome,
		omitted, s->detail[0] ? " (" : "", s->detail, s->detail[0] ? ")" : "",
		s->mode[0] ? " [" : "", s->mode, s->mode[0] ? "]" : "", s->applies ? "" : " -",
		s->chosen ? " *" : "");
}

static void explain(const struct ig_store *store, const struct ig_policy_options *options,
	const char *question, const char *client_id, struct ig_explanation *ret)
{
	struct ig_selector selector = {
		.kind = client_id ? IG_SELECTOR_CLIENT_ID : IG_SELECTOR_NONE};
	struct question q;

	(void)snprintf(selector.value, sizeof(selector.value), "%s", client_id ? client_id : "");
	question_init(&q, store, question);
	ig_policy_explain(store, options,
		&(struct ig_explain_request){.request = q.request, .selector = &selector}, ret);
}

static void expect_steps(const struct ig_store *store, const struct ig_policy_options *options,
	const char *question, const char *client_id, const char *expected)
{
	struct ig_explanation e;
	char text[8192] = "", line[TEXT_MAX];
	size_t len = 0;

	explain(store, options, question, client_id, &e);
	for (size_t i = 0; i < e.n; i++) {
		step_text(&e.steps[i], line, sizeof(line));
		assert_in_range(len + strlen(line), 0, sizeof(text) - 1);
		len = (size_t)(stpcpy(text + len, line) - text);
	}
	assert_string_equal(text, expected);
}

static const char *const rules[] = {
	IDENTITY("team", "pay", "clientID: " CID1),
	IDENTITY("team", "log", "clientID: " CID2),
	IDENTITY("other", "far", "clientID: " CID3),
	BINDING("team", "b-pay", "pay", "sel"),
	BINDING("team", "a-none", "gone", "sel"),
	BINDING("team", "c-log", "log", "logs"),
	BINDING("team", "d-log", "log", "both"),
	BINDING("team", "e-pay", "pay", "both"),
	BINDING("other", "far", "far", "sel"),
	BINDING("other", "unrelated", "far", "unrelated"),
	EXCEPTION("team", "mon", "app: mon"),
	DIRECT("team", "raw", "app: raw"),
	EXCEPTION("other", "mon", "app: web"),
	POD("team", "one", "aadpodidbinding: sel"),
	POD("team", "two", "aadpodidbinding: both"),
	POD("team", "mon", "app: mon, aadpodidbinding: sel"),
	ACCOUNT_POD("team", "wi", USE ", aadpodidbinding: sel", "web"),
	ACCOUNT_POD("team", "wi2", USE, "unknown"),
	POD("kube-system", "aks", AKS_LABEL),
	POD("kube-system", "user", "a: b"),
};

static struct ig_store *load_rules(unsigned int *seed)
{
	struct ig_store *s = load_all(rules, IG_ARRAY_SIZE(rules), seed);

	add_account(s, "team", "web", CID1);
	add_policy(s, "p1", SYS "/all res=a,b");
	add_policy(s, "p2", SYS "/pay id=pay res=a exe=/bin/app mode=audit");
	add_policy(s, "p3", SYS "/agent host exe=/bin/agent");
	add_policy(s, "p4", "team/docs path=/metadata/instance/compute label=aadpodidbinding:sel");
	add_policy(s, "p5", "team/x label=a:b,c:d mode=off");
	add_policy(s, "p6", "other/secret res=");
	add_policy(s, "p7", "other/lost host");
	return s;
}

#define EXCEPTIONS                                                                                 \
	"exception team/mon labels_differ [proxy] -\n"                                             \
	"exception team/raw labels_differ [direct] -\n"
#define NO_USE "service_account team/default label_missing -\n"
#define TEAM_BINDINGS_BUT_PAY                                                                      \
	"binding other/far other_namespace (far) -\n"                                              \
	"binding team/a-none identity_missing (gone) -\n"                                          \
	"binding team/c-log selector_differs (log) -\n"                                            \
	"binding team/d-log selector_differs (log) -\n"                                            \
	"binding team/e-pay selector_differs (pay) -\n"
#define HOST_POLICY "cluster_policy " SYS "/agent other_subject [enforce] -\n"

static void test_binding(void **state)
{
	unsigned int seed = 3;

	(void)state;
	/* whichever way the objects came in */
	for (int round = 0; round < 10; round++) {
		_cleanup_(ig_store_freep) struct ig_store *s = load_rules(&seed);

		expect_steps(s, &own, "token res=a pod=team/one exe=/bin/sh", NULL,
			"caller team/one pod *\n" EXCEPTIONS "label set (sel)\n" NO_USE
			"binding team/b-pay gives_identity (pay) *\n" TEAM_BINDINGS_BUT_PAY
			"selection team/pay grant (b-pay) *\n"
			"cluster_policy " SYS "/pay executable_not_allowed [audit] *\n"
			"cluster_policy " SYS "/all allows [enforce]\n" HOST_POLICY
			"namespace_policy team/docs allows [enforce] *\n"
			"namespace_policy team/x labels_differ [disabled] -\n"
			"verdict " SYS "/pay would_deny (executable_not_allowed) [audit] *\n");
	}
}

static void test_selection(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load_rules(NULL);
#define TWO_BINDINGS(log, pay)                                                                     \
	"caller team/two pod *\n" EXCEPTIONS "label set (both)\n" NO_USE log pay                   \
	"binding team/a-none selector_differs (gone) -\n"                                          \
	"binding team/b-pay selector_differs (pay) -\n"                                            \
	"binding team/c-log selector_differs (log) -\n"
#define LOG(mark) "binding team/d-log gives_identity (log)" mark "\n"
#define PAY(mark) "binding team/e-pay gives_identity (pay)" mark "\n"

	(void)state;
	/* without an identity it does not come to the policies */
	expect_steps(s, &own, "token res=a pod=team/two", NULL,
		TWO_BINDINGS(LOG(""), PAY("")) "selection ambiguous\n");
	expect_steps(s, &own, "token res=a pod=team/two", CID3,
		TWO_BINDINGS(LOG(""), PAY("")) "selection not_found\n");
	expect_steps(s, &own, "token res=c pod=team/two", CID1,
		TWO_BINDINGS(PAY(" *"),
			LOG("")) "selection team/pay grant (e-pay) *\n"
				 "cluster_policy " SYS "/pay resource_not_allowed [audit] *\n"
				 "cluster_policy " SYS
				 "/all resource_not_allowed [enforce]\n" HOST_POLICY
				 "namespace_policy team/docs labels_differ [enforce] -\n"
				 "namespace_policy team/x labels_differ [disabled] -\n"
				 "verdict " SYS
				 "/pay would_deny (resource_not_allowed) [audit] *\n");
}

static void test_service_account(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load_rules(NULL);

	(void)state;
	expect_steps(s, &own, "token res=c pod=team/wi", NULL,
		"caller team/wi pod *\n" EXCEPTIONS "label set (sel)\n"
		"service_account team/web gives_identity (" CID1 ") *\n"
		"binding team/b-pay same_client_as_service_account (pay)\n" TEAM_BINDINGS_BUT_PAY
		"selection team/web grant (web) *\n"
		"cluster_policy " SYS "/all resource_not_allowed [enforce] *\n" HOST_POLICY
		"cluster_policy " SYS "/pay identity_not_listed [audit] -\n"
		"namespace_policy team/docs allows [enforce] *\n"
		"namespace_policy team/x labels_differ [disabled] -\n"
		"verdict " SYS "/all deny (resource_not_allowed) [enforce] *\n");
	expect_steps(s, &own, "token res=a pod=team/wi2", NULL,
		"caller team/wi2 pod *\n" EXCEPTIONS "label missing -\n"
		"service_account team/unknown not_annotated -\n"
		"binding team/a-none selector_differs (gone) -\n"
		"binding team/b-pay selector_differs (pay) -\n"
		"binding team/c-log selector_differs (log) -\n"
		"binding team/d-log selector_differs (log) -\n"
		"binding team/e-pay selector_differs (pay) -\n"
		"selection not_bound\n");
}

static void test_exceptions(void **state)
{
	static const struct ig_policy_options off = {.no_aks_exception = true};
	_cleanup_(ig_store_freep) struct ig_store *s = load_rules(NULL);
#define POLICIES                                                                                   \
	"cluster_policy " SYS "/all allows [enforce] *\n" HOST_POLICY "cluster_policy " SYS        \
	"/pay identity_not_listed [audit] -\n"

	(void)state;
	expect_steps(s, &own, "token res=a pod=team/mon", CID3,
		"caller team/mon pod *\n"
		"exception team/mon covers [proxy] *\n"
		"exception team/raw labels_differ [direct] -\n"
		"selection grant_node (mon) *\n" POLICIES
		"namespace_policy team/docs allows [enforce] *\n"
		"namespace_policy team/x labels_differ [disabled] -\n"
		"verdict team/docs allow [enforce] *\n");
	expect_steps(s, &own, "token res=a pod=kube-system/aks", CID3,
		"caller kube-system/aks pod *\n"
		"exception kube-system/builtin:aks covers [proxy] *\n"
		"selection grant_node (builtin:aks) *\n" POLICIES "verdict " SYS
		"/all allow [enforce] *\n");
#define NOTHING                                                                                    \
	"label missing -\nservice_account kube-system/default label_missing -\n"                   \
	"selection not_bound\n"
	expect_steps(s, &off, "token res=a pod=kube-system/aks", NULL,
		"caller kube-system/aks pod *\n"
		"exception kube-system/builtin:aks switched_off [proxy] -\n" NOTHING);
	expect_steps(s, &own, "token res=a pod=kube-system/user", NULL,
		"caller kube-system/user pod *\n"
		"exception kube-system/builtin:aks labels_differ [proxy] -\n" NOTHING);
}

static void test_finished(void **state)
{
	static const char text[] =
		EXCEPTION("team", "mon", "app: mon") POD("team", "job", "app: mon");
	_cleanup_(ig_store_freep) struct ig_store *s = NULL;
	struct ig_object_set *set = NULL;

	(void)state;
	assert_int_equal(ig_store_new(&s), 0);
	assert_int_equal(ig_manifest_parse("test", text, strlen(text), NULL, &set, NULL), 0);
	set->pods[0].finished = true;
	assert_int_equal(ig_store_replace(s, "test", set, NULL), 0);
	expect_steps(s, &own, "token res=a pod=team/job", NULL,
		"caller team/job pod_finished *\nselection pod_finished\n");
}

static void test_documents_and_host(void **state)
{
	_cleanup_(ig_store_freep) struct ig_store *s = load_rules(NULL);

	(void)state;
	/* whose identity it is does not matter for a document */
	expect_steps(s, &own, "doc path=/metadata/instance/network pod=team/one", NULL,
		"caller team/one pod *\n"
		"cluster_policy " SYS "/all allows [enforce] *\n" HOST_POLICY "cluster_policy " SYS
		"/pay identity_not_listed [audit] -\n"
		"namespace_policy team/docs path_not_allowed [enforce] *\n"
		"namespace_policy team/x labels_differ [disabled] -\n"
		"verdict team/docs deny (path_not_allowed) [enforce] *\n");
	expect_steps(s, &own, "token res=a exe=/bin/sh", NULL,
		"caller host *\n"
		"cluster_policy " SYS "/agent executable_not_allowed [enforce] *\n"
		"cluster_policy " SYS "/all other_subject [enforce] -\n"
		"cluster_policy " SYS "/pay other_subject [audit] -\n"
		"namespace_policy other/lost not_policy_namespace [enforce] -\n"
		"verdict " SYS "/agent deny (executable_not_allowed) [enforce] *\n");
}

/* Declares `what` n times, a manifest or a policy, with a number for each '#'. */
static void add_numbered(struct ig_store *s, const char *what, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char text[TEXT_MAX], source[TEXT_MAX + 32], *end = text;

		for (const char *c = what; *c; c++) {
			assert_in_range(end - text, 0, sizeof(text) - 8);
			if (*c == '#')
				end += snprintf(end, 5, "%03zu", i);
			else
				*end++ = *c;
		}
		*end = '\0';
		(void)snprintf(source, sizeof(source), "%zu of %s", i, what);
		if (text[0] == '-')
			load_one(s, source, text);
		else
			add_policy(s, source, text);
	}
}

/* However many there are: what counts is told first, the rest is counted. */
static void test_bounded(void **state)
{
	static const size_t many = IG_EXPLAIN_RULE_STEPS_MAX + 9;
	_cleanup_(ig_store_freep) struct ig_store *s =
		load(POD("team", "app", "aadpodidbinding: zz, app: web") IDENTITY(
			"team", "id", "clientID: " CID1) BINDING("team", "zz", "id", "zz"));
	struct ig_explanation e;
	size_t n[_IG_EXPLAIN_RULE_MAX] = {}, omitted[_IG_EXPLAIN_RULE_MAX] = {};

	(void)state;
	add_numbered(s, SYS "/p# label=n:#", many);
	add_numbered(s, "team/p# label=n:#", many);
	add_policy(s, "zz1", SYS "/zz label=app:web");
	add_policy(s, "zz2", "team/zz label=app:web");
	add_numbered(s, BINDING("team", "b#", "id", "s#"), many);
	add_numbered(s, EXCEPTION("team", "e#", "n: n#"), many);
	explain(s, &own, "token res=a pod=team/app", NULL, &e);
	assert_int_equal(e.n, IG_EXPLAIN_STEPS_MAX);
	for (size_t i = 0; i < e.n; i++) {
		const struct ig_explain_step *step = &e.steps[i];

		if (strcmp(step->outcome, "omitted") == 0) {
			omitted[step->rule] = step->n_omitted;
			continue;
		}
		if (n[step->rule]++ == 0 && step->rule != IG_EXPLAIN_EXCEPTION &&
			step->rule != IG_EXPLAIN_LABEL && step->rule != IG_EXPLAIN_SERVICE_ACCOUNT)
			assert_true(step->chosen);
		else if (i > 0 && e.steps[i - 1].rule == step->rule && n[step->rule] > 2)
			assert_true(strcmp(e.steps[i - 1].name, step->name) < 0);
	}
	assert_int_equal(n[IG_EXPLAIN_EXCEPTION], IG_EXPLAIN_RULE_STEPS_MAX);
	assert_int_equal(omitted[IG_EXPLAIN_EXCEPTION], 9);
	for (int rule = 0; rule < _IG_EXPLAIN_RULE_MAX; rule++)
		if (rule == IG_EXPLAIN_BINDING || rule == IG_EXPLAIN_CLUSTER_POLICY ||
			rule == IG_EXPLAIN_NAMESPACE_POLICY) {
			assert_int_equal(n[rule], IG_EXPLAIN_RULE_STEPS_MAX);
			assert_int_equal(omitted[rule], 10);
		}
}

/* What is explained is what happens: the same decision, the same verdict, and the chosen ones are
 * those that they name. */
static void test_is_what_happens(void **state)
{
	static const char *const pods[] = {"one", "two", "mon", "wi", "wi2"};
	static const char *const kinds[] = {"token res=a", "token res=c",
		"doc path=/metadata/instance", "doc path=/metadata/attested"};
	static const char *const ids[] = {NULL, CID1, CID2, CID3};
	_cleanup_(ig_store_freep) struct ig_store *s = load_rules(NULL);

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(pods) * IG_ARRAY_SIZE(kinds) * 4; i++) {
		const char *id = ids[i % 4], *pod = pods[i / 4 % IG_ARRAY_SIZE(pods)];
		const char *kind = kinds[i / 4 / IG_ARRAY_SIZE(pods)];
		struct ig_policy_decision d = ask(s, "team", pod,
			id ? IG_SELECTOR_CLIENT_ID : IG_SELECTOR_NONE, id ? id : "", &own);
		struct ig_explanation e;
		char question[TEXT_MAX];
		struct question q;

		(void)snprintf(question, sizeof(question), "%s pod=team/%s", kind, pod);
		explain(s, &own, question, id, &e);
		assert_int_equal(e.has_decision, kind[0] == 't');
		if (e.has_decision) {
			assert_int_equal(e.decision.outcome, d.outcome);
			assert_ptr_equal(e.decision.identity, d.identity);
			assert_ptr_equal(e.decision.rule, d.rule);
		}
		assert_int_equal(
			e.has_verdict, kind[0] == 'd' || d.outcome <= IG_POLICY_GRANT_NODE);
		if (e.has_verdict) {
			struct ig_policy_verdict v;

			question_init(&q, s, question);
			q.request.identity = e.has_decision ? d.identity : NULL;
			v = ig_policy_check(s, &own, &q.request);
			assert_int_equal(e.verdict.outcome, v.outcome);
			assert_int_equal(e.verdict.would_deny, v.would_deny);
			assert_ptr_equal(e.verdict.policy, v.policy);
			assert_ptr_equal(e.verdict.reason, v.reason);
		}
	}
}

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < _IG_EXPLAIN_RULE_MAX; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ig_explain_rule_name((enum ig_explain_rule)i),
				ig_explain_rule_name((enum ig_explain_rule)j));
	assert_string_equal(ig_explain_rule_name(_IG_EXPLAIN_RULE_MAX), "unknown");
	assert_string_equal(
		ig_policy_verdict_name(IG_POLICY_VERDICT_NEEDS_CONTAINER), "needs_container");
	assert_string_equal(ig_policy_verdict_name(_IG_POLICY_VERDICT_MAX), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_binding),
		cmocka_unit_test(test_selection),
		cmocka_unit_test(test_service_account),
		cmocka_unit_test(test_exceptions),
		cmocka_unit_test(test_finished),
		cmocka_unit_test(test_documents_and_host),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_is_what_happens),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("explain", tests, NULL, NULL);
}
