/*
 * The flags of Kubernetes; see options_kubernetes.h. Called by options.c only.
 */
#include "agent/options_kubernetes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/options.h"
#include "objects/names.h"

int ig_option_kubernetes(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->kubernetes = true;
	return 0;
}

int ig_option_kubeconfig(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(
			err, -EINVAL, "--kubeconfig takes an absolute path, got \"%s\"", value);
	o->kubernetes = true;
	o->kubeconfig = value;
	return 0;
}

int ig_option_node(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (!value[0] || strlen(value) >= sizeof(o->node))
		return ig_err_set(
			err, -EINVAL, "--node takes a name of 1 to %zu bytes", sizeof(o->node) - 1);
	(void)snprintf(o->node, sizeof(o->node), "%s", value);
	return 0;
}

int ig_option_startup_taint(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (!ig_name_is_label_key(value))
		return ig_err_set(err, -EINVAL,
			"--startup-taint takes the key of a taint, got \"%s\"", value);
	o->startup_taint = value;
	return 0;
}

int ig_options_check_kubernetes(const struct ig_options *o, struct ig_err *err)
{
	if (!o->startup_taint || o->kubernetes)
		return 0;
	return ig_err_set(err, -EINVAL, "--startup-taint needs --kubernetes or --kubeconfig");
}
