/*
 * The table of listening sockets; see services.h. The functions that open run in the monitor, those
 * that start in the server.
 *
 * Nothing here may depend on what a workload says.
 */
#include "agent/services.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/metrics.h"
#include "agent/verbs.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/server.h"

/* ---- the monitor's side ---- */

static int make_socket_dir(const char *path, struct ig_err *err)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (!dir)
		return -ENOMEM;
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return ig_err_set(err, -errno, "cannot make directory %s for the socket %s: %s",
			dir, path, strerror(errno));
	return 0;
}

static int open_control(void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	const struct ig_options *o = userdata;
	int r = make_socket_dir(o->socket, err);

	(void)dp;
	return r < 0 ? r : ig_ctl_listen(o->socket, o->uid, o->gid, ret_fd, err);
}

static int open_host_token_port(
	void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	const struct ig_options *o = userdata;

	return ig_host_token_open_port(o->host_token_port, dp, ret_fd, err);
}

static int open_host_token_guard(
	void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	const struct ig_options *o = userdata;

	return ig_host_token_open_guard(o->host_token_port, dp, ret_fd, err);
}

/* root's, so that not even our own user can connect */
static int open_host_token_socket(
	void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	const struct ig_options *o = userdata;
	int r = make_socket_dir(o->host_token_socket, err);

	(void)dp;
	return r < 0 ? r : ig_ctl_listen(o->host_token_socket, 0, 0, ret_fd, err);
}

static int open_metrics_port(
	void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	const struct ig_options *o = userdata;

	(void)dp;
	return ig_metrics_open_port(&o->metrics, ret_fd, err);
}

static int open_metrics_socket(
	void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	const struct ig_options *o = userdata;
	int r = make_socket_dir(o->metrics.socket, err);

	(void)dp;
	return r < 0 ? r
		     : ig_ctl_listen_mode(o->metrics.socket, 0, o->metrics.gid, 0660, ret_fd, err);
}

/* The socket is the other agent's, its owner is ours to say. */
static void give_to(const char *path, uint32_t uid, uint32_t gid)
{
	if (fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		(void)ig_log_warning_errno(
			-errno, "cannot change the owner of a socket", IG_KV_STR(PATH, path));
}

static void control_adopted(void *userdata)
{
	const struct ig_options *o = userdata;

	give_to(o->socket, o->uid, o->gid);
}

static void metrics_adopted(void *userdata)
{
	const struct ig_options *o = userdata;

	give_to(o->metrics.socket, 0, o->metrics.gid);
}

/* Left empty when it is not asked for. One that is too long for a key is opened, and not handed
 * over. */
static void set_path(struct ig_monitor_service *service, const char *what, const char *path)
{
	if (path)
		(void)snprintf(service->key, sizeof(service->key), "%s %s", what, path);
}

static void set_port(struct ig_monitor_service *service, const char *what, uint16_t port)
{
	if (port)
		(void)snprintf(service->key, sizeof(service->key), "%s %u", what, port);
}

static void set_metrics_port(
	struct ig_monitor_service *service, const struct ig_metrics_choices *choices)
{
	if (choices->port)
		(void)snprintf(service->key, sizeof(service->key), "metrics port %u %s",
			choices->port, choices->address ?: "");
}

void ig_services_table(const struct ig_options *o, struct ig_monitor_service ret[_IG_SERVICE_MAX])
{
	static int (*const open[_IG_SERVICE_MAX])(
		void *, struct ig_datapath *, int *, struct ig_err *) = {
		[IG_SERVICE_CONTROL] = open_control,
		[IG_SERVICE_HOST_TOKEN_PORT] = open_host_token_port,
		[IG_SERVICE_HOST_TOKEN_GUARD] = open_host_token_guard,
		[IG_SERVICE_HOST_TOKEN_SOCKET] = open_host_token_socket,
		[IG_SERVICE_METRICS_PORT] = open_metrics_port,
		[IG_SERVICE_METRICS_SOCKET] = open_metrics_socket,
	};

	for (int i = 0; i < _IG_SERVICE_MAX; i++)
		ret[i] = (struct ig_monitor_service){.open = open[i], .userdata = (void *)o};
	ret[IG_SERVICE_CONTROL].adopted = control_adopted;
	ret[IG_SERVICE_METRICS_SOCKET].adopted = metrics_adopted;
	set_path(&ret[IG_SERVICE_CONTROL], "control", o->socket);
	set_port(&ret[IG_SERVICE_HOST_TOKEN_PORT], "host token port", o->host_token_port);
	set_port(&ret[IG_SERVICE_HOST_TOKEN_GUARD], "host token guard", o->host_token_port);
	set_path(&ret[IG_SERVICE_HOST_TOKEN_SOCKET], "host token socket", o->host_token_socket);
	set_metrics_port(&ret[IG_SERVICE_METRICS_PORT], &o->metrics);
	set_path(&ret[IG_SERVICE_METRICS_SOCKET], "metrics socket", o->metrics.socket);
}

/* ---- the server's side ---- */

static int start_control(struct ig_agent *agent, int fd)
{
	int r = ig_ctl_server_new(agent->base, fd, ig_agent_verbs, agent, &agent->ctl);

	if (r < 0)
		(void)ig_close(fd);
	return r;
}

int ig_service_start(struct ig_agent *agent, uint32_t service, int fd)
{
	if (fd < 0)
		return -EBADMSG;
	switch (service) {
	case IG_SERVICE_CONTROL: return start_control(agent, fd);
	case IG_SERVICE_HOST_TOKEN_PORT:
		return ig_gate_serve_host_port(agent->gate, agent->options->host_token_port, fd);
	case IG_SERVICE_HOST_TOKEN_SOCKET: return ig_host_token_new(agent, fd, &agent->host_token);
	case IG_SERVICE_METRICS_PORT: return ig_metrics_serve_port(agent->metrics_server, fd);
	case IG_SERVICE_METRICS_SOCKET: return ig_metrics_serve_socket(agent->metrics_server, fd);
	default:
		/* it is enough that somebody has it */
		(void)ig_close(fd);
		return 0;
	}
}
