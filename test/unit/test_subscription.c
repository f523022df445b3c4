/*
 * test_subscription.c
 *	  What is known of a subscription depends on the set of its events only.
 *
 * Every case is tried in every order and with every event twice (converge),
 * and what comes out is then compared with what design and Stripe's rules
 * ask for.  A random test compares with a model that picks each register's
 * event from the whole set.  Its seed is printed; MB_SEED repeats one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "subscription.h"
#include "subscription_fixture.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))
#define MAX_EVENTS 12

static bool
mark_eq(MbMark a, MbMark b)
{
	return a.created == b.created && a.rank == b.rank && mb_text_eq(a.event_id, b.event_id);
}

/* The name of a field in which two subscriptions differ, or NULL. */
static const char *
difference(const MbSubscription *a, const MbSubscription *b)
{
#define TEXT_FIELD(field) if (!mb_text_eq(a->field, b->field)) return #field
#define FIELD(field) if (a->field != b->field) return #field
#define MARK_FIELD(field) if (!mark_eq(a->field, b->field)) return #field
	TEXT_FIELD(subscription_id);
	TEXT_FIELD(customer_id);
	TEXT_FIELD(user_id);
	TEXT_FIELD(status);
	TEXT_FIELD(price_id);
	FIELD(cancel_at);
	FIELD(cancel_at_period_end);
	FIELD(ended_at);
	TEXT_FIELD(cancellation_reason);
	FIELD(livemode);
	MARK_FIELD(state);
	TEXT_FIELD(tier);
	MARK_FIELD(tier_mark);
	FIELD(period_start);
	FIELD(period_end);
	MARK_FIELD(period);
	FIELD(live_period_end);
	MARK_FIELD(live);
	FIELD(fell_period_start);
	MARK_FIELD(fell);
	FIELD(failed_period_start);
	FIELD(failed_period_end);
	MARK_FIELD(failed);
	FIELD(paid_through);
#undef TEXT_FIELD
#undef FIELD
#undef MARK_FIELD
	return NULL;
}

static MbOutcome
apply(MbSubscription *subscription, const MbEvent *event)
{
	bool		changed = false;

	return mb_subscription_apply(subscription, event, mb_test_plans(), &changed);
}

/* Apply an event and hold the contract of "changed" and of the outcome. */
static MbOutcome
apply_checked(MbSubscription *subscription, const MbEvent *event)
{
	MbSubscription before = *subscription;
	MbSubscription after;
	bool		changed = false;
	bool		again = false;
	bool		untouched = true;
	MbOutcome	outcome = mb_subscription_apply(subscription, event, mb_test_plans(), &changed);
	MbOutcome	repeated;

	assert_int_equal(changed, difference(&before, subscription) != NULL);
	assert_true((int) outcome >= MB_OUTCOME_APPLIED && outcome <= MB_OUTCOME_DUPLICATE);
	assert_true(changed || outcome != MB_OUTCOME_APPLIED);
	assert_true(!changed || outcome != MB_OUTCOME_DUPLICATE);

	/* the same event at once again changes nothing */
	after = *subscription;
	repeated = mb_subscription_apply(subscription, event, mb_test_plans(), &again);
	assert_false(again);
	assert_null(difference(&after, subscription));
	assert_true(repeated != MB_OUTCOME_APPLIED);

	/* and "changed" is never cleared */
	mb_subscription_apply(&after, event, mb_test_plans(), &untouched);
	assert_true(untouched);
	return outcome;
}

static void
run(const MbEvent *const *events, int n, MbSubscription *subscription)
{
	mb_subscription_init(subscription, mb_text("sub_1"));
	for (int i = 0; i < n; i++)
		apply_checked(subscription, events[i]);
}

static void
expect_same(const MbSubscription *got, const MbSubscription *expected, const MbEvent *const *order, int n)
{
	const char *field = difference(got, expected);

	if (field == NULL)
		return;
	for (int i = 0; i < n; i++)
		print_error("  %.*s\n", order[i]->id.len, order[i]->id.data);
	fail_msg("\"%s\" depends on the order, which was that above", field);
}

/* Heap's algorithm: every order of the first "k" events. */
static void
permute(const MbEvent **order, int k, int n, const MbSubscription *expected)
{
	if (k <= 1)
	{
		MbSubscription got;

		run(order, n, &got);
		expect_same(&got, expected, order, n);
		return;
	}
	for (int i = 0; i < k; i++)
	{
		int			other = k % 2 == 0 ? i : 0;
		const MbEvent *swapped;

		permute(order, k - 1, n, expected);
		swapped = order[other];
		order[other] = order[k - 1];
		order[k - 1] = swapped;
	}
}

/*
 * What a set of at most six events comes to, in whatever order; and with
 * each event delivered twice, in a row or after all others.
 */
static MbSubscription
converge(const MbEvent *events, int n)
{
	const MbEvent *order[2 * MAX_EVENTS];
	MbSubscription expected;
	MbSubscription got;

	assert_true(n >= 1 && n <= 6);
	for (int i = 0; i < n; i++)
		order[i] = &events[i];
	run(order, n, &expected);
	permute(order, n, n, &expected);
	for (int i = 0; i < n; i++)
		order[i] = order[n + i] = &events[i];
	run(order, 2 * n, &got);
	expect_same(&got, &expected, order, 2 * n);

	/* one event three times among the others, in every order */
	if (n <= 4)
	{
		order[n] = order[n + 1] = order[0];
		permute(order, n + 2, n + 2, &expected);
	}
	return expected;
}

static void
expect_text(MbText got, const char *expected)
{
	if (!mb_text_eq(got, mb_text(expected)))
		fail_msg("\"%.*s\" instead of \"%s\"", got.len, got.data ? got.data : "", expected ? expected : "(none)");
}

