/*
 * The command-line tool, called as a function: usage, help, exit statuses, what is printed for
 * people and as JSON. The agent is a child that answers with canned results over the real server.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/out.h"
#include "ctl/server.h"

#define WORDS_MAX 16

/* ---- the agent ------------------------------------------------------------------------------- */

#define STATUS                                                                                                                             \
	"{\"version\":\"9.9\",\"node\":\"n\\u001b[1m1\",\"monitor_pid\":10,\"server_pid\":11,\"started\":\"2026-01-02T03:04:05.000000Z\"," \
	"\"uptime_sec\":93784,\"imds_url\":\"http://127.0.0.1:1\",\"host_verdict\":\"pass\",\"policy_epoch\":3,\"future\":{\"x\":1},"      \
	"\"objects\":{\"identities\":1,\"bindings\":2,\"exceptions\":0,\"pods\":4},\"manifests\":{\"dir\":\"/m\",\"bad_files\":0},"        \
	"\"listeners\":5,\"connections\":6,\"tokens\":{\"cached\":1,\"hits\":2,\"misses\":3,\"stale\":4,\"upstream_calls\":5},"            \
	"\"counters\":{\"flow_full\":0,\"wakeup\":17}}"
#define WORKLOADS                                                                                                                                 \
	"[{\"namespace\":\"shop\",\"name\":\"cart-0\",\"uid\":\"u1\",\"cgroup\":\"/a\",\"cgroup_id\":\"123\",\"present\":true,"                   \
	"\"host_network\":false,\"excepted\":\"\",\"verdicts\":{\"imds\":\"redirect\",\"wireserver\":\"deny\",\"hostgaplugin\":\"deny\"},"        \
	"\"policies\":[{\"namespace\":\"shop\",\"name\":\"p\",\"mode\":\"enforce\"},{\"namespace\":\"gate\",\"name\":\"q\",\"mode\":\"audit\"}]," \
	"\"identities\":[\"shop/a\",\"shop/b\"]},{\"namespace\":\"kube-system\",\"name\":\"p\",\"excepted\":\"direct\",\"present\":false}]"
#define WORKLOAD                                                                                                                             \
	"{\"namespace\":\"shop\",\"name\":\"cart-0\",\"uid\":\"u1\",\"service_account\":\"sa\",\"labels\":{\"app\":\"c\\u202ert\",\"n\":1}," \
	"\"identities\":[],\"bindings\":[{\"binding\":\"b1\",\"identity\":\"shop/a\",\"client_id\":\"c-1\"}],\"requests\":{\"allowed\":7,\"denied\":8,\"failed\":9}}"

#define KUBERNETES                                                                                                                   \
	"{\"kubernetes\":{\"synced\":false,\"resources\":{\"Pod\":{\"state\":\"synced\",\"objects\":12,\"rejected\":1,\"events\":9," \
	"\"lists\":1,\"watches\":2,\"errors\":0,\"bytes\":99},\"AzureIdentity\":{\"state\":\"forbidden\"},"                          \
	"\"MetadataPolicy\":{\"state\":\"absent\",\"objects\":0}}}}"
#define EXPLANATION                                                                                                                                                     \
	"{\"caller\":{\"kind\":\"pod\",\"namespace\":\"shop\",\"name\":\"cart-0\",\"service_account\":\"default\",\"host_network\":true,"                               \
	"\"containers\":[{\"name\":\"server\",\"known\":true},{\"name\":\"x\",\"known\":false}],\"container\":\"server\",\"exe\":null},"                                \
	"\"request\":{\"kind\":\"token\",\"resource\":\"https://vault.azure.net\",\"selector_kind\":\"client_id\",\"selector_value\":\"c-1\"},"                         \
	"\"connection\":\"redirect\",\"steps\":[{\"rule\":\"label\",\"outcome\":\"set\",\"detail\":\"s\\u001b\",\"applies\":true},"                                     \
	"{\"rule\":\"binding\",\"namespace\":\"shop\",\"name\":\"b1\",\"outcome\":\"gives_identity\",\"detail\":\"a\",\"applies\":true,\"chosen\":true},"               \
	"{\"rule\":\"binding\",\"outcome\":\"omitted\",\"omitted\":3},"                                                                                                 \
	"{\"rule\":\"cluster_policy\",\"namespace\":\"gate\",\"name\":\"p\",\"outcome\":\"resource_not_allowed\",\"mode\":\"audit\",\"applies\":true,\"chosen\":true}," \
	"{\"rule\":\"namespace_policy\",\"name\":\"q\",\"outcome\":\"of_tomorrow\"},{\"rule\":\"verdict\",\"outcome\":\"would_deny\"}],"                                \
	"\"identity\":{\"source\":\"entra_secret\",\"namespace\":\"shop\",\"name\":\"a\",\"client_id\":\"c-1\"},"                                                       \
	"\"rate\":{\"per_second\":5,\"burst\":20,\"by\":\"policy\"},\"verdict\":\"%s\",\"reason\":\"%s\","                                                              \
	"\"policy\":{\"namespace\":\"gate\",\"name\":\"p\"},\"would_deny\":%s}"

