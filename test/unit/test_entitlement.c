/*
 * test_entitlement.c
 *	  The app's row of a subscription, how long it gives access, and which
 *	  of several subscriptions it shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "entitlement.h"
#include "subscription_fixture.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))
#define FOREVER INT64_MAX
#define MAX_CANDIDATES 6

/* What a list of events, ended by one without an id, makes known. */
static MbSubscription
known(const char *subscription_id, const MbEvent *events)
{
	MbSubscription subscription;

	mb_subscription_init(&subscription, mb_text(subscription_id));
	for (; events->id.data != NULL; events++)
		mb_subscription_apply(&subscription, events, NULL, 0, mb_test_plans());
	return subscription;
}

static MbTime
until_of(MbStatus status, MbTime period_end)
{
	MbUserRow	row = {.status = status,.period_start = MB_NO_TIME,.period_end = period_end};

	return mb_entitlement_until(&row, mb_test_plans());
}

#define KNOWN(subscription_id, ...) \
	known(subscription_id, (const MbEvent[]) {__VA_ARGS__, {.kind = MB_EVENT_IGNORED}})

static MbUserRow
row_of(const MbSubscription *subscription)
{
	MbUserRow	row;

	mb_entitlement_row(subscription, mb_test_plans(), &row);
	return row;
}

static void
expect_text(MbText got, const char *expected)
{
	if (!mb_text_eq(got, mb_text(expected)))
		fail_msg("\"%.*s\" instead of \"%s\"", got.len, got.data ? got.data : "", expected ? expected : "(none)");
}

static void
expect_time(MbTime got, MbTime expected)
{
	if (got != expected)
		fail_msg("%lld us instead of %lld us", (long long) got, (long long) expected);
}

/* The guide's table, and ours for the statuses that it does not name. */
static void
r12_status_of_the_row(void **state)
{
	static const struct
	{
		const char *stripe;
		MbStatus	status;
		const char *label;
		int			until;		/* -1: no access, 0: without end */
	}			cases[] = {
		{"active", MB_STATUS_ACTIVE, "ACTIVE", 0},
		{"trialing", MB_STATUS_TRIALING, "TRIALING", 0},
		{"past_due", MB_STATUS_PAST_DUE, "PAST_DUE", MONTH},
		{"canceled", MB_STATUS_CANCELED, "CANCELED", MONTH},
		{"incomplete", MB_STATUS_INACTIVE, "INACTIVE", -1},
		{"incomplete_expired", MB_STATUS_INACTIVE, "INACTIVE", -1},
		{"paused", MB_STATUS_INACTIVE, "INACTIVE", -1},
		{"hibernating", MB_STATUS_INACTIVE, "INACTIVE", -1},
		{"Active", MB_STATUS_INACTIVE, "INACTIVE", -1},
	};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
	{
		MbSubscription subscription = KNOWN("sub_1", mb_test_updated("evt_1", 10, cases[i].stripe, 0, NULL));
		MbUserRow	row = row_of(&subscription);
		MbTime		until = cases[i].until < 0 ? MB_NO_TIME :
		cases[i].until == 0 ? FOREVER : mb_test_time(cases[i].until);

		assert_int_equal(row.status, cases[i].status);
		assert_string_equal(mb_status_label(row.status), cases[i].label);
		expect_time(until_of(row.status, row.period_end), until);
		expect_text(row.tier, "PRO");
		expect_text(row.customer_id, "cus_1");
		expect_text(row.subscription_id, "sub_1");
		expect_text(row.price_id, "price_1T2aProMonth");
		expect_time(row.period_start, mb_test_time(0));
		expect_time(row.period_end, mb_test_time(MONTH));
		assert_false(row.cancel_at_period_end);
	}
}

/* R14: unpaid is CANCELED, and its periods roll on while nobody pays. */
static void
r14_unpaid_ends_where_the_paid_time_ended(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0),
										mb_test_updated("evt_2", 1005, "past_due", 1, "active"),
										mb_test_updated("evt_3", 3005, "unpaid", 3, "past_due"));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	assert_int_equal(row.status, MB_STATUS_CANCELED);
	expect_time(row.period_end, mb_test_time(MONTH));
	expect_time(until_of(row.status, row.period_end), mb_test_time(MONTH));

	/* never seen live: the period it is in was not paid for */
	subscription = KNOWN("sub_1", mb_test_updated("evt_1", 3005, "unpaid", 3, NULL));
	row = row_of(&subscription);
	expect_time(row.period_end, mb_test_time(3 * MONTH));
}

