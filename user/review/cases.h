/*
 * Test cases for a set of rules: a YAML list (in one or more documents), each entry a request in
 * words and what is expected:
 *
 *	- name: the scraper gets nothing
 *	  pod: shop/scraper-0           or host: true
 *	  resource: https://vault.azure.net      or path: /metadata/…
 *	  clientID, objectID, resourceID, container, executable    as on the command line
 *	  expect: deny                  allow, would-deny or deny
 *	  reason: resource_not_allowed  optional; then it must be this one
 */
#pragma once

#include "review/question.h"

struct ig_case {
	const char *file; /* borrowed */
	unsigned int line;
	const char *name; /* "" without */
	struct ig_question question;
	enum ig_answer_outcome expect;
	const char *reason; /* NULL: any */
};

/* Texts are valid during the call only. A negative return value ends it and is passed on. */
typedef int ig_case_each(const struct ig_case *c, void *userdata, struct ig_err *reterr_err);

/* Reads the file at `path` and calls `each` in order. 0, what `each` returned, or a negative errno
 * with file, line and column in *reterr_err; an empty file is -EINVAL, for it tests nothing. */
int ig_cases_read(const char *path, ig_case_each *each, void *userdata, struct ig_err *reterr_err);
