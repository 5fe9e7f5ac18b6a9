/*
 * The command line; see options.h. One table row per flag: name, value, default and help stand
 * together. What a flag sets is here or, for those that belong together, in options_*.c.
 */
#include "agent/options.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/options_datapath.h"
#include "agent/options_host_token.h"
#include "agent/options_kubernetes.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "ctl/proto.h"
#include "objects/names.h"
#include "workload/mount.h"

/* 249 to 255 are reserved by IANA, and ports below 1024 need privilege: nobody else wants this one.
 */
#define DEFAULT_GATE_PORT 254

typedef int set_fn(struct ig_options *o, const char *value, struct ig_err *err);

struct flag {
	const char *name;
	const char *value; /* what it is called in --help; NULL: takes none */
	set_fn *set;
	const char *help; /* NULL: not shown */
};

static const char *const verdict_names[_IG_VERDICT_MAX] = {
	[IG_VERDICT_DENY] = "deny",
	[IG_VERDICT_REDIRECT] = "redirect",
	[IG_VERDICT_PASS] = "pass",
};

const char *ig_verdict_name(enum ig_verdict verdict)
{
	return verdict < _IG_VERDICT_MAX ? verdict_names[verdict] : "unknown";
}

static int set_manifests(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)err;
	o->manifests = value;
	return 0;
}

static int set_imds_url(struct ig_options *o, const char *value, struct ig_err *err)
{
	const char *host = strstr(value, "://");

	if ((!ig_str_has_prefix(value, "http://") && !ig_str_has_prefix(value, "https://")) ||
		strpbrk(value, "?#@ ") || !host[3] || strchr(host + 3, '/'))
		return ig_err_set(err, -EINVAL,
			"--imds-url takes http://HOST[:PORT] without a path, got \"%s\"", value);
	o->imds_url = value;
	return 0;
}

static int set_secrets(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(
			err, -EINVAL, "--secrets takes an absolute path, got \"%s\"", value);
	o->secrets = value;
	return 0;
}

static int set_tenant_id(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (!ig_name_is_tenant(value))
		return ig_err_set(err, -EINVAL,
			"--tenant-id takes a GUID or a domain name, got \"%s\"", value);
	o->identity_defaults.tenant_id = value;
	return 0;
}

static int set_authority_host(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (!ig_name_is_authority_url(value))
		return ig_err_set(err, -EINVAL,
			"--authority-host takes https://HOST[:PORT], got \"%s\"", value);
	o->identity_defaults.authority = value;
	return 0;
}

static int set_socket(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)err;
	o->socket = value;
	return 0;
}

static int set_user(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)err;
	o->user = value;
	return 0;
}

static int set_requests_per_second(struct ig_options *o, const char *value, struct ig_err *err)
{
	uint32_t n;

	if (ig_parse_u32(value, &n) < 0 || n == 0 || n > IG_REQUESTS_WORKLOAD_PER_SEC_MAX)
		return ig_err_set(err, -EINVAL,
			"--requests-per-second takes a number from 1 to %d, got \"%s\"",
			IG_REQUESTS_WORKLOAD_PER_SEC_MAX, value);
	o->requests_per_second = n;
	return 0;
}

static int set_auxiliary_tenant_array(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->auxiliary_tenant_array = true;
	return 0;
}

static int set_cross_namespace(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->policy.allow_cross_namespace = true;
	return 0;
}

static int set_no_aks_exception(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->policy.no_aks_exception = true;
	return 0;
}

static int set_policy_namespace(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (!ig_name_is_dns_label(value))
		return ig_err_set(err, -EINVAL,
			"--policy-namespace takes the name of a namespace, got \"%s\"", value);
	o->policy.policy_namespace = value;
	return 0;
}

static int set_ready_fd(struct ig_options *o, const char *value, struct ig_err *err)
{
	uint16_t fd;

	if (ig_parse_u16(value, &fd) < 0)
		return ig_err_set(
			err, -EINVAL, "--ready-fd takes a descriptor number, got \"%s\"", value);
	o->ready_fd = fd;
	return 0;
}

static int set_log_level(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (ig_log_parse_level(value, &o->log_level) < 0)
		return ig_err_set(err, -EINVAL,
			"--log-level takes err, warning, info or debug, got \"%s\"", value);
	return 0;
}

