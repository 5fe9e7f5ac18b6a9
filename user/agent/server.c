/*
 * The unprivileged process; see server.h. open_privileged() lists everything that needs root;
 * behind it privilege is gone, and only then is anything read that others wrote.
 */
#include "agent/server.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/audit_sinks.h"
#include "agent/confine.h"
#include "agent/declared.h"
#include "agent/documents.h"
#include "agent/duty.h"
#include "agent/kubernetes.h"
#include "agent/link.h"
#include "agent/metrics.h"
#include "agent/privs.h"
#include "agent/rate.h"
#include "agent/services.h"
#include "agent/waiting.h"
#include "agent/workloads.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "ctl/server.h"
#include "datapath/datapath.h"
#include "http/client.h"
#include "monitor/proto.h"
#include "objects/manifest.h"
#include "token/credential.h"
#include "token/service.h"
#include "version.h"

#define LAST_PRIORITY 2

/* What is opened while privileged. Descriptors are -1 or owned. */
struct opened {
	struct ig_audit_opened audit;
	int statm_fd; /* of this process, for its metrics */
};

struct server {
	struct ig_agent agent;
	struct event *on_term, *on_int, *on_hup;
	struct ig_duty *duty;
	/* as the monitor said at first */
	enum ig_monitor_start reason;
	bool standby; /* another agent serves */
	int result;
};

/* ---- privileged ---- */

static void on_kernel_event(const void *record, void *userdata)
{
	ig_record_kernel_event(userdata, record);
}

static int open_privileged(struct server *s, struct opened *ret, struct ig_err *err)
{
	const struct ig_options *o = s->agent.options;
	struct ig_monitor_message hello;
	_cleanup_close_ int events_fd = -1;
	int r = ig_link_hello(IG_SERVER_ASYNC_FD, &hello, &s->agent.flows_fd, &events_fd);

	if (r < 0)
		return ig_err_set(err, r, "no word from the monitor: %s", strerror(-r));
	s->agent.host_netns_cookie = hello.hello.host_netns_cookie;
	s->agent.monitor_pid = hello.hello.monitor_pid;
	s->agent.hung_servers = hello.hello.hung;
	s->standby = hello.hello.standby != 0;
	s->reason = hello.hello.start;
	/* asks the kernel for the ring's size, which older ones tell only to the privileged */
	r = ig_ring_new(
		events_fd, sizeof(struct ig_event), on_kernel_event, &s->agent, &s->agent.events);
	if (r < 0)
		return ig_err_set(err, r, "cannot map the ring of kernel events: %s", strerror(-r));
	s->agent.cgroup_fd = open(o->cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->agent.cgroup_fd < 0)
		return ig_err_set(err, -errno, "cannot open cgroup root %s: %s", o->cgroup_root,
			strerror(errno));
	r = ig_audit_open(o, &ret->audit, err);
	if (r < 0)
		return r;
	ret->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (ret->statm_fd < 0)
		return ig_err_set(err, -errno, "cannot open /proc/self/statm: %s", strerror(errno));
	/* loads modules of OpenSSL; the files in there are read later, with the server's rights */
	if (r == 0 && ig_credentials_new(o->secrets, &s->agent.credentials) < 0)
		return ig_err_set(err, -ENOMEM, "cannot load OpenSSL's default provider");
	if (r == 0)
		r = ig_kubernetes_open(o, &s->agent.kubernetes, err);
	if (r == 0)
		r = ig_privs_drop(o->uid, o->gid, err);
	return r;
}

/* Nothing that others wrote was looked at yet, and there is one thread. */
static int confine(const struct server *s, const struct opened *opened, struct ig_err *err)
{
	const struct ig_confine_options options = {
		.options = s->agent.options,
		.audit_dir_fd = opened->audit.dir_fd,
		.token_directory = ig_kubernetes_token_directory(s->agent.kubernetes),
	};

	return ig_confine(&options, err);
}

/* ---- callbacks ---- */