static const char *const events[] = {
	"{\"seq\":1,\"time\":\"2026-01-02T03:04:05.678901Z\",\"kind\":\"token.issued\",\"decision\":\"allow\",\"reason\":\"granted\",\"pod\":{\"namespace\":\"shop\",\"name\":\"cart-0\"},\"process\":{\"pid\":42,\"comm\":\"c\",\"exe\":\"/usr/bin/curl\"},\"request\":{\"resource\":\"https://vault.azure.net\",\"path\":\"/x\"},\"identity\":{\"name\":\"cart\"},\"latency_usec\":1234}\n",
	"{\"seq\":2,\"time\":\"2026-01-02T03:04:06.000000Z\",\"kind\":\"token.denied\",\"decision\":\"deny\",\"reason\":\"not_bound\",\"pod\":{\"namespace\":\"other\",\"name\":\"cart-0\"},\"request\":{\"resource\":\"https://other.example\"},\"identity\":{\"client_id\":\"c-7\"}}\n",
	"not json\n",
	"{\"seq\":3,\"kind\":\"events.lost\",\"reason\":\"file\",\"count\":5,\"message\":\"\\u001b]0;x\\u0007\\u009b1m\\u2028\"}\n",
	"{\"seq\":4,\"kind\":\"connect.refused\",\"decision\":\"error\",\"cgroup\":{\"path\":\"/demo.slice\"},\"process\":{\"pid\":7,\"comm\":\"x y\"},\"connection\":{\"destination\":\"169.254.169.254:80\"}}\n",
};

static int run_status(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)conn;
	(void)args;
	(void)userdata;
	(void)reterr_err;
	*ret_result = json_loads(STATUS, 0, NULL);
	return *ret_result ? 0 : -EIO;
}

static int run_list(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	(void)conn;
	(void)args;
	(void)userdata;
	(void)reterr_err;
	*ret_result = json_loads(WORKLOADS, 0, NULL);
	return *ret_result ? 0 : -EIO;
}

static int run_show(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	const char *namespace = NULL, *name = NULL;

	(void)conn;
	(void)userdata;
	if (json_unpack(args, "{s:s,s:s!}", "namespace", &namespace, "name", &name) < 0)
		return -EINVAL;
	if (strcmp(namespace, "locked") == 0)
		return ig_err_set(reterr_err, -EACCES, "not for you");
	if (strcmp(namespace, "broken") == 0)
		return ig_err_set(reterr_err, -EIO, "oh\x1b[2J");
	if (strcmp(namespace, "shop") != 0 || strcmp(name, "cart-0") != 0)
		return ig_err_set(reterr_err, -ENOENT, "no workload %s/%s", namespace, name);
	*ret_result = json_loads(WORKLOAD, 0, NULL);
	return *ret_result ? 0 : -EIO;
}

/* Answers by what is asked for; echoes the question in `asked`. */
static int run_explain(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	const char *name = json_string_value(json_object_get(args, "name"));
	char text[4096];

	(void)conn;
	(void)userdata;
	if (name && strcmp(name, "none") == 0)
		return ig_err_set(reterr_err, -ENOENT, "no such pod");
	if (name && strcmp(name, "denied") == 0)
		(void)snprintf(
			text, sizeof(text), EXPLANATION, "deny", "resource_not_allowed", "null");
	else if (name && strcmp(name, "future") == 0)
		(void)snprintf(text, sizeof(text), EXPLANATION, "maybe", "unsure", "null");
	else
		(void)snprintf(text, sizeof(text), EXPLANATION, "allow", "grant",
			"\"resource_not_allowed\"");
	*ret_result = json_loads(text, 0, NULL);
	if (*ret_result)
		(void)json_object_set(*ret_result, "asked", args);
	return *ret_result ? 0 : -EIO;
}

static int run_tail(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	/* what comes back shows what was asked for */
	const size_t since = (size_t)json_integer_value(json_object_get(args, "since"));
	const char *run = json_string_value(json_object_get(args, "run"));

	(void)userdata;
	(void)ret_result;
	if (run && run[0] && strcmp(run, "r2") != 0)
		return ig_err_set(reterr_err, -EIO, "run is %s", run);
	for (size_t i = since; i < IG_ARRAY_SIZE(events); i++)
		if (ig_ctl_conn_send(conn, events[i], strlen(events[i])) < 0)
			return -EIO;
	return 0;
}

static const struct ig_ctl_verb verbs[] = {
	{"status", NULL, run_status},
	{"workload", "list", run_list},
	{"workload", "show", run_show},
	{"explain", NULL, run_explain},
	{"audit", "tail", run_tail},
	{},
};

static struct {
	char dir[64], path[80], missing[80];
	pid_t pid;
} agent;

static void serve(int fd)
{
	struct event_base *base = event_base_new();
	struct ig_ctl_server *server = NULL;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (base && ig_ctl_server_new(base, fd, verbs, NULL, &server) == 0)
		(void)event_base_dispatch(base);
	_exit(1);
}

