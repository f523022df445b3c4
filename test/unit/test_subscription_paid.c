/*
 * test_subscription_paid.c
 *	  Which time of a subscription was paid for, in whatever order one learns
 *	  of it.
 */
#include "subscription_check.h"

static MbOutcome
apply(MbSubscription *subscription, const MbEvent *event)
{
	return mb_subscription_apply(subscription, event, NULL, 0, mb_test_plans()).outcome;
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
	got = mb_test_converge(events, 3);
	mb_test_expect_text(got.status, "active");
	assert_true(mb_subscription_payment_failed(&got));
	mb_test_expect_time(got.failed_period_start, MONTH);
	mb_test_expect_time(got.failed_period_end, 2 * MONTH);
	mb_test_expect_time(got.paid_through, MONTH);

	/* paid after all: a failure from before it says nothing any more */
	got = mb_test_converge(events, 5);
	assert_false(mb_subscription_payment_failed(&got));
	mb_test_expect_time(got.paid_through, 2 * MONTH);
	mb_test_expect_text(got.failed.event_id, "evt_5");
}

/* R31: failed(t=10) and active(t=20), in both orders; in one second it holds. */
static void
r31_failure_against_the_time_of_the_state(void **state)
{
	for (int created = 9; created <= 11; created++)
	{
		MbEvent		events[] = {mb_test_updated("evt_1", 10, "active", 0, NULL), mb_test_failed("evt_2", created, 0)};
		MbSubscription got = mb_test_converge(events, 2);

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
		MbSubscription got = mb_test_converge(events, 2);

		mb_test_expect_text(got.status, statuses[i]);
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
	got = mb_test_converge(events, 1);
	assert_null(got.status.data);
	assert_null(got.tier.data);
	mb_test_expect_text(got.customer_id, "cus_1");
	assert_false(mb_subscription_payment_failed(&got));
	got = mb_test_converge(events, 2);
	mb_test_expect_text(got.status, "active");
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
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	mb_test_expect_text(got.failed.event_id, "evt_3");
	assert_true(mb_subscription_payment_failed(&got));
	mb_test_expect_time(got.paid_through, MONTH);
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
	got = mb_test_converge(events, 2);
	mb_test_expect_time(got.paid_through, 2 * MONTH);
	got = mb_test_converge(events, 3);
	mb_test_expect_time(got.paid_through, MONTH);
	mb_test_expect_time(got.period_end, 2 * MONTH);
	got = mb_test_converge(events, 6);
	mb_test_expect_text(got.status, "unpaid");
	mb_test_expect_time(got.period_end, 4 * MONTH);
	mb_test_expect_time(got.paid_through, MONTH);
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
	MbSubscription got = mb_test_converge(events, 4);

	(void) state;
	mb_test_expect_text(got.status, "unpaid");
	mb_test_expect_time(got.paid_through, MONTH);
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
	MbSubscription got = mb_test_converge(events, 4);

	(void) state;
	mb_test_expect_text(got.status, "active");
	mb_test_expect_time(got.paid_through, 3 * MONTH);
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
	MbSubscription got = mb_test_converge(events, 5);

	(void) state;
	mb_test_expect_text(got.status, "canceled");
	mb_test_expect_time(got.period_end, 2 * MONTH);
	mb_test_expect_time(got.paid_through, MONTH);
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
	MbDecision	decision;

	(void) state;
	mb_subscription_init(&subscription, mb_text("sub_1"));
	apply(&subscription, &events[0]);
	apply(&subscription, &events[1]);
	mb_test_expect_time(subscription.paid_through, 2 * MONTH);
	decision = mb_subscription_apply(&subscription, &events[2], NULL, 0, mb_test_plans());
	assert_int_equal(decision.outcome, MB_OUTCOME_STALE);
	assert_true(decision.changed);
	mb_test_expect_time(subscription.paid_through, MONTH);
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
	MbSubscription got = mb_test_converge(events, 4);

	(void) state;
	mb_test_expect_time(got.paid_through, 2 * MONTH);
}

/* A fall into a period that starts later than the live one's end: the end. */
static void
r14_paid_through_is_the_smaller(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "active", 0),
		mb_test_updated("evt_2", 3005, "past_due", 3, "active"),
	};
	MbSubscription got = mb_test_converge(events, 2);

	(void) state;
	mb_test_expect_time(got.paid_through, MONTH);
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
		got = mb_test_converge(&event, 1);
		mb_test_expect_time(got.paid_through, cases[i].paid_through);
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
	got = mb_test_converge(events, 2);
	mb_test_expect_time(got.paid_through, 300);
	got = mb_test_converge(&events[1], 1);
	mb_test_expect_time(got.paid_through, 300);

	/* not later than what was paid for, and not without an end */
	events[1].ended_at = mb_test_time(5000);
	got = mb_test_converge(events, 2);
	mb_test_expect_time(got.paid_through, MONTH);
	events[1].ended_at = MB_NO_TIME;
	got = mb_test_converge(events, 2);
	mb_test_expect_time(got.paid_through, MONTH);

	/* another reason leaves the period its whole length */
	events[1] = mb_test_deleted("evt_2", 300, 0, "cancellation_requested");
	got = mb_test_converge(events, 2);
	mb_test_expect_time(got.paid_through, MONTH);
}

static void
r18_canceled_during_a_trial(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "trialing", 0),
		mb_test_deleted("evt_2", 300, 0, "cancellation_requested"),
	};
	MbSubscription got = mb_test_converge(events, 2);

	(void) state;
	mb_test_expect_time(got.paid_through, MONTH);
}

static void
r17_trial_ends_in_pause(void **state)
{
	MbEvent		events[] = {
		mb_test_created("evt_1", 10, "trialing", 0),
		mb_test_updated("evt_2", 1001, "paused", 1, "trialing"),
	};
	MbSubscription got = mb_test_converge(events, 2);

	(void) state;
	mb_test_expect_text(got.status, "paused");
	mb_test_expect_time(got.paid_through, MONTH);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests_name("what was paid for", tests, NULL, NULL);
}
