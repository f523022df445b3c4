/*
 * test_event_before.c
 *	  The state that an event found, from its previous_attributes, in both
 *	  shapes; and the chain that events of one second make of it (R21).
 */
#include "event_check.h"
#include "subscription_fixture.h"
#include "subscription_history.h"

static MbEvent
read_before(void)
{
	MbEvent		event = mb_test_read();
	MbEvent		before;

	assert_null(event.reason);
	assert_true(mb_event_read_before(&event, mb_test_plans(), &before));
	return before;
}

static void
r21_before_without_previous_attributes(void **state)
{
	static const char *const values[] = {"null", "[]", "7", "\"status\""};
	MbEvent		event;
	MbEvent		before;

	(void) state;
	for (int i = 0; i < LENGTH(values); i++)
	{
		mb_test_load("subscription_updated.basil");
		mb_test_put("data.previous_attributes", values[i]);
		event = mb_test_read();
		assert_false(mb_event_read_before(&event, mb_test_plans(), &before));
	}
	mb_test_load("subscription_created.basil");
	event = mb_test_read();
	assert_false(mb_event_read_before(&event, mb_test_plans(), &before));

	/* nor have other objects any */
	mb_test_load("invoice_payment_failed.basil");
	mb_test_put("data.previous_attributes", "{\"status\": \"draft\"}");
	event = mb_test_read();
	assert_false(mb_event_read_before(&event, mb_test_plans(), &before));
}

/* What the row does not show: the state was the same. */
static void
r21_before_of_another_change(void **state)
{
	static const char *const values[] = {
		"{}", "{\"latest_invoice\": \"in_1\"}", "{\"metadata\": {\"userId\": \"x\"}}", "{\"quantity\": 2}",
	};
	static const char *const fixtures[] = {
		"subscription_updated.acacia", "subscription_updated.basil", "subscription_updated_add_on.basil",
		"subscription_updated.2019",
	};

	(void) state;
	for (int i = 0; i < LENGTH(values); i++)
		for (int j = 0; j < LENGTH(fixtures); j++)
		{
			MbEvent		event;
			MbEvent		before;

			mb_test_load(fixtures[j]);
			mb_test_put("data.previous_attributes", values[i]);
			event = mb_test_read();
			before = read_before();
			mb_test_expect_field("status", before.status, event.status);
			mb_test_expect_field("price_id", before.price_id, event.price_id);
			mb_test_expect_number("period_start", before.period_start, event.period_start);
			mb_test_expect_number("period_end", before.period_end, event.period_end);
			mb_test_expect_number("cancel_at", before.cancel_at, event.cancel_at);
			mb_test_expect_number("cancel_at_period_end", before.cancel_at_period_end, event.cancel_at_period_end);
		}
}

static void
r21_before_of_a_renewal(void **state)
{
	MbEvent		before;

	(void) state;
	mb_test_load("subscription_updated.acacia");
	before = read_before();
	mb_test_expect_number("period_start", before.period_start, AT(PURCHASE));
	mb_test_expect_number("period_end", before.period_end, AT(RENEWAL));
	mb_test_expect_field("status", before.status, mb_text("active"));
	mb_test_expect_field("price_id", before.price_id, mb_text("price_1T2aProMonthOld"));

	/* from basil on in the item, of which only what changed may be there */
	mb_test_load("subscription_updated.basil");
	mb_test_put("data.previous_attributes", "{\"items\": {\"data\": [{\"current_period_start\": 1772355600,"
				" \"current_period_end\": 1775034000}]}}");
	before = read_before();
	mb_test_expect_number("period_start", before.period_start, AT(PURCHASE));
	mb_test_expect_number("period_end", before.period_end, AT(RENEWAL));
	mb_test_expect_field("price_id", before.price_id, mb_text("price_1T2aProMonth"));
	mb_test_expect_field("status", before.status, mb_text("past_due"));
}

