/*
 * base64, GUIDs and times; see encode.h. Pure but for the random numbers. Decoding must never be
 * lenient: an assertion that only this reader understands would go unnoticed. Called by signer.c,
 * jwt.c, jws.c, certificates.c, imds.c and entra_error.c.
 */
#include "lab/encode.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* a multiple of three, so that only the last chunk is padded */
#define CHUNK_BYTES 300

void lab_base64(struct ig_buf *out, const void *data, size_t len)
{
	const unsigned char *p = data;

	while (len) {
		unsigned char text[CHUNK_BYTES / 3 * 4 + 1];
		size_t n = len < CHUNK_BYTES ? len : CHUNK_BYTES;
		int written = EVP_EncodeBlock(text, p, (int)n);

		ig_buf_append(out, text, (size_t)written);
		p += n;
		len -= n;
	}
}

void lab_base64url(struct ig_buf *out, const void *data, size_t len)
{
	size_t start = out->len;

	lab_base64(out, data, len);
	if (ig_buf_finish(out) < 0)
		return;
	while (out->len > start && out->data[out->len - 1] == '=')
		out->data[--out->len] = '\0';
	for (size_t i = start; i < out->len; i++) {
		if (out->data[i] == '+')
			out->data[i] = '-';
		else if (out->data[i] == '/')
			out->data[i] = '_';
	}
}

/* The value of a digit, or -1. */
static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

int lab_base64url_decode(const char *text, size_t len, struct ig_buf *out)
{
	unsigned int bits = 0;
	unsigned int n_bits = 0;

	for (size_t i = 0; i < len; i++) {
		int digit = digit_of(text[i]);

		if (digit < 0)
			return -EBADMSG;
		bits = (bits << 6 | (unsigned int)digit) & 0xffff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			ig_buf_putc(out, (char)(bits >> n_bits & 0xff));
		}
	}
	if (n_bits >= 6 || bits & ((1U << n_bits) - 1))
		return -EBADMSG;
	return ig_buf_finish(out);
}

const char *lab_guid(char *buf)
{
	unsigned char b[16];

	if (RAND_bytes(b, sizeof(b)) != 1)
		return NULL;
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	(void)snprintf(buf, LAB_GUID_BYTES,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]);
	return buf;
}

const char *lab_stamp(uint64_t unix_sec, char *buf)
{
	time_t t = (time_t)unix_sec;
	struct tm tm = {};

	(void)gmtime_r(&t, &tm);
	if (strftime(buf, LAB_STAMP_BYTES, "%Y-%m-%d %H:%M:%SZ", &tm) == 0)
		buf[0] = '\0';
	return buf;
}
