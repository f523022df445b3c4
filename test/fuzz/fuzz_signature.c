/*
 * fuzz_signature.c
 *	  The check of the Stripe-Signature header.
 *
 * The input is a clock, secrets, a payload and a header.  The header as it is
 * may be anything; one that is made here with mb_signature_sign() must be
 * accepted, and no longer once a single bit of what was signed has changed.
 */
#include "input.h"
#include "signature.h"

#define MAX_SECRETS 4
#define MAX_LENGTH 4096

typedef struct Request
{
	MbText		payload;
	MbText		secrets[MAX_SECRETS];
	int			nsecrets;
	int64_t		now;
	int64_t		tolerance;
} Request;

static MbSignatureResult check(const Request *request, MbText header);
static void check_any_header(const Request *request, MbText header);
static bool has_signature(const Request *request, MbText header);
static void check_signed(const Request *request, MbInput *input);
static void sign(const Request *request, MbText secret, int64_t t, char *hex);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t clocks[] = {0, 1, 300, 1775034000, INT64_MAX, INT64_MIN};
	static const int64_t tolerances[] = {300, 0, -1, INT64_MAX};
	MbInput		input = {data, size};
	Request		request;

	if (size > MAX_LENGTH)
		return -1;
	request.now = clocks[mb_input_below(&input, 6)];
	request.tolerance = tolerances[mb_input_below(&input, 4)];
	request.nsecrets = mb_input_below(&input, MAX_SECRETS + 1);
	for (int i = 0; i < request.nsecrets; i++)
		request.secrets[i] = mb_input_text(&input, mb_input_below(&input, 40));
	request.payload = mb_input_text(&input, mb_input_byte(&input));

	check_signed(&request, &input);
	check_any_header(&request, mb_input_text(&input, input.size));
	return 0;
}

static MbSignatureResult
check(const Request *request, MbText header)
{
	MbSignatureResult result = mb_signature_check(request->payload, header, request->secrets, request->nsecrets,
												  request->now, request->tolerance);

	MB_CHECK((int) result >= MB_SIGNATURE_OK && result < MB_SIGNATURE_FAILED);
	MB_CHECK(mb_signature_describe(result) != NULL);
	return result;
}

/* Accepted, or refused for its age alone: then a right signature is in it. */
static void
check_any_header(const Request *request, MbText header)
{
	MbSignatureResult result = check(request, header);
	Request		ageless = *request;
	MbText		longer = {.len = header.len + 7};
	char	   *copy;

	ageless.tolerance = -1;
	if (result == MB_SIGNATURE_OK || result == MB_SIGNATURE_EXPIRED || result == MB_SIGNATURE_FUTURE)
	{
		MB_CHECK(check(&ageless, header) == MB_SIGNATURE_OK);
		MB_CHECK(has_signature(request, header));
	}
	else
		MB_CHECK(check(&ageless, header) == result);

	/* what a scheme to come may add changes nothing */
	if (header.len == 0)
		return;
	copy = malloc(longer.len);
	MB_CHECK(copy != NULL);
	memcpy(copy, header.data, header.len);
	memcpy(copy + header.len, ",v2=x==", 7);
	longer.data = copy;
	MB_CHECK(check(request, longer) == result);
	free(copy);
}

/* Looked for without a parser: "t=" gives the time, "v1=" the signature. */
static bool
has_signature(const Request *request, MbText header)
{
	char	   *text = malloc((size_t) header.len + 1);
	char		hex[MB_SIGNATURE_HEX + 1] = {0};
	char		wanted[MB_SIGNATURE_HEX + 4];
	const char *t;
	bool		found = false;

	MB_CHECK(text != NULL);
	memcpy(text, header.data, header.len);
	text[header.len] = '\0';
	t = strncmp(text, "t=", 2) == 0 ? text : strstr(text, ",t=");
	MB_CHECK(t != NULL);
	for (int i = 0; i < request->nsecrets; i++)
	{
		if (request->secrets[i].len == 0)
			continue;
		sign(request, request->secrets[i], strtoll(strchr(t, '=') + 1, NULL, 10), hex);
		snprintf(wanted, sizeof(wanted), "v1=%s", hex);
		found |= strstr(text, wanted) != NULL;
	}
	free(text);
	return found;
}

static void
check_signed(const Request *request, MbInput *input)
{
	Request		changed = *request;
	int64_t		t = request->now;
	int			which = request->nsecrets > 0 ? mb_input_below(input, request->nsecrets) : 0;
	int			bit = mb_input_byte(input) * 256 + mb_input_byte(input);
	char		hex[MB_SIGNATURE_HEX + 1] = {0};
	char		header[MB_SIGNATURE_HEX + 40];
	MbText		made;
	char	   *copy;

	if (request->nsecrets == 0 || request->secrets[which].len == 0 || request->payload.len == 0 || t < 0)
		return;
	changed.tolerance = 300;
	sign(request, request->secrets[which], t, hex);
	snprintf(header, sizeof(header), "t=%lld,v1=%s", (long long) t, hex);
	made = mb_text(header);
	MB_CHECK(check(&changed, made) == MB_SIGNATURE_OK);

	/* one bit of the payload */
	copy = malloc(request->payload.len);
	MB_CHECK(copy != NULL);
	memcpy(copy, request->payload.data, request->payload.len);
	copy[bit / 8 % request->payload.len] ^= (char) (1 << bit % 8);
	changed.payload.data = copy;
	MB_CHECK(check(&changed, made) == MB_SIGNATURE_NO_MATCH);
	free(copy);
	changed.payload = request->payload;

	/* one bit of the header; only of a signature's digits is it sure to tell */
	header[made.len - 1 - bit / 8 % MB_SIGNATURE_HEX] ^= (char) (1 << bit % 8);
	MB_CHECK(check(&changed, made) != MB_SIGNATURE_OK);
	header[made.len - 1 - bit / 8 % MB_SIGNATURE_HEX] ^= (char) (1 << bit % 8);

	/* a secret's last byte: none of the secrets fits any more */
	changed.nsecrets = 1;
	copy = malloc(request->secrets[which].len);
	MB_CHECK(copy != NULL);
	memcpy(copy, request->secrets[which].data, request->secrets[which].len);
	copy[request->secrets[which].len - 1] ^= (char) (1 << bit % 8);
	changed.secrets[0] = (MbText)
	{
		copy, request->secrets[which].len
	};
	MB_CHECK(check(&changed, made) == MB_SIGNATURE_NO_MATCH);
	free(copy);
}

static void
sign(const Request *request, MbText secret, int64_t t, char *hex)
{
	size_t		size = (size_t) request->payload.len + 32;
	unsigned char *message = malloc(size);
	int			len;

	MB_CHECK(message != NULL);
	len = snprintf((char *) message, size, "%lld.", (long long) t);
	memcpy(message + len, request->payload.data, request->payload.len);
	MB_CHECK(mb_signature_sign(secret, message, (size_t) len + request->payload.len, hex));
	free(message);
}
