/*
 * The hash chain; see chain.h.
 */
#include "audit/chain.h"

#include <errno.h>
#include <openssl/evp.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define SEED_BYTES 256

static int hash(const char *text, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	if (EVP_Digest(text, len, bytes, &n, EVP_sha256(), NULL) != 1 ||
		n != IG_AUDIT_HASH_BYTES / 2)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		ret[2 * i] = digits[bytes[i] >> 4];
		ret[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret[IG_AUDIT_HASH_BYTES] = '\0';
	return 0;
}

int ig_audit_chain_first(const char *boot_id, const char *run_id, char *ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf seed = {.limit = SEED_BYTES};

	ig_buf_printf(&seed, "imdsgate/audit/v1:%s:%s", boot_id, run_id);
	if (ig_buf_finish(&seed) < 0)
		return ig_buf_finish(&seed);
	return hash(seed.data, seed.len, ret);
}

int ig_audit_chain_next(const char *line, size_t len, char *ret)
{
	if (len && line[len - 1] == '\n')
		len--;
	return hash(line, len, ret);
}
