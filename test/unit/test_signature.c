/*
 * test_signature.c
 *	  The Stripe-Signature header: the vectors, and what no file of cases
 *	  can hold (every mutation, huge headers, the ends of int64).
 *
 * Each slice handed to the code is a heap block of exactly its size, so that
 * a sanitizer sees a byte read beyond it.  Signatures are constants computed
 * with another tool, for instance
 *	  printf '0.%s' "$payload" | openssl dgst -sha256 -hmac whsec_test_secret
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "signature.h"

#define PAYLOAD "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}"
#define SECRET "whsec_test_secret"
#define NOW 1750000000
#define GOOD "f13b5fee709cc2c7d0374eeecb6c5436fec79fff614f89fcf5d8df2c0647032d"
#define GOOD_ZERO "362342f802644db111277db1b25ac1b74afc25ff42c5a65fc19f332d79254e85"
#define GOOD_MAX "0204d391efa5601167523357e438bd247eeb8e246a9aa06c003b0a14f0bea06b"
#define GOOD_MEGABYTE "eb780a850b9c8e3827590108e68e64fe1c683a315406a78159460b8ec4c8d536"
#define BAD "0000000000000000000000000000000000000000000000000000000000000000"
#define HEADER "t=1750000000,v1=" GOOD

/* The names that the vectors give to the answers. */
static const char *const result_names[] = {
	[MB_SIGNATURE_OK] = "ok",
	[MB_SIGNATURE_NO_SECRET] = "no_secret",
	[MB_SIGNATURE_MISSING] = "missing",
	[MB_SIGNATURE_EMPTY_PAYLOAD] = "empty_payload",
	[MB_SIGNATURE_MALFORMED] = "malformed",
	[MB_SIGNATURE_NO_TIMESTAMP] = "no_timestamp",
	[MB_SIGNATURE_BAD_TIMESTAMP] = "bad_timestamp",
	[MB_SIGNATURE_NO_SCHEME] = "no_scheme",
	[MB_SIGNATURE_NO_MATCH] = "no_match",
	[MB_SIGNATURE_EXPIRED] = "expired",
	[MB_SIGNATURE_FUTURE] = "future"
};

#define NRESULTS ((int) (sizeof(result_names) / sizeof(result_names[0])))

/* A copy without a byte to spare; an absent one stays absent. */
static MbText
own(const char *data, size_t len)
{
	char	   *copy;

	if (data == NULL)
		return MB_NO_TEXT;
	copy = malloc(len);
	if (copy == NULL && len > 0)
		abort();
	if (len > 0)
		memcpy(copy, data, len);
	return (MbText)
	{
		copy, (int) len
	};
}

static void
disown(MbText text)
{
	free((void *) text.data);
}

static MbSignatureResult
check_bytes(const char *payload, size_t payload_len,
			const char *header, size_t header_len,
			const char *secret, int64_t now, int64_t tolerance)
{
	MbText		secrets[1] = {own(secret, strlen(secret))};
	MbText		payload_text = own(payload, payload_len);
	MbText		header_text = own(header, header_len);
	MbSignatureResult result = mb_signature_check(payload_text, header_text, secrets, 1,
												  now, tolerance);

	disown(header_text);
	disown(payload_text);
	disown(secrets[0]);
	return result;
}

static MbSignatureResult
check_header(const char *header, int64_t now, int64_t tolerance)
{
	return check_bytes(PAYLOAD, strlen(PAYLOAD), header, strlen(header), SECRET, now, tolerance);
}

/* One case of vectors.json. */
static void
test_vector(void **state)
{
	const json_t *vector = *state;
	const json_t *secrets = json_object_get(vector, "secrets");
	const json_t *header = json_object_get(vector, "header");
	const json_t *tolerance = json_object_get(vector, "tolerance");
	const char *hex = json_string_value(json_object_get(vector, "payload_hex"));
	int			nsecrets = (int) json_array_size(secrets);
	size_t		payload_len = strlen(hex) / 2;
	MbText	   *secret_texts = calloc(nsecrets + 1, sizeof(MbText));
	char	   *bytes = malloc(payload_len + 1);
	MbText		payload;
	MbText		header_text;
	MbSignatureResult result;

	assert_non_null(secret_texts);
	assert_non_null(bytes);
	for (size_t i = 0; i < payload_len; i++)
	{
		unsigned int byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		bytes[i] = (char) byte;
	}
	payload = own(bytes, payload_len);
	header_text = own(json_string_value(header), json_string_length(header));
	for (int i = 0; i < nsecrets; i++)
	{
		const json_t *secret = json_array_get(secrets, i);

		secret_texts[i] = own(json_string_value(secret), json_string_length(secret));
	}

	result = mb_signature_check(payload, header_text, secret_texts, nsecrets,
								json_integer_value(json_object_get(vector, "now")),
								json_is_null(tolerance) ? -1 : json_integer_value(tolerance));

	assert_string_equal(result_names[result],
						json_string_value(json_object_get(vector, "result")));
	assert_int_equal(result == MB_SIGNATURE_OK, json_is_true(json_object_get(vector, "expect")));

	for (int i = 0; i < nsecrets; i++)
		disown(secret_texts[i]);
	disown(header_text);
	disown(payload);
	free(bytes);
	free(secret_texts);
}

