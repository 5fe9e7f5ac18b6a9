/*
 * Audit logs that anybody may have written, read by root's tools: verify, stats, the report's page,
 * the replay against a set of rules, and the suggestion of policies, whose YAML has to be valid
 * manifests whatever stands in the log.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "audit/verify.h"
#include "base/fdutil.h"
#include "cli/cmd.h"
#include "objects/manifest.h"
#include "report/page.h"
#include "report/reader.h"
#include "report/stats.h"
#include "report/summary.h"
#include "review/replay.h"
#include "review/suggest.h"

#define POLICY_NAMESPACE "imdsgate-system"

static const char rules[] =
	"apiVersion: v1\nkind: Pod\n"
	"metadata: {name: web-0, namespace: shop, uid: 11111111-2222-3333-4444-555555555555, labels: {app: web, aadpodidbinding: web}}\n"
	"spec: {serviceAccountName: web, containers: [{name: web}, {name: side}]}\n"
	"---\napiVersion: imdsgate.dev/v1alpha1\nkind: MetadataPolicy\n"
	"metadata: {name: p, namespace: shop}\n"
	"spec: {podSelector: {matchLabels: {app: web}}, allow: {resources: ['https://vault.azure.net'], executables: [/usr/bin/curl], containers: [web]}}\n";

struct tools {
	struct ig_store *store;
	struct ig_report_summary *summary;
	struct ig_replay *replay;
	struct ig_suggest *suggest;
};

/* Nothing that a terminal would obey. */
static void check_text(const struct ig_buf *b)
{
	FUZZ_CHECK(ig_buf_finish(b) == 0);
	for (size_t i = 0; i < b->len; i++) {
		unsigned char c = (unsigned char)b->data[i];

		FUZZ_CHECK((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t');
	}
}

/* Nor a browser. */
static void check_page(const struct ig_buf *b)
{
	check_text(b);
	FUZZ_CHECK(!strstr(b->data, "<script") && !strstr(b->data, "<img"));
}

static int on_event(const struct ig_report_event *event, void *userdata)
{
	struct tools *tools = userdata;

	FUZZ_CHECK(event->kind_name && event->pod_name && event->resource && event->exe);
	FUZZ_CHECK(event->decision < _IG_AUDIT_DECISION_MAX);
	FUZZ_CHECK(ig_report_summary_add(tools->summary, event) == 0);
	FUZZ_CHECK(ig_replay_add(tools->replay, event) == 0);
	FUZZ_CHECK(ig_suggest_add(tools->suggest, event) == 0);
	return 0;
}

static void on_bad_line(const char *file, uint64_t line, const char *why, void *userdata)
{
	(void)file;
	(void)userdata;
	FUZZ_CHECK(line > 0 && why[0] && !strchr(why, '\n'));
}

static void check_suggestion(const struct ig_suggest *suggest)
{
	struct ig_buf yaml = {.limit = 64 * 1024 * 1024};
	struct ig_object_set *set = NULL;
	json_t *result = NULL;
	struct ig_err err = {};

	FUZZ_CHECK(ig_suggest_result(suggest, &result, &err) == 0);
	ig_suggest_yaml(result, &yaml);
	FUZZ_CHECK(ig_buf_finish(&yaml) == 0);
	for (size_t i = 0; i < yaml.len; i++)
		FUZZ_CHECK((yaml.data[i] >= 0x20 && yaml.data[i] < 0x7f) || yaml.data[i] == '\n');
	if (yaml.len) {
		int r = ig_manifest_parse(
			"suggested", yaml.data, yaml.len, POLICY_NAMESPACE, &set, &err);

		if (r < 0)
			(void)fprintf(stderr, "%s\n%s\n", err.message, yaml.data);
		FUZZ_CHECK(r == 0);
		FUZZ_CHECK(set->n_metadata_policies ==
			   json_array_size(json_object_get(result, "suggestions")));
		FUZZ_CHECK(ig_object_set_count(set) == set->n_metadata_policies);
	}
	(void)ig_object_set_free(set);
	ig_buf_done(&yaml);
	json_decref(result);
}

static void check_results(const struct tools *tools, const struct ig_report_counts *counts)
{
	struct ig_report_page page = {
		.summary = tools->summary, .counts = counts, .top = 100, .selection = ""};
	struct ig_buf b = {.limit = 64 * 1024 * 1024};
	json_t *result = NULL;

	FUZZ_CHECK(ig_report_page_write(&page, &b) == 0);
	check_page(&b);
	ig_buf_reset(&b);
	for (int by = 0; by < _IG_REPORT_BY_MAX; by++) {
		FUZZ_CHECK(ig_report_stats(tools->summary, counts, by, 100, &result) == 0);
		ig_buf_reset(&b);
		ig_cli_format_stats(result, &b);
		check_text(&b);
		json_decref(result);
	}
	FUZZ_CHECK(ig_replay_result(tools->replay, 100, &result) == 0);
	ig_buf_reset(&b);
	ig_cli_format_replay(result, false, &b);
	check_text(&b);
	json_decref(result);
	ig_buf_done(&b);
	check_suggestion(tools->suggest);
}

static void report(const char *path, uint8_t choice)
{
	static const struct ig_policy_options policy = {.policy_namespace = POLICY_NAMESPACE};
	static const struct ig_report_filter filter = {};
	const struct ig_suggest_options suggest = {
		.per = choice % 3, .label = "app", .policy_namespace = POLICY_NAMESPACE};
	struct ig_report_counts counts = {};
	struct ig_object_set *set = NULL;
	struct tools tools = {};
	const struct ig_report_handler handler = {
		.each = on_event, .bad = on_bad_line, .userdata = &tools};
	struct ig_err err = {};

	FUZZ_CHECK(ig_store_new(&tools.store) == 0);
	FUZZ_CHECK(ig_manifest_parse(
			   "rules", rules, sizeof(rules) - 1, POLICY_NAMESPACE, &set, &err) == 0);
	FUZZ_CHECK(ig_store_replace(tools.store, "rules", set, &err) == 0);
	FUZZ_CHECK(ig_report_summary_new(&filter, &tools.summary) == 0);
	FUZZ_CHECK(ig_replay_new(tools.store, &policy, &tools.replay) == 0);
	FUZZ_CHECK(ig_suggest_new(tools.store, &suggest, &tools.suggest) == 0);
	FUZZ_CHECK(ig_report_read(path, &handler, &counts, &err) == 0);
	FUZZ_CHECK(counts.records + counts.bad_lines <= counts.lines);
	check_results(&tools, &counts);
	(void)ig_suggest_free(tools.suggest);
	(void)ig_replay_free(tools.replay);
	(void)ig_report_summary_free(tools.summary);
	(void)ig_store_free(tools.store);
}

static void on_finding(const struct ig_audit_finding *finding, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(finding->type < _IG_AUDIT_FINDING_MAX && finding->message && finding->run);
	FUZZ_CHECK(finding->first <= finding->last);
}

static void verify(const char *path)
{
	struct ig_audit_verify_summary summary;
	struct ig_audit_verify *verify = NULL;
	FILE *stream = fopen(path, "re");

	FUZZ_CHECK(stream && ig_audit_verify_new("file", on_finding, NULL, &verify) == 0);
	FUZZ_CHECK(ig_audit_verify_file(verify, stream, "log") == 0);
	ig_audit_verify_finish(verify, NULL, &summary);
	FUZZ_CHECK(summary.records <= summary.lines);
	(void)ig_audit_verify_free(verify);
	(void)fclose(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	uint8_t choice = fuzz_byte(&in);
	int fd = memfd_create("log", MFD_CLOEXEC);
	char path[64];

	FUZZ_CHECK(fd >= 0 && ig_fd_write_all(fd, in.data, in.left) == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	verify(path);
	report(path, choice);
	(void)close(fd);
	return 0;
}
