/*
 * test_subscription.c
 *	  What is known of a subscription depends on the set of its events only.
 *
 * Every case is tried in every order and with every event twice
 * (mb_test_converge), and what comes out is then compared with what Stripe's
 * rules ask for.
 */
#include "subscription_check.h"

static MbOutcome
apply(MbSubscription *subscription, const MbEvent *event)
{
	return mb_subscription_apply(subscription, event, NULL, 0, mb_test_plans()).outcome;
}

static void
nothing_known(void **state)
{
	MbSubscription subscription;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	mb_test_expect_text(subscription.subscription_id, "sub_1");
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
	got = mb_test_converge(&event, 1);
	mb_test_expect_text(got.customer_id, "cus_1");
	mb_test_expect_text(got.status, "active");
	mb_test_expect_text(got.price_id, "price_1T2aProMonth");
	mb_test_expect_text(got.tier, "PRO");
	mb_test_expect_text(got.cancellation_reason, "cancellation_requested");
	mb_test_expect_time(got.cancel_at, 77);
	mb_test_expect_time(got.ended_at, 88);
	mb_test_expect_time(got.period_start, 2 * MONTH);
	mb_test_expect_time(got.period_end, 3 * MONTH);
	mb_test_expect_time(got.paid_through, 3 * MONTH);
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
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.customer_id, "cus_1");
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
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.state.event_id, "evt_3");
	mb_test_expect_time(got.period_start, MONTH);
	mb_test_expect_time(got.period_end, 2 * MONTH);
	mb_test_expect_time(got.paid_through, 2 * MONTH);
	got = mb_test_converge(events, 4);
	mb_test_expect_text(got.status, "canceled");
	mb_test_expect_time(got.period_end, 2 * MONTH);
	got = mb_test_converge(&events[3], 1);
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
		got = mb_test_converge(events, 3);
		mb_test_expect_text(got.status, known[i]);
		mb_test_expect_text(got.state.event_id, "evt_1");
	}
}

static void
r12_unknown_status_is_kept_verbatim(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "hibernating", 0),
		mb_test_updated("evt_2", 20, "evaporated", 0, NULL),
	};
	MbSubscription got = mb_test_converge(events, 2);

	(void) state;
	mb_test_expect_text(got.status, "evaporated");
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
			MbSubscription got = mb_test_converge(events, 3);

			mb_test_expect_text(got.status, later[i]);
			mb_test_expect_text(got.state.event_id, "evt_2");
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
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	mb_test_expect_text(got.status, "incomplete_expired");
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
			MbSubscription got = mb_test_converge(events, 3);

			mb_test_expect_text(got.status, "canceled");
			mb_test_expect_text(got.state.event_id, "evt_1");
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
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	mb_test_expect_text(got.state.event_id, "evt_2");
	mb_test_expect_text(got.cancellation_reason, "cancellation_requested");
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
	got = mb_test_converge(events, 2);
	mb_test_expect_time(got.cancel_at, MONTH);
	assert_true(got.cancel_at_period_end);
	got = mb_test_converge(events, 3);
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
	assert_null(mb_test_difference(&before, &subscription));
}

/*
 * R22: what was read later is not undone by what was read before it, so each
 * register's mark only grows.
 */
static void
r22_marks_never_go_back(void **state)
{
	MbEvent		events[] = {
		mb_test_updated("evt_1", 30, "active", 1, NULL),
		mb_test_created("evt_2", 10, "active", 0),
		mb_test_deleted("evt_3", 20, 0, NULL),
		mb_test_updated("evt_4", 40, "past_due", 1, "active"),
	};
	MbSubscription subscription;
	MbTime		live = MB_NO_TIME;
	MbTime		fell = MB_NO_TIME;
	int			rank = 0;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	for (int i = 0; i < LENGTH(events); i++)
	{
		apply(&subscription, &events[i]);
		assert_true(subscription.state.rank >= rank);
		assert_true(subscription.live.created >= live && subscription.fell.created >= fell);
		rank = subscription.state.rank;
		live = subscription.live.created;
		fell = subscription.fell.created;
	}
	mb_test_expect_text(subscription.state.event_id, "evt_3");
	mb_test_expect_time(live, 30);
	mb_test_expect_time(fell, 40);
}

/* R23: the second of two events for one change finds it done. */
static void
r23_two_events_for_one_change(void **state)
{
	MbEvent		first = mb_test_updated("evt_2", 10, "active", 1, NULL);
	MbEvent		second = mb_test_updated("evt_1", 11, "active", 1, NULL);
	MbSubscription once;
	MbSubscription twice;

	(void) state;
	mb_subscription_init(&once, mb_text("sub_1"));
	apply(&once, &first);
	twice = once;
	assert_int_equal(apply(&twice, &second), MB_OUTCOME_UNCHANGED);
	assert_true(twice.period_end == once.period_end && twice.paid_through == once.paid_through);
	mb_test_expect_text(twice.status, "active");
}

/* R24: a second delivery, in whatever body, finds its mark. */
static void
r24_event_that_was_applied_already(void **state)
{
	MbEvent		event = mb_test_updated("evt_1", 10, "active", 1, NULL);
	MbEvent		later = mb_test_updated("evt_0", 20, "past_due", 1, "active");
	MbSubscription subscription;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	assert_int_equal(apply(&subscription, &event), MB_OUTCOME_APPLIED);
	assert_int_equal(apply(&subscription, &event), MB_OUTCOME_DUPLICATE);
	assert_int_equal(apply(&subscription, &later), MB_OUTCOME_APPLIED);
	assert_int_equal(apply(&subscription, &event), MB_OUTCOME_STALE);
	mb_test_expect_text(subscription.status, "past_due");
}