static void
expect_time(MbTime got, int seconds)
{
	if (got != mb_test_time(seconds))
		fail_msg("%lld us instead of %d s", (long long) got, seconds);
}

static void
nothing_known(void **state)
{
	MbSubscription subscription;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	expect_text(subscription.subscription_id, "sub_1");
	assert_null(subscription.status.data);
	assert_null(subscription.tier.data);
	assert_null(subscription.user_id.data);
	assert_true(subscription.period_start == MB_NO_TIME && subscription.period_end == MB_NO_TIME);
	assert_true(subscription.cancel_at == MB_NO_TIME && subscription.ended_at == MB_NO_TIME);
	assert_true(subscription.paid_through == MB_NO_TIME);
	assert_true(subscription.state.created == MB_NO_TIME && subscription.failed.created == MB_NO_TIME);
	assert_false(mb_subscription_payment_failed(&subscription));
}

static void
state_is_the_events(void **state)
{
	MbEvent		event = mb_test_updated("evt_1", 10, "active", 2, NULL);
	MbSubscription got;

	(void) state;
	event.cancel_at = mb_test_time(77);
	event.cancel_at_period_end = true;
	event.ended_at = mb_test_time(88);
	event.cancellation_reason = mb_text("cancellation_requested");
	got = converge(&event, 1);
	expect_text(got.customer_id, "cus_1");
	expect_text(got.status, "active");
	expect_text(got.price_id, "price_1T2aProMonth");
	expect_text(got.tier, "PRO");
	expect_text(got.cancellation_reason, "cancellation_requested");
	expect_time(got.cancel_at, 77);
	expect_time(got.ended_at, 88);
	expect_time(got.period_start, 2 * MONTH);
	expect_time(got.period_end, 3 * MONTH);
	expect_time(got.paid_through, 3 * MONTH);
	assert_true(got.cancel_at_period_end && got.livemode);
	assert_int_equal(mb_subscription_class(&got), MB_CLASS_NORMAL);
}

/* R7: an event may have no customer; the others' stays. */
static void
r07_customer_of_any_event(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 20, "active", 0, NULL),
		mb_test_updated("evt_3", 30, "active", 0, NULL),
	};
	MbSubscription got;

	(void) state;
	events[0].customer_id = events[2].customer_id = MB_NO_TEXT;
	got = converge(events, 3);
	expect_text(got.customer_id, "cus_1");
}

static void
r04_missing_period_keeps_the_period(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 20, "active", 1, NULL),
		mb_test_updated("evt_3", 30, "active", NO_PERIOD, NULL),
		mb_test_deleted("evt_4", 40, NO_PERIOD, NULL),
	};
	MbSubscription got;

	(void) state;
	got = converge(events, 3);
	expect_text(got.state.event_id, "evt_3");
	expect_time(got.period_start, MONTH);
	expect_time(got.period_end, 2 * MONTH);
	expect_time(got.paid_through, 2 * MONTH);
	got = converge(events, 4);
	expect_text(got.status, "canceled");
	expect_time(got.period_end, 2 * MONTH);
	got = converge(&events[3], 1);
	assert_true(got.period_start == MB_NO_TIME && got.period_end == MB_NO_TIME);
	assert_true(got.paid_through == MB_NO_TIME);
}

/* R12: a ninth status is kept only where nothing better is known. */
static void
r12_unknown_status_never_replaces_a_known_one(void **state)
{
	static const char *const known[] = {
		"incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
	};

	(void) state;
	for (int i = 0; i < LENGTH(known); i++)
	{
		MbEvent		events[] = {
			mb_test_updated("evt_1", 10, known[i], 0, NULL),
			mb_test_updated("evt_2", 20, "hibernating", 1, NULL),
			mb_test_deleted("evt_3", 30, 1, NULL),
		};
		MbSubscription got;

		events[2].status = mb_text("evaporated");
		got = converge(events, 3);
		expect_text(got.status, known[i]);
		expect_text(got.state.event_id, "evt_1");
	}
}

static void
r12_unknown_status_is_kept_verbatim(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "hibernating", 0),
		mb_test_updated("evt_2", 20, "evaporated", 0, NULL),
	};
	MbSubscription got = converge(events, 2);

	(void) state;
	expect_text(got.status, "evaporated");
	assert_int_equal(mb_subscription_class(&got), MB_CLASS_UNKNOWN);
}

static void
r13_incomplete_never_replaces(void **state)
{
	static const char *const later[] = {
		"incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
	};

	(void) state;
	for (int i = 0; i < LENGTH(later); i++)
		for (int created = 10; created <= 30; created += 10)
		{
			MbEvent		events[] = {
				mb_test_created("evt_9", created, "incomplete", 0),
				mb_test_updated("evt_2", 20, later[i], 0, "incomplete"),
				mb_test_updated("evt_8", created, "incomplete", 0, NULL),
			};
			MbSubscription got = converge(events, 3);

			expect_text(got.status, later[i]);
			expect_text(got.state.event_id, "evt_2");
		}
}

static void
r13_incomplete_expired_is_terminal(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "incomplete", 0),
		mb_test_updated("evt_2", 20, "incomplete_expired", 0, "incomplete"),
		mb_test_updated("evt_3", 30, "active", 0, NULL),
	};
	MbSubscription got = converge(events, 3);

	(void) state;
	expect_text(got.status, "incomplete_expired");
	assert_int_equal(mb_subscription_class(&got), MB_CLASS_TERMINAL);
}

