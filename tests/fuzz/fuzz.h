/*
 * What the fuzz targets share: reading an input piece by piece, and checks that hold for whatever
 * input. A target is a program of its own (libFuzzer, AddressSanitizer, UBSan): a finding is a
 * crash, a check that fails, a leak, or an input that takes too long or too much memory.
 *
 * Inputs stay close to what the decoder gets from outside, so that a seed can be read and written
 * by hand: where a target needs choices, they stand in the first line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has to hold for every input. */
#define FUZZ_CHECK(condition)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			(void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,    \
				#condition);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fuzz_input {
	const uint8_t *data;
	size_t left;
};

/* The next byte; 0 at the end. */
uint8_t fuzz_byte(struct fuzz_input *in);
/* The next line without its end as a text of its own, in a block of exactly its size, to be freed;
 * "" at the end. A NUL ends it early, as it would any C string. */
char *fuzz_line(struct fuzz_input *in);
/* Everything that is left, likewise. */
char *fuzz_text(struct fuzz_input *in);
/* A copy of `len` bytes in a block of exactly that size (not NULL), to be freed. */
char *fuzz_copy(const void *data, size_t len);

/* Lengths of pieces that something is cut into: a few of one byte, others longer. */
struct fuzz_cuts {
	uint32_t state;
};
/* Between 1 and `left`; `left` is not 0. */
size_t fuzz_cut(struct fuzz_cuts *cuts, size_t left);

/* FNV-1a, to compare what happened in two ways through the same code. */
#define FUZZ_HASH_INIT 14695981039346656037ULL
uint64_t fuzz_hash(uint64_t hash, const void *data, size_t len);
/* Of a text with its end; NULL is not "". */
uint64_t fuzz_hash_text(uint64_t hash, const char *text);