static void
r14_canceled_while_past_due_ends_where_the_paid_time_ended(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_updated("evt_1", 1001, "active", 1, NULL),
										mb_test_updated("evt_2", 1005, "past_due", 1, "active"),
										mb_test_deleted("evt_3", 1300, 1, "cancellation_requested"));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	assert_int_equal(row.status, MB_STATUS_CANCELED);
	expect_time(row.period_end, mb_test_time(MONTH));
}

/* R15: an immediate cancel keeps what was paid for; a dispute does not. */
static void
r15_canceled_before_the_end_of_the_period(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0),
										mb_test_deleted("evt_2", 300, 0, "cancellation_requested"));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	expect_time(row.period_end, mb_test_time(MONTH));
	expect_time(until_of(row.status, row.period_end), mb_test_time(MONTH));

	subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0),
						 mb_test_deleted("evt_2", 300, 0, "payment_disputed"));
	row = row_of(&subscription);
	expect_time(row.period_end, mb_test_time(300));
}

/* The paid time can end later than the last period shown: the smaller one. */
static void
r15_canceled_end_is_the_smaller_of_both(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 2),
										mb_test_deleted("evt_2", 300, 0, NULL));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	expect_time(subscription.paid_through, mb_test_time(3 * MONTH));
	expect_time(row.period_end, mb_test_time(MONTH));
}

/* The end is not shortened while Stripe still tries to collect. */
static void
past_due_has_its_whole_period(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_updated("evt_1", 1001, "active", 1, NULL),
										mb_test_updated("evt_2", 1005, "past_due", 1, "active"));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	assert_int_equal(row.status, MB_STATUS_PAST_DUE);
	expect_time(row.period_end, mb_test_time(2 * MONTH));
}

static void
no_period_is_no_access_once_it_matters(void **state)
{
	MbSubscription subscription;
	MbUserRow	row;

	(void) state;
	expect_time(until_of(MB_STATUS_PAST_DUE, MB_NO_TIME), MB_NO_TIME);
	expect_time(until_of(MB_STATUS_CANCELED, MB_NO_TIME), MB_NO_TIME);
	expect_time(until_of(MB_STATUS_ACTIVE, MB_NO_TIME), FOREVER);
	expect_time(until_of(MB_STATUS_TRIALING, MB_NO_TIME), FOREVER);
	expect_time(until_of(MB_STATUS_INACTIVE, FOREVER), MB_NO_TIME);
	expect_time(until_of(MB_STATUS_OTHER, FOREVER), MB_NO_TIME);

	subscription = KNOWN("sub_1", mb_test_deleted("evt_1", 10, NO_PERIOD, NULL));
	row = row_of(&subscription);
	expect_time(row.period_start, MB_NO_TIME);
	expect_time(row.period_end, MB_NO_TIME);
	expect_time(until_of(row.status, row.period_end), MB_NO_TIME);
}

/* An active subscription's access does not end with the period it shows. */
static void
active_outlives_its_period(void **state)
{
	(void) state;
	expect_time(until_of(MB_STATUS_ACTIVE, mb_test_time(-MONTH)), FOREVER);
	expect_time(until_of(MB_STATUS_TRIALING, mb_test_time(-MONTH)), FOREVER);
	expect_time(until_of(MB_STATUS_PAST_DUE, mb_test_time(-MONTH)), mb_test_time(-MONTH));
}