static void
r41_every_prefix(void **state)
{
	(void) state;
	for (size_t len = 0; len < strlen(HEADER); len++)
		assert_int_not_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), HEADER, len, SECRET, NOW, 300),
							 MB_SIGNATURE_OK);
	assert_int_equal(check_header(HEADER, NOW, 300), MB_SIGNATURE_OK);
}

/*
 * Every byte of a valid header, changed to every other value.  Only the
 * element that is ignored anyway may change, and stay well-formed.
 */
static void
r41_every_header_mutation(void **state)
{
	const char	original[] = HEADER ",v0=ff";
	const size_t counted = strlen(HEADER ",");
	int			ignored = 0;

	(void) state;
	for (size_t i = 0; i < strlen(original); i++)
	{
		for (int byte = 0; byte < 256; byte++)
		{
			char		header[sizeof(original)];
			MbSignatureResult result;

			memcpy(header, original, sizeof(original));
			if (header[i] == (char) byte)
				continue;
			header[i] = (char) byte;
			result = check_bytes(PAYLOAD, strlen(PAYLOAD), header, strlen(original), SECRET, NOW, -1);
			if (i < counted)
				assert_int_not_equal(result, MB_SIGNATURE_OK);
			else if (result == MB_SIGNATURE_OK)
				ignored++;
			else
				assert_int_equal(result, MB_SIGNATURE_MALFORMED);
			if (byte <= ' ' || byte >= 0x7F)
				assert_int_equal(result, MB_SIGNATURE_MALFORMED);
		}
	}
	assert_true(ignored > 0);
}

/* Every byte left out, and every byte given twice. */
static void
r41_every_header_edit(void **state)
{
	static const char original[] = HEADER;
	const size_t len = strlen(original);
	char		header[sizeof(original) + 1];

	(void) state;
	for (size_t i = 0; i < len; i++)
	{
		memcpy(header, original, i);
		memcpy(header + i, original + i + 1, len - i - 1);
		assert_int_not_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len - 1, SECRET, NOW, -1),
							 MB_SIGNATURE_OK);

		memcpy(header, original, i + 1);
		memcpy(header + i + 1, original + i, len - i);
		assert_int_not_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len + 1, SECRET, NOW, -1),
							 MB_SIGNATURE_OK);
	}
}

static void
r38_every_payload_bit(void **state)
{
	const size_t len = strlen(PAYLOAD);
	char		payload[sizeof(PAYLOAD)];

	(void) state;
	for (size_t i = 0; i < len * 8; i++)
	{
		memcpy(payload, PAYLOAD, sizeof(PAYLOAD));
		payload[i / 8] ^= (char) (1 << (i % 8));
		assert_int_equal(check_bytes(payload, len, HEADER, strlen(HEADER), SECRET, NOW, 300),
						 MB_SIGNATURE_NO_MATCH);
	}
	for (size_t i = 1; i < len; i++)
		assert_int_equal(check_bytes(PAYLOAD, i, HEADER, strlen(HEADER), SECRET, NOW, 300),
						 MB_SIGNATURE_NO_MATCH);
}

static void
r38_every_secret_byte(void **state)
{
	char		secret[sizeof(SECRET)];

	(void) state;
	for (size_t i = 0; i < strlen(SECRET); i++)
	{
		memcpy(secret, SECRET, sizeof(SECRET));
		secret[i] ^= 1;
		assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), HEADER, strlen(HEADER), secret, NOW, 300),
						 MB_SIGNATURE_NO_MATCH);
		memcpy(secret, SECRET, sizeof(SECRET));
		secret[i] = '\0';
		assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), HEADER, strlen(HEADER), secret, NOW, 300),
						 i == 0 ? MB_SIGNATURE_NO_SECRET : MB_SIGNATURE_NO_MATCH);
	}
}