static void stop(int result, void *userdata)
{
	struct server *s = userdata;

	s->result = result;
	(void)event_base_loopbreak(s->agent.base);
}

static void on_link_broken(int error, void *userdata)
{
	/* It owns the listeners and programs: without it there is nothing to serve, and the next
	 * one brings its own server. */
	stop(error == -EPIPE ? -EPIPE : ig_log_errno(error, "lost the monitor"), userdata);
}

static int open_upstream_socket(int family, int type, int protocol, void *userdata)
{
	struct ig_agent *agent = userdata;

	(void)type;
	(void)protocol;
	return ig_link_upstream_socket(agent->link, family);
}

static bool is_complete(void *userdata)
{
	const struct server *s = userdata;

	return ig_declared_is_complete(&s->agent);
}

static void on_synced(void *userdata)
{
	const struct server *s = userdata;

	ig_duty_synced(s->duty);
}

static const struct ig_workloads_ops workloads_ops = {.synced = on_synced, .complete = is_complete};

static void on_listener(struct server *s, const struct ig_monitor_message *message, int fd)
{
	int r = ig_gate_listener_opened(s->agent.gate, message->listener.netns_cookie,
		message->listener.is_host != 0, message->listener.port, message->listener.name, fd);

	/* its connects would wait for ever; the monitor's next server gets all listeners */
	if (r < 0)
		stop(ig_log_errno(r, "cannot serve a namespace, starting anew",
			     IG_KV_U64(NETNS, message->listener.netns_cookie)),
			s);
}

static void on_service(struct server *s, uint32_t service, int fd)
{
	int r = ig_service_start(&s->agent, service, fd);

	if (r < 0)
		stop(ig_log_errno(r, "cannot serve a socket", IG_KV_U64(KIND, service)), s);
}

static void on_notice(const struct ig_monitor_message *message, int fd, void *userdata)
{
	struct ig_monitor_request alive = {.kind = IG_MONITOR_ALIVE};
	struct server *s = userdata;

	switch (message->kind) {
	case IG_MONITOR_LISTENER_OPENED:
		if (fd >= 0)
			on_listener(s, message, TAKE_FD(fd));
		break;
	case IG_MONITOR_LISTENER_CLOSED:
		ig_gate_listener_closed(s->agent.gate, message->listener.netns_cookie);
		break;
	case IG_MONITOR_CONNECTION_ENDED: ig_record_kernel_event(&s->agent, &message->event); break;
	case IG_MONITOR_SERVICE: on_service(s, message->service, TAKE_FD(fd)); break;
	case IG_MONITOR_HEARTBEAT:
		/* when the link is full, the monitor has other signs of life */
		(void)ig_link_request(s->agent.link, &alive, NULL, NULL);
		break;
	case IG_MONITOR_SERVE: ig_duty_begin(s->duty); break;
	case IG_MONITOR_DRAIN: ig_duty_end(s->duty); break;
	default: stop(ig_log_errno(-EBADMSG, "the monitor sent something unknown"), s);
	}
	(void)ig_close(fd);
}

static void on_signal(evutil_socket_t signo, short what, void *userdata)
{
	(void)signo;
	(void)what;
	stop(0, userdata);
}

static void on_reopen(evutil_socket_t signo, short what, void *userdata)
{
	struct server *s = userdata;

	(void)signo;
	(void)what;
	ig_audit_reopen(s->agent.audit);
}

/* ---- start-up ---- */

