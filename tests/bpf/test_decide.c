/*
 * The decisions of the data path, run in the kernel: which destinations are endpoints, whose
 * verdict counts, and that whatever is missing ends in a refusal. Needs root; makes maps and
 * programs that vanish with it, attaches nothing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <imdsgate/abi.h>

#include "bpf/decide_case.h"
#include "decide.skel.h"

#define HOST_NETNS  1000
#define OTHER_NETNS 2000

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct decide_bpf *skel;

static int setup(void **state)
{
	(void)state;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	skel = decide_bpf__open_and_load();
	return skel ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	decide_bpf__destroy(skel);
	return 0;
}

static void set_settings(uint8_t host, uint8_t other)
{
	struct ig_settings settings = {.host_netns_cookie = HOST_NETNS};
	__u32 zero = 0;

	memset(settings.host_verdict, host, sizeof(settings.host_verdict));
	memset(settings.other_verdict, other, sizeof(settings.other_verdict));
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &settings, BPF_ANY),
		0);
}

static void set_workload(uint64_t cgroup_id, uint8_t imds, uint8_t wireserver, uint8_t hostgap)
{
	struct ig_workload_entry entry = {.verdict = {imds, wireserver, hostgap}};

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(skel->maps.workloads), &cgroup_id, &entry, BPF_ANY),
		0);
}

static void drop_workload(uint64_t cgroup_id)
{
	assert_int_equal(bpf_map_delete_elem(bpf_map__fd(skel->maps.workloads), &cgroup_id), 0);
}

static void run(const struct bpf_program *program, void *ctx, size_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = ctx, .ctx_size_in = (__u32)size);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), 0);
	assert_int_equal(opts.retval, 0);
}

/* A TCP connect to IMDS from /1/2/3 of another namespace, to be changed by the test. */
static struct decide_case tcp_case(void)
{
	return (struct decide_case){
		.netns_cookie = OTHER_NETNS,
		.cgroup_ids = {1, 2, 3},
		.endpoint = IG_ENDPOINT_IMDS,
		.protocol = IPPROTO_TCP,
		.is_stream = 1,
		.verdict = 99,
	};
}

static struct decide_case decide(struct decide_case c)
{
	run(skel->progs.run_decide, &c, sizeof(c));
	return c;
}

static void nothing_set_denies(void **state)
{
	struct ig_settings none = {};
	__u32 zero = 0;
	struct decide_case c;

	(void)state;
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &none, BPF_ANY), 0);
	c = decide(tcp_case());
	assert_int_equal(c.verdict, IG_VERDICT_DENY);
	assert_int_equal(c.reason, IG_EVENT_DENIED);
	assert_int_equal(c.workload_cgroup_id, 0);
}

static void namespaces_have_their_own_default(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_REDIRECT);
	assert_int_equal(decide(c).verdict, IG_VERDICT_REDIRECT);
	c.netns_cookie = HOST_NETNS;
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
	assert_int_equal(decide(c).reason, IG_EVENT_PASSED);
	assert_false(decide(c).silent);
}

static void a_declared_ancestor_covers_its_children(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_PASS);
	set_workload(2, IG_VERDICT_REDIRECT, IG_VERDICT_DENY, IG_VERDICT_DENY);
	c = decide(c);
	assert_int_equal(c.verdict, IG_VERDICT_REDIRECT);
	assert_int_equal(c.workload_cgroup_id, 2);
	drop_workload(2);
}

static void the_deepest_declared_cgroup_counts(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_workload(1, IG_VERDICT_PASS, IG_VERDICT_PASS, IG_VERDICT_PASS);
	set_workload(3, IG_VERDICT_DENY, IG_VERDICT_DENY, IG_VERDICT_DENY);
	c = decide(c);
	assert_int_equal(c.verdict, IG_VERDICT_DENY);
	assert_int_equal(c.workload_cgroup_id, 3);
	drop_workload(3);
	c = decide(tcp_case());
	assert_int_equal(c.verdict, IG_VERDICT_PASS);
	assert_int_equal(c.workload_cgroup_id, 1);
	drop_workload(1);
}

/* kubelet's slice gives every pod its verdict, but is no workload that they would share limits in:
 * each pod is one, with all that is below it */
