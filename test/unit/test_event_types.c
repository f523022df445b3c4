/*
 * test_event_types.c
 *	  What each type of event is about.
 */
#include "event_check.h"

/* Any customer.subscription.*, known today or not, has the whole object. */
static void
r17_every_subscription_type_is_read(void **state)
{
	static const char *const types[] = {
		"customer.subscription.updated", "customer.subscription.paused", "customer.subscription.resumed",
		"customer.subscription.pending_update_applied", "customer.subscription.pending_update_expired",
		"customer.subscription.hibernated", "customer.subscription.x",
	};
	static const char *const shapes[] = {"subscription_updated.acacia", "subscription_updated.basil"};

	(void) state;
	for (int i = 0; i < LENGTH(types); i++)
		for (int j = 0; j < LENGTH(shapes); j++)
		{
			MbEvent		expected;
			MbEvent		event;

			mb_test_load(shapes[j]);
			expected = mb_test_read();
			mb_test_put_value("type", json_string(types[i]));
			event = mb_test_read();
			expected.type = mb_text(types[i]);
			mb_test_expect_event(&event, &expected);
			mb_test_expect_number("order", event.order, MB_ORDER_UPDATED);
			mb_test_drop("data.object.status");
			mb_test_expect_ignored("no_status");
		}
}

static void
r17_paused_and_resumed(void **state)
{
	static const char *const shapes[] = {"acacia", "basil"};

	(void) state;
	for (int i = 0; i < LENGTH(shapes); i++)
	{
		char		fixture[64];

		snprintf(fixture, sizeof(fixture), "subscription_paused.%s", shapes[i]);
		mb_test_load(fixture);
		mb_test_expect_field("status", mb_test_read().status, mb_text("paused"));
		mb_test_expect_period(PURCHASE, PURCHASE + 14 * DAY);
		snprintf(fixture, sizeof(fixture), "subscription_resumed.%s", shapes[i]);
		mb_test_load(fixture);
		mb_test_expect_field("status", mb_test_read().status, mb_text("active"));
		mb_test_expect_period(PURCHASE + 20 * DAY, PURCHASE + 51 * DAY);
	}
}

/* pause_collection is no state: invoices are held back, the status stays. */
static void
r17_pause_collection_leaves_the_status(void **state)
{
	MbEvent		expected;
	MbEvent		event;

	(void) state;
	mb_test_load("subscription_updated.acacia");
	expected = mb_test_read();
	mb_test_put("data.object.pause_collection", "{\"behavior\": \"void\", \"resumes_at\": null}");
	event = mb_test_read();
	mb_test_expect_event(&event, &expected);
}

static void
r34_unknown_types_are_ignored(void **state)
{
	static const char *const types[] = {
		"customer.subscription", "customer.subscription.", "customer.subscriptions.updated", "customer.updated",
		"customer.deleted.again", "invoice.upcoming", "checkout.session.expired", "payment_intent.succeeded", "x",
	};

	(void) state;
	for (int i = 0; i < LENGTH(types); i++)
	{
		mb_test_load("subscription_updated.basil");
		mb_test_put_value("type", json_string(types[i]));
		mb_test_expect_ignored("unhandled_type");
		mb_test_expect_field("type", mb_test_read().type, mb_text(types[i]));
	}
}

/* It says what will happen in three days, not what has. */
static void
r18_trial_will_end_is_an_announcement(void **state)
{
	(void) state;
	mb_test_load("subscription_trial_will_end.acacia");
	mb_test_expect_ignored("announcement");
	mb_test_load("subscription_trial_will_end.basil");
	mb_test_expect_ignored("announcement");
	mb_test_put("data.object", "null");
	mb_test_expect_ignored("announcement");
}

static void
r30_delayed_payment_of_a_checkout(void **state)
{
	MbEvent		completed;
	MbEvent		event;
	json_t	   *kept;

	(void) state;
	mb_test_load("checkout_completed.basil");
	kept = json_incref(mb_test_document);
	completed = mb_test_read();
	mb_test_load("checkout_async_payment_succeeded.basil");
	event = mb_test_read();
	completed.id = event.id;
	completed.type = event.type;
	completed.created = event.created;
	mb_test_expect_event(&event, &completed);
	json_decref(kept);

	/* until then the completed session says that it is not paid */
	mb_test_load("checkout_completed.basil");
	mb_test_put("data.object.payment_status", "\"unpaid\"");
	mb_test_expect_ignored("not_paid");

	mb_test_load("checkout_async_payment_failed.acacia");
	mb_test_expect_ignored("not_paid");
	mb_test_load("checkout_async_payment_failed.basil");
	mb_test_expect_ignored("not_paid");

	/* whatever its session says */
	mb_test_put("data.object.payment_status", "\"paid\"");
	mb_test_expect_ignored("not_paid");
}

static void
r32_paid_invoices_are_redundant(void **state)
{
	static const char *const fixtures[] = {
		"invoice_paid.acacia", "invoice_paid.basil", "invoice_payment_succeeded.acacia", "invoice_payment_succeeded.basil",
	};

	(void) state;
	for (int i = 0; i < LENGTH(fixtures); i++)
	{
		mb_test_load(fixtures[i]);
		mb_test_expect_ignored("redundant");
	}
}

static void
r07_deleted_customer(void **state)
{
	static const char *const fixtures[] = {"customer_deleted.acacia", "customer_deleted.basil"};
	MbEvent		event;

	(void) state;
	for (int i = 0; i < LENGTH(fixtures); i++)
	{
		mb_test_load(fixtures[i]);
		event = mb_test_read();
		mb_test_expect_number("kind", event.kind, MB_EVENT_CUSTOMER_DELETED);
		mb_test_expect_field("customer_id", event.customer_id, mb_text("cus_U0aRv5tHc2Wn8B"));
		mb_test_expect_number("created", event.created, AT(NEXT_RENEWAL + DAY));

		/* who goes makes no link */
		assert_null(event.user_id.data);
		assert_null(event.subscription_id.data);
		assert_null(event.status.data);
	}
	mb_test_put("data.object", "{\"id\": \"cus_stub\", \"deleted\": true}");
	mb_test_expect_field("customer_id", mb_test_read().customer_id, mb_text("cus_stub"));
	mb_test_put("data.object", "{\"deleted\": true}");
	mb_test_expect_ignored("no_object");
}

/* One event in two bodies, of two endpoints' versions: they say the same. */
static void
r24_two_bodies_of_one_event_say_the_same(void **state)
{
	MbEvent		acacia;
	MbEvent		basil;
	json_t	   *kept;

	(void) state;
	mb_test_load("subscription_resumed.acacia");
	kept = json_incref(mb_test_document);
	acacia = mb_test_read();
	mb_test_load("subscription_resumed.basil");
	basil = mb_test_read();
	basil.id = acacia.id;
	basil.api_version = acacia.api_version;
	mb_test_expect_event(&basil, &acacia);
	json_decref(kept);
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r17_every_subscription_type_is_read),
		TEST(r17_paused_and_resumed),
		TEST(r17_pause_collection_leaves_the_status),
		TEST(r34_unknown_types_are_ignored),
		TEST(r18_trial_will_end_is_an_announcement),
		TEST(r30_delayed_payment_of_a_checkout),
		TEST(r32_paid_invoices_are_redundant),
		TEST(r07_deleted_customer),
		TEST(r24_two_bodies_of_one_event_say_the_same),
	};

	return cmocka_run_group_tests_name("types of events", tests, NULL, NULL);
}
