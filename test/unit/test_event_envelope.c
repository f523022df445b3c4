/*
 * test_event_envelope.c
 *	  What every event has around its object, and what is no event at all.
 */
#include "event_check.h"

static void
r11_thin_event(void **state)
{
	MbEvent		event;

	(void) state;
	mb_test_load("thin");
	mb_test_expect_ignored("thin_event");
	event = mb_test_read();
	mb_test_expect_field("id", event.id, mb_text("evt_65U0aThin7QmZ4x2Jd"));
	mb_test_expect_field("type", event.type, mb_text("v1.customer.subscription.updated"));
	mb_test_expect_number("created", event.created, MB_NO_TIME);
}

static void
r11_request_of_any_shape(void **state)
{
	static const char *const values[] = {"null", "\"req_2017\"", "{\"id\": \"req_1\", \"idempotency_key\": \"k\"}"};

	(void) state;
	for (int i = 0; i < LENGTH(values); i++)
	{
		MbEvent		event;

		mb_test_load("subscription_updated.2019");
		mb_test_put("request", values[i]);
		event = mb_test_read();
		mb_test_expect_event(&event, &mb_test_fixtures[7].event);
	}
}

/* invoice.upcoming is about an invoice that does not exist yet. */
static void
r11_object_without_id(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed.acacia");
	mb_test_put("type", "\"invoice.upcoming\"");
	mb_test_drop("data.object.id");
	mb_test_expect_ignored("unhandled_type");
	mb_test_put("type", "\"invoice.payment_failed\"");
	mb_test_expect_ignored("no_object");
}

static void
r11_ids_of_255_bytes_and_no_more(void **state)
{
	MbEvent		event;

	(void) state;
	mb_test_load("checkout_completed.basil");
	mb_test_put_long("id", 255);
	mb_test_put_long("data.object.id", 255);
	mb_test_put_long("data.object.customer", 255);
	mb_test_put_long("data.object.subscription", 255);
	mb_test_put_long("data.object.client_reference_id", 255);
	mb_test_put_long("data.object.metadata.userId", 255);
	event = mb_test_read();
	assert_null(event.reason);
	mb_test_expect_number("id", event.id.len, 255);
	mb_test_expect_number("customer_id", event.customer_id.len, 255);
	mb_test_expect_number("subscription_id", event.subscription_id.len, 255);
	mb_test_expect_number("client_reference_id", event.client_reference_id.len, 255);
	mb_test_expect_number("user_id", event.user_id.len, 255);

	mb_test_put_long("data.object.client_reference_id", 256);
	mb_test_put_long("data.object.metadata.userId", 256);
	mb_test_put_long("data.object.customer", 256);
	event = mb_test_read();
	assert_null(event.reason);
	assert_null(event.customer_id.data);
	assert_null(event.client_reference_id.data);
	assert_null(event.user_id.data);
	mb_test_put_long("data.object.subscription", 256);
	mb_test_expect_ignored("no_subscription");
	mb_test_put_long("data.object.id", 256);
	mb_test_expect_ignored("no_object");
	mb_test_put_long("id", 256);
	mb_test_expect_ignored("not_an_event");

	mb_test_load("subscription_updated.basil");
	mb_test_put_long("data.object.items.data.0.price.id", 255);
	mb_test_expect_number("price_id", mb_test_read().price_id.len, 255);
	mb_test_put_long("data.object.items.data.0.price.id", 256);
	mb_test_put("data.object.items.data.0.plan", "null");
	mb_test_expect_price(NULL, MB_NO_TIER);
	mb_test_put_long("data.object.id", 256);
	mb_test_expect_ignored("no_object");
}

/* R12: a status that Stripe will invent is kept, verbatim. */
static void
r12_any_status_is_kept_verbatim(void **state)
{
	static const char *const statuses[] = {
		"incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
		"hibernating", "Active", " active",
	};

	(void) state;
	for (int i = 0; i < LENGTH(statuses); i++)
	{
		MbEvent		event;

		mb_test_load("subscription_updated.basil");
		mb_test_put_value("data.object.status", json_string(statuses[i]));
		event = mb_test_read();
		mb_test_expect_number("kind", event.kind, MB_EVENT_SUBSCRIPTION);
		mb_test_expect_field("status", event.status, mb_text(statuses[i]));
	}
	mb_test_put_long("data.object.status", 255);
	mb_test_expect_number("status", mb_test_read().status.len, 255);
	mb_test_put_long("data.object.status", 256);
	mb_test_expect_ignored("no_status");
}

