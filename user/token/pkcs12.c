/*
 * Contents of PKCS#12 files; see pkcs12.h. Called by certificate.c.
 *
 * It must never derive a key before it has looked at how often the file wants that done, and never
 * by a function whose cost it does not know (scrypt's depends on three numbers; nobody uses it
 * here).
 */
#include "token/pkcs12.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"

typedef STACK_OF(X509) x509_stack;
typedef STACK_OF(PKCS7) safe_stack;
typedef STACK_OF(PKCS12_SAFEBAG) bag_stack;

struct reader {
	const char *password; /* as the MAC was made with it: "" and none are not the same */
	uint64_t iterations;  /* so far */
	EVP_PKEY *key;	      /* owned; the first one */
	x509_stack *others;   /* owned; all certificates */
	const char *why;      /* literal */
};

static void free_certificates(x509_stack *stack)
{
	sk_X509_pop_free(stack, X509_free);
}

static void free_safes(safe_stack *stack)
{
	sk_PKCS7_pop_free(stack, PKCS7_free);
}

static void free_bags(bag_stack *stack)
{
	sk_PKCS12_SAFEBAG_pop_free(stack, PKCS12_SAFEBAG_free);
}

IG_DEFINE_CLEANUP(safe_stack *, free_safes);
IG_DEFINE_CLEANUP(bag_stack *, free_bags);
IG_DEFINE_CLEANUP(X509 *, X509_free);
IG_DEFINE_CLEANUP(PBEPARAM *, PBEPARAM_free);
IG_DEFINE_CLEANUP(PBE2PARAM *, PBE2PARAM_free);
IG_DEFINE_CLEANUP(PBKDF2PARAM *, PBKDF2PARAM_free);
IG_DEFINE_CLEANUP(PKCS8_PRIV_KEY_INFO *, PKCS8_PRIV_KEY_INFO_free);

static void reader_done(struct reader *r)
{
	EVP_PKEY_free(r->key);
	free_certificates(r->others);
}

/* ---- how long it takes ----------------------------------------------------------------------- */

static int spend(struct reader *r, const ASN1_INTEGER *count)
{
	uint64_t n = 1; /* the default of a MAC */

	if (count && ASN1_INTEGER_get_uint64(&n, count) != 1)
		n = UINT64_MAX;
	if (n > IG_CERTIFICATE_ITERATIONS - r->iterations) {
		r->why = "deriving its keys would take too long; write it with fewer iterations";
		return -EINVAL;
	}
	r->iterations += n;
	return 0;
}

static int refuse_algorithm(void)
{
	ERR_raise(ERR_LIB_EVP, EVP_R_UNKNOWN_PBE_ALGORITHM);
	return -EINVAL;
}

/* PBES2, whose key derivation has to be PBKDF2. */
static int spend_pbes2(struct reader *r, const X509_ALGOR *algorithm)
{
	_cleanup_(PBE2PARAM_freep) PBE2PARAM *pbes2 =
		ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
	_cleanup_(PBKDF2PARAM_freep) PBKDF2PARAM *pbkdf2 = NULL;

	if (pbes2 && OBJ_obj2nid(pbes2->keyfunc->algorithm) == NID_id_pbkdf2)
		pbkdf2 = ASN1_TYPE_unpack_sequence(
			ASN1_ITEM_rptr(PBKDF2PARAM), pbes2->keyfunc->parameter);
	return pbkdf2 ? spend(r, pbkdf2->iter) : refuse_algorithm();
}

/* Of whatever is encrypted by a password. */
static int spend_algorithm(struct reader *r, const X509_ALGOR *algorithm)
{
	_cleanup_(PBEPARAM_freep) PBEPARAM *pbe = NULL;

	if (OBJ_obj2nid(algorithm->algorithm) == NID_pbes2)
		return spend_pbes2(r, algorithm);
	pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBEPARAM), algorithm->parameter);
	return pbe ? spend(r, pbe->iter) : refuse_algorithm();
}

/* ---- bags ------------------------------------------------------------------------------------ */

/* Keys behind the first one are passed over. */
static int take_key(struct reader *r, const PKCS8_PRIV_KEY_INFO *info)
{
	r->key = EVP_PKCS82PKEY(info);
	return r->key ? 0 : -EINVAL;
}

static int take_encrypted_key(struct reader *r, const PKCS12_SAFEBAG *bag)
{
	_cleanup_(PKCS8_PRIV_KEY_INFO_freep) PKCS8_PRIV_KEY_INFO *info = NULL;
	const X509_ALGOR *algorithm = NULL;

	X509_SIG_get0(PKCS12_SAFEBAG_get0_pkcs8(bag), &algorithm, NULL);
	if (spend_algorithm(r, algorithm) < 0)
		return -EINVAL;
	info = PKCS12_decrypt_skey(bag, r->password, -1);
	return info ? take_key(r, info) : -EINVAL;
}

