/*
 * test_subscription_random.c
 *	  Random sets of events, in random orders, against a model.
 *
 * The model picks each register's event from the whole set: of all events,
 * which one does each register hold?  Its seed is printed; MB_SEED repeats it.
 */
#include "subscription_check.h"

#define MAX_EVENTS 12

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
	return has_period(event) && model_live(event->previous_status) && !model_live(event->status) &&
		!mb_text_is(event->status, "paused");
}

static bool
shows_either(const MbEvent *event)
{
	return shows_live(event) || shows_fall(event);
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

/* The event that made the state speaks for all registers of its second. */
static const MbEvent *
greatest_beside(const MbEvent *state, const MbEvent *events, int n, bool (*takes_part) (const MbEvent *))
{
	const MbEvent *best = greatest(events, n, takes_part, later);

	if (best != NULL && state != NULL && takes_part(state) &&
		state->created == best->created && state->order == best->order)
		return state;
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
	const MbEvent *live = greatest_beside(state, events, n, shows_live);
	const MbEvent *fell = greatest_beside(state, events, n, shows_fall);
	const MbEvent *failed = greatest(events, n, is_failure, later);
	MbTime		paid_through = MB_NO_TIME;

	/* a fall matters until it is seen live later */
	if (fell != NULL && live != NULL &&
		(live->created != fell->created ? live->created > fell->created : live->order > fell->order))
		fell = NULL;

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
		if (fell != NULL && shows_fall(greatest_beside(state, events, n, shows_either)))
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
random_event(MbTestRandom *random, const char *id)
{
	static const char *const statuses[] = {
		"incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused",
		"hibernating", "evaporated", "active", "active", "past_due", "trialing",
	};
	static const char *const cancel_reasons[] = {
		NULL, NULL, "cancellation_requested", "payment_failed", "payment_disputed",
	};
	int			kind = mb_test_below(random, 10);
	int			created = mb_test_below(random, 8);
	int			period = mb_test_below(random, 6) - 1;
	MbEvent		event;

	if (kind == 0)
		return mb_test_checkout(id, created, mb_test_below(random, 4) - 1);
	if (kind <= 2)
		return mb_test_failed(id, created, mb_test_below(random, 5));

	event = mb_test_event(MB_EVENT_SUBSCRIPTION, id, created, (MbEventOrder) mb_test_below(random, 3),
						  statuses[mb_test_below(random, LENGTH(statuses))], period);
	if (event.order == MB_ORDER_UPDATED && mb_test_below(random, 2) == 0)
		event.previous_status = mb_text(statuses[mb_test_below(random, LENGTH(statuses))]);
	event.tier = mb_test_below(random, 4) - 1;
	event.price_id = event.tier == MB_NO_TIER ? mb_text(UNKNOWN_PRICE) : mb_test_plans()->prices[event.tier].price_id;
	event.livemode = mb_test_below(random, 2) == 0;
	if (mb_test_below(random, 3) == 0)
		event.cancel_at = mb_test_time(mb_test_below(random, 5 * MONTH));
	event.cancel_at_period_end = mb_test_below(random, 3) == 0;
	if (mb_test_below(random, 3) == 0)
		event.ended_at = mb_test_time(mb_test_below(random, 5 * MONTH));
	event.cancellation_reason = mb_text(cancel_reasons[mb_test_below(random, LENGTH(cancel_reasons))]);
	if (mb_test_below(random, 8) == 0)
		event.customer_id = MB_NO_TEXT;
	return event;
}

static void
random_sets_converge(void **state)
{
	static const char *const ids[MAX_EVENTS] = {
		"evt_0", "evt_1", "evt_10", "evt_2", "evt_A", "evt_AA", "evt_B", "evt_Z", "evt_a", "evt_aa", "evt_z", "evt_zz",
	};
	uint64_t	seed = mb_test_seed();

	(void) state;
	for (int set = 0; set < 20000; set++)
	{
		MbTestRandom random = mb_test_random(seed, set);
		MbEvent		events[MAX_EVENTS];
		const MbEvent *order[2 * MAX_EVENTS];
		MbSubscription expected;
		int			n = 1 + mb_test_below(&random, MAX_EVENTS);

		for (int i = 0; i < n; i++)
		{
			events[i] = random_event(&random, ids[i]);
			order[i] = &events[i];
		}
		mb_test_shuffle(&random, order, n);
		expected = mb_test_run(order, n);
		expect_model(&expected, events, n);

		for (int i = 0; i < 4; i++)
		{
			MbSubscription got;
			int			twice = mb_test_below(&random, n + 1);

			for (int j = 0; j < n; j++)
				order[j] = &events[j];
			for (int j = 0; j < twice; j++)
				order[n + j] = &events[mb_test_below(&random, n)];
			mb_test_shuffle(&random, order, n + twice);
			got = mb_test_run(order, n + twice);
			mb_test_expect_same(&got, &expected, order, n + twice);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sets_converge),
	};

	return cmocka_run_group_tests_name("random sets", tests, NULL, NULL);
}
