/*
 * The server's sandbox; see confine.h. The list of places says what the server reads after its
 * start, and so what somebody who takes it over can read: nothing else that its user may.
 */
#include "agent/confine.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "agent/options.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/files.h"
#include "sandbox/filter.h"
#include "sandbox/sanitized.h"

/* Of the system. What is not there is not needed. */
static const char *const system_places[] = {
	/* names of hosts, certificates: files here are replaced, not rewritten, so each by itself
	 * would be lost with the first change */
	"/etc",
	/* where links in /etc/ssl lead */
	"/usr/lib/ssl",
	"/usr/share/ca-certificates",
	"/usr/local/share/ca-certificates",
	/* who is at the other end of a socket: cgroup, name and start of a process */
	"/proc",
	"/dev/urandom",
};

static int allow_system(struct ig_files *files, const char *path, struct ig_err *err)
{
	int r = ig_files_allow(files, path, IG_FILES_READ_FILES, err);

	return r == -ENOENT ? 0 : r;
}

/* /etc/resolv.conf is often a link to a file that somebody writes anew from time to time. */
static int allow_resolver(struct ig_files *files, struct ig_err *err)
{
	char target[PATH_MAX];

	if (!realpath("/etc/resolv.conf", target) || strncmp(target, "/etc/", 5) == 0)
		return 0;
	return allow_system(files, dirname(target), err);
}

/* Given to OpenSSL by who started us. */
static int allow_authorities(struct ig_files *files, struct ig_err *err)
{
	const char *const names[] = {
		X509_get_default_cert_file_env(), X509_get_default_cert_dir_env()};
	int r = 0;

	for (size_t i = 0; r == 0 && i < IG_ARRAY_SIZE(names); i++) {
		const char *path = getenv(names[i]);

		if (path && *path)
			r = allow_system(files, path, err);
	}
	return r;
}

/* Of the command line; NULL: not given. */
static int allow_place(struct ig_files *files, const char *path, struct ig_err *err)
{
	int r = path ? ig_files_allow_place(files, path, err) : 0;

	if (r != -ENOENT)
		return r;
	ig_log_info("this is not there; to read it once it is, the agent has to be started again",
		IG_KV_STR(PATH, path));
	return 0;
}

static int allow_own(
	struct ig_files *files, const struct ig_confine_options *options, struct ig_err *err)
{
	const char *const places[] = {options->options->manifests, options->options->secrets,
		options->options->audit.otlp_headers, options->options->audit.syslog_ca,
		options->token_directory};
	int r = 0;

	for (size_t i = 0; r == 0 && i < IG_ARRAY_SIZE(places); i++)
		r = allow_place(files, places[i], err);
	if (r == 0 && options->audit_dir_fd >= 0)
		r = ig_files_allow_fd(files, options->audit_dir_fd, IG_FILES_KEEP, err);
	return r;
}

static int confine_files(const struct ig_confine_options *options, struct ig_err *err)
{
	_cleanup_(ig_files_done) struct ig_files files = {.ruleset = -1};
	int r = ig_files_init(&files, err);

	if (r < 0)
		return r;
	if (files.abi == 0) {
		ig_log_warning(
			"the kernel has no landlock: the server can open whatever its user may");
		return 0;
	}
	for (size_t i = 0; r == 0 && i < IG_ARRAY_SIZE(system_places); i++)
		r = allow_system(&files, system_places[i], err);
	if (r == 0 && IG_SANITIZED) /* it lists the threads */
		r = ig_files_allow(&files, "/proc", IG_FILES_READ, err);
	if (r == 0)
		r = allow_resolver(&files, err);
	if (r == 0)
		r = allow_authorities(&files, err);
	if (r == 0)
		r = allow_own(&files, options, err);
	return r < 0 ? r : ig_files_enforce(&files, err);
}

int ig_confine(const struct ig_confine_options *options, struct ig_err *reterr_err)
{
	int r = confine_files(options, reterr_err);

	return r < 0 ? r : ig_filter_install(IG_FILTER_SERVER, reterr_err);
}
