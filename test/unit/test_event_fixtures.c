/*
 * test_event_fixtures.c
 *	  Every fixture gives what a row needs, in whatever shape it is.
 */
#include <dirent.h>

#include "event_check.h"

/*
 * Subscriptions and invoices of whatever event: what is asked for is in the
 * object, so each is read as the event that takes it from there.
 */
static void
read_fixture(const char *name, int *subscriptions, int *invoices)
{
	json_t	   *object;
	const char *type;
	MbEvent		event;

	mb_test_load(name);
	object = json_object_get(json_object_get(mb_test_document, "data"), "object");
	type = json_string_value(json_object_get(object, "object"));
	if (type == NULL)
		return;
	if (strcmp(type, "subscription") == 0)
	{
		mb_test_put("type", "\"customer.subscription.updated\"");
		++*subscriptions;
	}
	else if (strcmp(type, "invoice") == 0)
	{
		mb_test_put("type", "\"invoice.payment_failed\"");
		mb_test_put("data.object.billing_reason", "\"subscription_cycle\"");
		++*invoices;
	}
	else
		return;

	event = mb_test_read();
	if (event.reason != NULL)
		fail_msg("%s: %s", name, event.reason);
	if (event.subscription_id.data == NULL || event.customer_id.data == NULL ||
		event.period_start == MB_NO_TIME || event.period_end <= event.period_start || event.tier == MB_NO_TIER)
		fail_msg("%s has no subscription, customer, period or price", name);
	if (event.kind == MB_EVENT_SUBSCRIPTION && event.price_id.data == NULL)
		fail_msg("%s has no price", name);
}

static void
r01_every_fixture_gives_what_a_row_needs(void **state)
{
	static const char suffix[] = ".json";
	DIR		   *folder = opendir(MB_FIXTURES "/events");
	int			subscriptions = 0;
	int			invoices = 0;

	(void) state;
	assert_non_null(folder);
	for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder))
	{
		char		name[256];
		size_t		len = strlen(entry->d_name);

		/* the Dashboard's sample is about nobody */
		if (len <= sizeof(suffix) || strcmp(entry->d_name + len - (sizeof(suffix) - 1), suffix) != 0 ||
			strcmp(entry->d_name, "sample.json") == 0)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int) (len - (sizeof(suffix) - 1)), entry->d_name);
		read_fixture(name, &subscriptions, &invoices);
	}
	closedir(folder);
	assert_true(subscriptions >= 18 && invoices >= 8);
}

/* The objects that each version has in its own shape are there in both. */
static void
r01_both_shapes_of_every_event(void **state)
{
	static const char *const events[] = {
		"checkout_completed", "checkout_async_payment_succeeded", "checkout_async_payment_failed",
		"subscription_created", "subscription_updated", "subscription_deleted", "subscription_paused",
		"subscription_resumed", "subscription_pending_update_applied", "subscription_pending_update_expired",
		"subscription_trial_will_end", "invoice_payment_failed", "invoice_paid", "invoice_payment_succeeded",
		"customer_deleted",
	};

	(void) state;
	for (int i = 0; i < LENGTH(events); i++)
		for (int basil = 0; basil <= 1; basil++)
		{
			char		name[64];
			json_t	   *object;
			const char *version;

			snprintf(name, sizeof(name), "%s.%s", events[i], basil ? "basil" : "acacia");
			mb_test_load(name);
			version = json_string_value(json_object_get(mb_test_document, "api_version"));
			assert_string_equal(version, basil ? "2025-03-31.basil" : "2024-09-30.acacia");
			object = json_object_get(json_object_get(mb_test_document, "data"), "object");
			if (strncmp(name, "subscription", 12) == 0)
			{
				json_t	   *item = json_array_get(json_object_get(json_object_get(object, "items"), "data"), 0);

				assert_int_equal(json_object_get(object, "current_period_end") != NULL, !basil);
				assert_int_equal(json_object_get(item, "current_period_end") != NULL, basil);
			}
			else if (strncmp(name, "invoice", 7) == 0)
			{
				json_t	   *line = json_array_get(json_object_get(json_object_get(object, "lines"), "data"), 0);

				assert_int_equal(json_is_string(json_object_get(object, "subscription")), !basil);
				assert_int_equal(json_object_get(object, "parent") != NULL, basil);
				assert_int_equal(json_object_get(line, "price") != NULL, !basil);
				assert_int_equal(json_object_get(line, "pricing") != NULL, basil);
			}
		}
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r01_every_fixture_gives_what_a_row_needs),
		TEST(r01_both_shapes_of_every_event),
	};

	return cmocka_run_group_tests_name("fixtures", tests, NULL, NULL);
}