static void
r16_either_way_of_planning_a_cancel_shows(void **state)
{
	(void) state;
	for (int i = 0; i < 4; i++)
	{
		MbEvent		event = mb_test_updated("evt_1", 10, "active", 0, NULL);
		MbSubscription subscription;
		MbUserRow	row;

		event.cancel_at_period_end = (i & 1) != 0;
		if (i & 2)
			event.cancel_at = mb_test_time(MONTH);
		subscription = KNOWN("sub_1", event);
		row = row_of(&subscription);
		assert_int_equal(row.status, MB_STATUS_ACTIVE);
		assert_int_equal(row.cancel_at_period_end, i != 0);
		expect_time(until_of(row.status, row.period_end), FOREVER);
	}
}

static void
r29_price_that_was_never_known_buys_the_default_tier(void **state)
{
	static MbPlans without_default;
	MbEvent		event = mb_test_updated("evt_1", 10, "active", 0, NULL);
	MbSubscription subscription;
	MbUserRow	row;

	(void) state;
	event.tier = MB_NO_TIER;
	event.price_id = mb_text(UNKNOWN_PRICE);
	subscription = KNOWN("sub_1", event);
	row = row_of(&subscription);
	expect_text(row.tier, "BASIC");
	expect_text(row.price_id, UNKNOWN_PRICE);

	without_default = *mb_test_plans();
	without_default.default_tier = MB_NO_TIER;
	mb_entitlement_row(&subscription, &without_default, &row);
	assert_null(row.tier.data);
}

static void
r30_promise_is_an_active_row_without_period(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_checkout("evt_1", 10, BUSINESS));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	assert_int_equal(row.status, MB_STATUS_ACTIVE);
	expect_text(row.tier, "BUSINESS");
	assert_null(row.price_id.data);
	expect_time(row.period_end, MB_NO_TIME);
	expect_time(until_of(row.status, row.period_end), FOREVER);
}

/* R31, R10: the failed renewal comes before the renewal itself is known. */
static void
r31_failed_payment_shows_the_invoices_period(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0),
										mb_test_failed("evt_2", 1005, 1));
	MbUserRow	row = row_of(&subscription);
	MbUserRow	after;

	(void) state;
	assert_int_equal(row.status, MB_STATUS_PAST_DUE);
	expect_time(row.period_start, mb_test_time(MONTH));
	expect_time(row.period_end, mb_test_time(2 * MONTH));
	expect_time(until_of(row.status, row.period_end), mb_test_time(2 * MONTH));

	/* and nothing moves when the subscription's own event arrives */
	subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0),
						 mb_test_failed("evt_2", 1005, 1),
						 mb_test_updated("evt_3", 1006, "past_due", 1, "active"));
	after = row_of(&subscription);
	assert_true(mb_user_row_eq(&row, &after));
}

static void
r31_failed_payment_without_a_period_leaves_the_period(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0),
										mb_test_failed("evt_2", 1005, NO_PERIOD));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	assert_int_equal(row.status, MB_STATUS_PAST_DUE);
	expect_time(row.period_end, mb_test_time(MONTH));
}

static void
r31_failed_payment_before_the_state_changes_nothing(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_updated("evt_1", 20, "active", 0, NULL),
										mb_test_failed("evt_2", 10, 3));
	MbUserRow	row = row_of(&subscription);

	(void) state;
	assert_int_equal(row.status, MB_STATUS_ACTIVE);
	expect_time(row.period_end, mb_test_time(MONTH));
}

static void
labels_and_back(void **state)
{
	(void) state;
	for (int status = MB_STATUS_ACTIVE; status < MB_STATUS_OTHER; status++)
		assert_int_equal(mb_status_from_label(mb_text(mb_status_label((MbStatus) status))), status);
	assert_int_equal(mb_status_from_label(mb_text("active")), MB_STATUS_OTHER);
	assert_int_equal(mb_status_from_label(mb_text("SUSPENDED")), MB_STATUS_OTHER);
	assert_int_equal(mb_status_from_label(mb_text("")), MB_STATUS_OTHER);
	assert_int_equal(mb_status_from_label(MB_NO_TEXT), MB_STATUS_OTHER);
}

