/*
 * How many connections a workload may hold at once, and what they have of the loop together. Who
 * holds none any more is remembered for a while, so that opening and closing without end counts
 * like anything else.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ig_http_share;
struct ig_quota;

int ig_quota_new(uint32_t max_each, struct ig_quota **ret);
struct ig_quota *ig_quota_free(struct ig_quota *quota);

/* false: the workload holds as many as it may (or there is no memory to count one more). */
bool ig_quota_take(struct ig_quota *quota, uint64_t workload);
/* Gives one back that was taken. */
void ig_quota_give(struct ig_quota *quota, uint64_t workload);
/* The share of a workload that holds something; stays where it is as long as it does, and until the
 * next ig_quota_take(). */
struct ig_http_share *ig_quota_share(struct ig_quota *quota, uint64_t workload);
