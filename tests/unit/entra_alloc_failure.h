/*
 * A token of entra_fixture.h's Entra ID, while one allocation of the service finds no memory.
 */
#pragma once

#include "unit/entra_fixture.h"

#define ALLOCATION_IS_SPARED upstream_works /* the token fixture's own */
#include "unit/alloc_failure.h"

/* Asks while allocation n fails; the answer, or the lack of one, fits the result. */
static inline struct asked ask_with_failure(
	struct fixture *f, const struct ig_token_key *key, unsigned int n)
{
	struct asked asked = {};
	int r;

	f->service->timeout_usec = 100000;
	allocations = 0;
	failing = n;
	armed = true;
	r = ask_key(f, key, 0, "", 1, &asked);
	run_ready(f);
	armed = false;
	if (r < 0)
		assert_int_equal(r, -ENOMEM);
	assert_int_equal(asked.n, r == 0);
	return asked;
}

/* Nothing is left of it, and nothing is remembered. */
static inline void forget_failure(struct fixture *f)
{
	(void)ig_token_service_purge(f->service, keep_none, NULL);
	run_ready(f);
	assert_int_equal(n_running(f->service), 0);
	assert_int_equal(f->service->cache.len, 0);
	forget_posts();
	pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
}
