/*
 * The sinks of the audit; see audit_sinks.h.
 *
 * It must never give away a directory that it did not make: rotating needs one that belongs to the
 * server's user, and if the administrator's does not, that is said at the start. Nor a file that
 * may be another's.
 */
#include "agent/audit_sinks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/otlp_post.h"
#include "audit/sink_stdout.h"
#include "audit/sink_syslog.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "version.h"

#define OPEN_FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

/* ---- privileged ------------------------------------------------------------------------------ */

/* "/a/b" of "/a/b/c"; "." of "c". NULL when out of memory. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static int open_directory(const struct ig_options *o, int *ret_fd, struct ig_err *err)
{
	_cleanup_free_ char *dir = directory_of(o->audit.file);
	int fd;

	if (!dir)
		return -ENOMEM;
	if (mkdir(dir, 0750) == 0) {
		if (chown(dir, o->uid, o->gid) < 0)
			return ig_err_set(err, -errno,
				"cannot give the audit directory %s to uid %u: %s", dir, o->uid,
				strerror(errno));
	} else if (errno != EEXIST) {
		return ig_err_set(err, -errno, "cannot make the directory of the audit file %s: %s",
			o->audit.file, strerror(errno));
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return ig_err_set(err, -errno, "cannot open the directory of the audit file %s: %s",
			o->audit.file, strerror(errno));
	*ret_fd = fd;
	return 0;
}

/* Whoever may write to the directory, and that is the unprivileged server, can give any file of
 * this file system that name, too. */
static int give_file(int fd, const struct ig_options *o, struct ig_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ig_err_set(err, -errno, "cannot look at the audit file %s: %s",
			o->audit.file, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return 0;
	if (st.st_nlink > 1 && st.st_uid != o->uid)
		return ig_err_set(err, -EMLINK,
			"the audit file %s has another name as well (a hard link) and does not belong to uid %u",
			o->audit.file, o->uid);
	if (fchown(fd, o->uid, o->gid) < 0)
		return ig_err_set(err, -errno, "cannot give the audit file %s to uid %u: %s",
			o->audit.file, o->uid, strerror(errno));
	return 0;
}

int ig_audit_open(const struct ig_options *o, struct ig_audit_opened *ret, struct ig_err *err)
{
	_cleanup_close_ int dir_fd = -1, fd = -1;
	const char *slash = strrchr(o->audit.file, '/');
	const char *name = slash ? slash + 1 : o->audit.file;
	int r;

	if (strcmp(o->audit.file, "none") == 0)
		return 0;
	r = open_directory(o, &dir_fd, err);
	if (r < 0)
		return r;
	fd = openat(dir_fd, name, OPEN_FLAGS, 0640);
	if (fd < 0)
		return ig_err_set(err, -errno,
			"cannot open the audit file %s: %s; name another with --audit-file",
			o->audit.file, strerror(errno));
	r = give_file(fd, o, err);
	if (r < 0)
		return r;
	ret->dir_fd = TAKE_FD(dir_fd);
	ret->file_fd = TAKE_FD(fd);
	ret->file_name = name;
	return 0;
}

void ig_audit_opened_done(struct ig_audit_opened *opened)
{
	opened->dir_fd = ig_close(opened->dir_fd);
	opened->file_fd = ig_close(opened->file_fd);
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static int add(struct ig_audit *audit, struct ig_audit_sink *sink)
{
	int r = ig_audit_add_sink(audit, sink);

	if (r < 0)
		(void)ig_audit_sink_free(sink);
	return r;
}

static int add_file(struct ig_audit *audit, const struct ig_options *o,
	struct ig_audit_opened *opened, struct ig_err *err)
{
	const bool rotates = o->audit.rotate_bytes || o->audit.rotate_usec;
	const struct ig_audit_file_options options = {
		.dir_fd = opened->dir_fd,
		.fd = opened->file_fd,
		.name = opened->file_name,
		.rotate_bytes = o->audit.rotate_bytes,
		.rotate_usec = o->audit.rotate_usec,
		.keep = o->audit.keep,
		.fsync = o->audit.fsync,
	};
	struct ig_audit_sink *sink = NULL;
	int r;

	if (opened->file_fd < 0)
		return 0;
	if (rotates && faccessat(opened->dir_fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
		return ig_err_set(err, -errno,
			"cannot rotate %s: its directory has to belong to the agent's user (chown %u:%u)",
			o->audit.file, o->uid, o->gid);
	r = ig_audit_sink_file_new(&options, &sink);
	if (r == -EINVAL)
		return ig_err_set(err, r, "cannot rotate %s: it is no regular file", o->audit.file);
	if (r < 0)
		return ig_err_set(
			err, r, "cannot use the audit file %s: %s", o->audit.file, strerror(-r));
	*opened = IG_AUDIT_OPENED_NONE;
	return add(audit, sink);
}

static int add_stdout(struct ig_audit *audit, const struct ig_options *o, struct ig_err *err)
{
	_cleanup_close_ int fd = -1;
	struct ig_audit_sink *sink = NULL;
	int r;

	if (!o->audit.to_stdout)
		return 0;
	fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return ig_err_set(
			err, -errno, "--audit-stdout: no standard output: %s", strerror(errno));
	r = ig_audit_sink_stdout_new(&(struct ig_audit_stdout_options){.fd = fd}, &sink);
	if (r < 0)
		return r;
	(void)TAKE_FD(fd);
	return add(audit, sink);
}

static int add_syslog(struct ig_audit *audit, const struct ig_options *o, struct ig_err *err)
{
	struct ig_audit_syslog_options options = {
		.ca_file = o->audit.syslog_ca, .node = o->node, .run_id = ig_audit_run_id(audit)};
	struct ig_audit_sink *sink = NULL;
	int r;

	if (!o->audit.syslog)
		return 0;
	r = ig_syslog_target_parse(o->audit.syslog, &options.target, err);
	if (r == 0)
		r = ig_audit_sink_syslog_new(&options, &sink, err);
	return r < 0 ? r : add(audit, sink);
}

static int add_otlp(struct ig_audit *audit, struct event_base *base, const struct ig_options *o)
{
	struct ig_audit_otlp_options options = {.base = base,
		.resource = {
			.version = IG_VERSION, .node = o->node, .run_id = ig_audit_run_id(audit)}};
	struct ig_audit_sink *sink = NULL;
	int r;

	if (!o->audit.otlp)
		return 0;
	r = ig_otlp_poster_new(base, o->audit.otlp, o->audit.otlp_headers, &options.poster);
	if (r < 0)
		return r;
	r = ig_audit_sink_otlp_new(&options, &sink);
	if (r < 0) {
		options.poster.free(options.poster.self);
		return r;
	}
	return add(audit, sink);
}

int ig_audit_start(struct event_base *base, const struct ig_options *o,
	struct ig_audit_opened *opened, struct ig_audit **ret, struct ig_err *err)
{
	const struct ig_audit_options options = {.node = o->node, .chain = o->audit.chain};
	struct ig_audit *audit = NULL;
	int r = ig_audit_new(base, &options, &audit);

	if (r == 0)
		r = add_file(audit, o, opened, err);
	if (r == 0)
		r = add_stdout(audit, o, err);
	if (r == 0)
		r = add_syslog(audit, o, err);
	if (r == 0)
		r = add_otlp(audit, base, o);
	if (r < 0) {
		(void)ig_audit_free(audit);
		return err->message[0]
			       ? r
			       : ig_err_set(err, r, "cannot start the audit: %s", strerror(-r));
	}
	*ret = audit;
	return 0;
}
