/*
 * From bytes to requests: llhttp, strict, with a limit.
 */
#pragma once

#include <llhttp.h>
#include <stddef.h>

#include "lab/request.h"

struct lab_parser {
	llhttp_t llhttp;
	struct lab_request req;
	size_t bytes; /* of the request so far, as far as they are kept */
	int error;    /* why a callback stopped the parser */
};

void lab_parser_init(struct lab_parser *parser);
void lab_parser_done(struct lab_parser *parser);

/* 1: parser->req is whole. 0: more bytes are needed. -EBADMSG: not HTTP; -E2BIG; -ENOMEM. *ret_used
 * says how many bytes were taken unless it failed. */
int lab_parser_feed(struct lab_parser *parser, const char *data, size_t len, size_t *ret_used);

/* Throws req away and is ready for the next. */
void lab_parser_next(struct lab_parser *parser);
