/*
 * signature.c
 *	  The Stripe-Signature header (R38-R42).
 *
 * The header is never copied and its elements are never stored: it is walked
 * once to judge its grammar and once per secret to compare, so that a header
 * may hold any number of signatures.  The signed text is put together once,
 * in memory that is freed before mb_signature_check returns.  This is the
 * only file that includes OpenSSL.
 */
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "signature.h"

/* HMAC-SHA256, in bytes and as the header spells it. */
#define DIGEST_BYTES 32
#define DIGEST_HEX MB_SIGNATURE_HEX

static bool have_secret(const MbText *secrets, int nsecrets);
static MbSignatureResult read_header(MbText header, MbText *signed_at, int64_t *t);
static bool next_element(MbText *rest, MbText *key, MbText *value);
static bool is_graphic(MbText text);
static bool parse_timestamp(MbText text, int64_t *t);
static MbSignatureResult match(MbText payload, MbText header, MbText signed_at,
							   const MbText *secrets, int nsecrets);
static MbSignatureResult judge_age(int64_t t, int64_t now, int64_t tolerance);

static const char *const descriptions[] = {
	[MB_SIGNATURE_OK] = "the signature is valid",
	[MB_SIGNATURE_NO_SECRET] = "no webhook secret is configured",
	[MB_SIGNATURE_MISSING] = "the signature header is missing",
	[MB_SIGNATURE_EMPTY_PAYLOAD] = "the payload is empty",
	[MB_SIGNATURE_MALFORMED] = "the signature header is malformed",
	[MB_SIGNATURE_NO_TIMESTAMP] = "the signature header has no timestamp",
	[MB_SIGNATURE_BAD_TIMESTAMP] = "the signature header's timestamp is malformed or repeated",
	[MB_SIGNATURE_NO_SCHEME] = "the signature header has no v1 signature",
	[MB_SIGNATURE_NO_MATCH] = "no v1 signature matches",
	[MB_SIGNATURE_EXPIRED] = "the signature has expired: its timestamp is older than the tolerance",
	[MB_SIGNATURE_FUTURE] = "the signature's timestamp is further in the future than the tolerance",
	[MB_SIGNATURE_FAILED] = "could not compute the signature"
};

MbSignatureResult
mb_signature_check(MbText payload, MbText header,
				   const MbText *secrets, int nsecrets,
				   int64_t now, int64_t tolerance)
{
	MbText		signed_at;
	int64_t		t;
	MbSignatureResult result;

	/* An empty key's HMAC is anybody's to compute: fail closed (R39). */
	if (!have_secret(secrets, nsecrets))
		return MB_SIGNATURE_NO_SECRET;
	if (header.data == NULL || header.len <= 0)
		return MB_SIGNATURE_MISSING;
	if (payload.data == NULL || payload.len <= 0)
		return MB_SIGNATURE_EMPTY_PAYLOAD;

	result = read_header(header, &signed_at, &t);
	if (result != MB_SIGNATURE_OK)
		return result;
	result = match(payload, header, signed_at, secrets, nsecrets);
	if (result != MB_SIGNATURE_OK)
		return result;
	return judge_age(t, now, tolerance);
}

const char *
mb_signature_describe(MbSignatureResult result)
{
	return descriptions[result];
}

bool
mb_signature_sign(MbText secret, const unsigned char *message, size_t len, char *hex)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int digest_len;

	if (HMAC(EVP_sha256(), secret.data, secret.len, message, len, digest, &digest_len) == NULL ||
		digest_len != DIGEST_BYTES)
		return false;

	for (int i = 0; i < DIGEST_BYTES; i++)
	{
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 0x0F];
	}
	OPENSSL_cleanse(digest, sizeof(digest));
	return true;
}

void
mb_signature_cleanse(void *data, size_t len)
{
	OPENSSL_cleanse(data, len);
}

static bool
have_secret(const MbText *secrets, int nsecrets)
{
	for (int i = 0; i < nsecrets; i++)
	{
		if (secrets[i].len > 0)
			return true;
	}
	return false;
}

/*
 * Judge the grammar of the whole header (R38, R41) and give its timestamp,
 * as text, because that is what was signed, and as a number.
 *
 * A header that breaks the grammar anywhere is malformed, whatever its other
 * elements say.  The values of v1 are not judged here: one that is no
 * lower-case hex of the right length simply matches nothing.
 */
