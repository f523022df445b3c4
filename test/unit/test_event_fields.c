/*
 * test_event_fields.c
 *	  Every field of every fixture, with values of every wrong type.
 */
#include "event_check.h"

static const char *const reasons[] = {
	"no_period", "announcement", "redundant", "thin_event", "not_an_event", "sample_event", "other_livemode",
	"no_created", "unhandled_type", "no_object", "no_status", "no_subscription", "not_paid", "not_a_renewal",
	"not_charged_automatically",
};

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

	for (int i = 0; i < LENGTH(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

/* What holds of any event that was read, whatever it was read from. */
static void
check_invariants(const MbEvent *event)
{
	bool		known = false;

	for (int i = 0; i < LENGTH(reasons); i++)
		known |= event->reason != NULL && strcmp(event->reason, reasons[i]) == 0;
	assert_int_equal(event->kind == MB_EVENT_IGNORED, known);
	assert_int_equal(event->reason != NULL, known);
	assert_true((int) event->kind >= MB_EVENT_IGNORED && event->kind <= MB_EVENT_CUSTOMER_DELETED);
	assert_true((int) event->order >= MB_ORDER_CREATED && event->order <= MB_ORDER_DELETED);
	assert_true(event->tier == MB_NO_TIER || (event->tier >= 0 && event->tier < mb_test_plans()->ntiers));
	assert_int_equal(event->period_start == MB_NO_TIME, event->period_end == MB_NO_TIME);
	assert_true(event->has_livemode || !event->livemode);
	if (known)
		return;

	assert_non_null(event->id.data);
	assert_true(event->id.len >= 1 && event->id.len <= MB_MAX_ID);
	assert_non_null(event->type.data);
	assert_true(event->created != MB_NO_TIME);
	if (event->kind == MB_EVENT_CUSTOMER_DELETED)
	{
		assert_non_null(event->customer_id.data);
		assert_null(event->subscription_id.data);
		return;
	}
	assert_non_null(event->subscription_id.data);
	assert_true(event->subscription_id.len >= 1 && event->subscription_id.len <= MB_MAX_ID);
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
		for (int i = 0; i <= LENGTH(values); i++)
		{
			MbEvent		event;

			/* the last time without any value */
			if (json_is_array(container))
				json_array_set_new(container, place, mb_test_parse(values[i % LENGTH(values)]));
			else if (i < LENGTH(values))
				json_object_set_new(container, keys[place], mb_test_parse(values[i]));
			else
				json_object_del(container, keys[place]);

			event = mb_test_read();
			nread++;
			check_invariants(&event);
			if (leaf && keys[place] != NULL && !is_read(keys[place]))
				mb_test_expect_event(&event, unchanged);
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
	for (int i = 0; i < mb_test_nfixtures; i++)
	{
		MbEvent		event;

		mb_test_load(mb_test_fixtures[i].fixture);
		nread += replace_each(mb_test_document, &mb_test_fixtures[i].event);

		/* everything is back in its place */
		event = mb_test_read();
		mb_test_expect_event(&event, &mb_test_fixtures[i].event);
	}
	assert_true(nread > 20000);
}

/* An object in another's event, and the other way round. */
static void
every_object_under_every_type(void **state)
{
	static const char *const types[] = {
		"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted",
		"customer.subscription.paused", "customer.subscription.trial_will_end", "customer.deleted",
		"checkout.session.completed", "invoice.payment_failed", "invoice.paid",
	};

	(void) state;
	for (int i = 0; i < mb_test_nfixtures; i++)
		for (int j = 0; j < LENGTH(types); j++)
		{
			MbEvent		event;

			mb_test_load(mb_test_fixtures[i].fixture);
			mb_test_put_value("type", json_string(types[j]));
			event = mb_test_read();
			check_invariants(&event);
		}
}

/* Deeper than any recursion would like; the reader has none. */
static void
deep_nesting(void **state)
{
	(void) state;
	mb_test_load("subscription_updated.basil");
	for (int i = 0; i < 1000; i++)
	{
		json_t	   *outer = json_object();

		json_object_set(outer, "object", json_object_get(json_object_get(mb_test_document, "data"), "object"));
		json_object_set(outer, "items", json_object_get(json_object_get(mb_test_document, "data"), "object"));
		mb_test_put_value("data.object", outer);
	}
	mb_test_expect_ignored("no_object");
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_field_of_every_wrong_type),
		TEST(every_object_under_every_type),
		TEST(deep_nesting),
	};

	return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
