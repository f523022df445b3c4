/*
 * test_event_invoice.c
 *	  Which subscription an invoice is for, and which period it charges.
 */
#include "event_check.h"

static void
r08_subscription_of_an_invoice_four_ways(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed.basil");
	mb_test_put("data.object.parent.subscription_details.subscription", "\"sub_parent\"");
	mb_test_put("data.object.subscription", "\"sub_top\"");
	mb_test_put("data.object.lines.data.0.parent.subscription_item_details.subscription", "\"sub_line_parent\"");
	mb_test_put("data.object.lines.data.0.subscription", "\"sub_line\"");
	mb_test_expect_subscription("sub_parent");
	mb_test_put("data.object.parent", "null");
	mb_test_expect_subscription("sub_top");
	mb_test_put("data.object.subscription", "null");
	mb_test_expect_subscription("sub_line_parent");
	mb_test_put("data.object.lines.data.0.parent", "null");
	mb_test_expect_subscription("sub_line");
	mb_test_put("data.object.lines.data.0.subscription", "null");
	mb_test_expect_ignored("no_subscription");
	mb_test_put("data.object.lines", "null");
	mb_test_expect_ignored("no_subscription");
}

/* R8: the older field can be present and null beside the newer one. */
static void
r08_null_subscription_beside_parent(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed.basil");
	mb_test_put("data.object.subscription", "null");
	mb_test_expect_subscription("sub_1T2aKf7QmZ4xLw9D");
	mb_test_drop("data.object.subscription");
	mb_test_expect_subscription("sub_1T2aKf7QmZ4xLw9D");
}

/* R8: any line will do. */
static void
r08_subscription_of_a_later_line(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed_prorations.basil");
	mb_test_put("data.object.parent", "null");
	mb_test_put("data.object.lines.data.0.parent", "null");
	mb_test_put("data.object.lines.data.1.parent", "null");
	mb_test_put("data.object.lines.data.2.parent.subscription_item_details.subscription", "\"sub_third\"");
	mb_test_expect_subscription("sub_third");
}