/* A thousand secrets: the right one is found wherever it stands. */
static void
r39_many_secrets(void **state)
{
	enum
	{
		COUNT = 1000
	};
	static char names[COUNT][32];
	static MbText secrets[COUNT];
	const MbText payload = MB_TEXT_LITERAL(PAYLOAD);
	const MbText header = MB_TEXT_LITERAL(HEADER);

	(void) state;
	for (int i = 0; i < COUNT; i++)
	{
		snprintf(names[i], sizeof(names[i]), "whsec_%d", i);
		secrets[i] = i % 10 == 5 ? MB_NO_TEXT : mb_text(names[i]);
	}
	assert_int_equal(mb_signature_check(payload, header, secrets, COUNT, NOW, 300),
					 MB_SIGNATURE_NO_MATCH);
	for (int i = 0; i < COUNT; i += 333)
	{
		MbText		saved = secrets[i];

		secrets[i] = MB_TEXT_LITERAL(SECRET);
		assert_int_equal(mb_signature_check(payload, header, secrets, COUNT, NOW, 300),
						 MB_SIGNATURE_OK);
		assert_int_equal(mb_signature_check(payload, header, secrets, i, NOW, 300),
						 i == 0 ? MB_SIGNATURE_NO_SECRET : MB_SIGNATURE_NO_MATCH);
		secrets[i] = saved;
	}
}

static void
r39_no_secrets(void **state)
{
	const MbText payload = MB_TEXT_LITERAL(PAYLOAD);
	const MbText header = MB_TEXT_LITERAL(HEADER);
	const MbText secrets[] = {MB_NO_TEXT, MB_TEXT_LITERAL("")};

	(void) state;
	assert_int_equal(mb_signature_check(payload, header, NULL, 0, NOW, 300), MB_SIGNATURE_NO_SECRET);
	assert_int_equal(mb_signature_check(payload, header, secrets, 2, NOW, 300), MB_SIGNATURE_NO_SECRET);
}

static void
r41_absent_texts(void **state)
{
	const MbText payload = MB_TEXT_LITERAL(PAYLOAD);
	const MbText header = MB_TEXT_LITERAL(HEADER);
	const MbText secret = MB_TEXT_LITERAL(SECRET);

	(void) state;
	assert_int_equal(mb_signature_check(payload, MB_NO_TEXT, &secret, 1, NOW, 300), MB_SIGNATURE_MISSING);
	assert_int_equal(mb_signature_check(MB_NO_TEXT, header, &secret, 1, NOW, 300),
					 MB_SIGNATURE_EMPTY_PAYLOAD);
	assert_int_equal(mb_signature_check(MB_NO_TEXT, MB_NO_TEXT, NULL, 0, NOW, 300),
					 MB_SIGNATURE_NO_SECRET);
}

/* Ten thousand v1: the right one is found first, last, amid, or not at all. */
static void
r38_many_signatures(void **state)
{
	static const int places[] = {-1, 0, 1, 5000, 9998, 9999};
	const int	count = 10000;
	const size_t element = strlen(",v1=" BAD);
	const size_t start = strlen("t=1750000000");
	const size_t len = start + count * element;
	char	   *header = malloc(len + 1);

	(void) state;
	assert_non_null(header);
	memcpy(header, "t=1750000000", start);
	for (int i = 0; i < count; i++)
		memcpy(header + start + i * element, ",v1=" BAD, element);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
	{
		char	   *place = header + start + places[i] * (ptrdiff_t) element;

		if (places[i] >= 0)
			memcpy(place, ",v1=" GOOD, element);
		assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len, SECRET, NOW, 300),
						 places[i] >= 0 ? MB_SIGNATURE_OK : MB_SIGNATURE_NO_MATCH);
		if (places[i] >= 0)
			memcpy(place, ",v1=" BAD, element);
	}
	free(header);
}

