/*
 * Identities by resource, as a section of the report's page.
 */
#pragma once

#include "base/buf.h"
#include "report/summary.h"

/* 0 or -ENOMEM. */
int ig_report_matrix(const struct ig_report_summary *summary, struct ig_buf *b);