static void a_default_for_many_is_no_workload(void **state)
{
	struct ig_workload_entry entry = {.verdict = {IG_VERDICT_REDIRECT}, .covers_many = 1};
	uint64_t root = 1;
	struct decide_case c;

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_PASS);
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(skel->maps.workloads), &root, &entry, BPF_ANY), 0);
	c = decide(tcp_case());
	assert_int_equal(c.verdict, IG_VERDICT_REDIRECT);
	assert_int_equal(c.workload_cgroup_id, 2);
	c = tcp_case();
	c.cgroup_ids[1] = 0; /* in the slice itself */
	assert_int_equal(decide(c).verdict, IG_VERDICT_REDIRECT);
	assert_int_equal(decide(c).workload_cgroup_id, 0);
	set_workload(2, IG_VERDICT_DENY, 0, 0);
	c = decide(tcp_case());
	assert_int_equal(c.verdict, IG_VERDICT_DENY);
	assert_int_equal(c.workload_cgroup_id, 2);
	drop_workload(2);
	drop_workload(1);
}

static void the_last_level_is_looked_at(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_PASS);
	for (uint64_t i = 0; i < IG_CGROUP_DEPTH_MAX; i++)
		c.cgroup_ids[i] = 100 + i;
	set_workload(100 + IG_CGROUP_DEPTH_MAX - 1, IG_VERDICT_REDIRECT, 0, 0);
	assert_int_equal(decide(c).verdict, IG_VERDICT_REDIRECT);
	drop_workload(100 + IG_CGROUP_DEPTH_MAX - 1);
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
}

static void hostnetwork_workloads_are_told_apart_by_cgroup(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_REDIRECT);
	c.netns_cookie = HOST_NETNS;
	set_workload(2, IG_VERDICT_REDIRECT, IG_VERDICT_DENY, IG_VERDICT_DENY);
	assert_int_equal(decide(c).verdict, IG_VERDICT_REDIRECT);
	c.cgroup_ids[1] = 77;
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
	drop_workload(2);
}

static void an_entry_that_goes_meanwhile_does_not_make_a_host_process(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_PASS);
	set_workload(1, IG_VERDICT_PASS, IG_VERDICT_PASS, IG_VERDICT_PASS);
	c.netns_cookie = HOST_NETNS;
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
	c.gone_cgroup_id = 3;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
	assert_int_equal(decide(c).workload_cgroup_id, 0);
	drop_workload(1);
}

static void each_endpoint_has_its_own_verdict(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_workload(2, IG_VERDICT_REDIRECT, IG_VERDICT_DENY, IG_VERDICT_PASS);
	assert_int_equal(decide(c).verdict, IG_VERDICT_REDIRECT);
	c.endpoint = IG_ENDPOINT_WIRESERVER;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
	c.endpoint = IG_ENDPOINT_HOSTGAPLUGIN;
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
	c.endpoint = _IG_ENDPOINT_MAX;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
	drop_workload(2);
}

static void nonsense_in_a_map_denies(void **state)
{
	(void)state;
	set_workload(2, 200, 200, 200);
	assert_int_equal(decide(tcp_case()).verdict, IG_VERDICT_DENY);
	drop_workload(2);
	set_settings(200, 200);
	assert_int_equal(decide(tcp_case()).verdict, IG_VERDICT_DENY);
}

static void only_streams_can_be_redirected(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_PASS, IG_VERDICT_REDIRECT);
	c.protocol = IPPROTO_UDP;
	c.is_stream = 0;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
	assert_int_equal(decide(c).reason, IG_EVENT_NOT_TCP);
	c.protocol = IPPROTO_SCTP;
	c.is_stream = 1;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
	c.protocol = IPPROTO_MPTCP;
	assert_int_equal(decide(c).verdict, IG_VERDICT_REDIRECT);
	/* what passes, passes: a host process may speak UDP to what it likes */
	c.protocol = IPPROTO_UDP;
	c.is_stream = 0;
	c.netns_cookie = HOST_NETNS;
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
}