static int make_events(struct server *s)
{
	struct event_base *base = s->agent.base;

	s->on_term = evsignal_new(base, SIGTERM, on_signal, s);
	s->on_int = evsignal_new(base, SIGINT, on_signal, s);
	s->on_hup = evsignal_new(base, SIGHUP, on_reopen, s);
	if (!s->on_term || !s->on_int || !s->on_hup || event_add(s->on_term, NULL) < 0 ||
		event_add(s->on_int, NULL) < 0 || event_add(s->on_hup, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static int start_upstream(struct ig_agent *agent)
{
	struct ig_http_client_options client = {
		.open_socket = open_upstream_socket,
		.userdata = agent,
		.user_agent = "imdsgate/" IG_VERSION,
	};
	struct ig_token_service_options tokens = {.imds_url = agent->options->imds_url,
		.credentials = agent->credentials,
		.assertions = ig_kubernetes_assertions(agent->kubernetes),
		.call_ended = ig_count_token_call,
		.userdata = agent->metrics};
	struct ig_documents_options documents = {.imds_url = agent->options->imds_url,
		.call_ended = ig_count_document_call,
		.userdata = agent->metrics};
	int r = ig_kubernetes_connect(agent->kubernetes, agent);

	if (r == 0)
		r = ig_http_client_new(agent->base, &client, &agent->client);

	if (r == 0)
		r = ig_token_service_new(agent->base, agent->client, &tokens, &agent->tokens);
	if (r == 0)
		r = ig_documents_new(agent->base, agent->client, &documents, &agent->documents);
	return r;
}

static int start_link(struct server *s)
{
	static const struct ig_rate_options records = {.per_sec = IG_RECORDS_WORKLOAD_PER_SEC,
		.burst = IG_RECORDS_WORKLOAD_BURST,
		.entries = IG_RATE_ENTRIES_MAX};
	static const struct ig_link_ops ops = {.notice = on_notice, .broken = on_link_broken};
	struct ig_agent *agent = &s->agent;
	const struct ig_rate_options rate = {.per_sec = agent->options->requests_per_second,
		.burst = agent->options->requests_per_second * IG_REQUESTS_WORKLOAD_BURST_SEC,
		.entries = IG_RATE_ENTRIES_MAX};
	int r = ig_link_new(
		agent->base, IG_SERVER_ASYNC_FD, IG_SERVER_SYNC_FD, &ops, s, &agent->link);

	if (r == 0)
		r = ig_callers_new(agent->link, &agent->callers);
	if (r == 0)
		r = start_upstream(agent);
	if (r == 0)
		r = ig_serve_new(agent, &agent->serve);
	if (r == 0)
		r = ig_waiting_new(agent->base, ig_serve_facts_known, &agent->waiting);
	if (r == 0)
		r = ig_rate_new(&rate, &agent->rate);
	if (r == 0)
		r = ig_rate_new(&rate, &agent->policy_rate);
	if (r == 0)
		r = ig_rate_new(&records, &agent->record_rate);
	if (r == 0)
		r = ig_gate_new(agent, &agent->gate);
	return r;
}

/* Three priorities: ours is the middle one, which events have by themselves; what can wait for all
 * others is the last, and after so many of those the others are looked at again. */
static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (!config)
		return NULL;
	if (event_config_set_max_dispatch_interval(
		    config, NULL, IG_LATE_CALLBACKS, LAST_PRIORITY) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	if (base && event_base_priority_init(base, LAST_PRIORITY + 1) < 0) {
		event_base_free(base);
		return NULL;
	}
	return base;
}

static int start(struct server *s, struct opened *opened, struct ig_err *err)
{
	struct ig_agent *agent = &s->agent;
	const struct ig_duty_options duty = {.agent = agent,
		.standby = s->standby,
		.reason = s->reason,
		.stop = stop,
		.userdata = s};
	int r;

	agent->base = make_base();
	if (!agent->base)
		return -ENOMEM;
	r = ig_audit_start(agent->base, agent->options, &opened->audit, &agent->audit, err);
	if (r < 0)
		return r;
	ig_audit_stand_by(agent->audit, s->standby);
	r = ig_declared_start(&s->agent, err);
	if (r < 0)
		return r;
	r = ig_metrics_new(ig_metrics_table, _IG_M_MAX, &agent->metrics);
	if (r == 0)
		r = start_link(s);
	if (r == 0)
		r = make_events(s);
	if (r == 0)
		r = ig_duty_new(&duty, &s->duty);
	if (r == 0)
		r = ig_metrics_server_new(agent, TAKE_FD(opened->statm_fd), &agent->metrics_server);
	if (r == 0)
		r = ig_workloads_new(agent->base, agent->cgroup_fd, agent->link, agent->store,
			&workloads_ops, s, &agent->workloads);
	if (r == 0)
		r = ig_workloads_update(agent->workloads);
	if (r == 0)
		r = ig_duty_start(s->duty);
	/* what it brings is for all of the above */
	if (r == 0)
		r = ig_kubernetes_start(agent->kubernetes);
	return r < 0 ? ig_err_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

/* In the reverse order of use: who may still call whom goes first. */
static void server_done(struct server *s)
{
	struct ig_agent *agent = &s->agent;

	/* who would be told is taken down below */
	if (agent->store)
		ig_store_set_listener(agent->store, NULL, NULL);
	agent->metrics_server = ig_metrics_server_free(agent->metrics_server);
	agent->ctl = ig_ctl_server_free(agent->ctl);
	/* the audit turns the loop once more: no kernel event may come in any longer */
	ig_duty_stop(s->duty);
	agent->host_token = ig_host_token_free(agent->host_token);
	agent->gate = ig_gate_free(agent->gate);
	agent->workloads = ig_workloads_free(agent->workloads);
	agent->tokens = ig_token_service_free(agent->tokens);
	agent->kubernetes = ig_kubernetes_free(agent->kubernetes);
	agent->credentials = ig_credentials_free(agent->credentials);
	agent->documents = ig_documents_free(agent->documents);
	agent->client = ig_http_client_free(agent->client);
	ig_records_finish(agent);
	agent->callers = ig_callers_free(agent->callers);
	agent->serve = ig_serve_free(agent->serve);
	agent->rate = ig_rate_free(agent->rate);
	agent->policy_rate = ig_rate_free(agent->policy_rate);
	agent->record_rate = ig_rate_free(agent->record_rate);
	agent->waiting = ig_waiting_free(agent->waiting);
	agent->link = ig_link_free(agent->link);
	agent->manifests = ig_manifest_dir_free(agent->manifests);
	if (agent->audit && agent->ready)
		ig_record_agent(agent, IG_AUDIT_AGENT_STOPPED,
			agent->draining ? "handed_over" : NULL, NULL, 0);
	agent->audit = ig_audit_free(agent->audit);
	agent->store = ig_store_free(agent->store);
	agent->metrics = ig_metrics_free(agent->metrics);
	s->duty = ig_duty_free(s->duty);
	if (s->on_term)
		event_free(s->on_term);
	if (s->on_int)
		event_free(s->on_int);
	if (s->on_hup)
		event_free(s->on_hup);
	agent->events = ig_ring_free(agent->events);
	if (agent->base)
		event_base_free(agent->base);
	(void)ig_close(agent->flows_fd);
	(void)ig_close(agent->cgroup_fd);
}

int ig_server_run(const struct ig_options *options, struct ig_err *reterr_err)
{
	struct server s = {
		.agent = {.options = options,
			.flows_fd = -1,
			.cgroup_fd = -1,
			.started_usec = ig_clock_real_usec()},
	};
	struct opened opened = {.audit = IG_AUDIT_OPENED_NONE, .statm_fd = -1};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	/* one that comes too early is not the end; what is opened from now on is fresh anyway */
	(void)signal(SIGHUP, SIG_IGN);
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	r = open_privileged(&s, &opened, reterr_err);
	if (r == 0)
		r = confine(&s, &opened, reterr_err);
	if (r == 0)
		r = start(&s, &opened, reterr_err);
	if (r == 0) {
		(void)event_base_dispatch(s.agent.base);
		r = s.result;
	}
	server_done(&s);
	ig_audit_opened_done(&opened.audit);
	(void)ig_close(opened.statm_fd);
	curl_global_cleanup();
	return r;
}