static int start_agent(void **state)
{
	const char *tmp = getenv("TMPDIR");
	int fd = -1;

	(void)state;
	if (!tmp || strlen(tmp) > 40)
		tmp = "/tmp";
	(void)snprintf(agent.dir, sizeof(agent.dir), "%.40s/ig-cli-XXXXXX", tmp);
	if (!mkdtemp(agent.dir))
		return -1;
	(void)snprintf(agent.path, sizeof(agent.path), "%s/s", agent.dir);
	(void)snprintf(agent.missing, sizeof(agent.missing), "%s/none", agent.dir);
	if (ig_ctl_listen(agent.path, geteuid(), getegid(), &fd, NULL) < 0)
		return -1;
	agent.pid = fork();
	if (agent.pid == 0)
		serve(fd);
	(void)close(fd);
	return agent.pid > 0 ? 0 : -1;
}

static int stop_agent(void **state)
{
	(void)state;
	(void)kill(agent.pid, SIGKILL);
	(void)waitpid(agent.pid, NULL, 0);
	(void)unlink(agent.path);
	return rmdir(agent.dir);
}

/* ---- running the tool ------------------------------------------------------------------------ */

struct output {
	char *out, *err; /* owned */
	int status;
};

static void output_done(struct output *output)
{
	free(output->out);
	free(output->err);
}

/* words: separated by single blanks; the program's name and the socket are added. */
static struct output run_at(const char *socket_path, const char *words)
{
	_cleanup_free_ char *copy = strdup(words);
	char *argv[WORDS_MAX] = {(char *)"imdsgate", (char *)"--socket", (char *)socket_path};
	struct output output = {};
	size_t out_len = 0, err_len = 0;
	FILE *out = open_memstream(&output.out, &out_len);
	FILE *err = open_memstream(&output.err, &err_len);
	char *rest = copy, *word;
	int argc = 3;

	assert_non_null(copy);
	assert_non_null(out);
	assert_non_null(err);
	while ((word = strsep(&rest, " ")) && (*word || rest)) {
		assert_true(argc < WORDS_MAX - 1);
		argv[argc++] = word;
	}
	output.status = ig_cli_run(argc, argv, out, err);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(fclose(err), 0);
	return output;
}

static struct output run(const char *words)
{
	return run_at(agent.path, words);
}

/* Exactly one line, and that line is JSON. */
static json_t *parse_line(const char *text)
{
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);

	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_non_null(json);
	return json;
}

static void expect_error(const char *words, int status, const char *code)
{
	_cleanup_(output_done) struct output plain = run(words);
	char with_json[512];
	_cleanup_(json_decrefp) json_t *json = NULL;
	const char *got_code = NULL, *message = NULL;

	assert_int_equal(plain.status, status);
	assert_string_equal(plain.out, "");
	assert_true(strncmp(plain.err, "imdsgate: ", 10) == 0);
	(void)snprintf(with_json, sizeof(with_json), "--json %s", words);
	{
		_cleanup_(output_done) struct output output = run(with_json);

		assert_int_equal(output.status, status);
		assert_string_equal(output.err, "");
		json = parse_line(output.out);
	}
	assert_int_equal(json_unpack(json, "{s:{s:s,s:s!}!}", "error", "code", &got_code, "message",
				 &message),
		0);
	assert_string_equal(got_code, code);
	assert_true(message[0] != '\0');
}

/* ---- usage and help -------------------------------------------------------------------------- */

static void test_wrong_usage(void **state)
{
	static const char *const rows[] = {
		"",
		"bogus",
		"statu",
		"status now",
		"workload",
		"workload lis",
		"workload list x",
		"workload show",
		"workload show a",
		"workload show /a",
		"workload show a/",
		"workload show a/b/c",
		"workload show \xff/b",
		"workload show a/b c/d",
		"explain",
		"explain --host a",
		"explain a b",
		"explain /a",
		"explain a/",
		"explain a/b/c",
		"explain \xff",
		"explain a --exe x",
		"explain a --exe /\xff",
		"explain a --path /x --resource y",
		"explain a --path /x --client-id y",
		"explain a --client-id x --object-id y",
		"explain a --resource-id x --object-id y",
		"explain a --resource x --resource y",
		"explain --host --container x",
		"explain a --container",
		"workload list --namespace x",
		"--bogus status",
		"--json=1 status",
		"-x status",
		"status --socket /x",
		"status --json",
		"audit tail --count 0",
		"audit tail --count -1",
		"audit tail --count 1x",
		"audit tail --count",
		"audit tail --count=",
		"audit tail --count 4294967296",
		"audit tail --count 1 --count 2",
		"audit tail --kind token.isued",
		"audit tail --decision ALLOW",
		"audit tail --follow=yes",
		"audit tail --identity",
		"audit tail --text=x",
		"audit tail --since x",
		"audit tail --since -1",
		"audit tail --since 9223372036854775808",
		"audit tail --run r2",
		"audit verify",
		"audit verify --sink disk f",
		"audit tail --name x",
		"audit tail -- --count",
		"help nope",
		"help workload nope",
		"help workload list x",
		"version 1",
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++)
		expect_error(rows[i], IG_CLI_USAGE, "EINVAL");
}