static void the_agents_sockets_pass_to_imds_only(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_settings(IG_VERDICT_DENY, IG_VERDICT_DENY);
	c.from_agent = 1;
	assert_int_equal(decide(c).verdict, IG_VERDICT_PASS);
	assert_true(decide(c).silent);
	c.endpoint = IG_ENDPOINT_WIRESERVER;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
	assert_false(decide(c).silent);
}

static struct endpoint_case at(const char *text, uint16_t port)
{
	struct endpoint_case c = {.port_be = htons(port), .endpoint = 99};

	assert_int_equal(inet_pton(AF_INET6, text, c.ip6_be), 1);
	run(skel->progs.run_endpoint, &c, sizeof(c));
	return c;
}

static void endpoints_are_exact(void **state)
{
	static const struct {
		const char *address;
		uint16_t port;
		uint32_t endpoint;
	} cases[] = {
		{"::ffff:169.254.169.254", 80, IG_ENDPOINT_IMDS},
		{"::ffff:169.254.169.254", 81, _IG_ENDPOINT_MAX},
		{"::ffff:169.254.169.254", 20480,
			_IG_ENDPOINT_MAX}, /* 80 in the other byte order */
		{"::ffff:169.254.169.253", 80, _IG_ENDPOINT_MAX},
		{"::ffff:254.169.254.169", 80, _IG_ENDPOINT_MAX},
		{"::ffff:168.63.129.16", 80, IG_ENDPOINT_WIRESERVER},
		{"::ffff:168.63.129.16", 32526, IG_ENDPOINT_HOSTGAPLUGIN},
		{"::ffff:168.63.129.16", 53, _IG_ENDPOINT_MAX},
		{"::ffff:168.63.129.16", 443, _IG_ENDPOINT_MAX},
		{"::ffff:127.0.0.1", 80, _IG_ENDPOINT_MAX},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(at(cases[i].address, cases[i].port).endpoint, cases[i].endpoint);
}

static void only_mapped_addresses_are_mapped(void **state)
{
	(void)state;
	assert_true(at("::ffff:169.254.169.254", 80).is_v4_mapped);
	assert_false(at("::169.254.169.254", 80).is_v4_mapped);
	assert_false(at("64:ff9b::169.254.169.254", 80).is_v4_mapped);
	assert_false(at("fe80::ffff:a9fe:a9fe", 80).is_v4_mapped);
	assert_false(at("1::ffff:169.254.169.254", 80).is_v4_mapped);
}

static void set_host_token_port(uint16_t port)
{
	struct ig_settings settings = {
		.host_netns_cookie = HOST_NETNS, .host_token_port_be = htons(port)};
	__u32 zero = 0;

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(skel->maps.settings), &zero, &settings, BPF_ANY),
		0);
}

static void the_host_token_port_is_exact(void **state)
{
	(void)state;
	set_host_token_port(2579);
	assert_true(at("::ffff:127.0.0.1", 2579).is_host_token);
	assert_int_equal(at("::ffff:127.0.0.1", 2579).endpoint, _IG_ENDPOINT_MAX);
	assert_false(at("::ffff:127.0.0.1", 2580).is_host_token);
	assert_false(at("::ffff:127.0.0.1", 4874).is_host_token); /* the other byte order */
	assert_false(at("::ffff:127.0.0.2", 2579).is_host_token);
	assert_false(at("::ffff:0.0.0.0", 2579).is_host_token);
	assert_false(at("::ffff:169.254.169.254", 2579).is_host_token);
	assert_false(at("::ffff:127.0.0.1", 0).is_host_token);
	set_host_token_port(0);
	assert_false(at("::ffff:127.0.0.1", 2579).is_host_token);
	assert_false(at("::ffff:127.0.0.1", 0).is_host_token);
}

static struct decide_case host_token(struct decide_case c)
{
	run(skel->progs.run_host_token, &c, sizeof(c));
	return c;
}

