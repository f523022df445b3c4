/*
 * test_event.c
 *	  The event reader: every shape, and every field of a wrong type.
 *
 * The fixtures are whole events of three API versions.  A test that is about
 * one field starts from one of them and changes that field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "event.h"
#include "json_jansson.h"
#include "plans_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A Unix time as an MbTime. */
#define AT(seconds) (((seconds) - INT64_C(946684800)) * INT64_C(1000000))
#define TEXT(s) {(s), sizeof(s) - 1}

/* What all fixtures are about. */
#define SUBSCRIPTION TEXT("sub_1T2aKf7QmZ4xLw9D")
#define CUSTOMER TEXT("cus_U0aRv5tHc2Wn8B")
#define USER TEXT("clx4k2v9d0001qz8r5t7h3m6n")
#define PURCHASE INT64_C(1772355600)
#define RENEWAL INT64_C(1775034000)
#define NEXT_RENEWAL INT64_C(1777626000)
#define DAY INT64_C(86400)

static const char *const reasons[] = {
	"no_period", "redundant", "thin_event", "not_an_event", "sample_event", "other_livemode", "no_created", "unhandled_type",
	"no_object", "no_status", "no_subscription", "not_paid", "not_a_renewal", "not_charged_automatically",
};

/* The document under test; load() and unload() own it. */
static json_t *document;

static int
unload(void **state)
{
	(void) state;
	json_decref(document);
	document = NULL;
	return 0;
}

static void
load(const char *fixture)
{
	char		path[1024];
	json_error_t error;

	unload(NULL);
	snprintf(path, sizeof(path), "%s/events/%s.json", MB_FIXTURES, fixture);
	document = json_load_file(path, 0, &error);
	if (document == NULL)
		fail_msg("%s: %s", path, error.text);
}

static json_t *
parse(const char *json)
{
	json_t	   *value = json_loads(json, JSON_DECODE_ANY, NULL);

	if (value == NULL)
		fail_msg("not JSON: %s", json);
	return value;
}