static int set_mode(struct ig_options *o, enum ig_mode mode, struct ig_err *err)
{
	if (o->mode != IG_MODE_RUN && o->mode != mode)
		return ig_err_set(err, -EINVAL, "only one of --check-config and --detach");
	o->mode = mode;
	return 0;
}

static int set_check_config(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	return set_mode(o, IG_MODE_CHECK_CONFIG, err);
}

static int set_detach(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	return set_mode(o, IG_MODE_DETACH, err);
}

static int set_hold(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->hold = true;
	return 0;
}

static int set_replace(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->replace = true;
	return 0;
}

static int set_server(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	return set_mode(o, IG_MODE_SERVER, err);
}

static int set_version(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->mode = IG_MODE_VERSION;
	return 0;
}

static int set_help(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->mode = IG_MODE_HELP;
	return 0;
}

static const struct flag flags[] = {
	{"--manifests", "DIR", set_manifests,
		"declared objects, *.yaml (default /etc/imdsgate/manifests)"},
	{"--imds-url", "URL", set_imds_url,
		"where tokens come from (default http://169.254.169.254)"},
	{"--secrets", "DIR", set_secrets,
		"credentials, NAMESPACE/SECRET/KEY (default /etc/imdsgate/secrets)"},
	{"--tenant-id", "TENANT", set_tenant_id,
		"tenant of service accounts that name none (azure.workload.identity/tenant-id)"},
	{"--authority-host", "URL", set_authority_host,
		"Entra ID for identities that name none (default https://login.microsoftonline.com)"},
	{"--cgroup-root", "DIR", ig_option_cgroup_root,
		"cgroup2 directory that is guarded, with all below it (default: the cgroup2 mount)"},
	{"--bpffs", "DIR", ig_option_bpffs,
		"BPF file system for pins, mounted if it is not (default /sys/fs/bpf)"},
	{"--netns-dir", "DIR", ig_option_netns_dir,
		"where runtimes keep network namespaces; can be repeated (default /run/netns and /run/docker/netns)"},
	{"--audit-file", "PATH", ig_option_audit_file,
		"JSON lines, or none (default /var/log/imdsgate/audit.jsonl)"},
	{"--audit-rotate-size", "BYTES", ig_option_audit_rotate_size,
		"rotate the audit file before it is larger; K, M, G (default 0: never)"},
	{"--audit-rotate-age", "TIME", ig_option_audit_rotate_age,
		"rotate it when it is that old: 30m, 24h, 7d (default 0: never)"},
	{"--audit-keep", "N", ig_option_audit_keep, "rotated files that are kept (default 10)"},
	{"--audit-fsync", "none|interval|always", ig_option_audit_fsync,
		"when records go to the disk: interval is every second, always every batch (default none)"},
	{"--audit-stdout", NULL, ig_option_audit_stdout, "audit records to standard output, too"},
	{"--audit-syslog", "URL", ig_option_audit_syslog,
		"and to syslog: unix:/dev/log, tcp://HOST[:PORT] or tls://HOST[:PORT]"},
	{"--audit-syslog-ca", "FILE", ig_option_audit_syslog_ca,
		"authorities that its certificate may come from (default: the system's)"},
	{"--audit-otlp", "URL", ig_option_audit_otlp,
		"and to an OpenTelemetry collector: http[s]://HOST[:PORT]/v1/logs"},
	{"--audit-otlp-headers", "FILE", ig_option_audit_otlp_headers,
		"headers for it, such as Authorization: one a line"},
	{"--audit-chain", NULL, ig_option_audit_chain,
		"each audit record carries the hash of the one before it"},
	{"--socket", "PATH", set_socket, "control socket (default " IG_CTL_DEFAULT_SOCKET ")"},
	{"--user", "NAME|UID", set_user,
		"user that the unprivileged process becomes (default imdsgate)"},
	{"--host-verdict", "pass|deny|redirect", ig_option_host_verdict,
		"for processes of this network namespace in no workload (default pass)"},
	{"--gate-port", "PORT", ig_option_gate_port,
		"port on 127.0.0.1 that is tried first in each namespace (default 254)"},
	{"--guard", "auto|off|IFACES", ig_option_guard,
		"drop packets that the gate did not let through: on all uplinks, none, or these (default auto)"},
	{"--guard-hook", "auto|clsact", ig_option_guard_hook,
		"tcx where the kernel has it, or the classic tc filter everywhere (default auto)"},
	{"--requests-per-second", "N", set_requests_per_second,
		"token requests of one workload that are served; five seconds' worth can come at once (default 200)"},
	{"--allow-cross-namespace", NULL, set_cross_namespace,
		"let bindings apply to pods of other namespaces, as aad-pod-identity did"},
	{"--auxiliary-tenant-array", NULL, set_auxiliary_tenant_array,
		"answer for identities with auxiliary tenants with all their tokens in an array, as aad-pod-identity did"},
	{"--host-token-socket", "PATH", ig_option_host_token_socket,
		"serve /host/token to root on this unix socket (default: no)"},
	{"--host-token-port", "PORT", ig_option_host_token_port,
		"serve /host/token on 127.0.0.1 to the cgroups below; aad-pod-identity had it on 2579 (default: no)"},
	{"--host-token-service-account", "NS/NAME", ig_option_host_token_account,
		"the same for pods with this ServiceAccount; can be repeated"},
	{"--host-token-cgroup", "PATH", ig_option_host_token_cgroup,
		"who may ask for /host/token, with all cgroups below it; can be repeated"},
	{"--metrics-socket", "PATH", ig_option_metrics_socket,
		"serve /metrics and /healthz on this unix socket (default: no)"},
	{"--metrics-group", "NAME|GID", ig_option_metrics_group,
		"group that may use that socket (default: the group of --user)"},
	{"--metrics-port", "PORT", ig_option_metrics_port,
		"serve /metrics and /healthz on 127.0.0.1 to every process of the host's network namespace (default: no)"},
	{"--metrics-address", "ADDRESS", ig_option_metrics_address,
		"serve them on this address of the host, to whoever can reach it (default: 127.0.0.1)"},
	{"--no-aks-exception", NULL, set_no_aks_exception,
		"do not let AKS's own pods in kube-system use the node's identities"},
	{"--policy-namespace", "NS", set_policy_namespace,
		"MetadataPolicies of this namespace are the cluster's (default " IG_POLICY_NAMESPACE
		")"},
	{"--kubernetes", NULL, ig_option_kubernetes,
		"pods and rules from the API server of the cluster that this runs in, too"},
	{"--kubeconfig", "FILE", ig_option_kubeconfig,
		"the same, from the API server that FILE names"},
	{"--node", "NAME", ig_option_node,
		"this node, for its pods and in the audit (default: the host name)"},
	{"--startup-taint", "KEY", ig_option_startup_taint,
		"take taints with this key off this node once the gate serves (default: none)"},
	{"--ready-fd", "N", set_ready_fd, "write \"ready\" to this descriptor once it serves"},
	{"--replace", NULL, set_replace,
		"start a new agent that takes over from the one that runs, and return when it serves"},
	{"--log-level", "err|warning|info|debug", set_log_level,
		"how much the log says (default info)"},
	{"--check-config", NULL, set_check_config,
		"read the manifests, report what is wrong, exit 0 if nothing is"},
	{"--detach", NULL, set_detach,
		"take the programs of a stopped agent off: nothing is guarded any more"},
	{"--hold", NULL, set_hold,
		"for a DaemonSet, which starts again what ends: stay when another agent has taken over, and after --detach"},
	{"--version", NULL, set_version, "print the version"},
	{"--help", NULL, set_help, "print this"},
	{"--server", NULL, set_server, NULL},
};