static MbSignatureResult
read_header(MbText header, MbText *signed_at, int64_t *t)
{
	MbText		rest = header;
	MbText		key;
	MbText		value;
	bool		repeated = false;
	bool		has_scheme = false;

	*signed_at = MB_NO_TEXT;
	if (!is_graphic(header))
		return MB_SIGNATURE_MALFORMED;

	while (next_element(&rest, &key, &value))
	{
		if (key.len == 0)
			return MB_SIGNATURE_MALFORMED;
		if (mb_text_is(key, "t"))
		{
			repeated = signed_at->data != NULL;
			*signed_at = value;
		}
		else if (mb_text_is(key, "v1"))
			has_scheme = true;
	}

	if (signed_at->data == NULL)
		return MB_SIGNATURE_NO_TIMESTAMP;
	if (repeated || !parse_timestamp(*signed_at, t))
		return MB_SIGNATURE_BAD_TIMESTAMP;
	if (!has_scheme)
		return MB_SIGNATURE_NO_SCHEME;
	return MB_SIGNATURE_OK;
}

/*
 * Take the next element off "rest"; false if there is none left.
 *
 * An element without "=" gives an empty key, as does one that begins with it.
 * A comma at the end is followed by an empty element, which is such a one.
 * The value may hold further "=": schemes to come may be in base64.
 */
static bool
next_element(MbText *rest, MbText *key, MbText *value)
{
	MbText		element = *rest;
	const char *comma;
	const char *equals;

	if (element.data == NULL)
		return false;

	comma = memchr(element.data, ',', element.len);
	if (comma != NULL)
	{
		element.len = (int) (comma - element.data);
		rest->data = comma + 1;
		rest->len -= element.len + 1;
	}
	else
		*rest = MB_NO_TEXT;

	equals = memchr(element.data, '=', element.len);
	if (equals != NULL)
	{
		key->data = element.data;
		key->len = (int) (equals - element.data);
		value->data = equals + 1;
		value->len = element.len - key->len - 1;
	}
	else
	{
		*key = MB_NO_TEXT;
		*value = MB_NO_TEXT;
	}
	return true;
}

/* Is every byte visible ASCII?  No space, control or 8-bit character. */
static bool
is_graphic(MbText text)
{
	for (int i = 0; i < text.len; i++)
	{
		if (text.data[i] <= ' ' || text.data[i] >= 0x7F)
			return false;
	}
	return true;
}

/* Read a number in the one spelling it has: no sign, no leading zero. */
static bool
parse_timestamp(MbText text, int64_t *t)
{
	int64_t		number = 0;

	if (text.len == 0 || (text.data[0] == '0' && text.len > 1))
		return false;
	for (int i = 0; i < text.len; i++)
	{
		int			digit = text.data[i] - '0';

		if (digit < 0 || digit > 9 || number > (INT64_MAX - digit) / 10)
			return false;
		number = number * 10 + digit;
	}
	*t = number;
	return true;
}

/*
 * Does any secret give any of the header's v1?
 *
 * Every secret is tried against every v1, whatever matched before (R39), so
 * that the time taken tells neither which nor how much of it was right.  Only
 * lengths, which the sender knows, decide what is compared.  If OpenSSL
 * cannot compute, that is our failure and not the sender's.
 */
static MbSignatureResult
match(MbText payload, MbText header, MbText signed_at,
	  const MbText *secrets, int nsecrets)
{
	size_t		len = (size_t) signed_at.len + 1 + payload.len;
	unsigned char *message = malloc(len);
	char		hex[DIGEST_HEX];
	int			matches = 0;
	bool		failed = false;

	if (message == NULL)
		return MB_SIGNATURE_FAILED;
	memcpy(message, signed_at.data, signed_at.len);
	message[signed_at.len] = '.';
	memcpy(message + signed_at.len + 1, payload.data, payload.len);

	for (int i = 0; i < nsecrets; i++)
	{
		MbText		rest = header;
		MbText		key;
		MbText		value;

		if (secrets[i].len <= 0)
			continue;
		if (!mb_signature_sign(secrets[i], message, len, hex))
		{
			failed = true;
			continue;
		}
		while (next_element(&rest, &key, &value))
		{
			if (mb_text_is(key, "v1") && value.len == DIGEST_HEX)
				matches |= CRYPTO_memcmp(hex, value.data, DIGEST_HEX) == 0;
		}
	}

	/* What a forger would have to send does not stay on the stack. */
	OPENSSL_cleanse(hex, sizeof(hex));
	free(message);
	if (matches != 0)
		return MB_SIGNATURE_OK;
	return failed ? MB_SIGNATURE_FAILED : MB_SIGNATURE_NO_MATCH;
}

/*
 * Both borders of the tolerance are inside (R40).  The distance of two int64
 * always fits a uint64, not an int64.
 */
static MbSignatureResult
judge_age(int64_t t, int64_t now, int64_t tolerance)
{
	if (tolerance < 0)
		return MB_SIGNATURE_OK;
	if (t <= now)
		return (uint64_t) now - (uint64_t) t > (uint64_t) tolerance ?
			MB_SIGNATURE_EXPIRED : MB_SIGNATURE_OK;
	return (uint64_t) t - (uint64_t) now > (uint64_t) tolerance ?
		MB_SIGNATURE_FUTURE : MB_SIGNATURE_OK;
}