/* Set what stands at a path such as "data.object.items.data.0.price". */
static void
put_value(const char *path, json_t *value)
{
	json_t	   *container = document;
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

static void
put(const char *path, const char *json)
{
	put_value(path, parse(json));
}

static void
drop(const char *path)
{
	put_value(path, NULL);
}

static MbEvent
read_as(MbLivemode livemode)
{
	MbEvent		event;

	mb_event_read(mb_json_from_jansson(document), mb_test_plans(), livemode, &event);
	return event;
}

static MbEvent
read_event(void)
{
	return read_as(MB_LIVEMODE_ANY);
}

static void
expect_text(const char *field, MbText got, MbText expected)
{
	if (!mb_text_eq(got, expected))
		fail_msg("%s is \"%.*s\", expected \"%.*s\"", field,
				 got.len, got.data ? got.data : "", expected.len, expected.data ? expected.data : "");
}

static void
expect_number(const char *field, int64_t got, int64_t expected)
{
	if (got != expected)
		fail_msg("%s is %lld, expected %lld", field, (long long) got, (long long) expected);
}

static void
expect_ignored(const char *reason)
{
	MbEvent		event = read_event();

	expect_number("kind", event.kind, MB_EVENT_IGNORED);
	assert_non_null(event.reason);
	assert_string_equal(event.reason, reason);
}

static void
expect_period(int64_t start, int64_t end)
{
	MbEvent		event = read_event();

	assert_null(event.reason);
	expect_number("period_start", event.period_start, AT(start));
	expect_number("period_end", event.period_end, AT(end));
}

static void
expect_no_period(void)
{
	MbEvent		event = read_event();

	assert_null(event.reason);
	expect_number("period_start", event.period_start, MB_NO_TIME);
	expect_number("period_end", event.period_end, MB_NO_TIME);
}

static void
expect_price(const char *price_id, int tier)
{
	MbEvent		event = read_event();

	assert_null(event.reason);
	expect_text("price_id", event.price_id, mb_text(price_id));
	expect_number("tier", event.tier, tier);
}

static void
expect_subscription(const char *subscription_id)
{
	MbEvent		event = read_event();

	assert_null(event.reason);
	expect_text("subscription_id", event.subscription_id, mb_text(subscription_id));
}

static void
expect_event(const MbEvent *got, const MbEvent *expected)
{
	expect_number("kind", got->kind, expected->kind);
	assert_true(got->reason == expected->reason ||
				(got->reason && expected->reason && strcmp(got->reason, expected->reason) == 0));
	expect_text("id", got->id, expected->id);
	expect_text("type", got->type, expected->type);
	expect_text("api_version", got->api_version, expected->api_version);
	expect_number("created", got->created, expected->created);
	expect_number("livemode", got->livemode, expected->livemode);
	expect_number("has_livemode", got->has_livemode, expected->has_livemode);
	expect_number("order", got->order, expected->order);
	expect_text("subscription_id", got->subscription_id, expected->subscription_id);
	expect_text("customer_id", got->customer_id, expected->customer_id);
	expect_text("user_id", got->user_id, expected->user_id);
	expect_text("client_reference_id", got->client_reference_id, expected->client_reference_id);
	expect_text("status", got->status, expected->status);
	expect_text("previous_status", got->previous_status, expected->previous_status);
	expect_text("price_id", got->price_id, expected->price_id);
	expect_number("tier", got->tier, expected->tier);
	expect_number("period_start", got->period_start, expected->period_start);
	expect_number("period_end", got->period_end, expected->period_end);
	expect_number("cancel_at", got->cancel_at, expected->cancel_at);
	expect_number("cancel_at_period_end", got->cancel_at_period_end, expected->cancel_at_period_end);
	expect_number("ended_at", got->ended_at, expected->ended_at);
	expect_text("cancellation_reason", got->cancellation_reason, expected->cancellation_reason);
}

/* What the fixtures have in common. */
#define COMMON \
	.livemode = true, .has_livemode = true, \
	.subscription_id = SUBSCRIPTION, .customer_id = CUSTOMER, .user_id = USER
#define NO_END .cancel_at = MB_NO_TIME, .ended_at = MB_NO_TIME

typedef struct Fixture
{
	const char *fixture;
	MbEvent		event;
} Fixture;

static const Fixture fixtures[] = {
	{"checkout_completed.acacia", {
			.kind = MB_EVENT_CHECKOUT,
			.id = TEXT("evt_1T2aChk0acacia001"),
			.type = TEXT("checkout.session.completed"),
			.api_version = TEXT("2024-09-30.acacia"),
			.created = AT(PURCHASE + 5),
			.client_reference_id = USER,
			.tier = PRO,
			.period_start = MB_NO_TIME,
			.period_end = MB_NO_TIME,
			NO_END,
			COMMON
	}},
	{"checkout_completed.basil", {
			.kind = MB_EVENT_CHECKOUT,
			.id = TEXT("evt_1T2aChk0basil0001"),
			.type = TEXT("checkout.session.completed"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(PURCHASE + 5),
			.client_reference_id = USER,
			.price_id = TEXT("price_1T2aBusinessYear"),
			.tier = BUSINESS,
			.period_start = MB_NO_TIME,
			.period_end = MB_NO_TIME,
			NO_END,
			COMMON
	}},
	{"subscription_created.acacia", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_CREATED,
			.id = TEXT("evt_1T2aCre0acacia001"),
			.type = TEXT("customer.subscription.created"),
			.api_version = TEXT("2024-09-30.acacia"),
			.created = AT(PURCHASE + 2),
			.status = TEXT("incomplete"),
			.price_id = TEXT("price_1T2aProMonth"),
			.tier = PRO,
			.period_start = AT(PURCHASE),
			.period_end = AT(RENEWAL),
			NO_END,
			COMMON
	}},
	{"subscription_created.basil", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_CREATED,
			.id = TEXT("evt_1T2aCre0basil0001"),
			.type = TEXT("customer.subscription.created"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(PURCHASE + 2),
			.status = TEXT("trialing"),
			.price_id = TEXT("price_1T2aProMonth"),
			.tier = PRO,
			.period_start = AT(PURCHASE),
			.period_end = AT(PURCHASE + 14 * DAY),
			NO_END,
			COMMON
	}},
	{"subscription_updated.acacia", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_UPDATED,
			.id = TEXT("evt_1T2aUpd0acacia001"),
			.type = TEXT("customer.subscription.updated"),
			.api_version = TEXT("2024-09-30.acacia"),
			.created = AT(RENEWAL + 1),
			.status = TEXT("active"),
			.price_id = TEXT("price_1T2aProMonthOld"),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			NO_END,
			COMMON
	}},
	{"subscription_updated.basil", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_UPDATED,
			.id = TEXT("evt_1T2aUpd0basil0001"),
			.type = TEXT("customer.subscription.updated"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(RENEWAL + 3605),
			.status = TEXT("past_due"),
			.previous_status = TEXT("active"),
			.price_id = TEXT("price_1T2aProMonth"),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			NO_END,
			COMMON
	}},
	{"subscription_updated_add_on.basil", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_UPDATED,
			.id = TEXT("evt_1T2aUpd0addon0001"),
			.type = TEXT("customer.subscription.updated"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(RENEWAL + 1),
			.status = TEXT("active"),
			.price_id = TEXT("price_1T2aProMonth"),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			.cancel_at = AT(NEXT_RENEWAL),
			.ended_at = MB_NO_TIME,
			COMMON
	}},
	{"subscription_updated.2019", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_UPDATED,
			.id = TEXT("evt_1T2aUpd0in2019001"),
			.type = TEXT("customer.subscription.updated"),
			.api_version = TEXT("2019-12-03"),
			.created = AT(RENEWAL + 1),
			.status = TEXT("active"),
			.price_id = TEXT("pro-2019"),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			.cancel_at_period_end = true,
			NO_END,
			COMMON
	}},
	{"subscription_deleted.acacia", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_DELETED,
			.id = TEXT("evt_1T2aDel0acacia001"),
			.type = TEXT("customer.subscription.deleted"),
			.api_version = TEXT("2024-09-30.acacia"),
			.created = AT(NEXT_RENEWAL),
			.status = TEXT("canceled"),
			.price_id = TEXT("price_1T2aProMonth"),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			.cancel_at = AT(NEXT_RENEWAL),
			.cancel_at_period_end = true,
			.ended_at = AT(NEXT_RENEWAL),
			.cancellation_reason = TEXT("cancellation_requested"),
			COMMON
	}},
	{"subscription_deleted.basil", {
			.kind = MB_EVENT_SUBSCRIPTION,
			.order = MB_ORDER_DELETED,
			.id = TEXT("evt_1T2aDel0basil0001"),
			.type = TEXT("customer.subscription.deleted"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(RENEWAL + 14 * DAY),
			.status = TEXT("canceled"),
			.price_id = TEXT("price_1T2aProMonth"),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			.cancel_at = MB_NO_TIME,
			.ended_at = AT(RENEWAL + 14 * DAY),
			.cancellation_reason = TEXT("payment_failed"),
			COMMON
	}},
	{"invoice_payment_failed.acacia", {
			.kind = MB_EVENT_PAYMENT_FAILED,
			.id = TEXT("evt_1T2aInv0acacia001"),
			.type = TEXT("invoice.payment_failed"),
			.api_version = TEXT("2024-09-30.acacia"),
			.created = AT(RENEWAL + 3604),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			NO_END,
			COMMON
	}},
	{"invoice_payment_failed.basil", {
			.kind = MB_EVENT_PAYMENT_FAILED,
			.id = TEXT("evt_1T2aInv0basil0001"),
			.type = TEXT("invoice.payment_failed"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(RENEWAL + 3604),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			NO_END,
			COMMON
	}},
	{"invoice_payment_failed_prorations.basil", {
			.kind = MB_EVENT_PAYMENT_FAILED,
			.id = TEXT("evt_1T2aInv0prorat001"),
			.type = TEXT("invoice.payment_failed"),
			.api_version = TEXT("2025-03-31.basil"),
			.created = AT(RENEWAL + 3604),
			.tier = PRO,
			.period_start = AT(RENEWAL),
			.period_end = AT(NEXT_RENEWAL),
			NO_END,
			COMMON
	}},
};

static void
r01_every_event_in_every_shape(void **state)
{
	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
	{
		MbEvent		event;

		load(fixtures[i].fixture);
		event = read_event();
		expect_event(&event, &fixtures[i].event);
	}
}

/* R1: the version string says what the endpoint was set to, not the shape. */
static void
r01_version_string_decides_nothing(void **state)
{
	static const char *const versions[] = {"null", "\"\"", "\"2017-08-15\"", "\"2030-01-01.zinnia\"", "7"};

	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
		for (size_t j = 0; j < LENGTH(versions); j++)
		{
			MbEvent		event;

			load(fixtures[i].fixture);
			put("api_version", versions[j]);
			event = read_event();
			event.api_version = fixtures[i].event.api_version;
			expect_event(&event, &fixtures[i].event);
		}
}

static void
r01_envelope_alone(void **state)
{
	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
	{
		MbEvent		event;

		load(fixtures[i].fixture);
		mb_event_read_envelope(mb_json_from_jansson(document), &event);
		expect_number("kind", event.kind, MB_EVENT_IGNORED);
		expect_text("id", event.id, fixtures[i].event.id);
		expect_text("type", event.type, fixtures[i].event.type);
		expect_text("api_version", event.api_version, fixtures[i].event.api_version);
		expect_number("created", event.created, fixtures[i].event.created);
		assert_true(event.has_livemode && event.livemode);
		assert_null(event.subscription_id.data);
		expect_number("tier", event.tier, MB_NO_TIER);
		expect_number("period_end", event.period_end, MB_NO_TIME);
	}
}

/* R2: the item's period is the newer shape's; it wins where both are present. */
static void
r02_period_of_item_before_period_of_subscription(void **state)
{
	(void) state;
	load("subscription_updated.basil");
	put("data.object.current_period_start", "1");
	put("data.object.current_period_end", "2");
	expect_period(RENEWAL, NEXT_RENEWAL);

	load("subscription_updated.basil");
	drop("data.object.items.data.0.current_period_start");
	drop("data.object.items.data.0.current_period_end");
	expect_no_period();
	put("data.object.current_period_start", "1772355600");
	put("data.object.current_period_end", "1775034000");
	expect_period(PURCHASE, RENEWAL);
}

static void
r03_item_of_the_highest_tier(void **state)
{
	(void) state;
	load("subscription_updated_add_on.basil");
	put("data.object.items.data.0.price.id", "\"price_1T2aBusinessYear\"");
	expect_price("price_1T2aBusinessYear", BUSINESS);
	expect_period(PURCHASE, PURCHASE + 365 * DAY);

	/* whichever stands first */
	put("data.object.items.data.0.price.id", "\"price_1T2aProMonth\"");
	put("data.object.items.data.1.price.id", "\"price_1T2aBusinessMonth\"");
	expect_price("price_1T2aBusinessMonth", BUSINESS);
	expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r03_monthly_tier_with_yearly_add_on_ends_with_the_month(void **state)
{
	(void) state;
	load("subscription_updated_add_on.basil");
	expect_price("price_1T2aProMonth", PRO);
	expect_period(RENEWAL, NEXT_RENEWAL);

	/* the add-on last */
	put("data.object.items.data.0.price.id", "\"price_1T2aProMonth\"");
	put("data.object.items.data.1.price.id", "\"" UNKNOWN_PRICE "\"");
	expect_price("price_1T2aProMonth", PRO);
	expect_period(PURCHASE, PURCHASE + 365 * DAY);
}

static void
r03_widest_period_where_no_item_maps(void **state)
{
	(void) state;
	load("subscription_updated_add_on.basil");
	put("data.object.items.data.1.price.id", "\"price_of_another_product\"");
	expect_price(UNKNOWN_PRICE, MB_NO_TIER);
	expect_period(PURCHASE, PURCHASE + 365 * DAY);

	/* an item without a period takes no part */
	put("data.object.items.data.0.current_period_end", "null");
	expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R4: half a period, or one that is no pair of times, is none. */
static void
r04_unusable_period_is_no_period(void **state)
{
	static const char *const values[] = {
		"null", "\"1775034000\"", "1775034000.5", "-1", "true", "[]", "{}", "253402300800", "1e300",
	};

	(void) state;
	for (size_t i = 0; i < LENGTH(values); i++)
	{
		load("subscription_updated.basil");
		put("data.object.items.data.0.current_period_start", values[i]);
		expect_no_period();
		load("subscription_updated.basil");
		put("data.object.items.data.0.current_period_end", values[i]);
		expect_no_period();
		load("subscription_updated.acacia");
		put("data.object.current_period_start", values[i]);
		expect_no_period();
		load("subscription_updated.acacia");
		put("data.object.current_period_end", values[i]);
		expect_no_period();
	}
	load("subscription_updated.acacia");
	drop("data.object.current_period_end");
	expect_no_period();

	/* and the last time that is one */
	put("data.object.current_period_end", "253402300799");
	expect_period(RENEWAL, INT64_C(253402300799));
	put("data.object.current_period_end", "1.777626e9");
	expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r06_price_in_each_of_its_places(void **state)
{
	(void) state;
	load("subscription_updated.acacia");
	expect_price("price_1T2aProMonthOld", PRO);
	put("data.object.items.data.0.price", "\"price_1T2aBusinessMonth\"");
	expect_price("price_1T2aBusinessMonth", BUSINESS);
	put("data.object.items.data.0.price", "null");
	expect_price("price_1T2aProMonthOld", PRO);
	drop("data.object.items.data.0.price");
	expect_price("price_1T2aProMonthOld", PRO);
	put("data.object.items.data.0.plan", "\"price_1T2aProYear\"");
	expect_price("price_1T2aProYear", PRO);

	load("subscription_updated.2019");
	put("data.object.items.data", "[]");
	expect_price("pro-2019", PRO);
	drop("data.object.items");
	expect_price("pro-2019", PRO);
	expect_period(RENEWAL, NEXT_RENEWAL);
	put("data.object.plan", "null");
	expect_price(NULL, MB_NO_TIER);
	expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R29: the price is kept, so that a row added later gives its tier. */
static void
r29_unknown_price_is_kept_without_tier(void **state)
{
	(void) state;
	load("subscription_updated.basil");
	put("data.object.items.data.0.price.id", "\"" UNKNOWN_PRICE "\"");
	expect_price(UNKNOWN_PRICE, MB_NO_TIER);
	expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r07_customer_as_string_object_deleted_or_null(void **state)
{
	static const struct
	{
		const char *json;
		const char *customer_id;
	}			cases[] = {
		{"\"cus_string\"", "cus_string"},
		{"{\"id\": \"cus_object\", \"object\": \"customer\", \"email\": null}", "cus_object"},
		{"{\"deleted\": true, \"id\": \"cus_deleted\", \"object\": \"customer\"}", "cus_deleted"},
		{"null", NULL},
		{"\"\"", NULL},
		{"{}", NULL},
		{"{\"id\": null}", NULL},
		{"{\"id\": {\"id\": \"cus_nested\"}}", NULL},
		{"[\"cus_array\"]", NULL},
		{"12", NULL},
		{"false", NULL},
	};

	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
		for (size_t j = 0; j < LENGTH(cases); j++)
		{
			MbEvent		event;

			load(fixtures[i].fixture);
			put("data.object.customer", cases[j].json);
			event = read_event();
			expect_number("kind", event.kind, fixtures[i].event.kind);
			expect_text("customer_id", event.customer_id, mb_text(cases[j].customer_id));
		}
}

static void
r07_subscription_as_object(void **state)
{
	(void) state;
	load("checkout_completed.basil");
	put("data.object.subscription", "{\"id\": \"sub_expanded\", \"object\": \"subscription\"}");
	expect_subscription("sub_expanded");
	load("invoice_payment_failed.acacia");
	put("data.object.subscription", "{\"id\": \"sub_expanded\", \"object\": \"subscription\"}");
	expect_subscription("sub_expanded");
	load("invoice_payment_failed.basil");
	put("data.object.parent.subscription_details.subscription", "{\"id\": \"sub_expanded\"}");
	expect_subscription("sub_expanded");
}

static void
r08_subscription_of_an_invoice_four_ways(void **state)
{
	(void) state;
	load("invoice_payment_failed.basil");
	put("data.object.parent.subscription_details.subscription", "\"sub_parent\"");
	put("data.object.subscription", "\"sub_top\"");
	put("data.object.lines.data.0.parent.subscription_item_details.subscription", "\"sub_line_parent\"");
	put("data.object.lines.data.0.subscription", "\"sub_line\"");
	expect_subscription("sub_parent");
	put("data.object.parent", "null");
	expect_subscription("sub_top");
	put("data.object.subscription", "null");
	expect_subscription("sub_line_parent");
	put("data.object.lines.data.0.parent", "null");
	expect_subscription("sub_line");
	put("data.object.lines.data.0.subscription", "null");
	expect_ignored("no_subscription");
	put("data.object.lines", "null");
	expect_ignored("no_subscription");
}

/* R8: the older field can be present and null beside the newer one. */
static void
r08_null_subscription_beside_parent(void **state)
{
	(void) state;
	load("invoice_payment_failed.basil");
	put("data.object.subscription", "null");
	expect_subscription("sub_1T2aKf7QmZ4xLw9D");
	drop("data.object.subscription");
	expect_subscription("sub_1T2aKf7QmZ4xLw9D");
}

/* R8: any line will do. */
static void
r08_subscription_of_a_later_line(void **state)
{
	(void) state;
	load("invoice_payment_failed_prorations.basil");
	put("data.object.parent", "null");
	put("data.object.lines.data.0.parent", "null");
	put("data.object.lines.data.1.parent", "null");
	put("data.object.lines.data.2.parent.subscription_item_details.subscription", "\"sub_third\"");
	expect_subscription("sub_third");
}

static void
r09_price_of_an_invoice_line(void **state)
{
	(void) state;
	load("invoice_payment_failed_prorations.basil");
	put("data.object.lines.data.3.pricing", "null");
	put("data.object.lines.data.3.price", "{\"id\": \"price_1T2aProMonth\"}");
	expect_period(RENEWAL, NEXT_RENEWAL);
	put("data.object.lines.data.3.price", "null");
	put("data.object.lines.data.3.plan", "{\"id\": \"pro-2019\"}");
	expect_period(RENEWAL, NEXT_RENEWAL);
	put("data.object.lines.data.3.pricing",
		"{\"price_details\": {\"price\": {\"id\": \"price_1T2aProMonth\"}}}");
	put("data.object.lines.data.3.plan", "null");
	expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R10: the invoice's own period is the one before. */
static void
r10_period_is_that_of_the_line_not_of_the_invoice(void **state)
{
	(void) state;
	load("invoice_payment_failed.acacia");
	expect_period(RENEWAL, NEXT_RENEWAL);
	put("data.object.lines.data", "[]");
	expect_ignored("no_period");
	load("invoice_payment_failed.basil");
	expect_period(RENEWAL, NEXT_RENEWAL);
	put("data.object.lines.data.0.period.end", "null");
	expect_ignored("no_period");

	/* a tier's line without a period leaves the choice to the others */
	load("invoice_payment_failed_prorations.basil");
	put("data.object.lines.data.2.pricing.price_details.price", "\"price_1T2aBusinessYear\"");
	put("data.object.lines.data.2.period.end", "null");
	expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R10: neither a proration of a higher tier nor an add-on's year counts. */
static void
r10_prorations_and_add_ons_do_not_count(void **state)
{
	(void) state;
	load("invoice_payment_failed_prorations.basil");
	expect_period(RENEWAL, NEXT_RENEWAL);

	/* the flag where it stood before basil, and where an invoice item has it */
	put("data.object.lines.data.1.parent", "null");
	put("data.object.lines.data.1.proration", "true");
	expect_period(RENEWAL, NEXT_RENEWAL);
	put("data.object.lines.data.1.proration", "false");
	put("data.object.lines.data.1.parent", "{\"invoice_item_details\": {\"proration\": true}}");
	expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r10_highest_tier_of_several_lines(void **state)
{
	(void) state;
	load("invoice_payment_failed_prorations.basil");
	put("data.object.lines.data.1.parent.subscription_item_details.proration", "false");
	expect_period(PURCHASE + 15 * DAY, PURCHASE + 380 * DAY);
}

static void
r10_widest_period_where_no_line_maps(void **state)
{
	(void) state;
	load("invoice_payment_failed_prorations.basil");
	put("data.object.lines.data.3.pricing.price_details.price", "\"price_of_another_product\"");
	expect_period(PURCHASE + 15 * DAY, RENEWAL + 365 * DAY);
}

/* R10: the user from the snapshot, never from the invoice's own metadata. */
static void
r10_user_from_the_snapshot_of_metadata(void **state)
{
	MbEvent		event;

	(void) state;
	load("invoice_payment_failed.basil");
	put("data.object.metadata", "{\"userId\": \"of the invoice\"}");
	event = read_event();
	expect_text("user_id", event.user_id, fixtures[0].event.user_id);
	put("data.object.parent.subscription_details.metadata", "null");
	event = read_event();
	assert_null(event.user_id.data);
	load("invoice_payment_failed.acacia");
	put("data.object.subscription_details.metadata.userId", "\"older place\"");
	event = read_event();
	expect_text("user_id", event.user_id, mb_text("older place"));
}

static void
r11_thin_event(void **state)
{
	MbEvent		event;

	(void) state;
	load("thin");
	expect_ignored("thin_event");
	event = read_event();
	expect_text("id", event.id, mb_text("evt_65U0aThin7QmZ4x2Jd"));
	expect_text("type", event.type, mb_text("v1.customer.subscription.updated"));
	expect_number("created", event.created, MB_NO_TIME);
}

static void
r11_request_of_any_shape(void **state)
{
	static const char *const values[] = {"null", "\"req_2017\"", "{\"id\": \"req_1\", \"idempotency_key\": \"k\"}"};

	(void) state;
	for (size_t i = 0; i < LENGTH(values); i++)
	{
		MbEvent		event;

		load("subscription_updated.2019");
		put("request", values[i]);
		event = read_event();
		expect_event(&event, &fixtures[7].event);
	}
}

/* invoice.upcoming is about an invoice that does not exist yet. */
static void
r11_object_without_id(void **state)
{
	(void) state;
	load("invoice_payment_failed.acacia");
	put("type", "\"invoice.upcoming\"");
	drop("data.object.id");
	expect_ignored("unhandled_type");
	put("type", "\"invoice.payment_failed\"");
	expect_ignored("no_object");
}

/* Put a string of "len" letters at a path. */
static void
put_long(const char *path, size_t len)
{
	char	   *text = malloc(len);

	assert_non_null(text);
	memset(text, 'x', len);
	put_value(path, json_stringn(text, len));
	free(text);
}

static void
r11_ids_of_255_bytes_and_no_more(void **state)
{
	MbEvent		event;

	(void) state;
	load("checkout_completed.basil");
	put_long("id", 255);
	put_long("data.object.id", 255);
	put_long("data.object.customer", 255);
	put_long("data.object.subscription", 255);
	put_long("data.object.client_reference_id", 255);
	put_long("data.object.metadata.userId", 255);
	event = read_event();
	assert_null(event.reason);
	expect_number("id", event.id.len, 255);
	expect_number("customer_id", event.customer_id.len, 255);
	expect_number("subscription_id", event.subscription_id.len, 255);
	expect_number("client_reference_id", event.client_reference_id.len, 255);
	expect_number("user_id", event.user_id.len, 255);

	put_long("data.object.client_reference_id", 256);
	put_long("data.object.metadata.userId", 256);
	put_long("data.object.customer", 256);
	event = read_event();
	assert_null(event.reason);
	assert_null(event.customer_id.data);
	assert_null(event.client_reference_id.data);
	assert_null(event.user_id.data);
	put_long("data.object.subscription", 256);
	expect_ignored("no_subscription");
	put_long("data.object.id", 256);
	expect_ignored("no_object");
	put_long("id", 256);
	expect_ignored("not_an_event");

	load("subscription_updated.basil");
	put_long("data.object.items.data.0.price.id", 255);
	expect_number("price_id", read_event().price_id.len, 255);
	put_long("data.object.items.data.0.price.id", 256);
	put("data.object.items.data.0.plan", "null");
	expect_price(NULL, MB_NO_TIER);
	put_long("data.object.id", 256);
	expect_ignored("no_object");
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
	for (size_t i = 0; i < LENGTH(statuses); i++)
	{
		MbEvent		event;

		load("subscription_updated.basil");
		put_value("data.object.status", json_string(statuses[i]));
		event = read_event();
		expect_number("kind", event.kind, MB_EVENT_SUBSCRIPTION);
		expect_text("status", event.status, mb_text(statuses[i]));
	}
	put_long("data.object.status", 255);
	expect_number("status", read_event().status.len, 255);
	put_long("data.object.status", 256);
	expect_ignored("no_status");
}

static void
r16_both_ways_of_planning_a_cancel(void **state)
{
	MbEvent		event;

	(void) state;
	load("subscription_updated.basil");
	put("data.object.cancel_at_period_end", "true");
	event = read_event();
	assert_true(event.cancel_at_period_end);
	expect_number("cancel_at", event.cancel_at, MB_NO_TIME);
	put("data.object.cancel_at_period_end", "null");
	put("data.object.cancel_at", "1777626000");
	event = read_event();
	assert_false(event.cancel_at_period_end);
	expect_number("cancel_at", event.cancel_at, AT(NEXT_RENEWAL));
	put("data.object.cancel_at", "null");
	event = read_event();
	expect_number("cancel_at", event.cancel_at, MB_NO_TIME);
}

/* R30: what is not said is taken as the case the event was made for. */
static void
r30_checkout_modes(void **state)
{
	(void) state;
	load("checkout_completed.basil");
	put("data.object.mode", "\"payment\"");
	expect_ignored("no_subscription");
	put("data.object.mode", "\"setup\"");
	expect_ignored("no_subscription");
	put("data.object.mode", "\"subscription\"");
	expect_number("kind", read_event().kind, MB_EVENT_CHECKOUT);
	drop("data.object.mode");
	expect_number("kind", read_event().kind, MB_EVENT_CHECKOUT);
	put("data.object.subscription", "null");
	expect_ignored("no_subscription");
	put("data.object.mode", "\"subscription\"");
	expect_ignored("no_subscription");
}

static void
r30_checkout_payment_statuses(void **state)
{
	(void) state;
	load("checkout_completed.acacia");
	put("data.object.payment_status", "\"paid\"");
	expect_number("kind", read_event().kind, MB_EVENT_CHECKOUT);
	put("data.object.payment_status", "\"no_payment_required\"");
	expect_number("kind", read_event().kind, MB_EVENT_CHECKOUT);
	put("data.object.payment_status", "\"unpaid\"");
	expect_ignored("not_paid");
	put("data.object.payment_status", "\"of a later year\"");
	expect_ignored("not_paid");
	drop("data.object.payment_status");
	expect_number("kind", read_event().kind, MB_EVENT_CHECKOUT);
}

/* What the session's metadata promise: a known price, else a known tier. */
static void
r30_checkout_promise(void **state)
{
	static const struct
	{
		const char *metadata;
		const char *price_id;
		int			tier;
	}			cases[] = {
		{"{\"tier\": \"BUSINESS\"}", NULL, BUSINESS},
		{"{\"priceId\": \"price_1T2aProYear\"}", "price_1T2aProYear", PRO},
		{"{\"priceId\": \"price_1T2aProYear\", \"tier\": \"BUSINESS\"}", "price_1T2aProYear", PRO},
		{"{\"priceId\": \"" UNKNOWN_PRICE "\", \"tier\": \"BUSINESS\"}", NULL, BUSINESS},
		{"{\"priceId\": \"" UNKNOWN_PRICE "\"}", NULL, MB_NO_TIER},
		{"{\"tier\": \"business\"}", NULL, MB_NO_TIER},
		{"{\"tier\": \"\"}", NULL, MB_NO_TIER},
		{"{\"tier\": 2}", NULL, MB_NO_TIER},
		{"{}", NULL, MB_NO_TIER},
		{"null", NULL, MB_NO_TIER},
	};

	(void) state;
	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		load("checkout_completed.acacia");
		put("data.object.metadata", cases[i].metadata);
		expect_price(cases[i].price_id, cases[i].tier);
	}
}

static void
r31_only_a_renewal_that_stripe_charges(void **state)
{
	static const char *const others[] = {
		"\"subscription_create\"", "\"subscription_update\"", "\"subscription_threshold\"", "\"manual\"",
		"\"upcoming\"", "\"quote_accept\"", "\"automatic_pending_invoice_item_invoice\"", "null", "true",
	};

	(void) state;
	load("invoice_payment_failed.acacia");
	put("data.object.billing_reason", "\"subscription\"");
	expect_number("kind", read_event().kind, MB_EVENT_PAYMENT_FAILED);
	for (size_t i = 0; i < LENGTH(others); i++)
	{
		put("data.object.billing_reason", others[i]);
		expect_ignored("not_a_renewal");
	}
	put("data.object.billing_reason", "\"subscription_cycle\"");
	put("data.object.collection_method", "\"send_invoice\"");
	expect_ignored("not_charged_automatically");
}

static void
r32_other_types_are_ignored(void **state)
{
	static const char *const types[] = {
		"invoice.payment_failed2", "invoice.payment_faile",
		"customer.subscription.trial_will_end", "customer.subscription.", "customer.deleted",
		"charge.failed", "CHECKOUT.SESSION.COMPLETED",
	};

	(void) state;
	for (size_t i = 0; i < LENGTH(types); i++)
	{
		load("subscription_updated.basil");
		put_value("type", json_string(types[i]));
		expect_ignored("unhandled_type");
		expect_text("type", read_event().type, mb_text(types[i]));
	}
	load("subscription_updated.basil");
	put("type", "\"invoice.paid\"");
	expect_ignored("redundant");
	put("type", "\"invoice.payment_succeeded\"");
	expect_ignored("redundant");
}

static void
r35_samples(void **state)
{
	(void) state;
	load("sample");
	expect_ignored("sample_event");
	put("id", "\"evt_1T2aReal\"");
	expect_ignored("sample_event");
	put("data.object.id", "\"sub_1T2aReal\"");
	expect_number("kind", read_event().kind, MB_EVENT_SUBSCRIPTION);
	put("id", "\"evt_00000000000000\"");
	expect_ignored("sample_event");

	/* zeros that are only a part of the id */
	put("id", "\"evt_100000000000000\"");
	expect_number("kind", read_event().kind, MB_EVENT_SUBSCRIPTION);
	put("id", "\"evt_00000000000001\"");
	expect_number("kind", read_event().kind, MB_EVENT_SUBSCRIPTION);
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
	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		MbEvent		event;

		load("subscription_updated.basil");
		if (cases[i].livemode != NULL)
			put("livemode", cases[i].livemode);
		else
			drop("livemode");
		event = read_as(cases[i].taken);
		expect_number("ignored", event.kind == MB_EVENT_IGNORED, cases[i].ignored);
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
	for (size_t i = 0; i < LENGTH(cases); i++)
		for (size_t j = 0; j <= LENGTH(values); j++)
		{
			load(cases[i].fixture);
			if (j < LENGTH(values))
				put(cases[i].path, values[j]);
			else
				drop(cases[i].path);
			if (cases[i].reason != NULL)
				expect_ignored(cases[i].reason);
			else
				assert_null(read_event().reason);
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
	for (size_t i = 0; i < LENGTH(documents); i++)
	{
		unload(NULL);
		document = parse(documents[i]);
		expect_ignored("not_an_event");
	}

	/* nor is nothing at all */
	mb_event_read(mb_json_from_jansson(NULL), mb_test_plans(), MB_LIVEMODE_ANY, &event);
	assert_string_equal(event.reason, "not_an_event");
}

static void
times_at_the_ends_of_their_range(void **state)
{
	(void) state;
	load("subscription_updated.basil");
	put("created", "0");
	expect_number("created", read_event().created, AT(0));
	put("created", "946684800");
	expect_number("created", read_event().created, 0);
	put("created", "253402300799");
	expect_number("created", read_event().created, AT(INT64_C(253402300799)));
	put("created", "253402300800");
	expect_ignored("no_created");
	put("created", "-1");
	expect_ignored("no_created");
	put("created", "9223372036854775807");
	expect_ignored("no_created");
	put("created", "-9223372036854775808");
	expect_ignored("no_created");
	put("created", "\"2026-04-01T09:00:01Z\"");
	expect_ignored("no_created");
}

/* A catalogue without rows: events are read, and no price is known. */
static void
empty_catalogue(void **state)
{
	static const MbPlans none = {.default_tier = MB_NO_TIER};

	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
	{
		MbEvent		event;

		load(fixtures[i].fixture);
		mb_event_read(mb_json_from_jansson(document), &none, MB_LIVEMODE_ANY, &event);
		expect_number("kind", event.kind, fixtures[i].event.kind);
		expect_number("tier", event.tier, MB_NO_TIER);
	}
}

/* The keys that the reader looks at, at whatever depth. */
static bool
is_read(const char *key)
{
	static const char *const keys[] = {
		"id", "object", "type", "api_version", "created", "livemode", "status", "customer", "subscription",
		"metadata", "userId", "tier", "priceId", "client_reference_id", "mode", "payment_status",
		"price", "plan", "current_period_start", "current_period_end", "start", "end", "cancel_at",
		"cancel_at_period_end", "ended_at", "reason", "billing_reason", "collection_method", "proration",
	};

	for (size_t i = 0; i < LENGTH(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

/* What holds of any event that was read, whatever it was read from. */
static void
check_invariants(const MbEvent *event)
{
	bool		known = false;

	for (size_t i = 0; i < LENGTH(reasons); i++)
		known |= event->reason != NULL && strcmp(event->reason, reasons[i]) == 0;
	assert_int_equal(event->kind == MB_EVENT_IGNORED, known);
	assert_int_equal(event->reason != NULL, known);
	assert_true((int) event->kind >= MB_EVENT_IGNORED && event->kind <= MB_EVENT_PAYMENT_FAILED);
	assert_true((int) event->order >= MB_ORDER_CREATED && event->order <= MB_ORDER_DELETED);
	assert_true(event->tier == MB_NO_TIER || (event->tier >= 0 && event->tier < mb_test_plans()->ntiers));
	assert_int_equal(event->period_start == MB_NO_TIME, event->period_end == MB_NO_TIME);
	assert_true(event->has_livemode || !event->livemode);
	if (known)
		return;

	assert_non_null(event->id.data);
	assert_true(event->id.len >= 1 && event->id.len <= MB_MAX_ID);
	assert_non_null(event->type.data);
	assert_non_null(event->subscription_id.data);
	assert_true(event->subscription_id.len >= 1 && event->subscription_id.len <= MB_MAX_ID);
	assert_true(event->created != MB_NO_TIME);
	assert_int_equal(event->kind == MB_EVENT_SUBSCRIPTION, event->status.data != NULL);
	assert_true(event->kind == MB_EVENT_CHECKOUT || event->client_reference_id.data == NULL);
	assert_true(event->kind != MB_EVENT_PAYMENT_FAILED || event->price_id.data == NULL);
}

/*
 * Put every value in every place below "container", one at a time.  One in a
 * place that the reader has no business in must change nothing.
 */
static int
replace_each(json_t *container, const MbEvent *unchanged)
{
	static const char *const values[] = {
		"null", "true", "false", "0", "-1", "3000000000.25", "9223372036854775807", "1e300",
		"\"\"", "\"x\"", "\"caf\\u00e9\"", "[]", "[null]", "[[{}]]", "{}", "{\"id\": 1}", "{\"data\": 1}",
		"{\"data\": [1, null, {}]}", "{\"object\": []}", "{\"id\": \"x\"}",
	};
	size_t		nplaces = json_is_array(container) ? json_array_size(container) : json_object_size(container);
	char	  **keys = calloc(nplaces + 1, sizeof(char *));
	int			nread = 0;
	size_t		place = 0;

	assert_non_null(keys);
	if (json_is_object(container))
		for (void *iter = json_object_iter(container); iter; iter = json_object_iter_next(container, iter))
			keys[place++] = strdup(json_object_iter_key(iter));

	for (place = 0; place < nplaces; place++)
	{
		json_t	   *original;
		bool		leaf;

		original = json_is_array(container) ?
			json_array_get(container, place) : json_object_get(container, keys[place]);
		leaf = !json_is_array(original) && !json_is_object(original);
		json_incref(original);
		for (size_t i = 0; i <= LENGTH(values); i++)
		{
			MbEvent		event;

			/* the last time without any value */
			if (json_is_array(container))
				json_array_set_new(container, place, parse(values[i % LENGTH(values)]));
			else if (i < LENGTH(values))
				json_object_set_new(container, keys[place], parse(values[i]));
			else
				json_object_del(container, keys[place]);

			event = read_event();
			nread++;
			check_invariants(&event);
			if (leaf && keys[place] != NULL && !is_read(keys[place]))
				expect_event(&event, unchanged);
		}
		if (json_is_array(container))
			json_array_set(container, place, original);
		else
			json_object_set(container, keys[place], original);
		if (!leaf)
			nread += replace_each(original, unchanged);
		json_decref(original);
	}
	for (place = 0; place < nplaces; place++)
		free(keys[place]);
	free(keys);
	return nread;
}

static void
every_field_of_every_wrong_type(void **state)
{
	int			nread = 0;

	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
	{
		MbEvent		event;

		load(fixtures[i].fixture);
		nread += replace_each(document, &fixtures[i].event);

		/* everything is back in its place */
		event = read_event();
		expect_event(&event, &fixtures[i].event);
	}
	assert_true(nread > 20000);
}

/* An object in another's event, and the other way round. */
static void
every_object_under_every_type(void **state)
{
	static const char *const types[] = {
		"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted",
		"checkout.session.completed", "invoice.payment_failed", "invoice.paid",
	};

	(void) state;
	for (size_t i = 0; i < LENGTH(fixtures); i++)
		for (size_t j = 0; j < LENGTH(types); j++)
		{
			MbEvent		event;

			load(fixtures[i].fixture);
			put_value("type", json_string(types[j]));
			event = read_event();
			check_invariants(&event);
		}
}

/* Deeper than any recursion would like; the reader has none. */
static void
deep_nesting(void **state)
{
	(void) state;
	load("subscription_updated.basil");
	for (int i = 0; i < 1000; i++)
	{
		json_t	   *outer = json_object();

		json_object_set(outer, "object", json_object_get(json_object_get(document, "data"), "object"));
		json_object_set(outer, "items", json_object_get(json_object_get(document, "data"), "object"));
		put_value("data.object", outer);
	}
	expect_ignored("no_object");
}

#define TEST(function) cmocka_unit_test_teardown(function, unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r01_every_event_in_every_shape),
		TEST(r01_version_string_decides_nothing),
		TEST(r01_envelope_alone),
		TEST(r02_period_of_item_before_period_of_subscription),
		TEST(r03_item_of_the_highest_tier),
		TEST(r03_monthly_tier_with_yearly_add_on_ends_with_the_month),
		TEST(r03_widest_period_where_no_item_maps),
		TEST(r04_unusable_period_is_no_period),
		TEST(r06_price_in_each_of_its_places),
		TEST(r07_customer_as_string_object_deleted_or_null),
		TEST(r07_subscription_as_object),
		TEST(r08_subscription_of_an_invoice_four_ways),
		TEST(r08_null_subscription_beside_parent),
		TEST(r08_subscription_of_a_later_line),
		TEST(r09_price_of_an_invoice_line),
		TEST(r10_period_is_that_of_the_line_not_of_the_invoice),
		TEST(r10_prorations_and_add_ons_do_not_count),
		TEST(r10_highest_tier_of_several_lines),
		TEST(r10_widest_period_where_no_line_maps),
		TEST(r10_user_from_the_snapshot_of_metadata),
		TEST(r11_thin_event),
		TEST(r11_request_of_any_shape),
		TEST(r11_object_without_id),
		TEST(r11_ids_of_255_bytes_and_no_more),
		TEST(r12_any_status_is_kept_verbatim),
		TEST(r16_both_ways_of_planning_a_cancel),
		TEST(r29_unknown_price_is_kept_without_tier),
		TEST(r30_checkout_modes),
		TEST(r30_checkout_payment_statuses),
		TEST(r30_checkout_promise),
		TEST(r31_only_a_renewal_that_stripe_charges),
		TEST(r32_other_types_are_ignored),
		TEST(r35_samples),
		TEST(livemode_filter),
		TEST(each_field_that_an_event_needs),
		TEST(documents_that_are_no_events),
		TEST(times_at_the_ends_of_their_range),
		TEST(empty_catalogue),
		TEST(every_field_of_every_wrong_type),
		TEST(every_object_under_every_type),
		TEST(deep_nesting),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