static void
r15_canceled_is_terminal(void **state)
{
	static const char *const others[] = {"trialing", "active", "past_due", "unpaid", "paused", "incomplete"};

	(void) state;
	for (int i = 0; i < LENGTH(others); i++)
		for (int created = 10; created <= 30; created += 10)
		{
			MbEvent		events[] = {
				mb_test_deleted("evt_1", 20, 0, NULL),
				mb_test_updated("evt_2", created, others[i], 0, NULL),
				mb_test_created("evt_3", created, others[i], 0),
			};
			MbSubscription got = converge(events, 3);

			expect_text(got.status, "canceled");
			expect_text(got.state.event_id, "evt_1");
		}
}

/* Of two terminal states the later one. */
static void
r15_last_of_two_ends(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_9", 20, "canceled", 0, NULL),
		mb_test_deleted("evt_2", 20, 0, "cancellation_requested"),
		mb_test_deleted("evt_1", 19, 0, "payment_disputed"),
	};
	MbSubscription got = converge(events, 3);

	(void) state;
	expect_text(got.state.event_id, "evt_2");
	expect_text(got.cancellation_reason, "cancellation_requested");
}

static void
r16_cancel_planned_and_taken_back(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 20, "active", 0, NULL),
		mb_test_updated("evt_3", 30, "active", 0, NULL),
	};
	MbSubscription got;

	(void) state;
	events[1].cancel_at = mb_test_time(MONTH);
	events[1].cancel_at_period_end = true;
	got = converge(events, 2);
	expect_time(got.cancel_at, MONTH);
	assert_true(got.cancel_at_period_end);
	got = converge(events, 3);
	assert_true(got.cancel_at == MB_NO_TIME);
	assert_false(got.cancel_at_period_end);
}

static void
r20_older_event_changes_nothing(void **state)
{
	MbEvent		newer = mb_test_updated("evt_1", 20, "active", 1, NULL);
	MbEvent		older = mb_test_updated("evt_2", 10, "past_due", 0, NULL);
	MbSubscription subscription;
	MbSubscription before;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	assert_int_equal(apply(&subscription, &newer), MB_OUTCOME_APPLIED);
	before = subscription;
	assert_int_equal(apply(&subscription, &older), MB_OUTCOME_STALE);
	assert_null(difference(&before, &subscription));
}

/* R21: in one second created, then updated, then deleted; ids as they like. */
static void
r21_order_of_types_in_one_second(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_3", 10, "trialing", 0),
		mb_test_updated("evt_2", 10, "active", 1, NULL),
		mb_test_deleted("evt_1", 10, 2, NULL),
	};
	MbSubscription got;

	(void) state;
	got = converge(events, 2);
	expect_text(got.status, "active");
	expect_time(got.period_end, 2 * MONTH);
	got = converge(events, 3);
	expect_text(got.status, "canceled");

	/* by the type alone, whatever the status says */
	events[2].status = mb_text("paused");
	got = converge(events, 3);
	expect_text(got.status, "paused");
	expect_time(got.period_end, 3 * MONTH);
	events[0].created = mb_test_time(11);
	got = converge(events, 3);
	expect_text(got.status, "trialing");
}

static void
r21_ties_by_id(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_B", 10, "past_due", 1, NULL),
		mb_test_updated("evt_b", 10, "active", 2, NULL),
		mb_test_updated("evt_", 10, "unpaid", 3, NULL),
		mb_test_updated("evt_a", 10, "trialing", 4, NULL),
	};
	MbSubscription got;

	(void) state;
	events[0].tier = BUSINESS;
	got = converge(events, 4);
	expect_text(got.state.event_id, "evt_b");
	expect_text(got.tier_mark.event_id, "evt_b");
	expect_text(got.period.event_id, "evt_b");
	expect_text(got.live.event_id, "evt_b");
	expect_text(got.status, "active");
	expect_text(got.tier, "PRO");
}

/* R19: the first purchase, all in one second. */
static void
r19_first_purchase_in_one_second(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_4", 10, "incomplete", 0),
		mb_test_updated("evt_3", 10, "active", 0, "incomplete"),
		mb_test_checkout("evt_5", 10, BUSINESS),
	};
	MbSubscription got = converge(events, 3);

	(void) state;
	expect_text(got.status, "active");
	expect_text(got.state.event_id, "evt_3");
	expect_text(got.tier, "PRO");
	expect_time(got.paid_through, MONTH);
}

static void
r23_upgrade_and_downgrade(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 20, "active", 0, NULL),
		mb_test_updated("evt_3", 30, "active", 0, NULL),
	};
	MbSubscription got;

	(void) state;
	events[1].tier = BUSINESS;
	events[1].price_id = mb_text("price_1T2aBusinessMonth");
	got = converge(events, 2);
	expect_text(got.tier, "BUSINESS");
	got = converge(events, 3);
	expect_text(got.tier, "PRO");
	expect_text(got.price_id, "price_1T2aProMonth");
}

static void
r29_unknown_price_keeps_the_tier(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 20, "active", 0, NULL),
		mb_test_updated("evt_3", 30, "active", 1, NULL),
	};
	MbSubscription got;

	(void) state;
	events[0].tier = BUSINESS;
	events[2].tier = MB_NO_TIER;
	events[2].price_id = mb_text(UNKNOWN_PRICE);
	got = converge(events, 3);
	expect_text(got.tier, "PRO");
	expect_text(got.tier_mark.event_id, "evt_2");
	expect_text(got.price_id, UNKNOWN_PRICE);
	expect_time(got.period_end, 2 * MONTH);

	got = converge(&events[2], 1);
	assert_null(got.tier.data);
	expect_text(got.price_id, UNKNOWN_PRICE);
}

