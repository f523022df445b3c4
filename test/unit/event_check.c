/*
 * event_check.c
 *	  One document at a time: load a fixture, change it, read it as an event.
 */
#include "event_check.h"

json_t	   *mb_test_document;

int
mb_test_unload(void **state)
{
	(void) state;
	json_decref(mb_test_document);
	mb_test_document = NULL;
	return 0;
}

void
mb_test_load(const char *fixture)
{
	char		path[1024];
	json_error_t error;

	mb_test_unload(NULL);
	snprintf(path, sizeof(path), "%s/events/%s.json", MB_FIXTURES, fixture);
	mb_test_document = json_load_file(path, 0, &error);
	if (mb_test_document == NULL)
		fail_msg("%s: %s", path, error.text);
}

json_t *
mb_test_parse(const char *json)
{
	json_t	   *value = json_loads(json, JSON_DECODE_ANY, NULL);

	if (value == NULL)
		fail_msg("not JSON: %s", json);
	return value;
}

/* Set what stands at a path such as "data.object.items.data.0.price". */
void
mb_test_put_value(const char *path, json_t *value)
{
	json_t	   *container = mb_test_document;
	char		step[64];

	for (;;)
	{
		size_t		len = strcspn(path, ".");

		assert_true(len < sizeof(step));
		memcpy(step, path, len);
		step[len] = '\0';
		path += len;
		if (*path == '\0')
			break;
		path++;
		container = json_is_array(container) ?
			json_array_get(container, strtoul(step, NULL, 10)) : json_object_get(container, step);
		if (container == NULL)
			fail_msg("nothing at \"%s\"", step);
	}
	if (value == NULL)
		assert_int_equal(json_object_del(container, step), 0);
	else if (json_is_array(container))
		assert_int_equal(json_array_set_new(container, strtoul(step, NULL, 10), value), 0);
	else
		assert_int_equal(json_object_set_new(container, step, value), 0);
}

void
mb_test_put(const char *path, const char *json)
{
	mb_test_put_value(path, mb_test_parse(json));
}

void
mb_test_drop(const char *path)
{
	mb_test_put_value(path, NULL);
}

MbEvent
mb_test_read_as(MbLivemode livemode)
{
	MbEvent		event;

	mb_event_read(mb_json_from_jansson(mb_test_document), mb_test_plans(), livemode, &event);
	return event;
}

MbEvent
mb_test_read(void)
{
	return mb_test_read_as(MB_LIVEMODE_ANY);
}

void
mb_test_expect_field(const char *field, MbText got, MbText expected)
{
	if (!mb_text_eq(got, expected))
		fail_msg("%s is \"%.*s\", expected \"%.*s\"", field,
				 got.len, got.data ? got.data : "", expected.len, expected.data ? expected.data : "");
}

void
mb_test_expect_number(const char *field, int64_t got, int64_t expected)
{
	if (got != expected)
		fail_msg("%s is %lld, expected %lld", field, (long long) got, (long long) expected);
}

void
mb_test_expect_ignored(const char *reason)
{
	MbEvent		event = mb_test_read();

	mb_test_expect_number("kind", event.kind, MB_EVENT_IGNORED);
	assert_non_null(event.reason);
	assert_string_equal(event.reason, reason);
}

void
mb_test_expect_period(int64_t start, int64_t end)
{
	MbEvent		event = mb_test_read();

	assert_null(event.reason);
	mb_test_expect_number("period_start", event.period_start, AT(start));
	mb_test_expect_number("period_end", event.period_end, AT(end));
}

void
mb_test_expect_no_period(void)
{
	MbEvent		event = mb_test_read();

	assert_null(event.reason);
	mb_test_expect_number("period_start", event.period_start, MB_NO_TIME);
	mb_test_expect_number("period_end", event.period_end, MB_NO_TIME);
}

void
mb_test_expect_price(const char *price_id, int tier)
{
	MbEvent		event = mb_test_read();

	assert_null(event.reason);
	mb_test_expect_field("price_id", event.price_id, mb_text(price_id));
	mb_test_expect_number("tier", event.tier, tier);
}

void
mb_test_expect_subscription(const char *subscription_id)
{
	MbEvent		event = mb_test_read();

	assert_null(event.reason);
	mb_test_expect_field("subscription_id", event.subscription_id, mb_text(subscription_id));
}

void
mb_test_expect_event(const MbEvent *got, const MbEvent *expected)
{
	mb_test_expect_number("kind", got->kind, expected->kind);
	assert_true(got->reason == expected->reason ||
				(got->reason && expected->reason && strcmp(got->reason, expected->reason) == 0));
	mb_test_expect_field("id", got->id, expected->id);
	mb_test_expect_field("type", got->type, expected->type);
	mb_test_expect_field("api_version", got->api_version, expected->api_version);
	mb_test_expect_number("created", got->created, expected->created);
	mb_test_expect_number("livemode", got->livemode, expected->livemode);
	mb_test_expect_number("has_livemode", got->has_livemode, expected->has_livemode);
	mb_test_expect_number("order", got->order, expected->order);
	mb_test_expect_field("subscription_id", got->subscription_id, expected->subscription_id);
	mb_test_expect_field("customer_id", got->customer_id, expected->customer_id);
	mb_test_expect_field("user_id", got->user_id, expected->user_id);
	mb_test_expect_field("client_reference_id", got->client_reference_id, expected->client_reference_id);
	mb_test_expect_field("status", got->status, expected->status);
	mb_test_expect_field("previous_status", got->previous_status, expected->previous_status);
	mb_test_expect_field("price_id", got->price_id, expected->price_id);
	mb_test_expect_number("tier", got->tier, expected->tier);
	mb_test_expect_number("period_start", got->period_start, expected->period_start);
	mb_test_expect_number("period_end", got->period_end, expected->period_end);
	mb_test_expect_number("cancel_at", got->cancel_at, expected->cancel_at);
	mb_test_expect_number("cancel_at_period_end", got->cancel_at_period_end, expected->cancel_at_period_end);
	mb_test_expect_number("ended_at", got->ended_at, expected->ended_at);
	mb_test_expect_field("cancellation_reason", got->cancellation_reason, expected->cancellation_reason);
}

/* Put a string of "len" letters at a path. */
void
mb_test_put_long(const char *path, size_t len)
{
	char	   *text = malloc(len);

	assert_non_null(text);
	memset(text, 'x', len);
	mb_test_put_value(path, json_stringn(text, len));
	free(text);
}
