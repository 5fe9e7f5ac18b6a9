/*
 * The command line of imdsgated: every flag, its limits, and what is said when it is wrong.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "agent/options.h"

#define PARSE(ret, err, ...) parse((char *[]){"imdsgated", ##__VA_ARGS__, NULL}, (ret), (err))

static int parse(char **argv, struct ig_options *ret, struct ig_err *err)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	return ig_options_parse(argc, argv, ret, err);
}

static void defaults_are_those_of_the_manual(void **state)
{
	struct ig_options o;

	(void)state;
	assert_int_equal(PARSE(&o, NULL), 0);
	assert_int_equal(o.mode, IG_MODE_RUN);
	assert_string_equal(o.manifests, "/etc/imdsgate/manifests");
	assert_string_equal(o.imds_url, "http://169.254.169.254");
	assert_string_equal(o.secrets, "/etc/imdsgate/secrets");
	assert_null(o.identity_defaults.tenant_id);
	assert_null(o.identity_defaults.authority);
	assert_string_equal(o.bpffs, "/sys/fs/bpf");
	assert_string_equal(o.cgroup_root, "");
	assert_string_equal(o.netns_dirs[0], "/run/netns");
	assert_string_equal(o.netns_dirs[1], "/run/docker/netns");
	assert_null(o.netns_dirs[2]);
	assert_string_equal(o.user, "imdsgate");
	assert_int_equal(o.host_verdict, IG_VERDICT_PASS);
	assert_int_equal(o.gate_port, 254);
	assert_int_equal(o.requests_per_second, 200);
	assert_false(o.policy.allow_cross_namespace);
	assert_null(o.metrics.socket);
	assert_int_equal(o.metrics.port, 0);
	assert_int_equal(o.ready_fd, -1);
	assert_int_equal(o.log_level, IG_LOG_INFO);
	assert_true(strlen(o.node) > 0);
	assert_string_equal(o.audit.file, "/var/log/imdsgate/audit.jsonl");
	assert_int_equal(o.audit.rotate_bytes, 0);
	assert_int_equal(o.audit.rotate_usec, 0);
	assert_int_equal(o.audit.keep, 10);
	assert_int_equal(o.audit.fsync, IG_AUDIT_FSYNC_NONE);
	assert_false(o.audit.to_stdout);
	assert_false(o.audit.chain);
}

static void flags_of_the_audit(void **state)
{
	struct ig_options o;

	(void)state;
	assert_int_equal(PARSE(&o, NULL, "--audit-file=/a/b", "--audit-rotate-size", "64M",
				 "--audit-rotate-age", "7d", "--audit-keep", "999",
				 "--audit-fsync=interval", "--audit-stdout", "--audit-chain"),
		0);
	assert_string_equal(o.audit.file, "/a/b");
	assert_int_equal(o.audit.rotate_bytes, 64ULL << 20);
	assert_int_equal(o.audit.rotate_usec, 7ULL * 86400 * 1000000);
	assert_int_equal(o.audit.keep, IG_AUDIT_KEEP_MAX);
	assert_int_equal(o.audit.fsync, IG_AUDIT_FSYNC_INTERVAL);
	assert_true(o.audit.to_stdout);
	assert_true(o.audit.chain);
	assert_int_equal(PARSE(&o, NULL, "--audit-rotate-size", "65536", "--audit-rotate-age",
				 "90s", "--audit-fsync=always"),
		0);
	assert_int_equal(o.audit.rotate_bytes, 65536);
	assert_int_equal(o.audit.rotate_usec, 90ULL * 1000000);
	assert_int_equal(o.audit.fsync, IG_AUDIT_FSYNC_ALWAYS);
	assert_int_equal(PARSE(&o, NULL, "--audit-rotate-size=0", "--audit-rotate-age=0"), 0);
	assert_int_equal(o.audit.rotate_bytes, 0);
	assert_int_equal(o.audit.rotate_usec, 0);
}

static void both_spellings_of_a_value_work(void **state)
{
	struct ig_options o;

	(void)state;
	assert_int_equal(
		PARSE(&o, NULL, "--gate-port", "8254", "--node=n1", "--host-verdict=deny",
			"--netns-dir=/a", "--netns-dir", "/b", "--allow-cross-namespace",
			"--secrets=/s", "--tenant-id", "a.example",
			"--authority-host=https://login.microsoftonline.us/", "--guard=eth0,eth1",
			"--guard-hook=clsact", "--requests-per-second=1000"),
		0);
	assert_string_equal(o.guard, "eth0,eth1");
	assert_true(o.guard_clsact);
	assert_int_equal(o.gate_port, 8254);
	assert_int_equal(o.requests_per_second, 1000);
	assert_string_equal(o.secrets, "/s");
	assert_string_equal(o.identity_defaults.tenant_id, "a.example");
	assert_string_equal(o.identity_defaults.authority, "https://login.microsoftonline.us/");
	assert_string_equal(o.node, "n1");
	assert_int_equal(o.host_verdict, IG_VERDICT_DENY);
	assert_string_equal(o.netns_dirs[0], "/a");
	assert_string_equal(o.netns_dirs[1], "/b");
	assert_null(o.netns_dirs[2]);
	assert_true(o.policy.allow_cross_namespace);
}

static void help_and_version_win_over_what_follows(void **state)
{
	struct ig_options o;

	(void)state;
	assert_int_equal(PARSE(&o, NULL, "--help", "--nonsense"), 0);
	assert_int_equal(o.mode, IG_MODE_HELP);
	assert_int_equal(PARSE(&o, NULL, "--version"), 0);
	assert_int_equal(o.mode, IG_MODE_VERSION);
}

static void wrong(const char *expected, char **argv)
{
	struct ig_options o = {.gate_port = 77};
	struct ig_err err = {};

	assert_true(parse(argv, &o, &err) < 0);
	if (!strstr(err.message, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.message, expected);
	assert_int_equal(o.gate_port, 77);
}

#define WRONG(expected, ...) wrong(expected, (char *[]){"imdsgated", __VA_ARGS__, NULL})

static void what_is_wrong_is_named(void **state)
{
	(void)state;
	WRONG("unknown option \"--bogus\"", "--bogus");
	WRONG("unknown argument \"start\"", "start");
	WRONG("unknown option \"--gate\"", "--gate", "1");
	WRONG("unknown option \"--\"", "--");
	WRONG("--gate-port needs a value", "--gate-port");
	WRONG("--check-config takes no value", "--check-config=yes");
	WRONG("1 to 65535", "--gate-port", "0");
	WRONG("1 to 100000", "--requests-per-second", "0");
	WRONG("1 to 100000", "--requests-per-second", "100001");
	WRONG("1 to 65535", "--gate-port", "65536");
	WRONG("1 to 65535", "--gate-port", "-1");
	WRONG("pass, deny or redirect", "--host-verdict", "allow");
	WRONG("auto, off, or interfaces", "--guard", "");
	WRONG("auto, off, or interfaces", "--guard", "eth0,");
	WRONG("auto, off, or interfaces", "--guard", "eth0,eth 1");
	WRONG("auto, off, or interfaces", "--guard", "abcdefghijklmnop");
	WRONG("auto or clsact", "--guard-hook", "tcx");
	WRONG("absolute path", "--bpffs", "relative");
	WRONG("absolute path", "--cgroup-root", "x");
	WRONG("absolute path", "--secrets", "secrets");
	WRONG("absolute path", "--secrets", "");
	WRONG("a GUID or a domain name", "--tenant-id", "a/b");
	WRONG("a GUID or a domain name", "--tenant-id", "");
	WRONG("https://HOST", "--authority-host", "login.microsoftonline.us");
	WRONG("https://HOST", "--authority-host", "http://login.microsoftonline.us");
	WRONG("trailing slash", "--netns-dir", "/run/netns/");
	WRONG("without a path", "--imds-url", "http://127.0.0.1:80/metadata");
	WRONG("without a path", "--imds-url", "ftp://127.0.0.1");
	WRONG("without a path", "--imds-url", "http://user@127.0.0.1");
	WRONG("without a path", "--imds-url", "http://");
	WRONG("absolute path", "--host-token-socket", "host.sock");
	WRONG("1 to 65535", "--host-token-port", "0", "--host-token-cgroup", "/x");
	WRONG("need --host-token-socket or", "--host-token-cgroup", "/x");
	WRONG("needs --host-token-cgroup or", "--host-token-port", "2579");
	WRONG("need --host-token-socket or", "--host-token-service-account", "kube-system/csi");
	WRONG("takes NAMESPACE/NAME", "--host-token-service-account", "csi");
	WRONG("takes NAMESPACE/NAME", "--host-token-service-account", "/csi");
	WRONG("takes NAMESPACE/NAME", "--host-token-service-account", "kube-system/");
	WRONG("takes NAMESPACE/NAME", "--host-token-service-account", "kube-system/a/b");
	WRONG("path below the cgroup root", "--host-token-cgroup", "/");
	WRONG("path below the cgroup root", "--host-token-cgroup", "x");
	WRONG("path below the cgroup root", "--host-token-cgroup", "/x/../y");
	WRONG("path below the cgroup root", "--host-token-cgroup", "/x/");
	WRONG("different ports", "--host-token-cgroup", "/x", "--host-token-port", "254");
	WRONG("absolute path", "--metrics-socket", "metrics.sock");
	WRONG("1 to 65535", "--metrics-port", "0");
	WRONG("1 to 65535", "--metrics-port", "http");
	WRONG("IPv4 or IPv6", "--metrics-address", "localhost", "--metrics-port", "9254");
	WRONG("needs --metrics-port", "--metrics-address", "::1");
	WRONG("needs --metrics-socket", "--metrics-group", "prometheus");
	WRONG("different ports", "--metrics-port", "254");
	WRONG("different ports", "--metrics-port", "77", "--host-token-port", "77",
		"--host-token-cgroup", "/x");
	WRONG("1 to 255 bytes", "--node", "");
	WRONG("key of a taint", "--kubernetes", "--startup-taint", "a b");
	WRONG("key of a taint", "--kubernetes", "--startup-taint", "");
	WRONG("needs --kubernetes", "--startup-taint", "imdsgate.dev/agent-not-ready");
	WRONG("descriptor", "--ready-fd", "x");
	WRONG("err, warning, info or debug", "--log-level", "loud");
	WRONG("only one of", "--check-config", "--detach");
	WRONG("path of a file", "--audit-file", "/var/log/");
	WRONG("path of a file", "--audit-file", "");
	WRONG("from 64K", "--audit-rotate-size", "65535");
	WRONG("from 64K", "--audit-rotate-size", "1T");
	WRONG("from 64K", "--audit-rotate-size", "-1");
	WRONG("from 64K", "--audit-rotate-size", "M");
	WRONG("from 64K", "--audit-rotate-size", "99999999999G");
	WRONG("such as 90s", "--audit-rotate-age", "90");
	WRONG("such as 90s", "--audit-rotate-age", "1w");
	WRONG("such as 90s", "--audit-rotate-age", "999999999999999999d");
	WRONG("1 to 999", "--audit-keep", "0");
	WRONG("1 to 999", "--audit-keep", "1000");
	WRONG("none, interval or always", "--audit-fsync", "sometimes");
	WRONG("takes no value", "--audit-chain=yes");
	WRONG("--audit-syslog: a syslog receiver is", "--audit-syslog", "udp://h");
	WRONG("absolute path", "--audit-syslog-ca", "ca.pem");
	WRONG("/v1/logs", "--audit-otlp", "ftp://h/v1/logs");
	WRONG("/v1/logs", "--audit-otlp", "http:///v1/logs");
	WRONG("/v1/logs", "--audit-otlp", "https://user:secret@h/v1/logs");
	WRONG("absolute path", "--audit-otlp-headers", "h");
	WRONG("no --ready-fd", "--replace", "--ready-fd", "3");
}

static void host_token_cgroups_have_a_limit(void **state)
{
	char *argv[2 * (IG_HOST_TOKEN_CGROUPS_MAX + 1) + 4] = {
		"imdsgated", "--host-token-socket", "/s"};
	struct ig_err err = {};
	struct ig_options o;
	size_t n = 3;

	(void)state;
	for (int i = 0; i < IG_HOST_TOKEN_CGROUPS_MAX; i++) {
		argv[n++] = "--host-token-cgroup";
		argv[n++] = "/x";
	}
	assert_int_equal(parse(argv, &o, &err), 0);
	assert_non_null(o.host_token_cgroups[IG_HOST_TOKEN_CGROUPS_MAX - 1]);
	assert_null(o.host_token_cgroups[IG_HOST_TOKEN_CGROUPS_MAX]);
	argv[n++] = "--host-token-cgroup";
	argv[n++] = "/x";
	assert_int_equal(parse(argv, &o, &err), -E2BIG);
}

static void the_server_never_is_root(void **state)
{
	struct ig_err err = {};
	struct ig_options o;

	(void)state;
	assert_int_equal(PARSE(&o, NULL, "--user", "0", "--cgroup-root", "/x"), 0);
	assert_int_equal(ig_options_complete(&o, &err), -EINVAL);
	assert_non_null(strstr(err.message, "must not be root"));
	assert_int_equal(PARSE(&o, NULL, "--user", "root", "--cgroup-root", "/x"), 0);
	assert_int_equal(ig_options_complete(&o, &err), -EINVAL);
	assert_int_equal(PARSE(&o, NULL, "--user", "no-such-user-here", "--cgroup-root", "/x"), 0);
	assert_int_equal(ig_options_complete(&o, &err), -ENOENT);
	assert_non_null(strstr(err.message, "useradd"));
	assert_int_equal(PARSE(&o, NULL, "--user", "4711", "--cgroup-root", "/x"), 0);
	assert_int_equal(ig_options_complete(&o, &err), 0);
	assert_int_equal(o.uid, 4711);
	assert_int_equal(o.gid, 4711);
}

static void the_metrics_group_is_looked_up(void **state)
{
	struct ig_err err = {};
	struct ig_options o;

	(void)state;
	assert_int_equal(
		PARSE(&o, NULL, "--user", "4711", "--cgroup-root", "/x", "--metrics-socket", "/s"),
		0);
	assert_int_equal(ig_options_complete(&o, &err), 0);
	assert_int_equal(o.metrics.gid, 4711);
	assert_int_equal(PARSE(&o, NULL, "--user", "4711", "--cgroup-root", "/x",
				 "--metrics-socket", "/s", "--metrics-group", "4712"),
		0);
	assert_int_equal(ig_options_complete(&o, &err), 0);
	assert_int_equal(o.metrics.gid, 4712);
	assert_int_equal(PARSE(&o, NULL, "--user", "4711", "--cgroup-root", "/x",
				 "--metrics-socket", "/s", "--metrics-group", "root"),
		0);
	assert_int_equal(ig_options_complete(&o, &err), 0);
	assert_int_equal(o.metrics.gid, 0);
	assert_int_equal(PARSE(&o, NULL, "--user", "4711", "--cgroup-root", "/x",
				 "--metrics-socket", "/s", "--metrics-group", "no-such-group"),
		0);
	assert_int_equal(ig_options_complete(&o, &err), -ENOENT);
	assert_non_null(strstr(err.message, "--metrics-group"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_manual),
		cmocka_unit_test(flags_of_the_audit),
		cmocka_unit_test(both_spellings_of_a_value_work),
		cmocka_unit_test(help_and_version_win_over_what_follows),
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(host_token_cgroups_have_a_limit),
		cmocka_unit_test(the_server_never_is_root),
		cmocka_unit_test(the_metrics_group_is_looked_up),
	};

	return cmocka_run_group_tests_name("agent/options", tests, NULL, NULL);
}