/* R30: a promise is active at once, with the lowest mark but incomplete's. */
static void
r30_checkout_promise_yields(void **state)
{
	static const char *const statuses[] = {
		"incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
	};
	MbEvent		promise = mb_test_checkout("evt_9", 50, BUSINESS);
	MbSubscription got = converge(&promise, 1);

	(void) state;
	expect_text(got.status, "active");
	expect_text(got.tier, "BUSINESS");
	assert_int_equal(mb_subscription_class(&got), MB_CLASS_PROVISIONAL);
	assert_true(got.period_end == MB_NO_TIME && got.paid_through == MB_NO_TIME);

	for (int i = 0; i < LENGTH(statuses); i++)
	{
		MbEvent		events[] = {promise, mb_test_updated("evt_1", 10, statuses[i], 0, NULL)};

		got = converge(events, 2);
		expect_text(got.status, statuses[i]);
		expect_text(got.tier, "PRO");
		expect_text(got.state.event_id, "evt_1");
	}
}

static void
r30_checkout_promise_stands_against_incomplete(void **state)
{
	MbEvent		events[] = {
		mb_test_checkout("evt_1", 10, BUSINESS),
		mb_test_created("evt_2", 20, "incomplete", 0),
		mb_test_updated("evt_3", 30, "incomplete", 0, NULL),
	};
	MbSubscription got = converge(events, 3);

	(void) state;
	expect_text(got.status, "active");
	expect_text(got.state.event_id, "evt_1");
	expect_text(got.tier, "BUSINESS");
}

/* The tier that was promised stays where the real price is not known. */
static void
r30_checkout_promise_beside_an_unknown_price(void **state)
{
	MbEvent		events[] = {
		mb_test_checkout("evt_1", 10, BUSINESS),
		mb_test_created("evt_2", 9, "active", 0),
	};
	MbSubscription got;

	(void) state;
	events[1].tier = MB_NO_TIER;
	events[1].price_id = mb_text(UNKNOWN_PRICE);
	got = converge(events, 2);
	expect_text(got.state.event_id, "evt_2");
	expect_text(got.tier, "BUSINESS");
}

static void
r30_checkout_without_a_promise_only_links(void **state)
{
	MbEvent		events[] = {
		mb_test_checkout("evt_1", 10, MB_NO_TIER),
		mb_test_created("evt_2", 5, "incomplete", 0),
	};
	MbSubscription got;

	(void) state;
	got = converge(events, 1);
	expect_text(got.customer_id, "cus_1");
	assert_null(got.status.data);
	got = converge(events, 2);
	expect_text(got.status, "incomplete");
}

static void
r31_failed_payment_is_a_mark_beside_the_state(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 1000, "active", 1, NULL),
		mb_test_failed("evt_3", 1010, 1),
		mb_test_updated("evt_4", 1020, "active", 1, "past_due"),
		mb_test_failed("evt_5", 1015, 1),
	};
	MbSubscription got;

	(void) state;
	got = converge(events, 3);
	expect_text(got.status, "active");
	assert_true(mb_subscription_payment_failed(&got));
	expect_time(got.failed_period_start, MONTH);
	expect_time(got.failed_period_end, 2 * MONTH);
	expect_time(got.paid_through, MONTH);

	/* paid after all: a failure from before it says nothing any more */
	got = converge(events, 5);
	assert_false(mb_subscription_payment_failed(&got));
	expect_time(got.paid_through, 2 * MONTH);
	expect_text(got.failed.event_id, "evt_5");
}

/* R31: failed(t=10) and active(t=20), in both orders; in one second it holds. */
static void
r31_failure_against_the_time_of_the_state(void **state)
{
	for (int created = 9; created <= 11; created++)
	{
		MbEvent		events[] = {mb_test_updated("evt_1", 10, "active", 0, NULL), mb_test_failed("evt_2", created, 0)};
		MbSubscription got = converge(events, 2);

		assert_int_equal(mb_subscription_payment_failed(&got), created >= 10);
	}
	(void) state;
}

static void
r31_failure_changes_only_an_active_subscription(void **state)
{
	static const char *const statuses[] = {
		"incomplete", "incomplete_expired", "trialing", "past_due", "canceled", "unpaid", "paused", "hibernating",
	};

	(void) state;
	for (int i = 0; i < LENGTH(statuses); i++)
	{
		MbEvent		events[] = {mb_test_updated("evt_1", 10, statuses[i], 0, NULL), mb_test_failed("evt_2", 20, 0)};
		MbSubscription got = converge(events, 2);

		expect_text(got.status, statuses[i]);
		assert_false(mb_subscription_payment_failed(&got));
	}
}

/* Alone it says nothing of the status; a promise is not turned by it either. */
static void
r31_failure_before_any_state(void **state)
{
	MbEvent		events[] = {mb_test_failed("evt_1", 10, 0), mb_test_checkout("evt_2", 5, PRO)};
	MbSubscription got;

	(void) state;
	got = converge(events, 1);
	assert_null(got.status.data);
	assert_null(got.tier.data);
	expect_text(got.customer_id, "cus_1");
	assert_false(mb_subscription_payment_failed(&got));
	got = converge(events, 2);
	expect_text(got.status, "active");
	assert_false(mb_subscription_payment_failed(&got));
}

/* R31: it repeats per attempt; the last attempt's mark stays. */
static void
r31_failure_per_attempt(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_1", 1000, "active", 1, NULL),
		mb_test_failed("evt_2", 1010, 1),
		mb_test_failed("evt_3", 1020, 1),
	};
	MbSubscription got = converge(events, 3);

	(void) state;
	expect_text(got.failed.event_id, "evt_3");
	assert_true(mb_subscription_payment_failed(&got));
	expect_time(got.paid_through, MONTH);
}