static void
r09_price_of_an_invoice_line(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed_prorations.basil");
	mb_test_put("data.object.lines.data.3.pricing", "null");
	mb_test_put("data.object.lines.data.3.price", "{\"id\": \"price_1T2aProMonth\"}");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
	mb_test_put("data.object.lines.data.3.price", "null");
	mb_test_put("data.object.lines.data.3.plan", "{\"id\": \"pro-2019\"}");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
	mb_test_put("data.object.lines.data.3.pricing",
				"{\"price_details\": {\"price\": {\"id\": \"price_1T2aProMonth\"}}}");
	mb_test_put("data.object.lines.data.3.plan", "null");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R10: the invoice's own period is the one before. */
static void
r10_period_is_that_of_the_line_not_of_the_invoice(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed.acacia");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
	mb_test_put("data.object.lines.data", "[]");
	mb_test_expect_ignored("no_period");
	mb_test_load("invoice_payment_failed.basil");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
	mb_test_put("data.object.lines.data.0.period.end", "null");
	mb_test_expect_ignored("no_period");

	/* a tier's line without a period leaves the choice to the others */
	mb_test_load("invoice_payment_failed_prorations.basil");
	mb_test_put("data.object.lines.data.2.pricing.price_details.price", "\"price_1T2aBusinessYear\"");
	mb_test_put("data.object.lines.data.2.period.end", "null");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

/* R10: neither a proration of a higher tier nor an add-on's year counts. */
static void
r10_prorations_and_add_ons_do_not_count(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed_prorations.basil");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);

	/* the flag where it stood before basil, and where an invoice item has it */
	mb_test_put("data.object.lines.data.1.parent", "null");
	mb_test_put("data.object.lines.data.1.proration", "true");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
	mb_test_put("data.object.lines.data.1.proration", "false");
	mb_test_put("data.object.lines.data.1.parent", "{\"invoice_item_details\": {\"proration\": true}}");
	mb_test_expect_period(RENEWAL, NEXT_RENEWAL);
}

static void
r10_highest_tier_of_several_lines(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed_prorations.basil");
	mb_test_put("data.object.lines.data.1.parent.subscription_item_details.proration", "false");
	mb_test_expect_period(PURCHASE + 15 * DAY, PURCHASE + 380 * DAY);
}

static void
r10_widest_period_where_no_line_maps(void **state)
{
	(void) state;
	mb_test_load("invoice_payment_failed_prorations.basil");
	mb_test_put("data.object.lines.data.3.pricing.price_details.price", "\"price_of_another_product\"");
	mb_test_expect_period(PURCHASE + 15 * DAY, RENEWAL + 365 * DAY);
}

/* R10: the user from the snapshot, never from the invoice's own metadata. */
static void
r10_user_from_the_snapshot_of_metadata(void **state)
{
	MbEvent		event;

	(void) state;
	mb_test_load("invoice_payment_failed.basil");
	mb_test_put("data.object.metadata", "{\"userId\": \"of the invoice\"}");
	event = mb_test_read();
	mb_test_expect_field("user_id", event.user_id, mb_test_fixtures[0].event.user_id);
	mb_test_put("data.object.parent.subscription_details.metadata", "null");
	event = mb_test_read();
	assert_null(event.user_id.data);
	mb_test_load("invoice_payment_failed.acacia");
	mb_test_put("data.object.subscription_details.metadata.userId", "\"older place\"");
	event = mb_test_read();
	mb_test_expect_field("user_id", event.user_id, mb_text("older place"));
}

static void
r31_only_a_renewal_that_stripe_charges(void **state)
{
	static const char *const others[] = {
		"\"subscription_create\"", "\"subscription_update\"", "\"subscription_threshold\"", "\"manual\"",
		"\"upcoming\"", "\"quote_accept\"", "\"automatic_pending_invoice_item_invoice\"", "null", "true",
	};

	(void) state;
	mb_test_load("invoice_payment_failed.acacia");
	mb_test_put("data.object.billing_reason", "\"subscription\"");
	mb_test_expect_number("kind", mb_test_read().kind, MB_EVENT_PAYMENT_FAILED);
	for (int i = 0; i < LENGTH(others); i++)
	{
		mb_test_put("data.object.billing_reason", others[i]);
		mb_test_expect_ignored("not_a_renewal");
	}
	mb_test_put("data.object.billing_reason", "\"subscription_cycle\"");
	mb_test_put("data.object.collection_method", "\"send_invoice\"");
	mb_test_expect_ignored("not_charged_automatically");
}

static void
r32_other_types_are_ignored(void **state)
{
	static const char *const types[] = {
		"invoice.payment_failed2", "invoice.payment_faile",
		"customer.subscription.", "customer.subscriptio", "customer.updated", "customer.deleted.again",
		"charge.failed", "CHECKOUT.SESSION.COMPLETED",
	};

	(void) state;
	for (int i = 0; i < LENGTH(types); i++)
	{
		mb_test_load("subscription_updated.basil");
		mb_test_put_value("type", json_string(types[i]));
		mb_test_expect_ignored("unhandled_type");
		mb_test_expect_field("type", mb_test_read().type, mb_text(types[i]));
	}
	mb_test_load("subscription_updated.basil");
	mb_test_put("type", "\"invoice.paid\"");
	mb_test_expect_ignored("redundant");
	mb_test_put("type", "\"invoice.payment_succeeded\"");
	mb_test_expect_ignored("redundant");
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r08_subscription_of_an_invoice_four_ways),
		TEST(r08_null_subscription_beside_parent),
		TEST(r08_subscription_of_a_later_line),
		TEST(r09_price_of_an_invoice_line),
		TEST(r10_period_is_that_of_the_line_not_of_the_invoice),
		TEST(r10_prorations_and_add_ons_do_not_count),
		TEST(r10_highest_tier_of_several_lines),
		TEST(r10_widest_period_where_no_line_maps),
		TEST(r10_user_from_the_snapshot_of_metadata),
		TEST(r31_only_a_renewal_that_stripe_charges),
		TEST(r32_other_types_are_ignored),
	};

	return cmocka_run_group_tests_name("invoices", tests, NULL, NULL);
}