/* Rows differ as soon as one column does. */
static void
rows_are_compared_by_every_column(void **state)
{
	MbSubscription subscription = KNOWN("sub_1", mb_test_created("evt_1", 10, "active", 0));
	const MbUserRow row = row_of(&subscription);
	MbUserRow	others[8];

	(void) state;
	for (int i = 0; i < LENGTH(others); i++)
		others[i] = row;
	assert_true(mb_user_row_eq(&row, &others[0]));
	others[0].tier = mb_text("BUSINESS");
	others[1].status = MB_STATUS_TRIALING;
	others[2].customer_id = MB_NO_TEXT;
	others[3].subscription_id = mb_text("sub_2");
	others[4].price_id = mb_text("");
	others[5].period_start = MB_NO_TIME;
	others[6].period_end += 1;
	others[7].cancel_at_period_end = true;
	for (int i = 0; i < LENGTH(others); i++)
	{
		assert_false(mb_user_row_eq(&row, &others[i]));
		assert_false(mb_user_row_eq(&others[i], &row));
	}
}

/*
 * The choice among several subscriptions.
 */

static void
permute_choice(const MbSubscription **order, int k, int n, MbTime now, const MbSubscription *best)
{
	if (k <= 1)
	{
		int			chosen = mb_entitlement_choose(order, n, mb_test_plans(), now);

		assert_true(chosen >= 0 && chosen <= n - 1);
		if (order[chosen] != best)
			fail_msg("chose \"%.*s\" instead of \"%.*s\"",
					 order[chosen]->subscription_id.len, order[chosen]->subscription_id.data,
					 best->subscription_id.len, best->subscription_id.data);
		return;
	}
	for (int i = 0; i < k; i++)
	{
		int			other = k % 2 == 0 ? i : 0;
		const MbSubscription *swapped;

		permute_choice(order, k - 1, n, now, best);
		swapped = order[other];
		order[other] = order[k - 1];
		order[k - 1] = swapped;
	}
}

/* The given ones are sorted, best first: so is every set of them chosen from. */
static void
expect_ranking(const MbSubscription *subscriptions, int n, int now)
{
	for (int first = 0; first < n; first++)
		for (int count = 1; count <= n - first && count <= MAX_CANDIDATES; count++)
		{
			const MbSubscription *order[MAX_CANDIDATES];

			for (int i = 0; i < count; i++)
				order[i] = &subscriptions[first + i];
			permute_choice(order, count, count, mb_test_time(now), &subscriptions[first]);
		}

	/* in pairs too, which do not have to stand side by side */
	for (int a = 0; a < n; a++)
		for (int b = a + 1; b < n; b++)
		{
			const MbSubscription *order[2] = {&subscriptions[a], &subscriptions[b]};

			permute_choice(order, 2, 2, mb_test_time(now), &subscriptions[a]);
		}
}

static MbEvent
of_tier(MbEvent event, int tier)
{
	event.tier = tier;
	return event;
}

static void
no_subscription_to_choose(void **state)
{
	MbSubscription nothing_known;
	MbSubscription only_failed = KNOWN("sub_2", mb_test_failed("evt_1", 10, 0));
	MbSubscription incomplete = KNOWN("sub_3", mb_test_created("evt_1", 10, "incomplete", 0));
	const MbSubscription *candidates[] = {&nothing_known, &only_failed, &incomplete};

	(void) state;
	mb_subscription_init(&nothing_known, mb_text("sub_1"));
	assert_int_equal(mb_entitlement_choose(candidates, 0, mb_test_plans(), 0), -1);
	assert_int_equal(mb_entitlement_choose(candidates, 2, mb_test_plans(), 0), -1);
	assert_int_equal(mb_entitlement_choose(candidates, 3, mb_test_plans(), 0), 2);
}

/* R28: live, past due in its period, canceled in its period, then the rest. */
static void
r28_best_access_class_first(void **state)
{
	const MbSubscription subscriptions[] = {
		KNOWN("sub_a", of_tier(mb_test_created("evt_1", 1, "active", 0), PRO)),
		KNOWN("sub_b", of_tier(mb_test_created("evt_1", 2, "past_due", 5), BUSINESS)),
		KNOWN("sub_c", of_tier(mb_test_deleted("evt_1", 3, 7, NULL), ENTERPRISE)),
		KNOWN("sub_d", of_tier(mb_test_created("evt_1", 4, "paused", 9), ENTERPRISE)),
		KNOWN("sub_e", of_tier(mb_test_created("evt_1", 5, "past_due", 0), BUSINESS)),
	};

	(void) state;
	expect_ranking(subscriptions, LENGTH(subscriptions), 2 * MONTH);
}

