/*
 * imdsgated. Reads the command line and becomes the monitor, or does the one thing that was asked
 * for. The monitor starts this program again as the server.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/audit_sinks.h"
#include "agent/options.h"
#include "agent/server.h"
#include "agent/services.h"
#include "agent/supervisor.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "monitor/monitor.h"
#include "objects/manifest.h"
#include "version.h"

#define EXIT_USAGE 2
#define EXIT_CHECK 5

#define HANDOVER_PATH_BYTES 512

static int print_error(const struct ig_err *err, int exit_code)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32];

	(void)fprintf(stderr, "imdsgated: %s\n", ig_err_format(err, text, sizeof(text)));
	return exit_code;
}

static void print_report(const struct ig_manifest_report *report, void *userdata)
{
	(void)userdata;
	if (report->error == 0)
		(void)printf("%s: %zu objects, ok\n", report->file, report->objects);
	else
		(void)print_error(report->detail, 0);
}

static int check_config(const struct ig_options *options)
{
	struct ig_err err = {};
	const struct ig_manifest_source source = {
		.path = options->manifests, .policy_namespace = options->policy.policy_namespace};
	int bad = ig_manifest_dir_check(&source, print_report, NULL, &err);

	if (bad < 0)
		return print_error(&err, EXIT_CHECK);
	if (bad > 0) {
		(void)fprintf(stderr, "imdsgated: %d files in %s would not be taken\n", bad,
			options->manifests);
		return EXIT_CHECK;
	}
	return EXIT_SUCCESS;
}

/* Until somebody tells it to end: the signals are blocked first, so none is missed. */
static void hold(void)
{
	sigset_t signals;
	int signal;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	(void)fflush(stdout);
	while (sigwait(&signals, &signal) != 0)
		;
}

/* Opened before anything is taken off: without a record of it, it does not happen. */
static int open_audit(const struct ig_options *given, struct event_base **ret_base,
	struct ig_audit **ret, struct ig_err *err)
{
	_cleanup_(ig_audit_opened_done) struct ig_audit_opened opened = IG_AUDIT_OPENED_NONE;
	struct ig_options options = *given;
	int r;

	/* rotating is the agent's affair */
	options.audit.rotate_bytes = options.audit.rotate_usec = 0;
	*ret_base = event_base_new();
	if (!*ret_base)
		return -ENOMEM;
	r = ig_audit_open(&options, &opened, err);
	return r < 0 ? r : ig_audit_start(*ret_base, &options, &opened, ret, err);
}

static int detach(struct ig_options *options)
{
	struct event_base *base = NULL;
	struct ig_audit *audit = NULL;
	unsigned int links = 0;
	struct ig_err err = {};
	int r = ig_options_find_user(options, &err);

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	if (r == 0)
		r = open_audit(options, &base, &audit, &err);
	if (r == 0)
		r = ig_datapath_detach(options->bpffs, &links, &err);
	if (r == 0 && links > 0)
		ig_audit_emit(audit,
			&(struct ig_audit_record){.kind = IG_AUDIT_AGENT_DETACHED, .count = links});
	(void)ig_audit_free(audit);
	if (base)
		event_base_free(base);
	if (r < 0)
		return print_error(&err, EXIT_FAILURE);
	(void)printf("%u programs taken off; nothing is guarded any more\n", links);
	if (options->hold)
		hold();
	return EXIT_SUCCESS;
}

/* argv of the server: ours with --server behind it. */
static char **server_argv(int argc, char **argv)
{
	static char server_flag[] = "--server";
	char **copy = calloc((size_t)argc + 2, sizeof(*copy));

	if (!copy)
		return NULL;
	memcpy(copy, argv, (size_t)argc * sizeof(*copy));
	copy[argc] = server_flag;
	return copy;
}

/* The server inherits the limit. */
static void raise_descriptors(void)
{
	int r = ig_descriptors_raise();
	struct ig_descriptors d = ig_descriptors_get();

	if (r < 0)
		(void)ig_log_warning_errno(r, "cannot raise the limit of descriptors, ignoring");
	if (d.limit < d.wanted)
		ig_log_warning(
			"fewer descriptors than all listeners and connections need (RLIMIT_NOFILE): there may be fewer of both",
			IG_KV_U64(LIMIT, d.limit), IG_KV_U64(COUNT, d.wanted));
}

