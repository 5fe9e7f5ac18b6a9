/*
 * The check of `imdsgate doctor` for packet filter rules about the metadata addresses: leftovers of
 * aad-pod-identity, and others that may surprise; see doctor.h.
 *
 * It reads what iptables-save(8) and nft(8) print, in the agent's network namespace, and must never
 * change a rule. The tools are found in fixed places and run without a shell or an environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "cli/doctor.h"
#include "cli/out.h"
#include "workload/netns.h"

#define NMI_CHAIN  "aad-metadata"
#define NMI_PORT   2579
#define READ_BYTES 65536

static const char *const addresses[] = {"169.254.169.254", "168.63.129.16"};

/* ---- reading (pure) ---- */

static void show(struct ig_doctor_rules *rules, const char *text, size_t len)
{
	if (rules->n_shown >= IG_DOCTOR_RULES_SHOWN)
		return;
	ig_buf_puts(&rules->shown, rules->n_shown++ ? "; " : "");
	ig_buf_append(&rules->shown, text, len);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Does `text` hold `word`, with no digit or dot beside it that would make it another number? */
static bool mentions(const char *text, size_t len, const char *word)
{
	size_t n = strlen(word);
	bool is_number = is_digit(word[0]);

	for (size_t i = 0; i + n <= len; i++) {
		char before = i && is_number ? text[i - 1] : ' ';
		char behind = i + n < len ? text[i + n] : ' ';

		if (memcmp(text + i, word, n) == 0 && !is_digit(before) && before != '.' &&
			!is_digit(behind))
			return true;
	}
	return false;
}

static bool mentions_address(const char *text, size_t len)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(addresses); i++)
		if (mentions(text, len, addresses[i]))
			return true;
	return false;
}

static void judge(struct ig_doctor_rules *rules, const char *text, size_t len, bool to_nmi)
{
	if (to_nmi || mentions(text, len, NMI_CHAIN))
		rules->nmi++;
	else if (mentions_address(text, len))
		rules->other++;
	else
		return;
	show(rules, text, len);
}

void ig_doctor_read_iptables(const char *text, struct ig_doctor_rules *rules)
{
	while (*text) {
		size_t len = strcspn(text, "\n");

		/* chains (":name policy [n:m]") and rules ("-A chain …"); the rest is frame */
		if (text[0] == ':' || text[0] == '-')
			judge(rules, text, len,
				text[0] == '-' &&
					(mentions(text, len, "DNAT") ||
						mentions(text, len, "REDIRECT")) &&
					(mentions(text, len, ":2579") ||
						mentions(text, len, "--to-ports 2579")));
		text += len + (text[len] == '\n');
	}
}

/* Is there a port 2579 below `value` in a statement that rewrites the destination? */
static bool rewrites_to_nmi(const json_t *rule)
{
	static const char *const statements[] = {"dnat", "redirect"};
	const json_t *statement;
	size_t i;

	json_array_foreach (json_object_get(rule, "expr"), i, statement)
		for (size_t s = 0; s < IG_ARRAY_SIZE(statements); s++) {
			const json_t *to = json_object_get(statement, statements[s]);

			if (json_integer_value(json_object_get(to, "port")) == NMI_PORT)
				return true;
		}
	return false;
}

void ig_doctor_read_nft(const json_t *ruleset, struct ig_doctor_rules *rules)
{
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(ruleset, "nftables"), i, item) {
		const json_t *rule = json_object_get(item, "rule");
		_cleanup_free_ char *text = NULL;

		if (!rule)
			rule = json_object_get(item, "chain");
		text = rule ? json_dumps(rule, JSON_COMPACT) : NULL;
		if (text)
			judge(rules, text, strlen(text), rewrites_to_nmi(rule));
	}
}

/* ---- running the tools ---- */

static bool find_tool(const char *name, char *ret, size_t len)
{
	static const char *const dirs[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin"};

	for (size_t i = 0; i < IG_ARRAY_SIZE(dirs); i++) {
		(void)snprintf(ret, len, "%s/%s", dirs[i], name);
		if (access(ret, X_OK) == 0)
			return true;
	}
	return false;
}

/* In the child. */
static void exec_tool(char *const *argv, int netns_fd, int out)
{
	static char *const environment[] = {(char *)"LC_ALL=C", NULL};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (netns_fd >= 0 && ig_netns_enter(netns_fd) < 0)
		_exit(127);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		dup2(null, STDERR_FILENO) < 0)
		_exit(127);
	(void)execve(argv[0], argv, environment);
	_exit(127);
}

/* All that comes until the end, within the time. */
static int read_output(int fd, struct ig_buf *ret)
{
	uint64_t end = ig_clock_mono_usec() + IG_DOCTOR_RULES_SEC * IG_USEC_PER_SEC;
	char chunk[READ_BYTES];

	for (;;) {
		uint64_t now = ig_clock_mono_usec();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (now >= end)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((end - now) / IG_USEC_PER_MSEC) + 1) <= 0)
			continue;
		n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return ig_buf_finish(ret);
		if (n > 0)
			ig_buf_append(ret, chunk, (size_t)n);
		if (ret->error)
			return ret->error;
	}
}