/* R26: the subscription's event comes before its checkout's, or after it. */
static void
r26_subscription_before_its_checkout(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_2", 10, "trialing", 0),
		mb_test_checkout("evt_9", 12, BUSINESS),
	};
	MbSubscription got = mb_test_converge(events, 2);

	(void) state;
	mb_test_expect_text(got.status, "trialing");
	mb_test_expect_text(got.tier, "PRO");
	mb_test_expect_text(got.customer_id, "cus_1");
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
	got = mb_test_converge(events, 2);
	mb_test_expect_text(got.status, "active");
	mb_test_expect_time(got.period_end, 2 * MONTH);
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.status, "canceled");

	/* by the type alone, whatever the status says */
	events[2].status = mb_text("paused");
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.status, "paused");
	mb_test_expect_time(got.period_end, 3 * MONTH);
	events[0].created = mb_test_time(11);
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.status, "trialing");
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
	got = mb_test_converge(events, 4);
	mb_test_expect_text(got.state.event_id, "evt_b");
	mb_test_expect_text(got.tier_mark.event_id, "evt_b");
	mb_test_expect_text(got.period.event_id, "evt_b");
	mb_test_expect_text(got.live.event_id, "evt_b");
	mb_test_expect_text(got.status, "active");
	mb_test_expect_text(got.tier, "PRO");
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
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	mb_test_expect_text(got.status, "active");
	mb_test_expect_text(got.state.event_id, "evt_3");
	mb_test_expect_text(got.tier, "PRO");
	mb_test_expect_time(got.paid_through, MONTH);
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
	got = mb_test_converge(events, 2);
	mb_test_expect_text(got.tier, "BUSINESS");
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.tier, "PRO");
	mb_test_expect_text(got.price_id, "price_1T2aProMonth");
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
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.tier, "PRO");
	mb_test_expect_text(got.tier_mark.event_id, "evt_2");
	mb_test_expect_text(got.price_id, UNKNOWN_PRICE);
	mb_test_expect_time(got.period_end, 2 * MONTH);

	got = mb_test_converge(&events[2], 1);
	assert_null(got.tier.data);
	mb_test_expect_text(got.price_id, UNKNOWN_PRICE);
}

/* R30: a promise is active at once, with the lowest mark but incomplete's. */
static void
r30_checkout_promise_yields(void **state)
{
	static const char *const statuses[] = {
		"incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
	};
	MbEvent		promise = mb_test_checkout("evt_9", 50, BUSINESS);
	MbSubscription got = mb_test_converge(&promise, 1);

	(void) state;
	mb_test_expect_text(got.status, "active");
	mb_test_expect_text(got.tier, "BUSINESS");
	assert_int_equal(mb_subscription_class(&got), MB_CLASS_PROVISIONAL);
	assert_true(got.period_end == MB_NO_TIME && got.paid_through == MB_NO_TIME);

	for (int i = 0; i < LENGTH(statuses); i++)
	{
		MbEvent		events[] = {promise, mb_test_updated("evt_1", 10, statuses[i], 0, NULL)};

		got = mb_test_converge(events, 2);
		mb_test_expect_text(got.status, statuses[i]);
		mb_test_expect_text(got.tier, "PRO");
		mb_test_expect_text(got.state.event_id, "evt_1");
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
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	mb_test_expect_text(got.status, "active");
	mb_test_expect_text(got.state.event_id, "evt_1");
	mb_test_expect_text(got.tier, "BUSINESS");
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
	got = mb_test_converge(events, 2);
	mb_test_expect_text(got.state.event_id, "evt_2");
	mb_test_expect_text(got.tier, "BUSINESS");
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
	got = mb_test_converge(events, 1);
	mb_test_expect_text(got.customer_id, "cus_1");
	assert_null(got.status.data);
	got = mb_test_converge(events, 2);
	mb_test_expect_text(got.status, "incomplete");
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
	MbSubscription got = mb_test_converge(events, 4);

	(void) state;
	mb_test_expect_text(got.state.event_id, "evt_2");
	mb_test_expect_text(got.live.event_id, "evt_1");
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
		cmocka_unit_test(r22_marks_never_go_back),
		cmocka_unit_test(r23_two_events_for_one_change),
		cmocka_unit_test(r24_event_that_was_applied_already),
		cmocka_unit_test(r26_subscription_before_its_checkout),
		cmocka_unit_test(r21_order_of_types_in_one_second),
		cmocka_unit_test(r21_ties_by_id),
		cmocka_unit_test(r19_first_purchase_in_one_second),
		cmocka_unit_test(r23_upgrade_and_downgrade),
		cmocka_unit_test(r29_unknown_price_keeps_the_tier),
		cmocka_unit_test(r30_checkout_promise_yields),
		cmocka_unit_test(r30_checkout_promise_stands_against_incomplete),
		cmocka_unit_test(r30_checkout_promise_beside_an_unknown_price),
		cmocka_unit_test(r30_checkout_without_a_promise_only_links),
		cmocka_unit_test(times_are_taken_as_they_are),
		cmocka_unit_test(outcomes),
	};

	return cmocka_run_group_tests_name("subscription", tests, NULL, NULL);
}