static int run_monitor(
	int argc, char **argv, const struct ig_options *options, const struct ig_ready *ready)
{
	_cleanup_free_ char **child = server_argv(argc, argv);
	struct ig_monitor_service services[_IG_SERVICE_MAX];
	char handover[HANDOVER_PATH_BYTES];
	struct ig_monitor_options monitor = {
		.bpffs = options->bpffs,
		.cgroup_root = options->cgroup_root,
		.netns_dirs = options->netns_dirs,
		.gate_port = options->gate_port,
		.guard = options->guard,
		.guard_clsact = options->guard_clsact,
		.server_argv = child,
		.ready_fd = ready->fd,
		.ready_text = ready->text,
		.begun_text = ready->begun,
		.services = services,
		.n_services = _IG_SERVICE_MAX,
		.hold = options->hold,
		.handover = handover,
	};
	struct ig_err err = {};

	if (!child)
		return EXIT_FAILURE;
	raise_descriptors();
	ig_services_table(options, services);
	/* beside the control socket: agents that share one can take over from each other */
	(void)snprintf(handover, sizeof(handover), "%s.handover", options->socket);
	/* WireServer and HostGAPlugin are the host's business; other namespaces are workloads */
	memset(monitor.settings.host_verdict, IG_VERDICT_PASS, _IG_ENDPOINT_MAX);
	monitor.settings.host_verdict[IG_ENDPOINT_IMDS] = options->host_verdict;
	monitor.settings.other_verdict[IG_ENDPOINT_IMDS] = IG_VERDICT_REDIRECT;
	monitor.settings.host_token_port_be = htons(options->host_token_port);
	if (ig_monitor_run(&monitor, &err) < 0)
		return print_error(&err, EXIT_FAILURE);
	return EXIT_SUCCESS;
}

/* The agent, as this process or, with --replace, as a new one. */
static int run(int argc, char **argv, struct ig_options *options)
{
	struct ig_ready ready;
	struct ig_err err = {};
	int r;

	/* logrotate sends it to every process of the service, and so to the one that waits for the
	 * new agent; without that one nobody is told which process the agent is now */
	(void)signal(SIGHUP, SIG_IGN);
	r = options->replace ? ig_replace(&options->ready_fd, &err) : 0;
	if (r == 0)
		r = ig_ready_open(options->ready_fd, &ready, &err);
	if (r < 0)
		return print_error(&err, EXIT_FAILURE);
	if (options->replace)
		ready.begun = IG_READY_BEGUN;
	return r > 0 ? EXIT_SUCCESS : run_monitor(argc, argv, options, &ready);
}

static int run_server(const struct ig_options *options)
{
	struct ig_err err = {};
	int r = ig_server_run(options, &err);

	/* -EPIPE: the monitor went first, and said why */
	if (r < 0 && r != -EPIPE && err.message[0])
		return print_error(&err, EXIT_FAILURE);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int need_root(void)
{
	if (geteuid() == 0)
		return 0;
	(void)fprintf(stderr,
		"imdsgated: must be started as root: it loads BPF programs and enters network namespaces (the part that talks to workloads gives all privilege up)\n");
	return -EPERM;
}

int main(int argc, char **argv)
{
	struct ig_options options;
	struct ig_err err = {};

	if (ig_options_parse(argc, argv, &options, &err) < 0) {
		(void)print_error(&err, 0);
		(void)fprintf(stderr, "Try 'imdsgated --help'.\n");
		return EXIT_USAGE;
	}
	switch (options.mode) {
	case IG_MODE_HELP: ig_options_print_help(); return EXIT_SUCCESS;
	case IG_MODE_VERSION: (void)printf("imdsgated %s\n", IG_VERSION); return EXIT_SUCCESS;
	case IG_MODE_CHECK_CONFIG: return check_config(&options);
	default: break;
	}
	if (need_root() < 0)
		return EXIT_FAILURE;
	if (options.mode == IG_MODE_DETACH)
		return detach(&options);
	if (ig_options_complete(&options, &err) < 0)
		return print_error(&err, EXIT_FAILURE);
	ig_log_init(options.mode == IG_MODE_SERVER ? "server" : "monitor", options.log_level);
	return options.mode == IG_MODE_SERVER ? run_server(&options) : run(argc, argv, &options);
}