static void
r28_trial_is_as_good_as_active(void **state)
{
	const MbSubscription subscriptions[] = {
		KNOWN("sub_a", of_tier(mb_test_created("evt_1", 1, "trialing", 0), BUSINESS)),
		KNOWN("sub_b", of_tier(mb_test_created("evt_1", 2, "active", 1), PRO)),
		KNOWN("sub_c", of_tier(mb_test_created("evt_1", 2, "trialing", 0), PRO)),
	};

	(void) state;
	expect_ranking(subscriptions, LENGTH(subscriptions), 500);
}

static void
r28_then_tier_then_period_end_then_newest_then_id(void **state)
{
	const MbSubscription subscriptions[] = {
		KNOWN("sub_a", of_tier(mb_test_created("evt_1", 1, "active", 0), ENTERPRISE)),
		KNOWN("sub_b", of_tier(mb_test_created("evt_1", 1, "active", 0), BUSINESS)),
		KNOWN("sub_c", of_tier(mb_test_created("evt_1", 1, "active", 2), PRO)),
		KNOWN("sub_d", of_tier(mb_test_created("evt_1", 9, "active", 0), PRO)),
		KNOWN("sub_g", of_tier(mb_test_created("evt_1", 8, "active", 0), PRO)),
		KNOWN("sub_f", of_tier(mb_test_created("evt_2", 8, "active", 0), PRO)),
		KNOWN("sub_e", of_tier(mb_test_created("evt_1", 7, "active", NO_PERIOD), PRO)),
		KNOWN("sub_h", of_tier(mb_test_created("evt_1", 7, "active", 4), MB_NO_TIER)),
	};

	(void) state;
	expect_ranking(subscriptions, LENGTH(subscriptions), 500);
}

/* R28: the old one's end must not hide the plan that was bought instead. */
static void
r28_resubscribed_while_the_old_one_ends(void **state)
{
	const MbSubscription subscriptions[] = {
		KNOWN("sub_new", of_tier(mb_test_created("evt_1", 10, "active", 0), PRO)),
		KNOWN("sub_old", of_tier(mb_test_created("evt_2", 1, "active", 0), BUSINESS),
			  of_tier(mb_test_deleted("evt_3", 900, 0, "cancellation_requested"), BUSINESS)),
	};

	(void) state;
	expect_ranking(subscriptions, LENGTH(subscriptions), 900);
	expect_ranking(subscriptions, LENGTH(subscriptions), 5 * MONTH);
}

/* Time alone changes the choice, at the very end of the period. */
static void
choice_changes_with_time(void **state)
{
	const MbSubscription canceled = KNOWN("sub_a", of_tier(mb_test_deleted("evt_1", 1, 0, NULL), PRO));
	const MbSubscription paused = KNOWN("sub_b", of_tier(mb_test_created("evt_1", 1, "paused", 0), BUSINESS));
	const MbSubscription *candidates[] = {&canceled, &paused};
	const MbTime end = mb_test_time(MONTH);

	(void) state;
	assert_int_equal(mb_entitlement_choose(candidates, 2, mb_test_plans(), end - 1), 0);
	assert_int_equal(mb_entitlement_choose(candidates, 2, mb_test_plans(), end), 1);
	assert_int_equal(mb_entitlement_choose(candidates, 2, mb_test_plans(), end + 1), 1);
}

/* A failed payment ranks as what it shows, not as the state beneath it. */
static void
failed_payment_ranks_as_past_due(void **state)
{
	const MbSubscription subscriptions[] = {
		KNOWN("sub_a", of_tier(mb_test_created("evt_1", 1, "active", 0), PRO)),
		KNOWN("sub_b", of_tier(mb_test_created("evt_1", 1, "active", 0), BUSINESS), mb_test_failed("evt_2", 2, 0)),
	};

	(void) state;
	expect_ranking(subscriptions, LENGTH(subscriptions), 500);
}

