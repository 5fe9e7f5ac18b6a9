/*
 * Which records a report is about.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "report/event.h"

/* Texts are borrowed; NULL and 0: not asked for. */
struct ig_report_filter {
	uint64_t since_usec, until_usec; /* since is included, until is not */
	const char *namespace, *pod;	 /* of the pod whose request it is */
	const char *identity;		 /* a name, NAMESPACE/NAME or a client id */
	const char *resource; /* as policies compare: case and slashes at the end aside */
	const char *kind;
	bool by_decision;
	enum ig_audit_decision decision;
};

/* Does the time fit? */
bool ig_report_in_period(
	const struct ig_report_filter *filter, const struct ig_report_event *event);
/* Does everything fit? A loss fits whatever is asked for but the time: whose records were lost
 * nobody knows. */
bool ig_report_wants(const struct ig_report_filter *filter, const struct ig_report_event *event);

/* The pod whose request it is: the one that somebody asks for, or else the caller. "" for none. */
const char *ig_report_namespace(const struct ig_report_event *event);
const char *ig_report_pod(const struct ig_report_event *event);
/* Its ServiceAccount; "" when it is not known. */
const char *ig_report_account(const struct ig_report_event *event);

/* Are they one audience? */
bool ig_report_same_resource(const char *a, const char *b);
