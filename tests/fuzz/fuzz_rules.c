/*
 * A set of rules and questions to it: manifests, then behind a line "=== " the cases that
 * `imdsgate policy test` reads. What the rules answer must be consistent: an answer has a reason,
 * what is allowed by an identity is by one of the pod's own namespace, and a host without a policy
 * for it gets nothing.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fdutil.h"
#include "objects/manifest.h"
#include "review/cases.h"
#include "review/question.h"

#define POLICY_NAMESPACE "imdsgate-system"
#define SEPARATOR	 "=== \n"

static bool has_host_policy(const struct ig_store *store)
{
	const struct ig_metadata_policy *policy;
	size_t iter = 0;

	while ((policy = ig_store_next_metadata_policy(store, &iter)) != NULL)
		if (policy->host && policy->mode != IG_POLICY_MODE_OFF)
			return true;
	return false;
}

static void judge(const struct ig_store *store, const struct ig_question *question)
{
	static const struct ig_policy_options options = {.policy_namespace = POLICY_NAMESPACE};
	static struct ig_answer answer;
	struct ig_err err = {};
	json_t *json;
	int r = ig_question_answer(store, &options, question, &answer, &err);

	FUZZ_CHECK(r == 0 || ((r == -EINVAL || r == -ENOENT) && err.message[0]));
	if (r < 0)
		return;
	FUZZ_CHECK(answer.outcome < _IG_ANSWER_MAX && answer.reason && answer.reason[0]);
	if (question->host && !has_host_policy(store))
		FUZZ_CHECK(answer.outcome == IG_ANSWER_DENY);
	if (answer.outcome == IG_ANSWER_ALLOW && answer.request.pod && answer.request.identity)
		FUZZ_CHECK(strcmp(answer.request.pod->namespace,
				   answer.request.identity->namespace) == 0);
	json = ig_answer_json(&answer);
	FUZZ_CHECK(json);
	json_decref(json);
}

static int on_case(const struct ig_case *c, void *userdata, struct ig_err *reterr_err)
{
	(void)reterr_err;
	FUZZ_CHECK(c->line > 0 && c->name && c->expect < _IG_ANSWER_MAX);
	judge(userdata, &c->question);
	return 0;
}

static void read_cases(const struct ig_store *store, const char *text, size_t len)
{
	int fd = memfd_create("cases", MFD_CLOEXEC), r;
	struct ig_err err = {};
	char path[64];

	FUZZ_CHECK(fd >= 0 && ig_fd_write_all(fd, text, len) == 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = ig_cases_read(path, on_case, (void *)(uintptr_t)store, &err);
	FUZZ_CHECK(r == 0 || err.message[0]);
	(void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *cut = size ? memmem(data, size, SEPARATOR, strlen(SEPARATOR)) : NULL;
	size_t len = cut ? (size_t)(cut - data) : size;
	char *manifests = fuzz_copy(data, len);
	struct ig_object_set *set = NULL;
	struct ig_store *store = NULL;
	struct ig_err err = {};

	FUZZ_CHECK(ig_store_new(&store) == 0);
	if (ig_manifest_parse("rules", manifests, len, POLICY_NAMESPACE, &set, &err) == 0)
		FUZZ_CHECK(ig_store_replace(store, "rules", set, &err) == 0);
	if (cut)
		read_cases(store, (const char *)cut + strlen(SEPARATOR),
			size - len - strlen(SEPARATOR));
	(void)ig_store_free(store);
	free(manifests);
	return 0;
}