/* A tier that the catalogue no longer has is below all that it has. */
static void
tier_that_is_gone(void **state)
{
	MbSubscription gone = KNOWN("sub_z", mb_test_created("evt_1", 9, "active", 3));
	const MbSubscription basic = KNOWN("sub_a", of_tier(mb_test_created("evt_1", 1, "active", 0), BASIC));
	const MbSubscription *candidates[] = {&gone, &basic};

	(void) state;
	gone.tier = mb_text("PLATINUM");
	permute_choice(candidates, 2, 2, 0, &basic);
}

/*
 * Random candidates: whoever is chosen is chosen in every order, and from
 * every part of the set that has him.
 */
static void
random_choices_are_total(void **state)
{
	static const char *const statuses[] = {
		"incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused", "other",
	};
	static const char *const ids[MAX_CANDIDATES] = {"sub_1", "sub_2", "sub_3", "sub_4", "sub_5", "sub_6"};
	const char *given = getenv("MB_SEED");
	unsigned int seed = given ? (unsigned int) strtoul(given, NULL, 10) : (unsigned int) time(NULL);

	(void) state;
	print_message("# MB_SEED=%u\n", seed);
	srand(seed);
	for (int set = 0; set < 500; set++)
	{
		MbSubscription subscriptions[MAX_CANDIDATES];
		const MbSubscription *order[MAX_CANDIDATES];
		const MbSubscription *best;
		int			n = 2 + rand() % (MAX_CANDIDATES - 1);
		MbTime		now = mb_test_time(rand() % 3 * MONTH);

		for (int i = 0; i < n; i++)
		{
			MbEvent		event = mb_test_updated("evt_1", rand() % 3, statuses[rand() % LENGTH(statuses)],
												rand() % 4 - 1, NULL);

			event.tier = rand() % 5 - 1;
			subscriptions[i] = KNOWN(ids[i], event);
			order[i] = &subscriptions[i];
		}
		best = order[mb_entitlement_choose(order, n, mb_test_plans(), now)];
		permute_choice(order, n, n, now, best);
		for (int i = 0; i < n; i++)
		{
			const MbSubscription *pair[2] = {best, &subscriptions[i]};

			if (best != &subscriptions[i])
				permute_choice(pair, 2, 2, now, best);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r12_status_of_the_row),
		cmocka_unit_test(r14_unpaid_ends_where_the_paid_time_ended),
		cmocka_unit_test(r14_canceled_while_past_due_ends_where_the_paid_time_ended),
		cmocka_unit_test(r15_canceled_before_the_end_of_the_period),
		cmocka_unit_test(r15_canceled_end_is_the_smaller_of_both),
		cmocka_unit_test(past_due_has_its_whole_period),
		cmocka_unit_test(no_period_is_no_access_once_it_matters),
		cmocka_unit_test(active_outlives_its_period),
		cmocka_unit_test(r16_either_way_of_planning_a_cancel_shows),
		cmocka_unit_test(r29_price_that_was_never_known_buys_the_default_tier),
		cmocka_unit_test(r30_promise_is_an_active_row_without_period),
		cmocka_unit_test(r31_failed_payment_shows_the_invoices_period),
		cmocka_unit_test(r31_failed_payment_without_a_period_leaves_the_period),
		cmocka_unit_test(r31_failed_payment_before_the_state_changes_nothing),
		cmocka_unit_test(labels_and_back),
		cmocka_unit_test(rows_are_compared_by_every_column),
		cmocka_unit_test(no_subscription_to_choose),
		cmocka_unit_test(r28_best_access_class_first),
		cmocka_unit_test(r28_trial_is_as_good_as_active),
		cmocka_unit_test(r28_then_tier_then_period_end_then_newest_then_id),
		cmocka_unit_test(r28_resubscribed_while_the_old_one_ends),
		cmocka_unit_test(choice_changes_with_time),
		cmocka_unit_test(failed_payment_ranks_as_past_due),
		cmocka_unit_test(tier_that_is_gone),
		cmocka_unit_test(random_choices_are_total),
	};

	return cmocka_run_group_tests_name("entitlement", tests, NULL, NULL);
}
