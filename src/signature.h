/*
 * signature.h
 *	  The Stripe-Signature header (R38-R42).  Pure: no server, no setting.
 */
#ifndef MB_SIGNATURE_H
#define MB_SIGNATURE_H

#include "text.h"

typedef enum MbSignatureResult
{
	MB_SIGNATURE_OK,
	MB_SIGNATURE_NO_SECRET,		/* no secret configured, or only empty ones */
	MB_SIGNATURE_MISSING,		/* no header, or an empty one */
	MB_SIGNATURE_EMPTY_PAYLOAD,
	MB_SIGNATURE_MALFORMED,		/* not key=value elements, or a bad element */
	MB_SIGNATURE_NO_TIMESTAMP,	/* no t */
	MB_SIGNATURE_BAD_TIMESTAMP, /* t twice, or not canonical decimal */
	MB_SIGNATURE_NO_SCHEME,		/* no v1: v0 alone would be a downgrade */
	MB_SIGNATURE_NO_MATCH,		/* no secret gives any of the v1 */
	MB_SIGNATURE_EXPIRED,		/* older than the tolerance */
	MB_SIGNATURE_FUTURE,		/* further in the future than the tolerance */
	MB_SIGNATURE_FAILED			/* OpenSSL could not compute: our failure */
} MbSignatureResult;

/*
 * Check a header against the raw bytes of a payload.
 *
 * "secrets" are tried in turn, each against each v1, in constant time and
 * without stopping at the first match (R39); empty secrets are skipped.
 * "now" and "tolerance" are Unix seconds; a tolerance below 0 checks no age.
 * The age is judged after the signature: an attacker learns nothing of it.
 * Every cause has a result of its own (R41).
 */
extern MbSignatureResult mb_signature_check(MbText payload, MbText header,
											const MbText *secrets, int nsecrets,
											int64_t now, int64_t tolerance);

/* A sentence part for messages, such as "no v1 signature matches". */
extern const char *mb_signature_describe(MbSignatureResult result);

/* The digits of a v1 signature. */
#define MB_SIGNATURE_HEX 64

/*
 * Write a message's signature, HMAC-SHA256 in lower-case hex digits without a
 * NUL, to "hex".  The message is the text of t, a dot and the payload.  False
 * if OpenSSL could not compute.
 */
extern bool mb_signature_sign(MbText secret, const unsigned char *message, size_t len, char *hex);

/*
 * Overwrite "len" bytes with zeros in a way no compiler removes: for buffers
 * that held a secret.
 */
extern void mb_signature_cleanse(void *data, size_t len);

#endif							/* MB_SIGNATURE_H */