static void
r21_before_of_a_plan_change(void **state)
{
	MbEvent		before;

	(void) state;
	mb_test_load("subscription_updated.acacia");
	mb_test_put("data.previous_attributes",
				"{\"items\": {\"data\": [{\"price\": {\"id\": \"price_1T2aBusinessMonth\"},"
				" \"plan\": {\"id\": \"price_1T2aBusinessMonth\"}}]}, \"plan\": {\"id\": \"price_1T2aBusinessMonth\"}}");
	before = read_before();
	mb_test_expect_field("price_id", before.price_id, mb_text("price_1T2aBusinessMonth"));
	mb_test_expect_number("tier", before.tier, BUSINESS);
	mb_test_expect_number("period_end", before.period_end, AT(NEXT_RENEWAL));

	/* there was one item less */
	mb_test_load("subscription_updated_add_on.basil");
	mb_test_put("data.previous_attributes", "{\"items\": {\"data\": [{\"id\": \"si_1\", \"price\":"
				" {\"id\": \"price_1T2aProYear\"}, \"current_period_start\": 1772355600,"
				" \"current_period_end\": 1775034000}]}}");
	before = read_before();
	mb_test_expect_field("price_id", before.price_id, mb_text("price_1T2aProYear"));
	mb_test_expect_number("period_end", before.period_end, AT(RENEWAL));

	/* and one more, which was taken away */
	mb_test_load("subscription_updated.basil");
	mb_test_put("data.previous_attributes", "{\"items\": {\"data\": [{\"id\": \"si_1\", \"price\":"
				" {\"id\": \"price_1T2aProMonth\"}}, {\"id\": \"si_2\", \"price\": {\"id\": \"price_1T2aBusinessYear\"},"
				" \"current_period_start\": 1772355600, \"current_period_end\": 1775034000}]}}");
	before = read_before();
	mb_test_expect_field("price_id", before.price_id, mb_text("price_1T2aBusinessYear"));
	mb_test_expect_number("period_end", before.period_end, AT(RENEWAL));

	/* something else of the plan: it was the same plan */
	mb_test_load("subscription_updated.2019");
	mb_test_put("data.object.items", "{\"data\": []}");
	mb_test_put("data.previous_attributes", "{\"plan\": {\"amount\": 990}}");
	assert_non_null(mb_test_read().price_id.data);
	mb_test_expect_field("price_id", read_before().price_id, mb_test_read().price_id);
}

static void
r21_before_of_planned_cancels(void **state)
{
	MbEvent		before;

	(void) state;
	mb_test_load("subscription_updated.2019");
	before = read_before();
	assert_false(before.cancel_at_period_end);
	assert_true(mb_test_read().cancel_at_period_end);

	mb_test_load("subscription_updated.basil");
	mb_test_put("data.previous_attributes", "{\"cancel_at\": 1777626000}");
	before = read_before();
	mb_test_expect_number("cancel_at", before.cancel_at, AT(NEXT_RENEWAL));
	mb_test_put("data.object.cancel_at", "1777626000");
	mb_test_put("data.previous_attributes", "{\"cancel_at\": null}");
	before = read_before();
	mb_test_expect_number("cancel_at", before.cancel_at, MB_NO_TIME);
}

/* What a subscription shows, whatever shape it is written in. */
typedef struct Shown
{
	const char *status;
	const char *price_id;
	int64_t		start;
	int64_t		end;
	bool		cancel_at_period_end;
} Shown;

static json_t *
item(const Shown *shown, bool basil)
{
	json_t	   *json = json_pack("{s:s, s:{s:s}, s:{s:s}}", "id", "si_1", "price", "id", shown->price_id,
								 "plan", "id", shown->price_id);

	if (basil)
	{
		json_object_set_new(json, "current_period_start", json_integer(shown->start));
		json_object_set_new(json, "current_period_end", json_integer(shown->end));
	}
	return json;
}