/* R14: active with the new period first, then unpaid while it rolls on. */
static void
r14_renewal_shown_active_and_then_unpaid(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 1001, "active", 1, NULL),
		mb_test_updated("evt_3", 1005, "past_due", 1, "active"),
		mb_test_updated("evt_4", 1500, "unpaid", 1, "past_due"),
		mb_test_updated("evt_5", 2001, "unpaid", 2, NULL),
		mb_test_updated("evt_6", 3001, "unpaid", 3, NULL),
	};
	MbSubscription got;

	(void) state;
	got = converge(events, 2);
	expect_time(got.paid_through, 2 * MONTH);
	got = converge(events, 3);
	expect_time(got.paid_through, MONTH);
	expect_time(got.period_end, 2 * MONTH);
	got = converge(events, 6);
	expect_text(got.status, "unpaid");
	expect_time(got.period_end, 4 * MONTH);
	expect_time(got.paid_through, MONTH);
}

/* The same where the event that tells of the fall never came. */
static void
r14_unpaid_with_the_failure_instead_of_the_fall(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 1001, "active", 1, NULL),
		mb_test_failed("evt_3", 1005, 1),
		mb_test_updated("evt_5", 2001, "unpaid", 2, NULL),
	};
	MbSubscription got = converge(events, 4);

	(void) state;
	expect_text(got.status, "unpaid");
	expect_time(got.paid_through, MONTH);
}

static void
r14_unpaid_can_become_active(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 1005, "past_due", 1, "active"),
		mb_test_updated("evt_3", 2001, "unpaid", 2, NULL),
		mb_test_updated("evt_4", 2500, "active", 2, "unpaid"),
	};
	MbSubscription got = converge(events, 4);

	(void) state;
	expect_text(got.status, "active");
	expect_time(got.paid_through, 3 * MONTH);
}

static void
r14_canceled_while_past_due(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 1001, "active", 1, NULL),
		mb_test_updated("evt_3", 1005, "past_due", 1, "active"),
		mb_test_failed("evt_4", 1004, 1),
		mb_test_deleted("evt_5", 1300, 1, "cancellation_requested"),
	};
	MbSubscription got = converge(events, 5);

	(void) state;
	expect_text(got.status, "canceled");
	expect_time(got.period_end, 2 * MONTH);
	expect_time(got.paid_through, MONTH);
}

/* The fall counts though the end had already come: it has its own mark. */
static void
r20_late_fall_still_counts(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_1", 1001, "active", 1, NULL),
		mb_test_deleted("evt_2", 1300, 1, NULL),
		mb_test_updated("evt_3", 1005, "past_due", 1, "active"),
	};
	MbSubscription subscription;
	bool		changed = false;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	apply(&subscription, &events[0]);
	apply(&subscription, &events[1]);
	expect_time(subscription.paid_through, 2 * MONTH);
	assert_int_equal(mb_subscription_apply(&subscription, &events[2], mb_test_plans(), &changed), MB_OUTCOME_STALE);
	assert_true(changed);
	expect_time(subscription.paid_through, MONTH);
}

/* A fall from before the last live event is history. */
static void
r14_fall_before_recovery_does_not_count(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_1", 1005, "past_due", 1, "active"),
		mb_test_failed("evt_2", 1004, 1),
		mb_test_updated("evt_3", 1200, "active", 1, "past_due"),
		mb_test_deleted("evt_4", 1300, 1, "cancellation_requested"),
	};
	MbSubscription got = converge(events, 4);

	(void) state;
	expect_time(got.paid_through, 2 * MONTH);
}

/* A fall into a period that starts later than the live one's end: the end. */
static void
r14_paid_through_is_the_smaller(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 3005, "past_due", 3, "active"),
	};
	MbSubscription got = converge(events, 2);

	(void) state;
	expect_time(got.paid_through, MONTH);
}

static void
r14_never_seen_live(void **state)
{
	static const struct
	{
		const char *status;
		const char *reason;
		int			paid_through;
	}			cases[] = {
		{"unpaid", NULL, 2 * MONTH},
		{"canceled", "payment_failed", 2 * MONTH},
		{"canceled", "cancellation_requested", 3 * MONTH},
		{"canceled", NULL, 3 * MONTH},
		{"past_due", NULL, 3 * MONTH},
	};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
	{
		MbEvent		event = mb_test_updated("evt_1", 2100, cases[i].status, 2, NULL);
		MbSubscription got;

		event.cancellation_reason = mb_text(cases[i].reason);
		got = converge(&event, 1);
		expect_time(got.paid_through, cases[i].paid_through);
	}
}

static void
r15_disputed_ends_at_once(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_deleted("evt_2", 300, 0, "payment_disputed"),
	};
	MbSubscription got;

	(void) state;
	got = converge(events, 2);
	expect_time(got.paid_through, 300);
	got = converge(&events[1], 1);
	expect_time(got.paid_through, 300);

	/* not later than what was paid for, and not without an end */
	events[1].ended_at = mb_test_time(5000);
	got = converge(events, 2);
	expect_time(got.paid_through, MONTH);
	events[1].ended_at = MB_NO_TIME;
	got = converge(events, 2);
	expect_time(got.paid_through, MONTH);

	/* another reason leaves the period its whole length */
	events[1] = mb_test_deleted("evt_2", 300, 0, "cancellation_requested");
	got = converge(events, 2);
	expect_time(got.paid_through, MONTH);
}

static void
r18_canceled_during_a_trial(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "trialing", 0),
		mb_test_deleted("evt_2", 300, 0, "cancellation_requested"),
	};
	MbSubscription got = converge(events, 2);

	(void) state;
	expect_time(got.paid_through, MONTH);
}