static int take_certificate(struct reader *r, const PKCS12_SAFEBAG *bag)
{
	_cleanup_(X509_freep) X509 *x509 = NULL;

	if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
		return 0;
	x509 = PKCS12_SAFEBAG_get1_cert(bag);
	if (!x509 || !sk_X509_push(r->others, x509))
		return -EINVAL;
	(void)TAKE_PTR(x509);
	return 0;
}

/* Bags in bags: OpenSSL's parser of ASN.1 has let only a few levels through. */
static int take_bags(struct reader *r, const bag_stack *bags)
{
	int code = 0;

	for (int i = 0; code == 0 && i < sk_PKCS12_SAFEBAG_num(bags); i++) {
		const PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);

		switch (PKCS12_SAFEBAG_get_nid(bag)) {
		case NID_keyBag:
			if (!r->key)
				code = take_key(r, PKCS12_SAFEBAG_get0_p8inf(bag));
			break;
		case NID_pkcs8ShroudedKeyBag:
			if (!r->key)
				code = take_encrypted_key(r, bag);
			break;
		case NID_certBag: code = take_certificate(r, bag); break;
		case NID_safeContentsBag:
			code = take_bags(r, PKCS12_SAFEBAG_get0_safes(bag));
			break;
		default: break;
		}
	}
	return code;
}

static int take_safe(struct reader *r, PKCS7 *safe)
{
	_cleanup_(free_bagsp) bag_stack *bags = NULL;

	if (PKCS7_type_is_data(safe)) {
		bags = PKCS12_unpack_p7data(safe);
	} else if (PKCS7_type_is_encrypted(safe)) {
		if (!safe->d.encrypted || !safe->d.encrypted->enc_data)
			return -EINVAL;
		if (spend_algorithm(r, safe->d.encrypted->enc_data->algorithm) < 0)
			return -EINVAL;
		bags = PKCS12_unpack_p7encdata(safe, r->password, -1);
	} else {
		return 0; /* for a public key, which we do not have */
	}
	return bags ? take_bags(r, bags) : -EINVAL;
}

/* ---- the file -------------------------------------------------------------------------------- */

static bool fits(PKCS12 *p12, const char *password, struct reader *r)
{
	r->password = password;
	return PKCS12_verify_mac(p12, password, -1) == 1;
}

/* "" may have been meant as no password at all, which makes another MAC. */
static int check_mac(struct reader *r, PKCS12 *p12, const char *password)
{
	const ASN1_INTEGER *iterations = NULL;
	const X509_ALGOR *algorithm = NULL;
	int type = V_ASN1_UNDEF, code;

	if (!PKCS12_mac_present(p12)) {
		/* without a password it would be taken, with one it would not: better never */
		r->why = "it carries no MAC, by which it would be checked";
		return -EINVAL;
	}
	PKCS12_get0_mac(NULL, &algorithm, NULL, &iterations, p12);
	/* one with parameters (PBMAC1) has iterations of its own in them */
	X509_ALGOR_get0(NULL, &type, NULL, algorithm);
	if (type != V_ASN1_UNDEF && type != V_ASN1_NULL)
		return refuse_algorithm();
	code = spend(r, iterations);
	if (code == 0 && !password[0])
		code = spend(r, iterations);
	if (code < 0)
		return code;
	if ((!password[0] && fits(p12, NULL, r)) || fits(p12, password, r))
		return 0;
	ERR_raise(ERR_LIB_PKCS12, PKCS12_R_MAC_VERIFY_FAILURE);
	return -EINVAL;
}

static X509 *find_certificate(const struct reader *r)
{
	for (int i = 0; r->key && i < sk_X509_num(r->others); i++) {
		X509 *x509 = sk_X509_value(r->others, i);

		if (X509_check_private_key(x509, r->key) == 1)
			return X509_up_ref(x509) == 1 ? x509 : NULL;
	}
	return NULL;
}

int ig_pkcs12_read(PKCS12 *p12, const char *password, EVP_PKEY **ret_key, X509 **ret_x509,
	const char **reterr_why)
{
	_cleanup_(reader_done) struct reader r = {.others = sk_X509_new_null()};
	_cleanup_(free_safesp) safe_stack *safes = NULL;
	int code;

	if (!r.others)
		return -EINVAL; /* the queue says that memory ran out */
	code = check_mac(&r, p12, password);
	if (code == 0) {
		safes = PKCS12_unpack_authsafes(p12);
		code = safes ? 0 : -EINVAL;
	}
	for (int i = 0; code == 0 && i < sk_PKCS7_num(safes); i++)
		code = take_safe(&r, sk_PKCS7_value(safes, i));
	if (code < 0) {
		*reterr_why = r.why;
		return code;
	}
	*ret_x509 = find_certificate(&r);
	*ret_key = TAKE_PTR(r.key);
	return 0;
}