/* A header without a comma, without an "=", of nothing but either. */
static void
r41_huge_headers(void **state)
{
	static const struct
	{
		char		fill;
		MbSignatureResult result;
	}			cases[] = {
		{'x', MB_SIGNATURE_MALFORMED},
		{',', MB_SIGNATURE_MALFORMED},
		{'=', MB_SIGNATURE_MALFORMED},
		{' ', MB_SIGNATURE_MALFORMED},
		{'\0', MB_SIGNATURE_MALFORMED},
	};
	const size_t len = 1 << 20;
	char	   *header = malloc(len);

	(void) state;
	assert_non_null(header);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		memset(header, cases[i].fill, len);
		assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len, SECRET, NOW, 300),
						 cases[i].result);
	}

	/* A megabyte of digits is no timestamp, a megabyte of hex no signature. */
	memset(header, '1', len);
	memcpy(header, "t=", 2);
	assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len, SECRET, NOW, 300),
					 MB_SIGNATURE_BAD_TIMESTAMP);
	memcpy(header, "t=1,v1=", 7);
	assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len, SECRET, NOW, 300),
					 MB_SIGNATURE_NO_MATCH);

	/* What is ignored may be long. */
	memset(header, 'x', len);
	memcpy(header, HEADER ",x=", strlen(HEADER ",x="));
	assert_int_equal(check_bytes(PAYLOAD, strlen(PAYLOAD), header, len, SECRET, NOW, 300),
					 MB_SIGNATURE_OK);
	free(header);
}

static void
r38_large_payload(void **state)
{
	const size_t len = 1 << 20;
	const char	header[] = "t=1750000000,v1=" GOOD_MEGABYTE;
	char	   *payload = malloc(len);

	(void) state;
	assert_non_null(payload);
	memset(payload, 'a', len);
	assert_int_equal(check_bytes(payload, len, header, strlen(header), SECRET, NOW, 300),
					 MB_SIGNATURE_OK);
	payload[len - 1] = 'b';
	assert_int_equal(check_bytes(payload, len, header, strlen(header), SECRET, NOW, 300),
					 MB_SIGNATURE_NO_MATCH);
	free(payload);
}