static void
r17_trial_ends_in_pause(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "trialing", 0),
		mb_test_updated("evt_2", 1001, "paused", 1, "trialing"),
	};
	MbSubscription got = converge(events, 2);

	(void) state;
	expect_text(got.status, "paused");
	expect_time(got.paid_through, MONTH);
}

/* An event out of the future is applied as it is; so is one from long ago. */
static void
times_are_taken_as_they_are(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_1", 10, "active", 0, NULL),
		mb_test_updated("evt_2", 2000000000, "past_due", 1, NULL),
		mb_test_updated("evt_3", -900000000, "unpaid", 1, NULL),
		mb_test_updated("evt_4", 0, "trialing", 1, NULL),
	};
	MbSubscription got = converge(events, 4);

	(void) state;
	expect_text(got.state.event_id, "evt_2");
	expect_text(got.live.event_id, "evt_1");
}

static void
outcomes(void **state)
{
	MbEvent		created = mb_test_created("evt_1", 10, "incomplete", 0);
	MbEvent		active = mb_test_updated("evt_2", 10, "active", 0, "incomplete");
	MbEvent		same = mb_test_updated("evt_3", 20, "active", 0, NULL);
	MbEvent		remapped = mb_test_updated("evt_F", 25, "active", 0, NULL);
	MbEvent		upgrade = mb_test_updated("evt_4", 30, "active", 0, NULL);
	MbEvent		planned = mb_test_updated("evt_5", 40, "active", 0, NULL);
	MbEvent		renewal = mb_test_updated("evt_6", 50, "active", 1, NULL);
	MbEvent		link = mb_test_checkout("evt_7", 5, MB_NO_TIER);
	MbEvent		promise = mb_test_checkout("evt_8", 5, PRO);
	MbEvent		failed = mb_test_failed("evt_9", 60, 1);
	MbEvent		failed_before = mb_test_failed("evt_A", 55, 1);
	MbEvent		recovered = mb_test_updated("evt_B", 70, "active", 1, "past_due");
	MbEvent		failed_late = mb_test_failed("evt_C", 65, 1);
	MbEvent		deleted = mb_test_deleted("evt_D", 80, 1, NULL);
	MbEvent		after_all = mb_test_updated("evt_E", 90, "active", 2, NULL);
	const struct
	{
		const MbEvent *event;
		MbOutcome	outcome;
	}			steps[] = {
		{&link, MB_OUTCOME_UNCHANGED},
		{&created, MB_OUTCOME_APPLIED},
		{&created, MB_OUTCOME_DUPLICATE},
		{&promise, MB_OUTCOME_APPLIED},
		{&promise, MB_OUTCOME_DUPLICATE},
		{&created, MB_OUTCOME_STALE},
		{&active, MB_OUTCOME_APPLIED},
		{&active, MB_OUTCOME_DUPLICATE},
		{&promise, MB_OUTCOME_STALE},
		{&same, MB_OUTCOME_UNCHANGED},
		{&active, MB_OUTCOME_STALE},
		{&remapped, MB_OUTCOME_APPLIED},
		{&upgrade, MB_OUTCOME_APPLIED},
		{&planned, MB_OUTCOME_APPLIED},
		{&renewal, MB_OUTCOME_APPLIED},
		{&failed, MB_OUTCOME_APPLIED},
		{&failed, MB_OUTCOME_DUPLICATE},
		{&failed_before, MB_OUTCOME_STALE},
		{&recovered, MB_OUTCOME_APPLIED},
		{&failed_late, MB_OUTCOME_STALE},
		{&deleted, MB_OUTCOME_APPLIED},
		{&after_all, MB_OUTCOME_STALE},
		{&deleted, MB_OUTCOME_DUPLICATE},
	};
	MbSubscription subscription;

	(void) state;
	remapped.tier = ENTERPRISE;
	upgrade.tier = planned.tier = renewal.tier = recovered.tier = BUSINESS;
	upgrade.price_id = planned.price_id = renewal.price_id = recovered.price_id = mb_text("price_1T2aBusinessMonth");
	planned.cancel_at_period_end = renewal.cancel_at_period_end = recovered.cancel_at_period_end = true;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	for (int i = 0; i < LENGTH(steps); i++)
	{
		MbOutcome	outcome = apply(&subscription, steps[i].event);

		if (outcome != steps[i].outcome)
			fail_msg("step %d: outcome %d, expected %d", i, outcome, steps[i].outcome);
	}
}

/*
 * The model: of the whole set of events, which one does each register hold?
 */

typedef struct Random
{
	uint64_t	state;
} Random;

/* xorshift64* */
static int
below(Random *random, int n)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return (int) ((random->state * UINT64_C(2685821657736338717) >> 33) % (uint64_t) n);
}

static bool
one_of(MbText text, const char *const *words)
{
	for (; *words; words++)
		if (mb_text_is(text, *words))
			return true;
	return false;
}

/* How strong a state is before time is asked, from the weakest. */
static int
strength(const MbEvent *event)
{
	static const char *const terminal[] = {"canceled", "incomplete_expired", NULL};
	static const char *const known[] = {"active", "trialing", "past_due", "unpaid", "paused", NULL};

	if (event->kind == MB_EVENT_CHECKOUT)
		return 2;
	if (one_of(event->status, terminal))
		return 4;
	if (one_of(event->status, known))
		return 3;
	return mb_text_is(event->status, "incomplete") ? 1 : 0;
}

static bool
model_live(MbText status)
{
	static const char *const live[] = {"active", "trialing", NULL};

	return one_of(status, live);
}

static bool
later(const MbEvent *a, const MbEvent *b)
{
	if (a->created != b->created)
		return a->created > b->created;
	if (a->order != b->order)
		return a->order > b->order;
	return mb_text_cmp(a->id, b->id) > 0;
}