void ig_options_print_help(void)
{
	(void)printf(
		"Usage: imdsgated [OPTION]…\n\n"
		"Guards the cloud's instance metadata service on this node: workloads get tokens only for the\nidentities that they are bound to, and every attempt is recorded.\n\n");
	for (size_t i = 0; i < IG_ARRAY_SIZE(flags); i++) {
		char left[64];

		if (!flags[i].help)
			continue;
		(void)snprintf(left, sizeof(left), "%s%s%s", flags[i].name,
			flags[i].value ? " " : "", flags[i].value ? flags[i].value : "");
		(void)printf("  %-36s  %s\n", left, flags[i].help);
	}
}

/* --name VALUE or --name=VALUE. *index moves past what was used. */
static int parse_one(
	struct ig_options *o, int argc, char *const *argv, int *index, struct ig_err *err)
{
	const char *arg = argv[(*index)++];
	size_t name_len = strcspn(arg, "=");

	for (size_t i = 0; i < IG_ARRAY_SIZE(flags); i++) {
		const struct flag *flag = &flags[i];
		const char *value = arg[name_len] == '=' ? arg + name_len + 1 : NULL;

		if (strncmp(arg, flag->name, name_len) != 0 || flag->name[name_len] != '\0')
			continue;
		if (!flag->value && value)
			return ig_err_set(err, -EINVAL, "%s takes no value", flag->name);
		if (flag->value && !value && *index < argc)
			value = argv[(*index)++];
		if (flag->value && !value)
			return ig_err_set(
				err, -EINVAL, "%s needs a value (%s)", flag->name, flag->value);
		return flag->set(o, value, err);
	}
	return ig_err_set(
		err, -EINVAL, "unknown %s \"%s\"", arg[0] == '-' ? "option" : "argument", arg);
}

