/*
 * test_event_shapes.c
 *	  Where each API version keeps period, price, customer and subscription.
 */
#include "event_check.h"

static void
r01_every_event_in_every_shape(void **state)
{
	(void) state;
	for (int i = 0; i < mb_test_nfixtures; i++)
	{
		MbEvent		event;

		mb_test_load(mb_test_fixtures[i].fixture);
		event = mb_test_read();
		mb_test_expect_event(&event, &mb_test_fixtures[i].event);
	}
}

/* R1: the version string says what the endpoint was set to, not the shape. */
static void
r01_version_string_decides_nothing(void **state)
{
	static const char *const versions[] = {"null", "\"\"", "\"2017-08-15\"", "\"2030-01-01.zinnia\"", "7"};

	(void) state;
	for (int i = 0; i < mb_test_nfixtures; i++)
		for (int j = 0; j < LENGTH(versions); j++)
		{
			MbEvent		event;

			mb_test_load(mb_test_fixtures[i].fixture);
			mb_test_put("api_version", versions[j]);
			event = mb_test_read();
			event.api_version = mb_test_fixtures[i].event.api_version;
			mb_test_expect_event(&event, &mb_test_fixtures[i].event);
		}
}

static void
r01_envelope_alone(void **state)
{
	(void) state;
	for (int i = 0; i < mb_test_nfixtures; i++)
	{
		MbEvent		event;

		mb_test_load(mb_test_fixtures[i].fixture);
		mb_event_read_envelope(mb_json_from_jansson(mb_test_document), &event);
		mb_test_expect_number("kind", event.kind, MB_EVENT_IGNORED);
		mb_test_expect_field("id", event.id, mb_test_fixtures[i].event.id);
		mb_test_expect_field("type", event.type, mb_test_fixtures[i].event.type);
		mb_test_expect_field("api_version", event.api_version, mb_test_fixtures[i].event.api_version);
		mb_test_expect_number("created", event.created, mb_test_fixtures[i].event.created);
		assert_true(event.has_livemode && event.livemode);
		assert_null(event.subscription_id.data);
		mb_test_expect_number("tier", event.tier, MB_NO_TIER);
		mb_test_expect_number("period_end", event.period_end, MB_NO_TIME);
	}
}

/* R2: the item's period is the newer shape's; it wins where both are present. */
static void
r02_period_of_item_before_period_of_subscription(void **state)
{
	(void) state;
	mb_test_load("subscription_updated.basil");
	mb_test_put("data.object.current_period_start", "1");
	mb_test_put("data.object.current_period_end", "2");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);

	mb_test_load("subscription_updated.basil");
	mb_test_drop("data.object.items.data.0.current_period_start");
	mb_test_drop("data.object.items.data.0.current_period_end");
	mb_test_expect_no_period();
	mb_test_put("data.object.current_period_start", "1772355600");
	mb_test_put("data.object.current_period_end", "1775034000");
	mb_test_expect_period(PURCHASE, RENEWAL);
}

static void
r03_item_of_the_highest_tier(void **state)
{
	(void) state;
	mb_test_load("subscription_updated_add_on.basil");
	mb_test_put("data.object.items.data.0.price.id", "\"price_1T2aBusinessYear\"");
	mb_test_expect_price("price_1T2aBusinessYear", BUSINESS);
	mb_test_expect_period(PURCHASE, PURCHASE + 365 * DAY);

	/* whichever stands first */
	mb_test_put("data.object.items.data.0.price.id", "\"price_1T2aProMonth\"");
	mb_test_put("data.object.items.data.1.price.id", "\"price_1T2aBusinessMonth\"");
	mb_test_expect_price("price_1T2aBusinessMonth", BUSINESS);
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r03_monthly_tier_with_yearly_add_on_ends_with_the_month(void **state)
{
	(void) state;
	mb_test_load("subscription_updated_add_on.basil");
	mb_test_expect_price("price_1T2aProMonth", PRO);
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);

	/* the add-on last */
	mb_test_put("data.object.items.data.0.price.id", "\"price_1T2aProMonth\"");
	mb_test_put("data.object.items.data.1.price.id", "\"" UNKNOWN_PRICE "\"");
	mb_test_expect_price("price_1T2aProMonth", PRO);
	mb_test_expect_period(PURCHASE, PURCHASE + 365 * DAY);
}

