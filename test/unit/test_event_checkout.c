/*
 * test_event_checkout.c
 *	  What a checkout session says.
 */
#include "event_check.h"

/* R30: what is not said is taken as the case the event was made for. */
static void
r30_checkout_modes(void **state)
{
	(void) state;
	mb_test_load("checkout_completed.basil");
	mb_test_put("data.object.mode", "\"payment\"");
	mb_test_expect_ignored("no_subscription");
	mb_test_put("data.object.mode", "\"setup\"");
	mb_test_expect_ignored("no_subscription");
	mb_test_put("data.object.mode", "\"subscription\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_CHECKOUT);
	mb_test_drop("data.object.mode");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_CHECKOUT);
	mb_test_put("data.object.subscription", "null");
	mb_test_expect_ignored("no_subscription");
	mb_test_put("data.object.mode", "\"subscription\"");
	mb_test_expect_ignored("no_subscription");
}

static void
r30_checkout_payment_statuses(void **state)
{
	(void) state;
	mb_test_load("checkout_completed.acacia");
	mb_test_put("data.object.payment_status", "\"paid\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_CHECKOUT);
	mb_test_put("data.object.payment_status", "\"no_payment_required\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_CHECKOUT);
	mb_test_put("data.object.payment_status", "\"unpaid\"");
	mb_test_expect_ignored("not_paid");
	mb_test_put("data.object.payment_status", "\"of a later year\"");
	mb_test_expect_ignored("not_paid");
	mb_test_drop("data.object.payment_status");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_CHECKOUT);
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
	for (int i = 0; i < LENGTH(cases); i++)
	{
		mb_test_load("checkout_completed.acacia");
		mb_test_put("data.object.metadata", cases[i].metadata);
		mb_test_expect_price(cases[i].price_id, cases[i].tier);
	}
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r30_checkout_modes),
		TEST(r30_checkout_payment_statuses),
		TEST(r30_checkout_promise),
	};

	return cmocka_run_group_tests_name("checkouts", tests, NULL, NULL);
}
