/*
 * test_ties.c
 *	  Updates within one second: their previous_attributes make a chain (R21).
 *
 * An event leads from one of the states below to another.  Ids are chosen so
 * that they mislead: where the chain decides, it is against them.
 */
#include "subscription_check.h"

#define WHEN 10
#define MAX_TIES 5

/* What an event may find and leave; all of them different, none terminal. */
enum
{
	PRO_MONTHLY, BUSINESS_MONTHLY, CANCEL_PLANNED, RENEWED, PRO_YEARLY, NUM_LIVE, UNPAID_RENEWAL = NUM_LIVE, PAUSED,
	NUM_STATES
};

/* An event whose previous_attributes do not touch the state. */
#define LOOP (-1)

static MbEvent states[NUM_STATES];

static int
make_states(void **state)
{
	static const struct
	{
		const char *status;
		const char *price_id;
		int			tier;
		int			period;
		bool		cancel_at_period_end;
	}			rows[NUM_STATES] = {
		[PRO_MONTHLY] = {"active", "price_1T2aProMonth", PRO, 0, false},
		[BUSINESS_MONTHLY] = {"active", "price_1T2aBusinessMonth", BUSINESS, 0, false},
		[CANCEL_PLANNED] = {"active", "price_1T2aBusinessMonth", BUSINESS, 0, true},
		[RENEWED] = {"active", "price_1T2aBusinessMonth", BUSINESS, 1, false},
		[PRO_YEARLY] = {"active", "price_1T2aProYear", PRO, 1, false},
		[UNPAID_RENEWAL] = {"past_due", "price_1T2aBusinessMonth", BUSINESS, 1, false},
		[PAUSED] = {"paused", "price_1T2aProMonth", PRO, 0, false},
	};

	(void) state;
	for (int i = 0; i < NUM_STATES; i++)
	{
		states[i] = mb_test_updated(NULL, WHEN, rows[i].status, rows[i].period, NULL);
		states[i].price_id = mb_text(rows[i].price_id);
		states[i].tier = rows[i].tier;
		states[i].cancel_at_period_end = rows[i].cancel_at_period_end;
	}
	return 0;
}

/* An update that found one state, or says nothing of it, and left another. */
static MbEvent
update(const char *id, int from, int to)
{
	MbEvent		event = states[to];

	event.id = mb_text(id);
	if (from == LOOP)
		return event;
	event.before = &states[from];
	if (!mb_text_eq(states[from].status, states[to].status))
		event.previous_status = states[from].status;
	return event;
}

static void
expect_state(const MbSubscription *got, const MbEvent *event)
{
	mb_test_expect_text(got->state.event_id, event->id.data);
	assert_true(mb_text_eq(got->status, event->status));
	assert_true(mb_text_eq(got->price_id, event->price_id));
	assert_true(mb_text_eq(got->tier, mb_test_plans()->tiers[event->tier].name));
	assert_true(got->period_start == event->period_start && got->period_end == event->period_end);
	assert_true(got->cancel_at_period_end == event->cancel_at_period_end);
}

/* The reason of the last event's decision, when all came in this order. */
static const char *
last_reason(const MbEvent *events, int n)
{
	MbTestHistory history;
	MbDecision	decision = {.reason = NULL};

	mb_test_begin(&history, mb_text("sub_1"));
	for (int i = 0; i < n; i++)
		decision = mb_test_apply(&history, &events[i]);
	return decision.reason;
}

static void
expect_by_id(const MbEvent *events, int n, const char *id)
{
	MbSubscription got = mb_test_converge(events, n);

	mb_test_expect_text(got.state.event_id, id);
	mb_test_expect_text(mb_text(last_reason(events, n)), "tie_by_id");
}