static void
r03_widest_period_where_no_item_maps(void **state)
{
	(void) state;
	mb_test_load("subscription_updated_add_on.basil");
	mb_test_put("data.object.items.data.1.price.id", "\"price_of_another_product\"");
	mb_test_expect_price(UNKNOWN_PRICE, MB_NO_TIER);
	mb_test_expect_period(PURCHASE, PURCHASE + 365 * DAY);

	/* an item without a period takes no part */
	mb_test_put("data.object.items.data.0.current_period_end", "null");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R4: half a period, or one that is no pair of times, is none. */
static void
r04_unusable_period_is_no_period(void **state)
{
	static const char *const values[] = {
		"null", "\"1775034000\"", "1775034000.5", "-1", "true", "[]", "{}", "253402300800", "1e300",
	};

	(void) state;
	for (int i = 0; i < LENGTH(values); i++)
	{
		mb_test_load("subscription_updated.basil");
		mb_test_put("data.object.items.data.0.current_period_start", values[i]);
		mb_test_expect_no_period();
		mb_test_load("subscription_updated.basil");
		mb_test_put("data.object.items.data.0.current_period_end", values[i]);
		mb_test_expect_no_period();
		mb_test_load("subscription_updated.acacia");
		mb_test_put("data.object.current_period_start", values[i]);
		mb_test_expect_no_period();
		mb_test_load("subscription_updated.acacia");
		mb_test_put("data.object.current_period_end", values[i]);
		mb_test_expect_no_period();
	}
	mb_test_load("subscription_updated.acacia");
	mb_test_drop("data.object.current_period_end");
	mb_test_expect_no_period();

	/* and the last time that is one */
	mb_test_put("data.object.current_period_end", "253402300799");
	mb_test_expect_period(RENEWAL, INT64_C(253402300799));
	mb_test_put("data.object.current_period_end", "1.777626e9");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R5: a list that stops at ten; what is in it is read, the rest is not known. */
static void
r05_list_of_items_that_has_more(void **state)
{
	json_t	   *items;

	(void) state;
	mb_test_load("subscription_updated_add_on.basil");
	items = json_object_get(json_object_get(json_object_get(mb_test_document, "data"), "object"), "items");
	items = json_object_get(items, "data");
	while (json_array_size(items) < 10)
		json_array_insert(items, 0, json_array_get(items, 0));
	mb_test_put("data.object.items.has_more", "true");
	mb_test_expect_price("price_1T2aProMonth", PRO);
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r06_price_in_each_of_its_places(void **state)
{
	(void) state;
	mb_test_load("subscription_updated.acacia");
	mb_test_expect_price("price_1T2aProMonthOld", PRO);
	mb_test_put("data.object.items.data.0.price", "\"price_1T2aBusinessMonth\"");
	mb_test_expect_price("price_1T2aBusinessMonth", BUSINESS);
	mb_test_put("data.object.items.data.0.price", "null");
	mb_test_expect_price("price_1T2aProMonthOld", PRO);
	mb_test_drop("data.object.items.data.0.price");
	mb_test_expect_price("price_1T2aProMonthOld", PRO);
	mb_test_put("data.object.items.data.0.plan", "\"price_1T2aProYear\"");
	mb_test_expect_price("price_1T2aProYear", PRO);

	mb_test_load("subscription_updated.2019");
	mb_test_put("data.object.items.data", "[]");
	mb_test_expect_price("pro-2019", PRO);
	mb_test_drop("data.object.items");
	mb_test_expect_price("pro-2019", PRO);
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
	mb_test_put("data.object.plan", "null");
	mb_test_expect_price(NULL, MB_NO_TIER);
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
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
	for (int i = 0; i < mb_test_nfixtures; i++)
		for (int j = 0; j < LENGTH(cases); j++)
		{
			MbEvent		event;

			mb_test_load(mb_test_fixtures[i].fixture);
			mb_test_put("data.object.customer", cases[j].json);
			event = mb_test_read();
			mb_test_expect_number("kind", event.kind, mb_test_fixtures[i].event.kind);
			mb_test_expect_field("customer_id", event.customer_id, mb_text(cases[j].customer_id));
		}
}

static void
r07_subscription_as_object(void **state)
{
	(void) state;
	mb_test_load("checkout_completed.basil");
	mb_test_put("data.object.subscription", "{\"id\": \"sub_expanded\", \"object\": \"subscription\"}");
	mb_test_expect_subscription("sub_expanded");
	mb_test_load("invoice_payment_failed.acacia");
	mb_test_put("data.object.subscription", "{\"id\": \"sub_expanded\", \"object\": \"subscription\"}");
	mb_test_expect_subscription("sub_expanded");
	mb_test_load("invoice_payment_failed.basil");
	mb_test_put("data.object.parent.subscription_details.subscription", "{\"id\": \"sub_expanded\"}");
	mb_test_expect_subscription("sub_expanded");
}

/* R29: the price is kept, so that a row added later gives its tier. */
static void
r29_unknown_price_is_kept_without_tier(void **state)
{
	(void) state;
	mb_test_load("subscription_updated.basil");
	mb_test_put("data.object.items.data.0.price.id", "\"" UNKNOWN_PRICE "\"");
	mb_test_expect_price(UNKNOWN_PRICE, MB_NO_TIER);
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

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
		TEST(r05_list_of_items_that_has_more),
		TEST(r06_price_in_each_of_its_places),
		TEST(r07_customer_as_string_object_deleted_or_null),
		TEST(r07_subscription_as_object),
		TEST(r29_unknown_price_is_kept_without_tier),
	};

	return cmocka_run_group_tests_name("shapes of events", tests, NULL, NULL);
}
