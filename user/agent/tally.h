/*
 * Since when each declared pod is known, how many of its requests were allowed, denied, or failed,
 * how long they took, and what it asked for last. Pods that are not declared are not counted, so
 * the number of entries is bounded by what is declared.
 */
#pragma once

#include <stdint.h>

#include <imdsgate/limits.h>

#include "audit/record.h"
#include "objects/store.h"

struct ig_tally;

struct ig_tally_counts {
	uint64_t allowed, denied, failed;
	uint64_t latency_usec; /* of all of them together */
	char last_resource[IG_TALLY_RESOURCE_BYTES +
			   1]; /* of its last request for a token, as it wrote it; "" */
};

int ig_tally_new(struct ig_tally **ret);
struct ig_tally *ig_tally_free(struct ig_tally *tally);

/* Counts the request that the record is about. */
void ig_tally_count(
	struct ig_tally *tally, const struct ig_pod *pod, const struct ig_audit_record *record);
struct ig_tally_counts ig_tally_get(const struct ig_tally *tally, const struct ig_pod *pod);
/* Forgets pods that are not declared any more, and notes when new ones came. */
void ig_tally_follow(struct ig_tally *tally, const struct ig_store *store);
/* The same for the pods that changed alone: to be called by the store's listener. */
void ig_tally_follow_changed(struct ig_tally *tally, const struct ig_store *store);
/* On the monotonic clock; 0 for a pod that was not noted. */
uint64_t ig_tally_first_seen_usec(const struct ig_tally *tally, const struct ig_pod *pod);