static void test_usage_says_where_options_stand(void **state)
{
	_cleanup_(output_done) struct output output = run("workload list --json");

	(void)state;
	assert_string_equal(output.err,
		"imdsgate: '--json' stands before the noun\nTry 'imdsgate workload list --help'.\n");
}

static void test_hostile_word_is_escaped(void **state)
{
	_cleanup_(output_done) struct output output = run("\x1b[2J\n\xff\xc2\x9b");

	(void)state;
	assert_string_equal(output.err,
		"imdsgate: there is no noun '\\x1b[2J\\x0a\\xff\\x9b'\nTry 'imdsgate --help'.\n");
}

static void test_help_of_everything(void **state)
{
	static const char *const rows[] = {"--help", "help"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(output_done) struct output output = run(rows[i]);

		assert_int_equal(output.status, IG_CLI_OK);
		assert_string_equal(output.err, "");
		for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++)
			assert_non_null(strstr(output.out, v->summary));
		assert_non_null(strstr(output.out, "before the noun"));
	}
}

/* Every verb has the three ways to its help, and they agree. */
static void test_help_of_each_verb(void **state)
{
	(void)state;
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++) {
		char words[128];

		(void)snprintf(words, sizeof(words), "%s%s%s --help", v->noun, v->verb ? " " : "",
			v->verb ? v->verb : "");
		{
			_cleanup_(output_done) struct output a = run(words), b = {};

			(void)snprintf(words, sizeof(words), "help %s%s%s", v->noun,
				v->verb ? " " : "", v->verb ? v->verb : "");
			b = run(words);
			assert_int_equal(a.status, IG_CLI_OK);
			assert_string_equal(a.out, b.out);
			assert_non_null(strstr(a.out, v->summary));
			for (const struct ig_cli_option *o = v->options; o && o->name; o++)
				assert_non_null(strstr(a.out, o->help));
		}
	}
}

static void test_help_as_json(void **state)
{
	_cleanup_(output_done) struct output output = run("--json help");
	_cleanup_(json_decrefp) json_t *json = parse_line(output.out);
	const json_t *commands = json_object_get(json, "commands");
	size_t n = 0;

	(void)state;
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++, n++) {
		const json_t *command = json_array_get(commands, n);

		assert_string_equal(json_string_value(json_object_get(command, "noun")), v->noun);
		assert_int_equal(json_is_null(json_object_get(command, "verb")), !v->verb);
	}
	assert_int_equal(json_array_size(commands), n);
}

static void test_help_of_a_noun(void **state)
{
	_cleanup_(output_done) struct output output = run("workload --help");

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_non_null(strstr(output.out, "workload show NAMESPACE/NAME"));
	assert_null(strstr(output.out, "audit tail"));
}

static void test_version(void **state)
{
	_cleanup_(output_done) struct output plain = run("version"), json = run("--json version");
	_cleanup_(json_decrefp) json_t *parsed = parse_line(json.out);
	char expected[64];

	(void)state;
	assert_int_equal(plain.status, IG_CLI_OK);
	(void)snprintf(expected, sizeof(expected), "imdsgate %s\n",
		json_string_value(json_object_get(parsed, "version")));
	assert_string_equal(plain.out, expected);
}

/* The table can be parsed at all: options fit, names are not taken twice. */
static void test_table_is_sound(void **state)
{
	(void)state;
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++) {
		size_t n = 0;

		assert_ptr_equal(ig_cli_find(v->noun, v->verb), v);
		assert_non_null(v->run);
		assert_true(v->max_args <= IG_CLI_ARGS_MAX && v->min_args <= v->max_args);
		for (const struct ig_cli_option *o = v->options; o && o->name; o++, n++)
			for (const struct ig_cli_option *g = ig_cli_globals; g->name; g++)
				assert_string_not_equal(o->name, g->name);
		assert_true(n <= IG_CLI_OPTIONS_MAX);
	}
}

/* ---- commands -------------------------------------------------------------------------------- */

static void test_agent_is_not_there(void **state)
{
	static const char *const rows[] = {
		"status", "workload list", "workload show a/b", "explain a", "audit tail"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(output_done) struct output output = run_at(agent.missing, rows[i]);

		assert_int_equal(output.status, IG_CLI_UNREACHABLE);
		assert_string_equal(output.out, "");
		assert_non_null(strstr(output.err, agent.missing));
	}
}

static void test_errors_of_the_agent(void **state)
{
	(void)state;
	expect_error("workload show a/b", IG_CLI_REFUSED, "ENOENT");
	expect_error("workload show locked/b", IG_CLI_REFUSED, "EACCES");
	expect_error("workload show broken/b", IG_CLI_FAILED, "EIO");
	{
		_cleanup_(output_done) struct output output = run("workload show broken/b");

		assert_string_equal(output.err, "imdsgate: oh\\x1b[2J\n");
	}
}