/* The port means the agent's only in the host's namespace, whatever the verdicts are. */
static void only_the_hosts_streams_reach_the_host_token_port(void **state)
{
	struct decide_case c = tcp_case();

	(void)state;
	set_host_token_port(2579);
	c.endpoint = IG_ENDPOINT_HOST_TOKEN;
	assert_false(host_token(c).verdict);
	c.netns_cookie = HOST_NETNS;
	assert_true(host_token(c).verdict);
	assert_int_equal(host_token(c).workload_cgroup_id, 0);
	set_workload(2, IG_VERDICT_DENY, IG_VERDICT_DENY, IG_VERDICT_DENY);
	assert_true(host_token(c).verdict);
	assert_int_equal(host_token(c).workload_cgroup_id, 2);
	drop_workload(2);
	c.protocol = IPPROTO_MPTCP;
	assert_true(host_token(c).verdict);
	c.protocol = IPPROTO_UDP;
	c.is_stream = 0;
	assert_false(host_token(c).verdict);
	/* and it is no endpoint with a verdict of its own */
	c = tcp_case();
	c.endpoint = IG_ENDPOINT_HOST_TOKEN;
	assert_int_equal(decide(c).verdict, IG_VERDICT_DENY);
}

static struct tell_case tell(uint64_t suppressed, uint64_t told)
{
	struct tell_case c = {
		.turn = {.suppressed = suppressed, .told = told}, .workload = 7, .untold = 99};

	run(skel->progs.run_tell, &c, sizeof(c));
	return c;
}

/* Two processors that write records of one workload at the same moment. */
static void what_was_suppressed_is_told_once(void **state)
{
	const int telling = bpf_map__fd(skel->maps.telling);
	const __u64 workload = 7, other = 8;
	struct tell_case c = tell(5, 2);
	__u8 one = 1;

	(void)state;
	assert_int_equal(c.untold, 3);
	assert_int_equal(c.turn.told, 5);
	assert_int_equal(tell(5, 5).untold, 0);
	/* another processor is at it */
	assert_int_equal(bpf_map_update_elem(telling, &workload, &one, BPF_NOEXIST), 0);
	c = tell(9, 5);
	assert_int_equal(c.untold, 0);
	assert_int_equal(c.turn.told, 5);
	assert_int_equal(bpf_map_delete_elem(telling, &workload), 0);
	assert_int_equal(tell(9, 5).untold, 4);
	/* somebody else's is in nobody's way, and nothing is left behind */
	assert_int_equal(bpf_map_update_elem(telling, &other, &one, BPF_NOEXIST), 0);
	assert_int_equal(tell(9, 5).untold, 4);
	assert_int_equal(bpf_map_delete_elem(telling, &other), 0);
	assert_int_not_equal(bpf_map_delete_elem(telling, &workload), 0);
}

/* The turn was pushed out, and given to another workload, while a processor told from it. */
static void less_suppressed_than_told_is_nothing(void **state)
{
	struct tell_case c = tell(1, 1000);

	(void)state;
	assert_int_equal(c.untold, 0);
	assert_int_equal(c.turn.told, 1);
	assert_int_equal(tell(3, 1).untold, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_set_denies),
		cmocka_unit_test(namespaces_have_their_own_default),
		cmocka_unit_test(a_declared_ancestor_covers_its_children),
		cmocka_unit_test(the_deepest_declared_cgroup_counts),
		cmocka_unit_test(a_default_for_many_is_no_workload),
		cmocka_unit_test(the_last_level_is_looked_at),
		cmocka_unit_test(hostnetwork_workloads_are_told_apart_by_cgroup),
		cmocka_unit_test(an_entry_that_goes_meanwhile_does_not_make_a_host_process),
		cmocka_unit_test(each_endpoint_has_its_own_verdict),
		cmocka_unit_test(nonsense_in_a_map_denies),
		cmocka_unit_test(only_streams_can_be_redirected),
		cmocka_unit_test(the_agents_sockets_pass_to_imds_only),
		cmocka_unit_test(endpoints_are_exact),
		cmocka_unit_test(only_mapped_addresses_are_mapped),
		cmocka_unit_test(the_host_token_port_is_exact),
		cmocka_unit_test(only_the_hosts_streams_reach_the_host_token_port),
		cmocka_unit_test(what_was_suppressed_is_told_once),
		cmocka_unit_test(less_suppressed_than_told_is_nothing),
	};

	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_SYSCALL, NULL) == 0) {
		puts("1..0 # SKIP needs BPF programs that a system call runs (Linux 5.14)");
		return 77;
	}
	return cmocka_run_group_tests_name("bpf/decide", tests, setup, teardown);
}
