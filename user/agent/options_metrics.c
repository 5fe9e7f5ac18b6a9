/*
 * The flags of the metrics; see options_metrics.h. Called by options.c only.
 */
#include "agent/options_metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>

#include "agent/options.h"
#include "base/parse.h"

int ig_option_metrics_socket(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(
			err, -EINVAL, "--metrics-socket takes an absolute path, got \"%s\"", value);
	o->metrics.socket = value;
	return 0;
}

int ig_option_metrics_port(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (ig_parse_u16(value, &o->metrics.port) < 0 || o->metrics.port == 0)
		return ig_err_set(err, -EINVAL,
			"--metrics-port takes a port from 1 to 65535, got \"%s\"", value);
	return 0;
}

int ig_option_metrics_address(struct ig_options *o, const char *value, struct ig_err *err)
{
	struct in6_addr address;

	if (inet_pton(AF_INET, value, &address) != 1 && inet_pton(AF_INET6, value, &address) != 1)
		return ig_err_set(err, -EINVAL,
			"--metrics-address takes an IPv4 or IPv6 address, got \"%s\"", value);
	o->metrics.address = value;
	return 0;
}

int ig_option_metrics_group(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)err;
	o->metrics.group = value;
	return 0;
}

int ig_options_check_metrics(const struct ig_options *o, struct ig_err *err)
{
	uint16_t port = o->metrics.port;

	if (o->metrics.group && !o->metrics.socket)
		return ig_err_set(err, -EINVAL, "--metrics-group needs --metrics-socket");
	if (o->metrics.address && !port)
		return ig_err_set(err, -EINVAL, "--metrics-address needs --metrics-port");
	if (port && (port == o->gate_port || port == o->host_token_port))
		return ig_err_set(err, -EINVAL,
			"--metrics-port, --gate-port and --host-token-port must be different ports");
	return 0;
}

int ig_options_find_metrics_group(struct ig_options *o, struct ig_err *err)
{
	const struct group *group;

	o->metrics.gid = o->gid;
	if (!o->metrics.group || ig_parse_u32(o->metrics.group, &o->metrics.gid) == 0)
		return 0;
	group = getgrnam(o->metrics.group);
	if (!group)
		return ig_err_set(err, -ENOENT, "there is no group \"%s\" (--metrics-group)",
			o->metrics.group);
	o->metrics.gid = group->gr_gid;
	return 0;
}