static bool
stronger(const MbEvent *a, const MbEvent *b)
{
	return strength(a) != strength(b) ? strength(a) > strength(b) : later(a, b);
}

static bool
promises_or_states(const MbEvent *event)
{
	return event->kind == MB_EVENT_SUBSCRIPTION || (event->kind == MB_EVENT_CHECKOUT && event->tier != MB_NO_TIER);
}

static bool
has_tier(const MbEvent *event)
{
	return promises_or_states(event) && event->tier != MB_NO_TIER;
}

static bool
has_period(const MbEvent *event)
{
	return event->kind == MB_EVENT_SUBSCRIPTION && event->period_start != MB_NO_TIME;
}

static bool
shows_live(const MbEvent *event)
{
	return has_period(event) && model_live(event->status);
}

static bool
shows_fall(const MbEvent *event)
{
	return has_period(event) && model_live(event->previous_status) && !model_live(event->status);
}

static bool
is_failure(const MbEvent *event)
{
	return event->kind == MB_EVENT_PAYMENT_FAILED;
}

/* The greatest of those events that "takes part" says count, or NULL. */
static const MbEvent *
greatest(const MbEvent *events, int n, bool (*takes_part) (const MbEvent *),
		 bool (*greater) (const MbEvent *, const MbEvent *))
{
	const MbEvent *best = NULL;

	for (int i = 0; i < n; i++)
		if (takes_part(&events[i]) && (best == NULL || greater(&events[i], best)))
			best = &events[i];
	return best;
}

static MbTime
smaller(MbTime a, MbTime b)
{
	if (a == MB_NO_TIME || b == MB_NO_TIME)
		return a == MB_NO_TIME ? b : a;
	return a < b ? a : b;
}

static void
expect_register(const char *name, const MbMark *mark, const MbEvent *event)
{
	MbText		id = event ? event->id : MB_NO_TEXT;

	if (!mb_text_eq(mark->event_id, id) || mark->created != (event ? event->created : MB_NO_TIME))
		fail_msg("register \"%s\" holds \"%.*s\", expected \"%.*s\"", name,
				 mark->event_id.len, mark->event_id.data ? mark->event_id.data : "", id.len, id.data ? id.data : "");
}

static void
expect_model(const MbSubscription *got, const MbEvent *events, int n)
{
	const MbEvent *state = greatest(events, n, promises_or_states, stronger);
	const MbEvent *tier = greatest(events, n, has_tier, stronger);
	const MbEvent *period = greatest(events, n, has_period, stronger);
	const MbEvent *live = greatest(events, n, shows_live, later);
	const MbEvent *fell = greatest(events, n, shows_fall, later);
	const MbEvent *failed = greatest(events, n, is_failure, later);
	MbTime		paid_through = MB_NO_TIME;

	expect_register("state", &got->state, state);
	expect_register("tier", &got->tier_mark, tier);
	expect_register("period", &got->period, period);
	expect_register("live", &got->live, live);
	expect_register("fell", &got->fell, fell);
	expect_register("failed", &got->failed, failed);
	if (state != NULL)
	{
		assert_true(mb_text_eq(got->status, state->kind == MB_EVENT_CHECKOUT ? mb_text("active") : state->status));
		assert_true(mb_text_eq(got->price_id, state->price_id));
		assert_true(got->cancel_at == state->cancel_at);
		assert_true(got->cancel_at_period_end == state->cancel_at_period_end);
		assert_true(got->ended_at == state->ended_at);
		assert_true(mb_text_eq(got->cancellation_reason, state->cancellation_reason));
		assert_int_equal(mb_subscription_class(got), strength(state));
	}
	assert_true(mb_text_eq(got->tier, tier ? mb_test_plans()->tiers[tier->tier].name : MB_NO_TEXT));
	assert_true(got->period_start == (period ? period->period_start : MB_NO_TIME));
	assert_true(got->period_end == (period ? period->period_end : MB_NO_TIME));
	assert_int_equal(mb_subscription_payment_failed(got),
					 state && failed && state->kind == MB_EVENT_SUBSCRIPTION &&
					 mb_text_is(state->status, "active") && failed->created >= state->created);

	if (live != NULL)
	{
		paid_through = live->period_end;
		if (fell != NULL && later(fell, live))
			paid_through = smaller(paid_through, fell->period_start);
		if (failed != NULL && failed->created >= live->created &&
			!(state != NULL && strength(state) == 4 && failed->created > state->created))
			paid_through = smaller(paid_through, failed->period_start);
	}
	else if (period != NULL)
		paid_through = mb_text_is(got->status, "unpaid") || mb_text_is(got->cancellation_reason, "payment_failed") ?
			period->period_start : period->period_end;
	if (mb_text_is(got->status, "canceled") && mb_text_is(got->cancellation_reason, "payment_disputed"))
		paid_through = smaller(paid_through, got->ended_at);
	assert_true(got->paid_through == paid_through);
}