static void
r16_both_ways_of_planning_a_cancel(void **state)
{
	MbEvent		event;

	(void) state;
	mb_test_load("subscription_updated.basil");
	mb_test_put("data.object.cancel_at_period_end", "true");
	event = mb_test_read();
	assert_true(event.cancel_at_period_end);
	mb_test_expect_number("cancel_at", event.cancel_at, MB_NO_TIME);
	mb_test_put("data.object.cancel_at_period_end", "null");
	mb_test_put("data.object.cancel_at", "1777626000");
	event = mb_test_read();
	assert_false(event.cancel_at_period_end);
	mb_test_expect_number("cancel_at", event.cancel_at, AT(NEXT_RENEWAL));
	mb_test_put("data.object.cancel_at", "null");
	event = mb_test_read();
	mb_test_expect_number("cancel_at", event.cancel_at, MB_NO_TIME);
}

static void
r35_samples(void **state)
{
	(void) state;
	mb_test_load("sample");
	mb_test_expect_ignored("sample_event");
	mb_test_put("id", "\"evt_1T2aReal\"");
	mb_test_expect_ignored("sample_event");
	mb_test_put("data.object.id", "\"sub_1T2aReal\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_SUBSCRIPTION);
	mb_test_put("id", "\"evt_00000000000000\"");
	mb_test_expect_ignored("sample_event");

	/* zeros that are only a part of the id */
	mb_test_put("id", "\"evt_100000000000000\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_SUBSCRIPTION);
	mb_test_put("id", "\"evt_00000000000001\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_SUBSCRIPTION);
}

static void
livemode_filter(void **state)
{
	static const struct
	{
		const char *livemode;	/* NULL: none */
		MbLivemode	taken;
		bool		ignored;
	}			cases[] = {
		{"true", MB_LIVEMODE_ANY, false}, {"true", MB_LIVEMODE_LIVE, false}, {"true", MB_LIVEMODE_TEST, true},
		{"false", MB_LIVEMODE_ANY, false}, {"false", MB_LIVEMODE_LIVE, true}, {"false", MB_LIVEMODE_TEST, false},
		{"null", MB_LIVEMODE_LIVE, false}, {"null", MB_LIVEMODE_TEST, false},
		{NULL, MB_LIVEMODE_LIVE, false}, {NULL, MB_LIVEMODE_TEST, false},
	};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
	{
		MbEvent		event;

		mb_test_load("subscription_updated.basil");
		if (cases[i].livemode != NULL)
			mb_test_put("livemode", cases[i].livemode);
		else
			mb_test_drop("livemode");
		event = mb_test_read_as(cases[i].taken);
		mb_test_expect_number("ignored", event.kind == MB_EVENT_IGNORED, cases[i].ignored);
		if (cases[i].ignored)
			assert_string_equal(event.reason, "other_livemode");
	}
}

/* One field, and what becomes of the event without a usable value in it. */
static void
each_field_that_an_event_needs(void **state)
{
	static const struct
	{
		const char *fixture;
		const char *path;
		const char *reason;
		bool		may_be_missing;
	}			cases[] = {
		{"subscription_updated.basil", "id", "not_an_event", false},
		{"subscription_updated.basil", "type", "not_an_event", false},
		{"subscription_updated.basil", "object", NULL, true},
		{"subscription_updated.basil", "created", "no_created", false},
		{"subscription_updated.basil", "data", "no_object", false},
		{"subscription_updated.basil", "data.object", "no_object", false},
		{"subscription_updated.basil", "data.object.id", "no_object", false},
		{"subscription_updated.basil", "data.object.status", "no_status", false},
		{"subscription_updated.basil", "data.object.items", NULL, false},
		{"subscription_updated.basil", "data.object.metadata", NULL, false},
		{"subscription_updated.basil", "data.previous_attributes", NULL, false},
		{"checkout_completed.basil", "data.object", "no_object", false},
		{"checkout_completed.basil", "data.object.subscription", "no_subscription", false},
		{"checkout_completed.basil", "data.object.mode", NULL, false},
		{"checkout_completed.basil", "data.object.payment_status", NULL, false},
		{"invoice_payment_failed.acacia", "data.object", "no_object", false},
		{"invoice_payment_failed.acacia", "data.object.billing_reason", "not_a_renewal", false},
		{"invoice_payment_failed.acacia", "data.object.collection_method", NULL, false},
		{"invoice_payment_failed.acacia", "data.object.lines", "no_period", false},
	};
	static const char *const values[] = {"null", "7.5", "[]", "[{\"id\": \"x\"}]", "{}", "true", "\"\"", "-1"};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
		for (int j = 0; j <= LENGTH(values); j++)
		{
			mb_test_load(cases[i].fixture);
			if (j < LENGTH(values))
				mb_test_put(cases[i].path, values[j]);
			else
				mb_test_drop(cases[i].path);
			if (cases[i].reason != NULL)
				mb_test_expect_ignored(cases[i].reason);
			else
				assert_null(mb_test_read().reason);
		}
}

static void
documents_that_are_no_events(void **state)
{
	static const char *const documents[] = {
		"null", "true", "0", "1.5", "\"evt_1\"", "\"\"", "[]", "{}",
		"[{\"id\": \"evt_1\", \"type\": \"invoice.paid\", \"created\": 1}]",
		"{\"id\": \"evt_1\"}", "{\"type\": \"customer.subscription.created\"}",
		"{\"object\": \"charge\", \"id\": \"ch_1\", \"type\": \"customer.subscription.created\", \"created\": 1}",
	};
	MbEvent		event;

	(void) state;
	for (int i = 0; i < LENGTH(documents); i++)
	{
		mb_test_unload(NULL);
		mb_test_document = mb_test_parse(documents[i]);
		mb_test_expect_ignored("not_an_event");
	}

	/* nor is nothing at all */
	mb_event_read(mb_json_from_jansson(NULL), mb_test_plans(), MB_LIVEMODE_ANY, &event);
	assert_string_equal(event.reason, "not_an_event");
}

static void
times_at_the_ends_of_their_range(void **state)
{
	(void) state;
	mb_test_load("subscription_updated.basil");
	mb_test_put("created", "0");
	mb_test_expect_number("created", mb_test_read().created, AT(0));
	mb_test_put("created", "946684800");
	mb_test_expect_number("created", mb_test_read().created, 0);
	mb_test_put("created", "253402300799");
	mb_test_expect_number("created", mb_test_read().created, AT(INT64_C(253402300799)));
	mb_test_put("created", "253402300800");
	mb_test_expect_ignored("no_created");
	mb_test_put("created", "-1");
	mb_test_expect_ignored("no_created");
	mb_test_put("created", "9223372036854775807");
	mb_test_expect_ignored("no_created");
	mb_test_put("created", "-9223372036854775808");
	mb_test_expect_ignored("no_created");
	mb_test_put("created", "\"2026-04-01T09:00:01Z\"");
	mb_test_expect_ignored("no_created");
}

/* A catalogue without rows: events are read, and no price is known. */
static void
empty_catalogue(void **state)
{
	static const MbPlans none = {.default_tier = MB_NO_TIER};

	(void) state;
	for (int i = 0; i < mb_test_nfixtures; i++)
	{
		MbEvent		event;

		mb_test_load(mb_test_fixtures[i].fixture);
		mb_event_read(mb_json_from_jansson(mb_test_document), &none, MB_LIVEMODE_ANY, &event);
		mb_test_expect_number("kind", event.kind, mb_test_fixtures[i].event.kind);
		mb_test_expect_number("tier", event.tier, MB_NO_TIER);
	}
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r11_thin_event),
		TEST(r11_request_of_any_shape),
		TEST(r11_object_without_id),
		TEST(r11_ids_of_255_bytes_and_no_more),
		TEST(r12_any_status_is_kept_verbatim),
		TEST(r16_both_ways_of_planning_a_cancel),
		TEST(r35_samples),
		TEST(livemode_filter),
		TEST(each_field_that_an_event_needs),
		TEST(documents_that_are_no_events),
		TEST(times_at_the_ends_of_their_range),
		TEST(empty_catalogue),
	};

	return cmocka_run_group_tests_name("envelopes", tests, NULL, NULL);
}