static void test_status(void **state)
{
	_cleanup_(output_done) struct output output = run("status");

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_string_equal(output.out,
		"version            9.9\n"
		"node               n\\x1b[1m1\n"
		"monitor pid        10\n"
		"server pid         11\n"
		"started            2026-01-02T03:04:05.000000Z\n"
		"up                 1d 2h\n"
		"cgroup root        -\n"
		"pin directory      -\n"
		"IMDS               http://127.0.0.1:1\n"
		"host verdict       pass\n"
		"policy epoch       3\n"
		"listeners          5\n"
		"connections        6\n"
		"objects            identities 1, bindings 2, exceptions 0, pods 4, service accounts -, metadata policies -\n"
		"manifests          directory /m, bad files 0\n"
		"tokens             cached 1, hits 2, misses 3, stale 4, upstream calls 5, upstream errors -\n"
		"audit              emitted -, chain -, lost by subscribers -, by kernel -\n"
		"Kubernetes         -\n"
		"counter flow_full  0\n"
		"counter wakeup     17\n");
}

static void test_status_as_json(void **state)
{
	_cleanup_(output_done) struct output output = run("--json status");
	_cleanup_(json_decrefp) json_t *got = parse_line(output.out);
	_cleanup_(json_decrefp) json_t *sent = json_loads(STATUS, 0, NULL);

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_true(json_equal(got, sent));
	assert_null(strchr(output.out, '\x1b'));
}

static void test_workload_list(void **state)
{
	_cleanup_(output_done) struct output output = run("workload list");

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_string_equal(output.out,
		"NAMESPACE    NAME    IMDS      WIRESERVER  HOSTGAPLUGIN  HOSTNET  EXCEPTED  PRESENT  POLICIES              IDENTITIES\n"
		"shop         cart-0  redirect  deny        deny          no       -         yes      shop/p,gate/q(audit)  shop/a,shop/b\n"
		"kube-system  p       -         -           -             -        direct    no       -                     -\n");
}

static void test_workload_show(void **state)
{
	_cleanup_(output_done) struct output output = run("workload show shop/cart-0");

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_non_null(strstr(output.out, "service account   sa\n"));
	assert_non_null(strstr(output.out, "requests failed   9\n"));
	assert_non_null(strstr(output.out, "identities        -\n"));
	assert_non_null(strstr(output.out, "policies          -\n"));
	assert_non_null(strstr(output.out, "label             app=c\\u202ert\n"));
	assert_non_null(strstr(output.out, "label             n=\n"));
	assert_non_null(
		strstr(output.out, "binding           b1: identity shop/a, client id c-1\n"));
}