/* Any event at all, with few different times, so that ties are the rule. */
static MbEvent
random_event(Random *random, const char *id)
{
	static const char *const statuses[] = {
		"incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
		"hibernating", "evaporated", "active", "active", "past_due", "trialing",
	};
	static const char *const cancel_reasons[] = {
		NULL, NULL, "cancellation_requested", "payment_failed", "payment_disputed",
	};
	int			kind = below(random, 10);
	int			created = below(random, 8);
	int			period = below(random, 6) - 1;
	MbEvent		event;

	if (kind == 0)
		return mb_test_checkout(id, created, below(random, 4) - 1);
	if (kind <= 2)
		return mb_test_failed(id, created, below(random, 5));

	event = mb_test_event(MB_EVENT_SUBSCRIPTION, id, created, (MbEventOrder) below(random, 3),
						  statuses[below(random, LENGTH(statuses))], period);
	if (event.order == MB_ORDER_UPDATED && below(random, 2) == 0)
		event.previous_status = mb_text(statuses[below(random, LENGTH(statuses))]);
	event.tier = below(random, 4) - 1;
	event.price_id = event.tier == MB_NO_TIER ? mb_text(UNKNOWN_PRICE) : mb_test_plans()->prices[event.tier].price_id;
	event.livemode = below(random, 2) == 0;
	if (below(random, 3) == 0)
		event.cancel_at = mb_test_time(below(random, 5 * MONTH));
	event.cancel_at_period_end = below(random, 3) == 0;
	if (below(random, 3) == 0)
		event.ended_at = mb_test_time(below(random, 5 * MONTH));
	event.cancellation_reason = mb_text(cancel_reasons[below(random, LENGTH(cancel_reasons))]);
	if (below(random, 8) == 0)
		event.customer_id = MB_NO_TEXT;
	return event;
}

static void
shuffle(Random *random, const MbEvent **order, int n)
{
	for (int i = n - 1; i > 0; i--)
	{
		int			other = below(random, i + 1);
		const MbEvent *swapped = order[i];

		order[i] = order[other];
		order[other] = swapped;
	}
}

static uint64_t
seed(void)
{
	const char *given = getenv("MB_SEED");

	return given != NULL ? strtoull(given, NULL, 10) : (uint64_t) time(NULL);
}

static void
random_sets_converge(void **state)
{
	static const char *const ids[MAX_EVENTS] = {
		"evt_0", "evt_1", "evt_10", "evt_2", "evt_A", "evt_AA", "evt_B", "evt_Z", "evt_a", "evt_aa", "evt_z", "evt_zz",
	};
	uint64_t	start = seed();

	(void) state;
	print_message("# MB_SEED=%llu\n", (unsigned long long) start);
	for (int set = 0; set < 20000; set++)
	{
		/* a set's own seed, which is never 0 */
		Random		random = {(start + (uint64_t) set) * UINT64_C(0x9E3779B97F4A7C15) | 1};
		MbEvent		events[MAX_EVENTS];
		const MbEvent *order[2 * MAX_EVENTS];
		MbSubscription expected;
		int			n = 1 + below(&random, MAX_EVENTS);

		for (int i = 0; i < n; i++)
		{
			events[i] = random_event(&random, ids[i]);
			order[i] = &events[i];
		}
		shuffle(&random, order, n);
		run(order, n, &expected);
		expect_model(&expected, events, n);

		for (int i = 0; i < 4; i++)
		{
			MbSubscription got;
			int			twice = below(&random, n + 1);

			for (int j = 0; j < n; j++)
				order[j] = &events[j];
			for (int j = 0; j < twice; j++)
				order[n + j] = &events[below(&random, n)];
			shuffle(&random, order, n + twice);
			run(order, n + twice, &got);
			expect_same(&got, &expected, order, n + twice);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_known),
		cmocka_unit_test(state_is_the_events),
		cmocka_unit_test(r07_customer_of_any_event),
		cmocka_unit_test(r04_missing_period_keeps_the_period),
		cmocka_unit_test(r12_unknown_status_never_replaces_a_known_one),
		cmocka_unit_test(r12_unknown_status_is_kept_verbatim),
		cmocka_unit_test(r13_incomplete_never_replaces),
		cmocka_unit_test(r13_incomplete_expired_is_terminal),
		cmocka_unit_test(r15_canceled_is_terminal),
		cmocka_unit_test(r15_last_of_two_ends),
		cmocka_unit_test(r16_cancel_planned_and_taken_back),
		cmocka_unit_test(r20_older_event_changes_nothing),
		cmocka_unit_test(r21_order_of_types_in_one_second),
		cmocka_unit_test(r21_ties_by_id),
		cmocka_unit_test(r19_first_purchase_in_one_second),
		cmocka_unit_test(r23_upgrade_and_downgrade),
		cmocka_unit_test(r29_unknown_price_keeps_the_tier),
		cmocka_unit_test(r30_checkout_promise_yields),
		cmocka_unit_test(r30_checkout_promise_stands_against_incomplete),
		cmocka_unit_test(r30_checkout_promise_beside_an_unknown_price),
		cmocka_unit_test(r30_checkout_without_a_promise_only_links),
		cmocka_unit_test(r31_failed_payment_is_a_mark_beside_the_state),
		cmocka_unit_test(r31_failure_against_the_time_of_the_state),
		cmocka_unit_test(r31_failure_changes_only_an_active_subscription),
		cmocka_unit_test(r31_failure_before_any_state),
		cmocka_unit_test(r31_failure_per_attempt),
		cmocka_unit_test(r14_renewal_shown_active_and_then_unpaid),
		cmocka_unit_test(r14_unpaid_with_the_failure_instead_of_the_fall),
		cmocka_unit_test(r14_unpaid_can_become_active),
		cmocka_unit_test(r14_canceled_while_past_due),
		cmocka_unit_test(r20_late_fall_still_counts),
		cmocka_unit_test(r14_fall_before_recovery_does_not_count),
		cmocka_unit_test(r14_paid_through_is_the_smaller),
		cmocka_unit_test(r14_never_seen_live),
		cmocka_unit_test(r15_disputed_ends_at_once),
		cmocka_unit_test(r18_canceled_during_a_trial),
		cmocka_unit_test(r17_trial_ends_in_pause),
		cmocka_unit_test(times_are_taken_as_they_are),
		cmocka_unit_test(outcomes),
		cmocka_unit_test(random_sets_converge),
	};

	return cmocka_run_group_tests_name("subscription", tests, NULL, NULL);
}
