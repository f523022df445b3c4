/*
 * subscription.c
 *	  From (what is known, one event) to what is known then.  Pure.
 */
#include "subscription.h"

static bool is_live(MbText status);
static MbMark event_mark(const MbEvent *event, MbStateClass class);
static int	mark_cmp(const MbMark *a, const MbMark *b);
static MbOutcome apply_state(MbSubscription *subscription, const MbEvent *event, const MbPlans *plans, bool *changed);
static bool set_tier(MbSubscription *subscription, const MbEvent *event, const MbPlans *plans, MbMark mark, bool *changed);
static bool set_period(MbSubscription *subscription, const MbEvent *event, MbMark mark, bool *changed);
static MbOutcome apply_failure(MbSubscription *subscription, const MbEvent *event, bool *changed);
static MbTime paid_through(const MbSubscription *subscription);
static bool failure_counts(const MbSubscription *subscription);
static MbTime earlier(MbTime a, MbTime b);

void
mb_subscription_init(MbSubscription *subscription, MbText subscription_id)
{
	const MbMark no_mark = {.created = MB_NO_TIME};

	*subscription = (MbSubscription)
	{
		.subscription_id = subscription_id,
		.cancel_at = MB_NO_TIME,
		.ended_at = MB_NO_TIME,
		.state = no_mark,
		.tier_mark = no_mark,
		.period_start = MB_NO_TIME,
		.period_end = MB_NO_TIME,
		.period = no_mark,
		.live_period_end = MB_NO_TIME,
		.live = no_mark,
		.fell_period_start = MB_NO_TIME,
		.fell = no_mark,
		.failed_period_start = MB_NO_TIME,
		.failed_period_end = MB_NO_TIME,
		.failed = no_mark,
		.paid_through = MB_NO_TIME,
	};
}

MbOutcome
mb_subscription_apply(MbSubscription *subscription, const MbEvent *event, const MbPlans *plans, bool *changed)
{
	bool		failed_before = mb_subscription_payment_failed(subscription);
	MbTime		paid_before = subscription->paid_through;
	MbOutcome	outcome;

	/* Stripe never moves a subscription to another customer. */
	if (subscription->customer_id.data == NULL && event->customer_id.data != NULL)
	{
		subscription->customer_id = event->customer_id;
		*changed = true;
	}

	if (event->kind == MB_EVENT_PAYMENT_FAILED)
		outcome = apply_failure(subscription, event, changed);
	else
		outcome = apply_state(subscription, event, plans, changed);
	subscription->paid_through = paid_through(subscription);

	/* A recovery may say nothing new but that the failure is over. */
	if (outcome == MB_OUTCOME_UNCHANGED &&
		(failed_before != mb_subscription_payment_failed(subscription) || paid_before != subscription->paid_through))
		outcome = MB_OUTCOME_APPLIED;
	return outcome;
}

bool
mb_subscription_payment_failed(const MbSubscription *subscription)
{
	return mb_text_is(subscription->status, "active") &&
		mb_subscription_class(subscription) == MB_CLASS_NORMAL &&
		subscription->failed.created != MB_NO_TIME &&
		subscription->failed.created >= subscription->state.created;
}

MbStateClass
mb_subscription_class(const MbSubscription *subscription)
{
	return (MbStateClass) (subscription->state.rank >> 2);
}

MbStateClass
mb_status_class(MbText status)
{
	static const struct
	{
		const char *status;
		MbStateClass class;
	}			classes[] =
	{
		{"active", MB_CLASS_NORMAL},
		{"trialing", MB_CLASS_NORMAL},
		{"past_due", MB_CLASS_NORMAL},
		{"unpaid", MB_CLASS_NORMAL},
		{"paused", MB_CLASS_NORMAL},
		{"canceled", MB_CLASS_TERMINAL},
		{"incomplete_expired", MB_CLASS_TERMINAL},
		{"incomplete", MB_CLASS_INCOMPLETE},
	};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (mb_text_is(status, classes[i].status))
			return classes[i].class;
	return MB_CLASS_UNKNOWN;
}

static bool
is_live(MbText status)
{
	return mb_text_is(status, "active") || mb_text_is(status, "trialing");
}

static MbMark
event_mark(const MbEvent *event, MbStateClass class)
{
	return (MbMark)
	{
		.created = event->created,
		.rank = class * 4 + event->order,
		.event_id = event->id,
	};
}

static int
mark_cmp(const MbMark *a, const MbMark *b)
{
	int			class_a = a->rank >> 2;
	int			class_b = b->rank >> 2;

	if (a->created == MB_NO_TIME || b->created == MB_NO_TIME)
		return (a->created != MB_NO_TIME) - (b->created != MB_NO_TIME);
	if (class_a != class_b)
		return class_a > class_b ? 1 : -1;
	if (a->created != b->created)
		return a->created > b->created ? 1 : -1;
	if (a->rank != b->rank)
		return a->rank > b->rank ? 1 : -1;
	return mb_text_cmp(a->event_id, b->event_id);
}

