/*
 * How many of something a workload may hold at once. Counts are kept only while they are not zero,
 * so the table is as large as what is held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ig_quota;

int ig_quota_new(uint32_t max_each, struct ig_quota **ret);
struct ig_quota *ig_quota_free(struct ig_quota *quota);

/* false: the workload holds as many as it may (or there is no memory to count one more). */
bool ig_quota_take(struct ig_quota *quota, uint64_t workload);
/* Gives one back that was taken. */
void ig_quota_give(struct ig_quota *quota, uint64_t workload);