/* What the tool prints. -ENOENT without the tool, -EIO when it fails. */
static int run_tool(char **argv, int netns_fd, struct ig_buf *ret)
{
	char path[64];
	int pipes[2], status = 0, r;
	pid_t pid;

	if (!find_tool(argv[0], path, sizeof(path)))
		return -ENOENT;
	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	argv[0] = path;
	pid = fork();
	if (pid == 0)
		exec_tool(argv, netns_fd, pipes[1]);
	r = pid < 0 ? -errno : 0;
	(void)ig_close(pipes[1]);
	if (r == 0)
		r = read_output(pipes[0], ret);
	(void)ig_close(pipes[0]);
	if (pid > 0) {
		if (r < 0)
			(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
	}
	if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		r = -EIO;
	return r;
}

static int look_with_iptables(const char *tool, int netns_fd, struct ig_doctor_rules *rules)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = IG_DOCTOR_RULES_BYTES};
	char *argv[] = {(char *)tool, NULL};
	int r = run_tool(argv, netns_fd, &text);

	if (r == 0 && text.data)
		ig_doctor_read_iptables(text.data, rules);
	return r;
}

static int look_with_nft(int netns_fd, struct ig_doctor_rules *rules)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = IG_DOCTOR_RULES_BYTES};
	char *argv[] = {(char *)"nft", (char *)"-j", (char *)"list", (char *)"ruleset", NULL};
	_cleanup_(json_decrefp) json_t *ruleset = NULL;
	int r = run_tool(argv, netns_fd, &text);

	if (r < 0)
		return r;
	ruleset = text.len ? ig_json_load(text.data, text.len, 0, NULL) : json_object();
	if (!ruleset)
		return -EBADMSG;
	ig_doctor_read_nft(ruleset, rules);
	return 0;
}

/* Where iptables-save is the legacy one itself, the second would only say the same again. */
static bool is_same_tool(const char *a, const char *b)
{
	char path_a[64], path_b[64];
	_cleanup_free_ char *real_a = NULL, *real_b = NULL;

	if (!find_tool(a, path_a, sizeof(path_a)) || !find_tool(b, path_b, sizeof(path_b)))
		return false;
	real_a = realpath(path_a, NULL);
	real_b = realpath(path_b, NULL);
	return real_a && real_b && strcmp(real_a, real_b) == 0;
}

/* The namespace of the agent, which is the node's; ours if /proc does not show it. */
static int open_agent_netns(const struct ig_doctor *d)
{
	uint32_t pid = (uint32_t)json_integer_value(json_object_get(d->status, "monitor_pid"));
	int fd;

	return pid && ig_netns_open_task(pid, pid, &fd) == 0 ? fd : -1;
}

static void report(struct ig_doctor *d, const struct ig_doctor_rules *rules, size_t tools)
{
	if (rules->nmi)
		ig_doctor_add(d, "packet_filter", IG_DOCTOR_WARNING,
			"remove them: they send what the gate lets pass to a port where nobody listens any more",
			"%zu rules of aad-pod-identity (chain " NMI_CHAIN
			", port 2579) are left, and %zu others about the metadata addresses: %s",
			rules->nmi, rules->other, rules->shown.data ? rules->shown.data : "");
	else if (rules->other)
		ig_doctor_add(d, "packet_filter", IG_DOCTOR_WARNING,
			"they do not touch what is redirected, but the agent's own calls, and what passes",
			"%zu rules are about the metadata addresses: %s", rules->other,
			rules->shown.data ? rules->shown.data : "");
	else if (tools)
		ig_doctor_add(d, "packet_filter", IG_DOCTOR_OK, NULL,
			"no rule is about the metadata addresses");
}

void ig_doctor_check_rules(struct ig_doctor *d)
{
	static const char *const savers[] = {"iptables-save", "iptables-legacy-save"};
	_cleanup_close_ int netns = open_agent_netns(d);
	struct ig_doctor_rules rules = {.shown.limit = IG_DOCTOR_TEXT_BYTES};
	size_t tools = 0, failures = 0;

	if (!d->is_root) {
		ig_doctor_add(d, "packet_filter", IG_DOCTOR_SKIPPED, NULL, "needs root");
		return;
	}
	for (size_t i = 0; i <= IG_ARRAY_SIZE(savers); i++) {
		bool is_nft = i == IG_ARRAY_SIZE(savers);
		int r;

		if (i == 1 && is_same_tool(savers[0], savers[1]))
			continue;
		r = is_nft ? look_with_nft(netns, &rules)
			   : look_with_iptables(savers[i], netns, &rules);

		tools += r == 0;
		failures += r < 0 && r != -ENOENT;
		if (r < 0 && r != -ENOENT)
			ig_doctor_add(d, "packet_filter", IG_DOCTOR_SKIPPED, NULL,
				"%s cannot tell the rules: %s", is_nft ? "nft" : savers[i],
				r == -EIO ? "it failed" : strerror(-r));
	}
	if (!tools && !failures)
		ig_doctor_add(d, "packet_filter", IG_DOCTOR_SKIPPED, NULL,
			"neither iptables-save nor nft is installed here");
	report(d, &rules, tools);
	ig_buf_done(&rules.shown);
}
