/*
 * The flags of the kernel's part; see options_datapath.h. Called by options.c only.
 */
#include "agent/options_datapath.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/options.h"
#include "base/parse.h"

int ig_option_cgroup_root(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/' || strlen(value) >= sizeof(o->cgroup_root))
		return ig_err_set(
			err, -EINVAL, "--cgroup-root takes an absolute path, got \"%s\"", value);
	(void)snprintf(o->cgroup_root, sizeof(o->cgroup_root), "%s", value);
	return 0;
}

int ig_option_bpffs(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(
			err, -EINVAL, "--bpffs takes an absolute path, got \"%s\"", value);
	o->bpffs = value;
	return 0;
}

int ig_option_netns_dir(struct ig_options *o, const char *value, struct ig_err *err)
{
	size_t n = 0, len = strlen(value);

	if (value[0] != '/' || (len > 1 && value[len - 1] == '/'))
		return ig_err_set(err, -EINVAL,
			"--netns-dir takes an absolute path without a trailing slash, got \"%s\"",
			value);
	while (o->netns_dirs[n])
		n++;
	if (n >= IG_NETNS_DIRS_MAX)
		return ig_err_set(
			err, -E2BIG, "--netns-dir can be given %d times", IG_NETNS_DIRS_MAX);
	o->netns_dirs[n] = value;
	return 0;
}

int ig_option_host_verdict(struct ig_options *o, const char *value, struct ig_err *err)
{
	for (unsigned int i = 0; i < _IG_VERDICT_MAX; i++) {
		if (strcmp(value, ig_verdict_name((enum ig_verdict)i)) == 0) {
			o->host_verdict = (uint8_t)i;
			return 0;
		}
	}
	return ig_err_set(
		err, -EINVAL, "--host-verdict takes pass, deny or redirect, got \"%s\"", value);
}

int ig_option_gate_port(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (ig_parse_u16(value, &o->gate_port) < 0 || o->gate_port == 0)
		return ig_err_set(err, -EINVAL,
			"--gate-port takes a port from 1 to 65535, got \"%s\"", value);
	return 0;
}

/* Names as the kernel allows them: 1 to 15 bytes, no slash, no space. */
static bool is_interface_list(const char *value)
{
	for (const char *p = value;; p++) {
		size_t n = strcspn(p, ",");

		if (n == 0 || n >= 16 || strcspn(p, "/ \t\n:") < n)
			return false;
		p += n;
		if (!*p)
			return true;
	}
}

int ig_option_guard(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (!is_interface_list(value))
		return ig_err_set(err, -EINVAL,
			"--guard takes auto, off, or interfaces separated by commas, got \"%s\"",
			value);
	o->guard = value;
	return 0;
}

int ig_option_guard_hook(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (strcmp(value, "auto") != 0 && strcmp(value, "clsact") != 0)
		return ig_err_set(
			err, -EINVAL, "--guard-hook takes auto or clsact, got \"%s\"", value);
	o->guard_clsact = value[0] == 'c';
	return 0;
}