/* An update as Stripe writes it in one of both shapes. */
static json_t *
update(const char *id, const Shown *from, const Shown *to, bool basil)
{
	bool		other_period = from->start != to->start || from->end != to->end;
	bool		other_price = strcmp(from->price_id, to->price_id) != 0;
	json_t	   *previous = json_object();
	json_t	   *object = json_pack("{s:s, s:s, s:s, s:b, s:n, s:{s:[o]}}", "id", "sub_1", "customer", "cus_1",
								   "status", to->status, "cancel_at_period_end", (int) to->cancel_at_period_end,
								   "cancel_at", "items", "data", item(to, basil));

	if (!basil)
	{
		json_object_set_new(object, "current_period_start", json_integer(to->start));
		json_object_set_new(object, "current_period_end", json_integer(to->end));
		json_object_set_new(object, "plan", json_pack("{s:s}", "id", to->price_id));
		if (other_period)
		{
			json_object_set_new(previous, "current_period_start", json_integer(from->start));
			json_object_set_new(previous, "current_period_end", json_integer(from->end));
		}
		if (other_price)
			json_object_set_new(previous, "plan", json_pack("{s:s}", "id", from->price_id));
	}
	if (other_price || (basil && other_period))
		json_object_set_new(previous, "items", json_pack("{s:[o]}", "data", item(from, basil)));
	if (strcmp(from->status, to->status) != 0)
		json_object_set_new(previous, "status", json_string(from->status));
	if (from->cancel_at_period_end != to->cancel_at_period_end)
		json_object_set_new(previous, "cancel_at_period_end", json_boolean(from->cancel_at_period_end));
	return json_pack("{s:s, s:s, s:s, s:i, s:b, s:{s:o, s:o}}", "id", id, "object", "event",
					 "type", "customer.subscription.updated", "created", 1775034001, "livemode", 1,
					 "data", "object", object, "previous_attributes", previous);
}

/* Four updates of one second, each in either shape, in every order. */
static void
r21_chain_of_both_shapes(void **state)
{
	static const Shown path[] = {
		{"active", "price_1T2aProMonth", PURCHASE, RENEWAL, false},
		{"active", "price_1T2aProMonth", RENEWAL, NEXT_RENEWAL, false},
		{"active", "price_1T2aBusinessMonth", RENEWAL, NEXT_RENEWAL, false},
		{"past_due", "price_1T2aBusinessMonth", RENEWAL, NEXT_RENEWAL, false},
		{"past_due", "price_1T2aBusinessMonth", RENEWAL, NEXT_RENEWAL, true},
	};
	static const char *const ids[] = {"evt_4", "evt_2", "evt_3", "evt_1"};

	enum
	{
		N = 4
	};

	(void) state;
	for (int shapes = 0; shapes < 1 << N; shapes++)
	{
		json_t	   *documents[N];
		MbEvent		events[N];
		MbEvent		before[N];

		for (int i = 0; i < N; i++)
		{
			documents[i] = update(ids[i], &path[i], &path[i + 1], shapes >> i & 1);
			assert_non_null(documents[i]);
			mb_event_read(mb_json_from_jansson(documents[i]), mb_test_plans(), MB_LIVEMODE_ANY, &events[i]);
			assert_null(events[i].reason);
			assert_true(mb_event_read_before(&events[i], mb_test_plans(), &before[i]));
			events[i].before = &before[i];
		}

		/* the order's number, written with one digit of each base 2 to 4 */
		for (int order = 0; order < 24; order++)
		{
			const MbEvent *left[N] = {&events[0], &events[1], &events[2], &events[3]};
			MbTestHistory history;
			int			number = order;

			mb_test_begin(&history, mb_text("sub_1"));
			for (int n = N; n > 0; n--)
			{
				int			next = number % n;

				number /= n;
				mb_test_apply(&history, left[next]);
				left[next] = left[n - 1];
			}
			mb_test_expect_field("state", history.subscription.state.event_id, mb_text("evt_1"));
			mb_test_expect_field("status", history.subscription.status, mb_text("past_due"));
			mb_test_expect_field("tier", history.subscription.tier, mb_text("BUSINESS"));
			mb_test_expect_number("period_end", history.subscription.period_end, AT(NEXT_RENEWAL));
			assert_true(history.subscription.cancel_at_period_end);
		}
		for (int i = 0; i < N; i++)
			json_decref(documents[i]);
	}
}

#define TEST(function) cmocka_unit_test_teardown(function, mb_test_unload)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(r21_before_without_previous_attributes),
		TEST(r21_before_of_another_change),
		TEST(r21_before_of_a_renewal),
		TEST(r21_before_of_a_plan_change),
		TEST(r21_before_of_planned_cancels),
		TEST(r21_chain_of_both_shapes),
	};

	return cmocka_run_group_tests_name("before", tests, NULL, NULL);
}
