/*
 * Who makes client assertions for workloads: with Kubernetes, the API server
 * (kube/token_request.h). The token service asks for one before each exchange with Entra ID and
 * keeps none.
 */
#pragma once

#include <stdint.h>

struct ig_assertion_result {
	/* 0; -ENOENT: the workload is gone; -EACCES: we may not have it, and somebody must act;
	 * -EBADMSG, -E2BIG, -EINVAL, -ENOMEM: broken; anything else may pass. */
	int error;
	const char *text;      /* for people, when error is not 0; no secrets. Borrowed */
	const char *assertion; /* visible ASCII, at most IG_ASSERTION_BYTES; borrowed, and wiped by
				  the provider after the callback */
};

typedef void ig_assertion_done(const struct ig_assertion_result *result, void *userdata);

struct ig_assertion_provider {
	/* Asks for an assertion that says to `audience` who the workload is. The credential is the
	 * key's, "NAMESPACE/SERVICEACCOUNT/POD/UID". `done` is called once, from the loop and never
	 * from inside, after timeout_usec at the latest. Negative errno (-EBUSY may pass): it will
	 * not be called.
	 */
	int (*start)(void *userdata, const char *credential, const char *audience,
		uint64_t timeout_usec, ig_assertion_done *done, void *done_userdata,
		void **ret_call);
	/* Ends a call without its callback. */
	void (*cancel)(void *userdata, void *call);
	void *userdata;
};
