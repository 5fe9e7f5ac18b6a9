/*
 * The flags of /host/token; see options_host_token.h. Called by options.c only.
 */
#include "agent/options_host_token.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/options.h"
#include "base/parse.h"
#include "objects/names.h"
#include "workload/cgroup.h"

int ig_option_host_token_socket(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(err, -EINVAL,
			"--host-token-socket takes an absolute path, got \"%s\"", value);
	o->host_token_socket = value;
	return 0;
}

int ig_option_host_token_port(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (ig_parse_u16(value, &o->host_token_port) < 0 || o->host_token_port == 0)
		return ig_err_set(err, -EINVAL,
			"--host-token-port takes a port from 1 to 65535, got \"%s\"", value);
	return 0;
}

int ig_option_host_token_cgroup(struct ig_options *o, const char *value, struct ig_err *err)
{
	size_t n = 0;

	/* "/" would be everybody, pods included */
	if (ig_cgroup_path_check(value) < 0 || !value[1])
		return ig_err_set(err, -EINVAL,
			"--host-token-cgroup takes a path below the cgroup root like /system.slice/x.service, got \"%s\"",
			value);
	while (o->host_token_cgroups[n])
		n++;
	if (n >= IG_HOST_TOKEN_CGROUPS_MAX)
		return ig_err_set(err, -E2BIG, "--host-token-cgroup can be given %d times",
			IG_HOST_TOKEN_CGROUPS_MAX);
	o->host_token_cgroups[n] = value;
	return 0;
}

int ig_option_host_token_account(struct ig_options *o, const char *value, struct ig_err *err)
{
	char namespace[IG_OBJECT_NAME_BYTES + 1];
	size_t n = 0, len = strcspn(value, "/");

	(void)snprintf(namespace, sizeof(namespace), "%.*s", (int)len, value);
	if (len >= sizeof(namespace) || !value[len] || !ig_name_is_dns_label(namespace) ||
		!ig_name_is_dns_subdomain(value + len + 1))
		return ig_err_set(err, -EINVAL,
			"--host-token-service-account takes NAMESPACE/NAME, got \"%s\"", value);
	while (o->host_token_accounts[n])
		n++;
	if (n >= IG_HOST_TOKEN_ACCOUNTS_MAX)
		return ig_err_set(err, -E2BIG, "--host-token-service-account can be given %d times",
			IG_HOST_TOKEN_ACCOUNTS_MAX);
	o->host_token_accounts[n] = value;
	return 0;
}

int ig_options_check_host_token(const struct ig_options *o, struct ig_err *err)
{
	bool has_list = o->host_token_cgroups[0] || o->host_token_accounts[0];

	if (o->host_token_port && !has_list)
		return ig_err_set(err, -EINVAL,
			"--host-token-port needs --host-token-cgroup or --host-token-service-account: every process of the host can connect there");
	if (has_list && !o->host_token_port && !o->host_token_socket)
		return ig_err_set(err, -EINVAL,
			"--host-token-cgroup and --host-token-service-account need --host-token-socket or --host-token-port");
	if (o->host_token_port && o->host_token_port == o->gate_port)
		return ig_err_set(
			err, -EINVAL, "--host-token-port and --gate-port must be different ports");
	return 0;
}