/* An event of the subscription itself, or the promise of its checkout. */
static MbOutcome
apply_state(MbSubscription *subscription, const MbEvent *event, const MbPlans *plans, bool *changed)
{
	bool		promise = event->kind == MB_EVENT_CHECKOUT;
	MbText		status = promise ? MB_TEXT_LITERAL("active") : event->status;
	MbMark		mark = event_mark(event, promise ? MB_CLASS_PROVISIONAL : mb_status_class(status));
	MbMark		time = event_mark(event, 0);
	MbOutcome	outcome = MB_OUTCOME_STALE;
	bool		news = false;
	int			cmp;

	/* A checkout that promises no plan only links. */
	if (promise && event->tier == MB_NO_TIER)
		return MB_OUTCOME_UNCHANGED;

	news |= set_tier(subscription, event, plans, mark, changed);
	news |= set_period(subscription, event, mark, changed);

	/*
	 * What was paid for has marks of its own: an event that comes too late
	 * for the state can still be the newest that tells of it (R14).
	 */
	if (!promise && event->period_start != MB_NO_TIME)
	{
		if (is_live(status) && mark_cmp(&time, &subscription->live) > 0)
		{
			subscription->live_period_end = event->period_end;
			subscription->live = time;
			*changed = true;
		}
		if (!is_live(status) && is_live(event->previous_status) && mark_cmp(&time, &subscription->fell) > 0)
		{
			subscription->fell_period_start = event->period_start;
			subscription->fell = time;
			*changed = true;
		}
	}

	cmp = mark_cmp(&mark, &subscription->state);
	if (cmp == 0)
		return MB_OUTCOME_DUPLICATE;
	if (cmp > 0)
	{
		news |= !mb_text_eq(subscription->status, status) ||
			subscription->cancel_at != event->cancel_at ||
			subscription->cancel_at_period_end != event->cancel_at_period_end ||
			subscription->ended_at != event->ended_at ||
			!mb_text_eq(subscription->price_id, event->price_id);
		subscription->status = status;
		subscription->price_id = event->price_id;
		subscription->cancel_at = event->cancel_at;
		subscription->cancel_at_period_end = event->cancel_at_period_end;
		subscription->ended_at = event->ended_at;
		subscription->cancellation_reason = event->cancellation_reason;
		subscription->livemode = event->livemode;
		subscription->state = mark;
		*changed = true;
		outcome = news ? MB_OUTCOME_APPLIED : MB_OUTCOME_UNCHANGED;
	}
	return outcome;
}

static bool
set_tier(MbSubscription *subscription, const MbEvent *event, const MbPlans *plans, MbMark mark, bool *changed)
{
	MbText		tier;
	bool		news;

	if (event->tier == MB_NO_TIER || mark_cmp(&mark, &subscription->tier_mark) <= 0)
		return false;
	tier = plans->tiers[event->tier].name;
	news = !mb_text_eq(tier, subscription->tier);
	subscription->tier = tier;
	subscription->tier_mark = mark;
	*changed = true;
	return news;
}

static bool
set_period(MbSubscription *subscription, const MbEvent *event, MbMark mark, bool *changed)
{
	bool		news;

	if (event->period_start == MB_NO_TIME || mark_cmp(&mark, &subscription->period) <= 0)
		return false;
	news = subscription->period_start != event->period_start || subscription->period_end != event->period_end;
	subscription->period_start = event->period_start;
	subscription->period_end = event->period_end;
	subscription->period = mark;
	*changed = true;
	return news;
}

/* A failed renewal is a mark beside the state; the row is a function of both. */
static MbOutcome
apply_failure(MbSubscription *subscription, const MbEvent *event, bool *changed)
{
	MbMark		mark = event_mark(event, 0);
	int			cmp = mark_cmp(&mark, &subscription->failed);

	if (cmp == 0)
		return MB_OUTCOME_DUPLICATE;
	if (cmp < 0)
		return MB_OUTCOME_STALE;
	subscription->failed_period_start = event->period_start;
	subscription->failed_period_end = event->period_end;
	subscription->failed = mark;
	*changed = true;
	if (mb_subscription_payment_failed(subscription))
		return MB_OUTCOME_APPLIED;
	return mark.created < subscription->state.created ? MB_OUTCOME_STALE : MB_OUTCOME_UNCHANGED;
}

/*
 * The end of the last period that was paid for.  At renewal Stripe shows the
 * new period while still "active", an hour before it charges (R14); so a
 * period seen live counts only until the subscription is seen to fall, or
 * its payment to fail, and then no further than the start of that period.
 */
static MbTime
paid_through(const MbSubscription *subscription)
{
	MbTime		end;

	if (subscription->live.created != MB_NO_TIME)
	{
		end = subscription->live_period_end;
		if (mark_cmp(&subscription->fell, &subscription->live) > 0)
			end = earlier(end, subscription->fell_period_start);
		if (failure_counts(subscription))
			end = earlier(end, subscription->failed_period_start);
	}
	else if (mb_text_is(subscription->status, "unpaid") ||
			 mb_text_is(subscription->cancellation_reason, "payment_failed"))
		end = subscription->period_start;
	else
		end = subscription->period_end;

	if (mb_text_is(subscription->status, "canceled") &&
		mb_text_is(subscription->cancellation_reason, "payment_disputed"))
		end = earlier(end, subscription->ended_at);
	return end;
}

/*
 * Does the failure concern the period last seen live?  Not one that is older,
 * nor one that comes after the end (R31).
 */
static bool
failure_counts(const MbSubscription *subscription)
{
	MbTime		failed = subscription->failed.created;

	return failed != MB_NO_TIME && failed >= subscription->live.created &&
		(mb_subscription_class(subscription) != MB_CLASS_TERMINAL || failed <= subscription->state.created);
}

/* The earlier of two times, of which one may be missing. */
static MbTime
earlier(MbTime a, MbTime b)
{
	if (a == MB_NO_TIME || b == MB_NO_TIME)
		return a == MB_NO_TIME ? b : a;
	return a < b ? a : b;
}