/* No distance of two times overflows, and no tolerance does. */
static void
r40_ends_of_int64(void **state)
{
	static const char zero[] = "t=0,v1=" GOOD_ZERO;
	static const char max[] = "t=9223372036854775807,v1=" GOOD_MAX;
	static const struct
	{
		const char *header;
		int64_t		now;
		int64_t		tolerance;
		MbSignatureResult result;
	}			cases[] = {
		{zero, 0, 0, MB_SIGNATURE_OK},
		{zero, INT64_MAX, INT64_MAX, MB_SIGNATURE_OK},
		{zero, INT64_MAX, INT64_MAX - 1, MB_SIGNATURE_EXPIRED},
		{zero, INT64_MAX, 300, MB_SIGNATURE_EXPIRED},
		{zero, INT64_MAX, -1, MB_SIGNATURE_OK},
		{zero, INT64_MIN, 300, MB_SIGNATURE_FUTURE},
		{zero, INT64_MIN, INT64_MAX, MB_SIGNATURE_FUTURE},
		{zero, INT64_MIN + 1, INT64_MAX, MB_SIGNATURE_OK},
		{zero, INT64_MIN, INT64_MIN, MB_SIGNATURE_OK},
		{zero, -300, 300, MB_SIGNATURE_OK},
		{zero, -301, 300, MB_SIGNATURE_FUTURE},
		{max, INT64_MAX, 0, MB_SIGNATURE_OK},
		{max, 0, INT64_MAX, MB_SIGNATURE_OK},
		{max, 0, INT64_MAX - 1, MB_SIGNATURE_FUTURE},
		{max, -1, INT64_MAX, MB_SIGNATURE_FUTURE},
		{max, INT64_MIN, INT64_MAX, MB_SIGNATURE_FUTURE},
		{max, INT64_MIN, 0, MB_SIGNATURE_FUTURE},
		{max, INT64_MIN, -1, MB_SIGNATURE_OK},
		{max, NOW, 300, MB_SIGNATURE_FUTURE},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(check_header(cases[i].header, cases[i].now, cases[i].tolerance),
						 cases[i].result);
}

/*
 * A retry days later is signed anew, so what counts is the time of receipt:
 * the header of the first attempt has had its time by then (R33).
 */
static void
r33_each_attempt_by_its_own_time(void **state)
{
	const int64_t later = NOW + 3 * INT64_C(86400);
	MbText		secret = MB_TEXT_LITERAL(SECRET);
	char		message[128];
	char		header[128];
	char		hex[MB_SIGNATURE_HEX + 1] = {0};
	int			len;

	(void) state;
	assert_int_equal(check_header(HEADER, later, 300), MB_SIGNATURE_EXPIRED);
	len = snprintf(message, sizeof(message), "%lld.%s", (long long) later, PAYLOAD);
	assert_true(mb_signature_sign(secret, (unsigned char *) message, len, hex));
	snprintf(header, sizeof(header), "t=%lld,v1=%s", (long long) later, hex);
	assert_int_equal(check_header(header, later, 300), MB_SIGNATURE_OK);
}

static void
r40_borders_of_the_tolerance(void **state)
{
	(void) state;
	assert_int_equal(check_header(HEADER, NOW + 300, 300), MB_SIGNATURE_OK);
	assert_int_equal(check_header(HEADER, NOW + 301, 300), MB_SIGNATURE_EXPIRED);
	assert_int_equal(check_header(HEADER, NOW - 300, 300), MB_SIGNATURE_OK);
	assert_int_equal(check_header(HEADER, NOW - 301, 300), MB_SIGNATURE_FUTURE);
	assert_int_equal(check_header(HEADER, NOW + 301, -1), MB_SIGNATURE_OK);
}

/* The age of a forged header is not told: the signature is judged first. */
static void
r41_order_of_causes(void **state)
{
	(void) state;
	assert_int_equal(check_header("t=1,v1=" GOOD, NOW, 300), MB_SIGNATURE_NO_MATCH);
	assert_int_equal(check_header("t=x,v0=1,y", NOW, 300), MB_SIGNATURE_MALFORMED);
	assert_int_equal(check_header("t=x,v0=1", NOW, 300), MB_SIGNATURE_BAD_TIMESTAMP);
	assert_int_equal(check_header("v0=1", NOW, 300), MB_SIGNATURE_NO_TIMESTAMP);
	assert_int_equal(check_header("t=1,v0=1", NOW, 300), MB_SIGNATURE_NO_SCHEME);
}

/* Every cause has a message of its own (R41). */
static void
r41_descriptions(void **state)
{
	(void) state;
	for (int i = 0; i < NRESULTS; i++)
	{
		assert_non_null(mb_signature_describe(i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(mb_signature_describe(i), mb_signature_describe(j));
	}
}

static void
cleanse(void **state)
{
	static const char zeros[8];
	char		buffer[] = "abcdefgh";

	(void) state;
	mb_signature_cleanse(buffer, 8);
	assert_memory_equal(buffer, zeros, 8);
	mb_signature_cleanse(buffer, 0);
}

int
main(void)
{
	static const struct CMUnitTest own_tests[] = {
		cmocka_unit_test(r41_every_prefix),
		cmocka_unit_test(r41_every_header_mutation),
		cmocka_unit_test(r41_every_header_edit),
		cmocka_unit_test(r38_every_payload_bit),
		cmocka_unit_test(r38_every_secret_byte),
		cmocka_unit_test(r39_many_secrets),
		cmocka_unit_test(r39_no_secrets),
		cmocka_unit_test(r41_absent_texts),
		cmocka_unit_test(r38_many_signatures),
		cmocka_unit_test(r41_huge_headers),
		cmocka_unit_test(r38_large_payload),
		cmocka_unit_test(r40_ends_of_int64),
		cmocka_unit_test(r33_each_attempt_by_its_own_time),
		cmocka_unit_test(r40_borders_of_the_tolerance),
		cmocka_unit_test(r41_order_of_causes),
		cmocka_unit_test(r41_descriptions),
		cmocka_unit_test(cleanse),
	};
	const size_t nown = sizeof(own_tests) / sizeof(own_tests[0]);
	json_error_t error;
	json_t	   *document = json_load_file(MB_FIXTURES "/signature/vectors.json", 0, &error);
	const json_t *vectors = json_object_get(document, "cases");
	const size_t nvectors = json_array_size(vectors);
	struct CMUnitTest *tests = calloc(nown + nvectors, sizeof(struct CMUnitTest));
	int			failed;

	if (nvectors == 0 || tests == NULL)
	{
		printf("Bail out! %s: %s\n", error.source, error.text);
		return EXIT_FAILURE;
	}

	/* A test each, by its name, so that a failure says which case it is. */
	for (size_t i = 0; i < nvectors; i++)
	{
		json_t	   *vector = json_array_get(vectors, i);

		tests[i].name = json_string_value(json_object_get(vector, "name"));
		tests[i].test_func = test_vector;
		tests[i].initial_state = vector;
	}
	memcpy(tests + nvectors, own_tests, sizeof(own_tests));

	failed = _cmocka_run_group_tests("signature", tests, nown + nvectors, NULL, NULL);
	free(tests);
	json_decref(document);
	return failed;
}
