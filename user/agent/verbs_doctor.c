/*
 * What `imdsgate doctor` wants to know of the server process beyond `status`: what this user can
 * read, how the upstreams did, and when something was lost. Reads state, changes nothing, asks
 * nobody else. Called by the control socket through the table in verbs.c.
 *
 * It must never open a credential, only ask whether it could.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/verbs.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "objects/manifest.h"
#include "token/service.h"

#define CREDENTIAL_DEPTH 3 /* NAMESPACE/SECRET/KEY */

/* What a walk over the directory of credentials found. */
struct secrets {
	size_t entries, unreadable, exposed;
	bool cut;				/* there are more than were looked at */
	char example[IG_CREDENTIAL_PATH_BYTES]; /* the first that is not as it should be */
	char path[IG_CREDENTIAL_PATH_BYTES];	/* of the directory that is being read */
};

/* Seconds since then; null for never. Clocks that were set back give 0. */
static json_t *ago(uint64_t real_usec)
{
	uint64_t now = ig_clock_real_usec();

	if (!real_usec)
		return json_null();
	return ig_verbs_number(now > real_usec ? (now - real_usec) / IG_USEC_PER_SEC : 0);
}

static const char *access_name(const char *dir)
{
	if (faccessat(AT_FDCWD, dir, R_OK | X_OK, AT_EACCESS) == 0)
		return "ok";
	return errno == ENOENT ? "absent" : ig_err_name(errno);
}

/* ---- credentials ---- */

static void note(struct secrets *s, size_t *count, const char *name)
{
	(*count)++;
	if (!s->example[0])
		(void)snprintf(s->example, sizeof(s->example), "%.*s/%s",
			(int)(sizeof(s->example) / 2), s->path, name);
}

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

static void walk(struct secrets *s, int parent, const char *name, int depth);

static void look_at(struct secrets *s, int dir, const char *name, int depth)
{
	size_t len = strlen(s->path);
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0) {
		note(s, &s->unreadable, name);
		return;
	}
	/* of a mounted secret's links only the target counts: its directories are entered once */
	if (S_ISDIR(st.st_mode) ? depth == CREDENTIAL_DEPTH : !S_ISREG(st.st_mode))
		return;
	if (faccessat(dir, name, S_ISDIR(st.st_mode) ? R_OK | X_OK : R_OK, AT_EACCESS) < 0) {
		note(s, &s->unreadable, name);
		return;
	}
	if (S_ISREG(st.st_mode)) {
		if (st.st_mode & S_IROTH)
			note(s, &s->exposed, name);
		return;
	}
	if (len + strlen(name) + 2 > sizeof(s->path))
		return;
	s->path[len] = '/';
	memcpy(s->path + len + 1, name, strlen(name) + 1);
	walk(s, dir, name, depth + 1);
	s->path[len] = '\0';
}

static void walk(struct secrets *s, int parent, const char *name, int depth)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		(void)ig_close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (s->entries >= IG_CREDENTIAL_FILES_MAX) {
			s->cut = true;
			return;
		}
		s->entries++;
		look_at(s, dirfd(dir), entry->d_name, depth);
	}
}

static json_t *credentials_json(const char *dir)
{
	struct secrets s = {};
	const char *state = access_name(dir);

	if (strcmp(state, "ok") == 0)
		walk(&s, AT_FDCWD, dir, 1);
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:o}", "dir", dir, "state", state,
		"entries", ig_verbs_number(s.entries), "unreadable", ig_verbs_number(s.unreadable),
		"exposed", ig_verbs_number(s.exposed), "cut", s.cut, "example",
		ig_verbs_text(s.example));
}

/* ---- manifests ---- */

static void add_bad(const char *path, int error, void *userdata)
{
	json_t *item = json_pack("{s:s, s:s}", "file", path, "error", ig_err_name(error));

	/* a name that is no UTF-8 is counted by `status` all the same */
	if (item)
		(void)json_array_append_new(userdata, item);
}

static json_t *manifests_json(const struct ig_agent *agent)
{
	const char *dir = agent->options->manifests;
	json_t *bad = json_array();

	if (bad)
		ig_manifest_dir_each_bad(agent->manifests, add_bad, bad);
	return json_pack("{s:s, s:s, s:o}", "dir", dir, "state", access_name(dir), "bad", bad);
}

/* ---- upstreams ---- */

static json_t *upstreams_json(const struct ig_agent *agent)
{
	static const char *const names[_IG_TOKEN_UPSTREAM_MAX] = {
		[IG_TOKEN_UPSTREAM_IMDS] = "imds",
		[IG_TOKEN_UPSTREAM_ENTRA] = "entra",
		[IG_TOKEN_UPSTREAM_SERVICE_ACCOUNT] = "entra_service_account",
	};
	json_t *all = json_object();

	for (unsigned int i = 0; all && i < _IG_TOKEN_UPSTREAM_MAX; i++) {
		struct ig_token_upstream_times t =
			ig_token_service_upstream_times(agent->tokens, (enum ig_token_upstream)i);

		(void)json_object_set_new(all, names[i],
			json_pack("{s:o, s:o, s:b}", "answered_sec_ago", ago(t.answered_usec),
				"failed_sec_ago", ago(t.failed_usec), "failing",
				t.failed_usec > t.answered_usec));
	}
	return all;
}

static json_t *descriptors_json(void)
{
	struct ig_descriptors d = ig_descriptors_get();

	return json_pack("{s:o, s:o, s:o, s:o}", "limit", ig_verbs_number(d.limit), "wanted",
		ig_verbs_number(d.wanted), "listeners", ig_verbs_number(d.listeners), "connections",
		ig_verbs_number(d.connections));
}

int ig_verbs_doctor(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	const struct ig_agent *agent = userdata;
	struct ig_audit_stats audit = ig_audit_stats(agent->audit);

	(void)conn;
	(void)args;
	(void)reterr_err;
	*ret_result = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o}", "uid",
		ig_verbs_number(geteuid()), "credentials",
		credentials_json(agent->options->secrets), "manifests", manifests_json(agent),
		"upstreams", upstreams_json(agent), "descriptors", descriptors_json(),
		"token_early_sec", ig_verbs_number(ig_token_service_early_sec(agent->tokens)),
		"events_lost", "reports", ig_verbs_number(audit.by_kind[IG_AUDIT_EVENTS_LOST]),
		"last_sec_ago", ago(audit.last_loss_usec), "now_usec",
		ig_verbs_number(ig_clock_real_usec()));
	return *ret_result ? 0 : -ENOMEM;
}