static void test_status_of_kubernetes(void **state)
{
	_cleanup_(json_decrefp) json_t *json = json_loads(KUBERNETES, 0, NULL);
	_cleanup_(json_decrefp) json_t *unused = json_pack("{s:n}", "kubernetes");
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	(void)state;
	ig_cli_format_status(json, false, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_non_null(
		strstr(b.data, "Kubernetes        not synced yet: AzureIdentity forbidden\n"));
	assert_non_null(strstr(b.data,
		"  Pod             synced, objects 12, rejected 1, events 9, lists 1, watches 2, errors 0\n"));
	assert_non_null(strstr(b.data, "  MetadataPolicy  absent, objects 0, rejected -, "));
	ig_buf_reset(&b);
	assert_int_equal(
		json_object_set_new(json_object_get(json, "kubernetes"), "synced", json_true()), 0);
	ig_cli_format_status(json, false, &b);
	ig_cli_format_status(unused, false, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_non_null(strstr(b.data, "Kubernetes        synced: AzureIdentity forbidden\n"));
	assert_non_null(strstr(b.data, "not used\n"));
}

/* ---- explain --------------------------------------------------------------------------------- */

static void test_explain(void **state)
{
	_cleanup_(output_done) struct output output = run("explain shop/cart-0");

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_string_equal(output.out,
		"caller     pod shop/cart-0, ServiceAccount default, in the host's network; containers server, x (id not known yet)\n"
		"container  server\n"
		"program    -\n"
		"asks for   a token for https://vault.azure.net, client_id c-1\n"
		"\n"
		"+  label                    the pod's label aadpodidbinding is: s\\x1b\n"
		"*  binding         shop/b1  gives the AzureIdentity: a\n"
		"-  binding                  3 more\n"
		"*  cluster policy  gate/p   does not list the resource (audit)\n"
		"-  policy          q        of_tomorrow\n"
		"\n"
		"identity  shop/a, client id c-1; tokens from Entra ID, by client secret\n"
		"rate      5 a second, 20 at once, set by the policy\n"
		"verdict   ALLOW: the pod may use this identity\n"
		"          would be denied in mode Enforce: policy gate/p does not list the resource\n");
}

static void test_explain_exit(void **state)
{
	_cleanup_(output_done) struct output denied = run("explain denied");
	_cleanup_(output_done) struct output future = run("explain future");
	_cleanup_(output_done) struct output json = run("--json explain denied");

	(void)state;
	assert_int_equal(denied.status, IG_CLI_REFUSED);
	assert_string_equal(denied.err, "");
	assert_non_null(
		strstr(denied.out, "verdict   DENY: policy gate/p does not list the resource\n"));
	/* what is not known to be allowed is not */
	assert_int_equal(future.status, IG_CLI_REFUSED);
	assert_non_null(strstr(future.out, "verdict   maybe: unsure\n"));
	assert_int_equal(json.status, IG_CLI_REFUSED);
	json_decref(parse_line(json.out));
	expect_error("explain none", IG_CLI_REFUSED, "ENOENT");
}

static void expect_question(const char *words, const char *question)
{
	_cleanup_(output_done) struct output output = run(words);
	_cleanup_(json_decrefp) json_t *answer = parse_line(output.out);
	_cleanup_(json_decrefp) json_t *expected = json_loads(question, 0, NULL);

	assert_non_null(expected);
	if (!json_equal(json_object_get(answer, "asked"), expected))
		fail_msg("%s: %s", words, output.out);
}

static void test_explain_question(void **state)
{
	(void)state;
	expect_question("--json explain a", "{\"namespace\":\"default\",\"name\":\"a\"}");
	expect_question("--json explain --host --exe /x --resource r",
		"{\"host\":true,\"exe\":\"/x\",\"resource\":\"r\"}");
	expect_question("--json explain n/a --path /metadata/instance --container c",
		"{\"namespace\":\"n\",\"name\":\"a\",\"path\":\"/metadata/instance\",\"container\":\"c\"}");
	expect_question("--json explain n/a --client-id 1",
		"{\"namespace\":\"n\",\"name\":\"a\",\"client_id\":\"1\"}");
	expect_question("--json explain n/a --object-id 1",
		"{\"namespace\":\"n\",\"name\":\"a\",\"object_id\":\"1\"}");
	expect_question("--json explain n/a --resource-id 1",
		"{\"namespace\":\"n\",\"name\":\"a\",\"resource_id\":\"1\"}");
}

static void test_explain_colors(void **state)
{
	static const struct {
		const char *verdict, *part;
	} rows[] = {
		{"allow", "verdict  \x1b[32mALLOW\x1b[0m: "},
		{"pass", "verdict  \x1b[33mPASS\x1b[0m: "},
		{"deny", "verdict  \x1b[31mDENY\x1b[0m: "},
		{"\x1b[5m", "verdict  \\x1b[5m: "},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(json_decrefp) json_t *json =
			json_pack("{s:s,s:s}", "verdict", rows[i].verdict, "reason", "grant");
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

		ig_cli_format_explanation(json, true, &b);
		assert_int_equal(ig_buf_finish(&b), 0);
		assert_non_null(strstr(b.data, rows[i].part));
	}
}

/* Results that are not what was promised do no harm. */
static void test_results_of_another_shape(void **state)
{
	static const char *const rows[] = {"null", "1", "\"x\"", "[]", "{}", "[1,null,[],{}]",
		"{\"objects\":7,\"counters\":[1],\"uptime_sec\":\"x\",\"node\":{},\"labels\":1,\"bindings\":{},\"identities\":{\"a\":1}}",
		"{\"uptime_sec\":-5,\"tokens\":{\"hits\":1.5},\"bindings\":[1],\"pod\":3,\"decision\":7,\"time\":[],\"process\":{\"pid\":\"x\"},\"latency_usec\":-1}"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(json_decrefp) json_t *json = json_loads(rows[i], JSON_DECODE_ANY, NULL);
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

		assert_non_null(json);
		ig_cli_format_status(json, false, &b);
		ig_cli_format_workloads(json, false, &b);
		ig_cli_format_workload(json, false, &b);
		ig_cli_format_explanation(json, true, &b);
		ig_cli_format_event(json, true, &b);
		assert_int_equal(ig_buf_finish(&b), 0);
		assert_int_equal(b.data[b.len - 1], '\n');
	}
}

/* ---- audit tail ------------------------------------------------------------------------------ */

static void format_event(const char *text, bool color, struct ig_buf *b)
{
	_cleanup_(json_decrefp) json_t *event = json_loads(text, 0, NULL);

	assert_non_null(event);
	ig_cli_format_event(event, color, b);
	assert_int_equal(ig_buf_finish(b), 0);
}

static void test_event_lines(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	(void)state;
	format_event(events[0], false, &b);
	format_event(events[1], false, &b);
	format_event(events[3], false, &b);
	format_event(events[4], false, &b);
	assert_string_equal(b.data,
		"2026-01-02T03:04:05.678Z  ALLOW  token.issued         shop/cart-0                   curl(42)              https://vault.azure.net           cart                granted                 1.234ms\n"
		"2026-01-02T03:04:06.000Z  DENY   token.denied         other/cart-0                  -                     https://other.example             c-7                 not_bound               -\n"
		"-                         -      events.lost          -                             -                     -                                 -                   file                    - count=5 \"\\x1b]0;x\\x07\\x9b1m\\u2028\"\n"
		"-                         ERROR  connect.refused      /demo.slice                   x y(7)                169.254.169.254:80                -                   -                       -\n");
}

static void test_event_colors(void **state)
{
	static const struct {
		const char *event, *part;
	} rows[] = {
		{"{\"decision\":\"allow\"}", " \x1b[32mALLOW  \x1b[0m-"},
		{"{\"decision\":\"deny\"}", " \x1b[31mDENY   \x1b[0m-"},
		{"{\"decision\":\"error\"}", " \x1b[33mERROR  \x1b[0m-"},
		{"{}", " \x1b[2m-      \x1b[0m-"},
		{"{\"decision\":\"\\u001b[5m\"}", " \x1b[2m-      \x1b[0m-"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

		format_event(rows[i].event, true, &b);
		assert_non_null(strstr(b.data, rows[i].part));
	}
}

/* Which of the events a filter lets through, as a string of their numbers. */
static void expect_tail(const char *options, const char *numbers)
{
	char words[256];
	struct output output;
	char got[16] = {};
	size_t n = 0;

	(void)snprintf(
		words, sizeof(words), "--json audit tail --count %zu%s", strlen(numbers), options);
	output = run(words);
	assert_int_equal(output.status, IG_CLI_OK);
	for (char *rest = output.out, *line; (line = strsep(&rest, "\n")) && *line;) {
		_cleanup_(json_decrefp) json_t *json = json_loads(line, 0, NULL);

		assert_non_null(json);
		assert_true(n < sizeof(got) - 1);
		got[n++] = (char)('0' + json_integer_value(json_object_get(json, "seq")));
	}
	output_done(&output);
	assert_string_equal(got, numbers);
}

static void test_tail_filters(void **state)
{
	(void)state;
	expect_tail("", "1234");
	expect_tail("", "12");
	expect_tail(" --follow", "1");
	expect_tail(" --pod cart-0", "12");
	expect_tail(" --pod=cart-0 --namespace=other", "2");
	expect_tail(" --identity cart", "1");
	expect_tail(" --identity c-7", "2");
	expect_tail(" --resource https://vault.azure.net", "1");
	expect_tail(" --resource https://other.example --identity c-7", "2");
	expect_tail(" --decision error", "4");
	expect_tail(" --decision none", "3");
	expect_tail(" --kind events.lost", "3");
	expect_tail(" --decision allow --namespace shop", "1");
	expect_tail(" --since 2", "3");
	expect_tail(" --since=1 --run r2", "23");
	expect_tail(" --since 0", "1");
	expect_error("audit tail --since 1 --run r3", IG_CLI_FAILED, "EIO");
}

static void test_tail_accepts_every_kind(void **state)
{
	(void)state;
	for (unsigned int kind = 0; kind < _IG_AUDIT_KIND_MAX; kind++) {
		char words[128];

		/* the agent is not there: that is found out after the words were accepted */
		(void)snprintf(words, sizeof(words), "audit tail --kind %s",
			ig_audit_kind_name((enum ig_audit_kind)kind));
		{
			_cleanup_(output_done) struct output output = run_at(agent.missing, words);

			assert_int_equal(output.status, IG_CLI_UNREACHABLE);
		}
	}
}

static void test_tail_skips_unreadable_lines(void **state)
{
	_cleanup_(output_done) struct output output = run("audit tail --text --count 3");
	size_t lines = 0;

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_string_equal(output.err, "imdsgate: an unreadable line of 8 bytes, ignoring\n");
	for (const char *p = output.out; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 3);
	assert_null(strchr(output.out, '\x1b')); /* no terminal, no colour */
	assert_true(output.out[0] == '2');
}

/* What is not a terminal gets one JSON value a line without being asked for it. */
static void test_tail_to_a_file(void **state)
{
	_cleanup_(output_done) struct output output = run("audit tail --count 2");
	_cleanup_(output_done) struct output asked = run("--json audit tail --count 2");

	(void)state;
	assert_int_equal(output.status, IG_CLI_OK);
	assert_true(output.out[0] == '{');
	assert_string_equal(output.out, asked.out);
}

static void write_log(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

#define RECORD(seq, more)                                                                                                 \
	"{\"v\":1,\"seq\":" seq                                                                                           \
	",\"boot\":\"01234567-89ab-cdef-0123-456789abcdef\",\"run\":\"00000000000000aa\",\"kind\":\"agent.started\"" more \
	"}\n"

static void test_verify(void **state)
{
	char path[96], words[256], expected[512];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/log", agent.dir);
	(void)snprintf(words, sizeof(words), "audit verify %s", path);
	write_log(path, RECORD("1", "") RECORD("2", ""));
	{
		_cleanup_(output_done) struct output good = run_at(agent.missing, words);

		assert_int_equal(good.status, IG_CLI_OK);
		assert_string_equal(good.out,
			"ok: 2 records in 1 runs, 0 reported as lost, 0 missing, 0 problems; 0 links of the chain checked\n");
	}
	write_log(path, RECORD("1", "") RECORD("4", ""));
	{
		_cleanup_(output_done) struct output bad = run_at(agent.missing, words);

		(void)snprintf(expected, sizeof(expected),
			"%s:2: missing 2 to 3 of run 00000000000000aa: 2 missing before this line, and not reported as lost\n"
			"PROBLEMS: 2 records in 1 runs, 0 reported as lost, 2 missing, 1 problems; 0 links of the chain checked\n",
			path);
		assert_int_equal(bad.status, IG_CLI_PROBLEMS);
		assert_string_equal(bad.out, expected);
	}
	assert_int_equal(unlink(path), 0);
	{
		_cleanup_(output_done) struct output none = run_at(agent.missing, words);

		assert_int_equal(none.status, IG_CLI_FAILED);
		assert_non_null(strstr(none.err, "No such file"));
	}
}

/* The tool with stdout as a given descriptor. */
static int run_to(int fd, const char *noun, const char *verb)
{
	char *argv[] = {(char *)"imdsgate", (char *)"--socket", agent.path, (char *)noun,
		(char *)verb, NULL};
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *out = fdopen(fd, "w"), *err = open_memstream(&text, &len);
	int status;

	assert_non_null(out);
	assert_non_null(err);
	status = ig_cli_run(verb ? 5 : 4, argv, out, err);
	(void)fclose(out);
	assert_int_equal(fclose(err), 0);
	if (status != IG_CLI_OK)
		assert_non_null(strstr(text, "cannot print: No space left on device"));
	else
		assert_true(!strstr(text, "cannot"));
	return status;
}

static void test_reader_that_has_gone_away(void **state)
{
	int pipes[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
		(void)close(pipes[0]);
		assert_int_equal(
			run_to(pipes[1], i ? "audit" : "status", i ? "tail" : NULL), IG_CLI_OK);
	}
}

static void test_output_that_cannot_be_written(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

		assert_true(full >= 0);
		assert_int_equal(
			run_to(full, i ? "audit" : "status", i ? "tail" : NULL), IG_CLI_FAILED);
	}
}

/* ---- text ------------------------------------------------------------------------------------ */

static void test_escaping_for_the_terminal(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x94\x92",
			"plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x94\x92"},
		{"\x1b[31m\a\b\t\r\n\x7f", "\\x1b[31m\\x07\\x08\\x09\\x0d\\x0a\\x7f"},
		{"\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "\\x80\\x9b\\x9f\xc2\xa0"},
		{"\xff\x80\xc3", "\\xff\\x80\\xc3"},
		{"\xc0\x9b", "\\xc0\\x9b"},		      /* overlong */
		{"\xe0\x82\x9b", "\\xe0\\x82\\x9b"},	      /* overlong C1 */
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},	      /* surrogate */
		{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond U+10FFFF */
		{"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},
		{"\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6\xe2\x80\x8b\xef\xbb\xbf",
			"\\u2028\\u202e\\u2066\\u200b\\ufeff"},
		{"a\\x1b \"q\"", "a\\\\x1b \"q\""},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 1024};

		ig_out_text(&b, rows[i].in, strlen(rows[i].in));
		assert_string_equal(b.data, rows[i].out);
	}
}

/* Whatever the bytes, nothing that a terminal obeys comes out. */
static void test_escaping_of_every_pair(void **state)
{
	(void)state;
	for (unsigned int pair = 0; pair < 65536; pair++) {
		const char in[2] = {(char)(pair >> 8), (char)(pair & 255)};
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 64};

		ig_out_text(&b, in, sizeof(in));
		for (size_t i = 0; i < b.len; i++) {
			unsigned char c = (unsigned char)b.data[i];

			assert_true(c >= 0x20 && c != 0x7f);
			/* alone a C1 byte is one; behind 0xc2 too */
			if (c >= 0x80 && c < 0xa0)
				assert_true(i > 0 && (unsigned char)b.data[i - 1] >= 0xc3);
		}
	}
}

static void test_json_output_is_plain_ascii(void **state)
{
	_cleanup_(json_decrefp) json_t *json = json_pack("[s]", "\x1b\x7f\xc2\x9b\xc3\xbc\"");
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 1024};

	(void)state;
	assert_int_equal(ig_out_json(&b, json), 0);
	assert_string_equal(b.data, "[\"\\u001B\\u007f\\u009B\\u00FC\\\"\"]\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_usage),
		cmocka_unit_test(test_usage_says_where_options_stand),
		cmocka_unit_test(test_hostile_word_is_escaped),
		cmocka_unit_test(test_help_of_everything),
		cmocka_unit_test(test_help_of_each_verb),
		cmocka_unit_test(test_help_as_json),
		cmocka_unit_test(test_help_of_a_noun),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_table_is_sound),
		cmocka_unit_test(test_agent_is_not_there),
		cmocka_unit_test(test_errors_of_the_agent),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_status_as_json),
		cmocka_unit_test(test_workload_list),
		cmocka_unit_test(test_workload_show),
		cmocka_unit_test(test_status_of_kubernetes),
		cmocka_unit_test(test_explain),
		cmocka_unit_test(test_explain_exit),
		cmocka_unit_test(test_explain_question),
		cmocka_unit_test(test_explain_colors),
		cmocka_unit_test(test_results_of_another_shape),
		cmocka_unit_test(test_event_lines),
		cmocka_unit_test(test_event_colors),
		cmocka_unit_test(test_tail_filters),
		cmocka_unit_test(test_tail_accepts_every_kind),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_tail_skips_unreadable_lines),
		cmocka_unit_test(test_tail_to_a_file),
		cmocka_unit_test(test_reader_that_has_gone_away),
		cmocka_unit_test(test_output_that_cannot_be_written),
		cmocka_unit_test(test_escaping_for_the_terminal),
		cmocka_unit_test(test_escaping_of_every_pair),
		cmocka_unit_test(test_json_output_is_plain_ascii),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("command line", tests, start_agent, stop_agent);
}