/* Chains of two to five, with every assignment of a few ids. */
static void
r21_end_of_a_chain(void **state)
{
	static const int path[] = {PRO_MONTHLY, BUSINESS_MONTHLY, CANCEL_PLANNED, RENEWED, UNPAID_RENEWAL, PRO_YEARLY};
	static const char *const ids[] = {"evt_5", "evt_4", "evt_1", "evt_3", "evt_2"};

	(void) state;
	for (int n = 2; n <= MAX_TIES; n++)
		for (int turn = 0; turn < MAX_TIES; turn++)
		{
			MbEvent		events[MAX_TIES];
			MbSubscription got;

			for (int i = 0; i < n; i++)
				events[i] = update(ids[(i + turn) % MAX_TIES], path[i], path[i + 1]);
			got = mb_test_converge(events, n);
			expect_state(&got, &events[n - 1]);
		}
}

/* By id while a link is missing; the chain once it is there. */
static void
r21_chain_that_is_completed(void **state)
{
	MbEvent		events[] = {
		update("evt_9", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_1", CANCEL_PLANNED, RENEWED),
		update("evt_5", BUSINESS_MONTHLY, CANCEL_PLANNED),
	};
	MbTestHistory history;
	MbDecision	decision;
	MbSubscription got;

	(void) state;
	expect_by_id(events, 2, "evt_9");

	mb_test_begin(&history, mb_text("sub_1"));
	mb_test_apply(&history, &events[0]);
	decision = mb_test_apply(&history, &events[1]);
	assert_int_equal(decision.outcome, MB_OUTCOME_STALE);
	mb_test_expect_text(mb_text(decision.reason), "tie_by_id");
	decision = mb_test_apply(&history, &events[2]);
	assert_int_equal(decision.outcome, MB_OUTCOME_APPLIED);
	assert_null(decision.reason);
	expect_state(&history.subscription, &events[1]);
	got = mb_test_converge(events, 3);
	expect_state(&got, &events[1]);
}

static void
r21_updates_of_something_else_do_not_break_a_chain(void **state)
{
	MbEvent		events[] = {
		update("evt_9", LOOP, PRO_MONTHLY),
		update("evt_4", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_8", LOOP, BUSINESS_MONTHLY),
		update("evt_2", BUSINESS_MONTHLY, CANCEL_PLANNED),
		update("evt_1", CANCEL_PLANNED, CANCEL_PLANNED),
	};
	MbSubscription got;

	(void) state;
	got = mb_test_converge(events, 4);
	expect_state(&got, &events[3]);

	/* of several that show the end, the greatest id: they say the same */
	got = mb_test_converge(events, 5);
	expect_state(&got, &events[3]);
	mb_test_expect_text(mb_text(last_reason(events, 5)), "older_than_state");
	events[4].id = mb_text("evt_3");
	got = mb_test_converge(events, 5);
	expect_state(&got, &events[4]);
}

static void
r21_updates_without_previous_attributes(void **state)
{
	MbEvent		same[] = {
		update("evt_1", LOOP, RENEWED), update("evt_3", LOOP, RENEWED), update("evt_2", LOOP, RENEWED),
	};
	MbEvent		other[] = {
		update("evt_1", LOOP, RENEWED), update("evt_3", LOOP, PRO_MONTHLY), update("evt_2", LOOP, RENEWED),
	};
	MbSubscription got = mb_test_converge(same, 3);

	(void) state;
	expect_state(&got, &same[1]);
	mb_test_expect_text(mb_text(last_reason(same, 3)), "older_than_state");
	expect_by_id(other, 3, "evt_3");
}

/* There and back again: nothing says where it began. */
static void
r21_circuit_is_decided_by_id(void **state)
{
	MbEvent		two[] = {
		update("evt_1", PRO_MONTHLY, BUSINESS_MONTHLY), update("evt_2", BUSINESS_MONTHLY, PRO_MONTHLY),
	};
	MbEvent		three[] = {
		update("evt_2", PRO_MONTHLY, BUSINESS_MONTHLY), update("evt_3", BUSINESS_MONTHLY, RENEWED),
		update("evt_1", RENEWED, PRO_MONTHLY), update("evt_4", LOOP, BUSINESS_MONTHLY),
	};

	(void) state;
	expect_by_id(two, 2, "evt_2");
	expect_by_id(three, 3, "evt_3");
	expect_by_id(three, 4, "evt_4");
}

static void
r21_circuit_on_the_way_to_an_end(void **state)
{
	MbEvent		events[] = {
		update("evt_9", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_8", BUSINESS_MONTHLY, PRO_MONTHLY),
		update("evt_1", PRO_MONTHLY, PRO_YEARLY),
	};
	MbEvent		back[] = {
		update("evt_1", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_9", BUSINESS_MONTHLY, CANCEL_PLANNED),
		update("evt_2", CANCEL_PLANNED, BUSINESS_MONTHLY),
	};
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	expect_state(&got, &events[2]);
	got = mb_test_converge(back, 3);
	expect_state(&got, &back[2]);
}

/* From one state to two others, or to one from two: no trail has them all. */
static void
r21_fork_is_decided_by_id(void **state)
{
	MbEvent		fork[] = {
		update("evt_1", PRO_MONTHLY, BUSINESS_MONTHLY), update("evt_2", PRO_MONTHLY, PRO_YEARLY),
	};
	MbEvent		join[] = {
		update("evt_2", PRO_MONTHLY, PRO_YEARLY), update("evt_1", BUSINESS_MONTHLY, PRO_YEARLY),
	};
	MbEvent		apart[] = {
		update("evt_3", PRO_MONTHLY, BUSINESS_MONTHLY), update("evt_1", CANCEL_PLANNED, RENEWED),
		update("evt_2", RENEWED, CANCEL_PLANNED),
	};

	(void) state;
	expect_by_id(fork, 2, "evt_2");
	expect_by_id(join, 2, "evt_2");
	expect_by_id(apart, 3, "evt_3");
}

/* The chain is of one second; an event of another has its place by time. */
static void
r19_chain_ends_with_its_second(void **state)
{
	MbEvent		events[] = {
		update("evt_9", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_1", BUSINESS_MONTHLY, CANCEL_PLANNED),
		update("evt_5", CANCEL_PLANNED, PRO_MONTHLY),
		update("evt_3", PRO_MONTHLY, RENEWED),
	};
	MbSubscription got;

	(void) state;
	events[2].created = events[3].created = mb_test_time(WHEN - 1);
	got = mb_test_converge(events, 4);
	expect_state(&got, &events[1]);
	events[2].created = events[3].created = mb_test_time(WHEN + 1);
	got = mb_test_converge(events, 4);
	expect_state(&got, &events[3]);
}

/* A created or deleted event of the same second has its place by type. */
static void
r21_types_before_chain(void **state)
{
	MbEvent		events[] = {
		update("evt_8", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_2", BUSINESS_MONTHLY, CANCEL_PLANNED),
		mb_test_created("evt_9", WHEN, "active", 0),
		mb_test_deleted("evt_1", WHEN, 0, NULL),
	};
	MbSubscription got = mb_test_converge(events, 3);

	(void) state;
	expect_state(&got, &events[1]);
	got = mb_test_converge(events, 4);
	expect_state(&got, &events[3]);
}

/*
 * The registers that a newer event leaves alone are decided by the ties of
 * their own second, whichever came first.
 */
static void
r21_ties_of_a_register_older_than_the_state(void **state)
{
	MbEvent		events[] = {
		update("evt_9", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_1", BUSINESS_MONTHLY, PRO_YEARLY),
		mb_test_updated("evt_5", WHEN + 5, "active", NO_PERIOD, NULL),
		mb_test_updated("evt_6", WHEN + 7, "past_due", NO_PERIOD, "active"),
		update("evt_4", PRO_YEARLY, PRO_YEARLY),
	};
	MbSubscription got;

	(void) state;
	for (int i = 2; i <= 3; i++)
	{
		events[i].tier = MB_NO_TIER;
		events[i].price_id = mb_text(UNKNOWN_PRICE);
	}
	got = mb_test_converge(events, 5);
	mb_test_expect_text(got.state.event_id, "evt_6");
	mb_test_expect_text(got.price_id, UNKNOWN_PRICE);
	mb_test_expect_text(got.tier, "PRO");
	mb_test_expect_time(got.period_end, 2 * MONTH);
	mb_test_expect_time(got.paid_through, 2 * MONTH);
	mb_test_expect_text(got.tier_mark.event_id, "evt_4");
	mb_test_expect_text(got.live.event_id, "evt_4");
}

/* The fall and the recovery in one second: which was last stays known. */
static void
r21_fall_and_recovery_in_one_second(void **state)
{
	MbEvent		recovered[] = {
		update("evt_9", RENEWED, UNPAID_RENEWAL),
		update("evt_1", UNPAID_RENEWAL, PRO_YEARLY),
		mb_test_created("evt_5", 1, "active", 0),
		mb_test_deleted("evt_3", WHEN + 50, 1, "cancellation_requested"),
	};
	MbEvent		fallen[] = {
		update("evt_1", RENEWED, UNPAID_RENEWAL),
		update("evt_9", PRO_MONTHLY, RENEWED),
		mb_test_created("evt_5", 1, "active", 0),
		mb_test_deleted("evt_3", WHEN + 50, 1, "cancellation_requested"),
	};
	MbSubscription got;

	(void) state;
	got = mb_test_converge(recovered, 3);
	mb_test_expect_time(got.paid_through, 2 * MONTH);
	got = mb_test_converge(fallen, 3);
	mb_test_expect_time(got.paid_through, MONTH);

	/* also when it has ended since */
	got = mb_test_converge(fallen, 4);
	mb_test_expect_time(got.paid_through, MONTH);
	got = mb_test_converge(recovered, 4);
	mb_test_expect_time(got.paid_through, 2 * MONTH);
}

/* What is not known any more takes no part, and is not overruled either. */
static void
r21_tied_event_that_is_not_known_any_more(void **state)
{
	MbEvent		events[] = {
		update("evt_9", PRO_MONTHLY, BUSINESS_MONTHLY),
		update("evt_1", BUSINESS_MONTHLY, CANCEL_PLANNED),
		update("evt_0", CANCEL_PLANNED, RENEWED),
	};
	MbTestHistory history;
	MbDecision	decision;
	MbEvent		newer;

	/* one of the chain's beginning: the rest is a chain still */
	(void) state;
	mb_test_begin(&history, mb_text("sub_1"));
	mb_test_apply(&history, &events[0]);
	mb_test_apply(&history, &events[1]);
	mb_test_forget(&history, &events[0]);
	decision = mb_test_apply(&history, &events[2]);
	assert_int_equal(decision.outcome, MB_OUTCOME_APPLIED);
	expect_state(&history.subscription, &events[2]);

	/* the winner: one that lost against it is delivered once more */
	mb_test_begin(&history, mb_text("sub_1"));
	mb_test_apply(&history, &events[0]);
	mb_test_apply(&history, &events[1]);
	mb_test_forget(&history, &events[1]);
	decision = mb_test_apply(&history, &events[0]);
	assert_false(decision.changed);
	expect_state(&history.subscription, &events[1]);

	/* a link between: what was decided with it is not decided anew without */
	mb_test_begin(&history, mb_text("sub_1"));
	events[2] = update("evt_0", CANCEL_PLANNED, RENEWED);
	for (int i = 0; i < 3; i++)
		mb_test_apply(&history, &events[i]);
	mb_test_forget(&history, &events[1]);
	decision = mb_test_apply(&history, &events[0]);
	assert_false(decision.changed);
	expect_state(&history.subscription, &events[2]);
	newer = mb_test_updated("evt_5", WHEN + 5, "active", NO_PERIOD, NULL);
	mb_test_apply(&history, &newer);
	mb_test_expect_text(history.subscription.period.event_id, "evt_0");

	/* the recovery: the fall before it is delivered once more */
	events[0] = update("evt_9", RENEWED, UNPAID_RENEWAL);
	events[1] = update("evt_1", UNPAID_RENEWAL, RENEWED);
	events[2] = update("evt_2", PRO_YEARLY, RENEWED);
	mb_test_begin(&history, mb_text("sub_1"));
	for (int i = 0; i < 3; i++)
		mb_test_apply(&history, &events[i]);
	mb_test_expect_time(history.subscription.paid_through, 2 * MONTH);
	mb_test_forget(&history, &events[1]);
	mb_test_forget(&history, &events[2]);
	decision = mb_test_apply(&history, &events[0]);
	assert_false(decision.changed);
	mb_test_expect_time(history.subscription.paid_through, 2 * MONTH);
}

/* More than anybody will see: by id, and still the same in any order. */
static void
r21_more_ties_than_a_chain_may_have(void **state)
{
	enum
	{
		N = 70
	};
	MbEvent		events[N];
	char		ids[N][8];
	const MbEvent *order[N];
	MbSubscription expected;
	MbSubscription got;
	MbTestRandom random = mb_test_random(1, 1);

	(void) state;
	for (int i = 0; i < N; i++)
	{
		snprintf(ids[i], sizeof(ids[i]), "evt_%02d", (i * 37) % N);
		events[i] = update(ids[i], i % 2 == 0 ? PRO_MONTHLY : BUSINESS_MONTHLY, i % 2 == 0 ? BUSINESS_MONTHLY : PRO_MONTHLY);
		order[i] = &events[i];
	}
	expected = mb_test_run(order, N);
	mb_test_expect_text(expected.state.event_id, "evt_69");
	mb_test_expect_text(mb_text(last_reason(events, N)), "tie_by_id");
	for (int i = 0; i < 5; i++)
	{
		mb_test_shuffle(&random, order, N);
		got = mb_test_run(order, N);
		mb_test_expect_same(&got, &expected, order, N);
	}

	/* as many as a chain may have, with an end */
	events[62] = update(ids[62], PRO_MONTHLY, PRO_MONTHLY);
	events[63] = update("evt_", PRO_MONTHLY, RENEWED);
	for (int i = 0; i < 64; i++)
		order[i] = &events[i];
	mb_test_shuffle(&random, order, 64);
	got = mb_test_run(order, 64);
	expect_state(&got, &events[63]);
}

/* Every order of the events that is truthful, and the states it may end in. */
static void
possible_ends(const MbEvent **events, int done, int n, bool *ends)
{
	if (done == n)
		for (int i = 0; i < NUM_STATES; i++)
			ends[i] |= mb_text_eq(states[i].price_id, events[n - 1]->price_id) &&
				mb_text_eq(states[i].status, events[n - 1]->status) &&
				states[i].period_start == events[n - 1]->period_start &&
				states[i].cancel_at_period_end == events[n - 1]->cancel_at_period_end;

	for (int i = done; i < n; i++)
	{
		const MbEvent *next = events[i];
		const MbEvent *found = next->before != NULL ? next->before : next;
		const MbEvent *left = done > 0 ? events[done - 1] : found;

		if (!mb_text_eq(found->price_id, left->price_id) || !mb_text_eq(found->status, left->status) ||
			found->period_start != left->period_start || found->cancel_at_period_end != left->cancel_at_period_end)
			continue;
		events[i] = events[done];
		events[done] = next;
		possible_ends(events, done + 1, n, ends);
		events[done] = events[i];
		events[i] = next;
	}
}

/* R23: do two events tell of one change? */
static bool
has_doubled(const MbEvent *events, int n)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			if (events[i].before != NULL && events[i].before == events[j].before &&
				mb_text_eq(events[i].price_id, events[j].price_id) && mb_text_eq(events[i].status, events[j].status) &&
				events[i].period_start == events[j].period_start &&
				events[i].cancel_at_period_end == events[j].cancel_at_period_end)
				return true;
	return false;
}

static void
r21_random_ties_against_all_orders(void **state)
{
	static const char *const ids[MAX_TIES] = {"evt_2", "evt_4", "evt_0", "evt_3", "evt_1"};
	uint64_t	seed = mb_test_seed();
	int			chains = 0;

	(void) state;
	for (int set = 0; set < 20000; set++)
	{
		MbTestRandom random = mb_test_random(seed, set);
		int			n = 2 + mb_test_below(&random, MAX_TIES - 1);
		int			nstates = 2 + mb_test_below(&random, NUM_STATES - 1);
		int			at = mb_test_below(&random, nstates);
		MbEvent		events[MAX_TIES];
		const MbEvent *order[2 * MAX_TIES];
		const MbEvent *expected = NULL;
		bool		ends[NUM_STATES] = {false};
		int			nends = 0;
		MbSubscription got;
		MbSubscription again;

		/* mostly a walk, so that there is a chain to find */
		for (int i = 0; i < n; i++)
		{
			int			to = mb_test_below(&random, nstates);

			if (mb_test_below(&random, 8) == 0)
				at = mb_test_below(&random, nstates);
			if (mb_test_below(&random, 5) == 0)
				events[i] = update(ids[i], LOOP, at);
			else
			{
				events[i] = update(ids[i], at, to);
				at = to;
			}
			order[i] = &events[i];
		}
		possible_ends(order, 0, n, ends);
		for (int i = 0; i < NUM_STATES; i++)
			nends += ends[i];

		/* of what two events for one change mean then, this says nothing */
		if (nends == 0 && has_doubled(events, n))
			continue;
		for (int i = 0; i < n; i++)
		{
			bool		shows_end = false;

			for (int j = 0; j < NUM_STATES; j++)
				shows_end |= ends[j] && mb_text_eq(states[j].price_id, events[i].price_id) &&
					mb_text_eq(states[j].status, events[i].status) &&
					states[j].period_start == events[i].period_start &&
					states[j].cancel_at_period_end == events[i].cancel_at_period_end;
			if ((nends != 1 || shows_end) && (expected == NULL || mb_text_cmp(events[i].id, expected->id) > 0))
				expected = &events[i];
		}
		chains += nends == 1;

		mb_test_shuffle(&random, order, n);
		got = mb_test_run(order, n);
		expect_state(&got, expected);
		if (nends != 1)
			mb_test_expect_text(mb_text(last_reason(events, n)), "tie_by_id");
		for (int i = 0; i < n; i++)
			order[n + i] = &events[mb_test_below(&random, n)];
		mb_test_shuffle(&random, order, 2 * n);
		again = mb_test_run(order, 2 * n);
		mb_test_expect_same(&again, &got, order, 2 * n);
	}
	assert_true(chains > 4000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(r21_end_of_a_chain),
		cmocka_unit_test(r21_chain_that_is_completed),
		cmocka_unit_test(r21_updates_of_something_else_do_not_break_a_chain),
		cmocka_unit_test(r21_updates_without_previous_attributes),
		cmocka_unit_test(r21_circuit_is_decided_by_id),
		cmocka_unit_test(r21_circuit_on_the_way_to_an_end),
		cmocka_unit_test(r21_fork_is_decided_by_id),
		cmocka_unit_test(r19_chain_ends_with_its_second),
		cmocka_unit_test(r21_types_before_chain),
		cmocka_unit_test(r21_ties_of_a_register_older_than_the_state),
		cmocka_unit_test(r21_fall_and_recovery_in_one_second),
		cmocka_unit_test(r21_tied_event_that_is_not_known_any_more),
		cmocka_unit_test(r21_more_ties_than_a_chain_may_have),
		cmocka_unit_test(r21_random_ties_against_all_orders),
	};

	return cmocka_run_group_tests_name("ties", tests, make_states, NULL);
}