int ig_options_parse(int argc, char *const *argv, struct ig_options *ret, struct ig_err *reterr_err)
{
	struct ig_options o = {
		.mode = IG_MODE_RUN,
		.manifests = "/etc/imdsgate/manifests",
		.imds_url = "http://169.254.169.254",
		.secrets = "/etc/imdsgate/secrets",
		.bpffs = "/sys/fs/bpf",
		.audit = IG_AUDIT_CHOICES_DEFAULT,
		.socket = IG_CTL_DEFAULT_SOCKET,
		.user = "imdsgate",
		.host_verdict = IG_VERDICT_PASS,
		.policy = {.policy_namespace = IG_POLICY_NAMESPACE},
		.gate_port = DEFAULT_GATE_PORT,
		.requests_per_second = IG_REQUESTS_WORKLOAD_PER_SEC,
		.guard = "auto",
		.ready_fd = -1,
		.log_level = IG_LOG_INFO,
	};

	for (int i = 1; i < argc;) {
		int r = parse_one(&o, argc, argv, &i, reterr_err);

		if (r < 0)
			return r;
		if (o.mode == IG_MODE_HELP || o.mode == IG_MODE_VERSION)
			break;
	}
	if (o.replace && o.ready_fd >= 0)
		return ig_err_set(reterr_err, -EINVAL,
			"--replace returns when the agent serves: no --ready-fd");
	if (!o.netns_dirs[0]) {
		o.netns_dirs[0] = "/run/netns";
		o.netns_dirs[1] = "/run/docker/netns";
	}
	if (!o.node[0] && gethostname(o.node, sizeof(o.node) - 1) < 0)
		return ig_err_set(
			reterr_err, -errno, "cannot read the host name: %s", strerror(errno));
	if (o.mode != IG_MODE_HELP && o.mode != IG_MODE_VERSION) {
		int r = ig_options_check_host_token(&o, reterr_err);

		if (r == 0)
			r = ig_options_check_metrics(&o, reterr_err);
		if (r == 0)
			r = ig_options_check_kubernetes(&o, reterr_err);
		if (r < 0)
			return r;
	}
	*ret = o;
	return 0;
}

int ig_options_find_user(struct ig_options *o, struct ig_err *err)
{
	const struct passwd *pw;

	if (ig_parse_u32(o->user, &o->uid) == 0) {
		o->gid = o->uid;
	} else {
		errno = 0;
		pw = getpwnam(o->user);
		if (!pw)
			return ig_err_set(err, -ENOENT,
				"there is no user \"%s\"; create it (useradd --system --no-create-home --shell /usr/sbin/nologin %s) or name another with --user",
				o->user, o->user);
		o->uid = pw->pw_uid;
		o->gid = pw->pw_gid;
	}
	if (o->uid == 0)
		return ig_err_set(err, -EINVAL,
			"--user must not be root: the process that talks to workloads has no privilege");
	return 0;
}

int ig_options_complete(struct ig_options *o, struct ig_err *reterr_err)
{
	int r = ig_options_find_user(o, reterr_err);

	if (r == 0)
		r = ig_options_find_metrics_group(o, reterr_err);
	if (r == 0 && !o->cgroup_root[0])
		r = ig_cgroup2_mount_find(o->cgroup_root, sizeof(o->cgroup_root), reterr_err);
	return r;
}
