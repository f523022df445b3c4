/*
 * subscription.c
 *	  From (what is known, one event) to what is known then.  Pure.
 */
#include "chain.h"
#include "subscription.h"

/*
 * The registers that an event of the subscription itself sets, or its
 * checkout; the failure's is set by invoices only.  The state's decides first.
 */
typedef enum Register
{
	REG_STATE,
	REG_TIER,
	REG_PERIOD,
	REG_LIVE,
	REG_FELL,
	NUM_REGISTERS,
	LIVE_OR_FELL = NUM_REGISTERS	/* which of the two came last, when they
									 * are of one second */
} Register;

static MbText event_status(const MbEvent *event);
static MbMark *register_mark(MbSubscription *subscription, Register reg);
static bool sets(const MbEvent *event, Register reg);
static MbMark event_mark(const MbEvent *event, Register reg);
static int	key_cmp(const MbMark *a, const MbMark *b);
static int	mark_cmp(const MbMark *a, const MbMark *b);
static MbOutcome apply_state(MbSubscription *subscription, const MbEvent *event, const MbEvent *const *peers, int npeers,
							 const MbPlans *plans, bool *by_id, bool *changed);
static const MbEvent *winner(MbSubscription *subscription, Register reg,
							 const MbEvent *const *peers, int npeers, bool *by_id);
static const MbEvent *last_on_trail(const MbEvent **events, int n, Register reg);
static bool is_complete(const MbSubscription *subscription, MbTime created, const MbEvent *const *peers, int npeers);
static bool is_tied(const MbSubscription *subscription, MbText event_id);
static bool put(MbSubscription *subscription, Register reg, const MbEvent *event, const MbPlans *plans);
static MbOutcome apply_failure(MbSubscription *subscription, const MbEvent *event, bool *changed);
static bool is_live(MbText status);
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
		.link_created = MB_NO_TIME,
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

bool
mb_subscription_has_tie(const MbSubscription *subscription, const MbEvent *event)
{
	if (event->kind == MB_EVENT_PAYMENT_FAILED)
		return false;
	if (subscription->nties > 0)
		return true;
	for (int reg = 0; reg < NUM_REGISTERS; reg++)
	{
		const MbMark *stored = register_mark((MbSubscription *) subscription, reg);
		MbMark		mark = event_mark(event, reg);

		if (key_cmp(&mark, stored) == 0 && !mb_text_eq(event->id, stored->event_id))
			return true;
	}
	return false;
}

bool
mb_subscription_refers_to(const MbSubscription *subscription, MbTime created)
{
	for (int reg = 0; reg < NUM_REGISTERS; reg++)
		if (register_mark((MbSubscription *) subscription, reg)->created == created)
			return true;
	return false;
}

MbDecision
mb_subscription_apply(MbSubscription *subscription, const MbEvent *event,
					  const MbEvent *const *peers, int npeers, const MbPlans *plans)
{
	bool		failed_before = mb_subscription_payment_failed(subscription);
	MbTime		paid_before = subscription->paid_through;
	bool		by_id = false;
	MbDecision	decision = {.outcome = MB_OUTCOME_UNCHANGED};

	/* Stripe never moves a subscription to another customer. */
	if (subscription->customer_id.data == NULL && event->customer_id.data != NULL)
	{
		subscription->customer_id = event->customer_id;
		decision.changed = true;
	}

	if (event->kind == MB_EVENT_PAYMENT_FAILED)
		decision.outcome = apply_failure(subscription, event, &decision.changed);
	else if (sets(event, REG_STATE))
		decision.outcome = apply_state(subscription, event, peers, npeers, plans, &by_id, &decision.changed);
	subscription->paid_through = paid_through(subscription);

	/* A recovery may say nothing new but that the failure is over. */
	if (decision.outcome == MB_OUTCOME_UNCHANGED &&
		(failed_before != mb_subscription_payment_failed(subscription) || paid_before != subscription->paid_through))
		decision.outcome = MB_OUTCOME_APPLIED;

	if (event->kind == MB_EVENT_SUBSCRIPTION && event->tier == MB_NO_TIER && event->price_id.data != NULL)
		decision.reason = "unknown_price";
	else if (event->kind == MB_EVENT_SUBSCRIPTION && mb_status_class(event->status) == MB_CLASS_UNKNOWN)
		decision.reason = "unknown_status";
	else if (by_id)
		decision.reason = "tie_by_id";
	else if (decision.outcome == MB_OUTCOME_STALE)
		decision.reason = "older_than_state";
	return decision;
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

/* A checkout promises that the subscription is active. */
static MbText
event_status(const MbEvent *event)
{
	return event->kind == MB_EVENT_CHECKOUT ? MB_TEXT_LITERAL("active") : event->status;
}

static MbMark *
register_mark(MbSubscription *subscription, Register reg)
{
	switch (reg)
	{
		case REG_STATE:
			return &subscription->state;
		case REG_TIER:
			return &subscription->tier_mark;
		case REG_PERIOD:
			return &subscription->period;
		case REG_FELL:
			return &subscription->fell;
		default:
			return &subscription->live;
	}
}

/* Does the event say anything of the register? */
static bool
sets(const MbEvent *event, Register reg)
{
	bool		has_period = event->period_start != MB_NO_TIME;

	if (event->kind == MB_EVENT_PAYMENT_FAILED)
		return false;
	switch (reg)
	{
		case REG_STATE:
			/* a checkout that promises no plan only links */
			return event->kind != MB_EVENT_CHECKOUT || event->tier != MB_NO_TIER;
		case REG_TIER:
			return event->tier != MB_NO_TIER;
		case REG_PERIOD:
			/* an app's row may well have no start */
			return has_period || (event->kind == MB_EVENT_ADOPTED && event->period_end != MB_NO_TIME);
		case REG_LIVE:
			return has_period && event->kind == MB_EVENT_SUBSCRIPTION && is_live(event->status);
		case REG_FELL:
			/* a pause (R17) says nothing of payment: its period was given */
			return has_period && event->kind == MB_EVENT_SUBSCRIPTION && !is_live(event->status) &&
				is_live(event->previous_status) && !mb_text_is(event->status, "paused");
		default:
			return sets(event, REG_LIVE) || sets(event, REG_FELL);
	}
}

/*
 * What was paid for has marks without a class: an event that comes too late
 * for the state can still be the newest that tells of it (R14).
 */
static MbMark
event_mark(const MbEvent *event, Register reg)
{
	MbStateClass class = MB_CLASS_PROVISIONAL;

	if (event->kind == MB_EVENT_SUBSCRIPTION)
		class = mb_status_class(event->status);
	else if (event->kind == MB_EVENT_ADOPTED)
		class = MB_CLASS_INCOMPLETE;	/* yields to all that gives access */
	return (MbMark)
	{
		.created = event->created,
		.rank = (reg >= REG_LIVE ? 0 : class * 4) + event->order,
		.event_id = event->id,
	};
}

/* By all but the event's id. */
static int
key_cmp(const MbMark *a, const MbMark *b)
{
	int			class_a = a->rank >> 2;
	int			class_b = b->rank >> 2;

	if (a->created == MB_NO_TIME || b->created == MB_NO_TIME)
		return (a->created != MB_NO_TIME) - (b->created != MB_NO_TIME);
	if (class_a != class_b)
		return class_a > class_b ? 1 : -1;
	if (a->created != b->created)
		return a->created > b->created ? 1 : -1;
	return (a->rank > b->rank) - (a->rank < b->rank);
}

static int
mark_cmp(const MbMark *a, const MbMark *b)
{
	int			cmp = key_cmp(a, b);

	return cmp != 0 ? cmp : mb_text_cmp(a->event_id, b->event_id);
}

/* An event of the subscription itself, or the promise of its checkout. */
static MbOutcome
apply_state(MbSubscription *subscription, const MbEvent *event, const MbEvent *const *peers, int npeers,
			const MbPlans *plans, bool *by_id, bool *changed)
{
	MbMark		mark = event_mark(event, REG_STATE);
	int			state_cmp = key_cmp(&mark, &subscription->state);
	bool		again = state_cmp == 0 && mb_text_eq(event->id, subscription->state.event_id);
	MbTime		fell_before = subscription->fell_period_start;
	bool		news = false;

	if (npeers == 0)
	{
		peers = &event;
		npeers = 1;
	}
	for (int reg = 0; reg < NUM_REGISTERS; reg++)
	{
		MbMark	   *stored = register_mark(subscription, reg);
		MbMark		key = event_mark(event, reg);
		int			cmp = key_cmp(&key, stored);
		const MbEvent *set = NULL;
		bool		other = false;
		bool		differs;

		if (cmp > 0 && sets(event, reg) && !(reg == REG_FELL && key_cmp(&key, &subscription->live) < 0))
			set = event;
		else if (cmp == 0 || npeers > 1)
			set = winner(subscription, reg, peers, npeers, cmp == 0 ? by_id : &other);
		if (set == NULL)
			continue;
		differs = put(subscription, reg, set, plans);
		news |= differs && reg < REG_LIVE;
		*changed |= (differs && reg != REG_FELL) || !mb_text_eq(set->id, stored->event_id);
		*stored = event_mark(set, reg);
	}

	/* a fall matters until it is seen live later */
	if (subscription->fell.created != MB_NO_TIME && key_cmp(&subscription->live, &subscription->fell) > 0)
	{
		subscription->fell = (MbMark)
		{
			.created = MB_NO_TIME
		};
		subscription->fell_period_start = MB_NO_TIME;
		*changed = true;
	}
	else if (subscription->live.created != MB_NO_TIME && key_cmp(&subscription->live, &subscription->fell) == 0)
	{
		bool		other = false;
		const MbEvent *last = winner(subscription, LIVE_OR_FELL, peers, npeers, &other);

		/* it fell and recovered: then nothing is unpaid */
		if (last != NULL ? sets(last, REG_LIVE) : fell_before == MB_NO_TIME)
			subscription->fell_period_start = MB_NO_TIME;
	}
	*changed |= subscription->fell_period_start != fell_before;

	if (state_cmp < 0)
		return MB_OUTCOME_STALE;
	if (news)
		return MB_OUTCOME_APPLIED;
	if (again)
		return MB_OUTCOME_DUPLICATE;
	return mb_text_eq(subscription->state.event_id, event->id) ? MB_OUTCOME_UNCHANGED : MB_OUTCOME_STALE;
}

/*
 * Which of the events of one second sets a register: the last of their trail,
 * or else the one with the greatest id (R21).  They are looked at together:
 * comparing them two by two would not be transitive.  But the event that made
 * the state speaks for all registers of its second, so that they agree; when
 * the state moves on, it does so no longer.  NULL if the winner is the one that
 * is stored, and it is not known any more.
 */
static const MbEvent *
winner(MbSubscription *subscription, Register reg,
	   const MbEvent *const *peers, int npeers, bool *by_id)
{
	const MbMark *mark = register_mark(subscription, reg);
	const MbEvent *steps[MB_MAX_CHAIN];
	const MbEvent *candidates[MB_MAX_CHAIN];
	const MbEvent *last = NULL;
	const MbEvent *greatest = NULL;
	bool		complete = is_complete(subscription, mark->created, peers, npeers);
	bool		known = false;
	int			nsteps = 0;
	int			n = 0;

	for (int i = 0; i < npeers; i++)
	{
		MbMark		key = event_mark(peers[i], reg);
		bool		stored = mb_text_eq(peers[i]->id, mark->event_id);

		if (reg >= REG_LIVE && peers[i]->kind == MB_EVENT_SUBSCRIPTION && key_cmp(&key, mark) == 0)
		{
			if (nsteps < MB_MAX_CHAIN)
				steps[nsteps] = peers[i];
			nsteps++;
		}
		if (!sets(peers[i], reg) || key_cmp(&key, mark) != 0)
			continue;
		if (reg != REG_STATE && mb_text_eq(peers[i]->id, subscription->state.event_id))
			return peers[i];

		/* what was decided with all of them is not decided anew with fewer */
		if (!complete && !stored && is_tied(subscription, peers[i]->id))
			continue;
		if (n < MB_MAX_CHAIN)
			candidates[n] = peers[i];
		n++;
		known |= stored;
		if (greatest == NULL || mb_text_cmp(peers[i]->id, greatest->id) > 0)
			greatest = peers[i];
	}
	if (!known && reg != REG_STATE && mb_text_eq(mark->event_id, subscription->state.event_id))
		return NULL;

	/* what was paid for may be told between steps that say nothing of it */
	if (known && complete && nsteps <= MB_MAX_CHAIN)
		last = last_on_trail(steps, nsteps, reg);
	if (last == NULL && known && n <= MB_MAX_CHAIN)
		last = last_on_trail(candidates, n, reg);
	if (last != NULL || greatest == NULL)
		return last;
	*by_id = true;
	return known || mb_text_cmp(greatest->id, mark->event_id) > 0 ? greatest : NULL;
}

/*
 * The last event of a trail that sets a register; of several that show the
 * same, the greatest id.  NULL if there is no trail.
 */
static const MbEvent *
last_on_trail(const MbEvent **events, int n, Register reg)
{
	MbChain		chain = mb_chain_order(events, n);
	const MbEvent *last = NULL;

	/* Stripe may tell one change twice (R23) */
	if (chain == MB_CHAIN_NONE)
	{
		n = mb_chain_leave_out_doubles(events, n);
		chain = mb_chain_order(events, n);
	}
	if (chain != MB_CHAIN_TRAIL)
		return NULL;
	for (int i = n - 1; i >= 0 && last == NULL; i--)
		if (sets(events[i], reg))
			last = events[i];
	for (int i = 0; i < n; i++)
		if (sets(events[i], reg) && mb_chain_same_state(events[i], last) && mb_text_cmp(events[i]->id, last->id) > 0)
			last = events[i];
	return last;
}

/* Are all the events of a second that are remembered among the peers? */
static bool
is_complete(const MbSubscription *subscription, MbTime created, const MbEvent *const *peers, int npeers)
{
	for (int t = 0; t < subscription->nties; t++)
	{
		bool		found = subscription->ties[t].created != created;

		for (int i = 0; !found && i < npeers; i++)
			found = mb_text_eq(subscription->ties[t].event_id, peers[i]->id);
		if (!found)
			return false;
	}
	return true;
}

static bool
is_tied(const MbSubscription *subscription, MbText event_id)
{
	for (int i = 0; i < subscription->nties; i++)
		if (mb_text_eq(subscription->ties[i].event_id, event_id))
			return true;
	return false;
}

/* Let an event set a register; true if that changes what the register says. */
static bool
put(MbSubscription *subscription, Register reg, const MbEvent *event, const MbPlans *plans)
{
	bool		news;
	MbText		text;

	switch (reg)
	{
		case REG_STATE:
			text = event_status(event);
			news = !mb_text_eq(subscription->status, text) ||
				subscription->cancel_at != event->cancel_at ||
				subscription->cancel_at_period_end != event->cancel_at_period_end ||
				subscription->ended_at != event->ended_at ||
				subscription->livemode != event->livemode ||
				!mb_text_eq(subscription->cancellation_reason, event->cancellation_reason) ||
				!mb_text_eq(subscription->price_id, event->price_id);
			subscription->status = text;
			subscription->price_id = event->price_id;
			subscription->cancel_at = event->cancel_at;
			subscription->cancel_at_period_end = event->cancel_at_period_end;
			subscription->ended_at = event->ended_at;
			subscription->cancellation_reason = event->cancellation_reason;
			subscription->livemode = event->livemode;
			return news;
		case REG_TIER:
			text = plans->tiers[event->tier].name;
			news = !mb_text_eq(subscription->tier, text);
			subscription->tier = text;
			return news;
		case REG_PERIOD:
			news = subscription->period_start != event->period_start || subscription->period_end != event->period_end;
			subscription->period_start = event->period_start;
			subscription->period_end = event->period_end;
			return news;
		case REG_LIVE:
			news = subscription->live_period_end != event->period_end;
			subscription->live_period_end = event->period_end;
			return news;
		default:
			news = subscription->fell_period_start != event->period_start;
			subscription->fell_period_start = event->period_start;
			return news;
	}
}

/* A failed renewal is a mark beside the state; the row is a function of both. */
static MbOutcome
apply_failure(MbSubscription *subscription, const MbEvent *event, bool *changed)
{
	MbMark		mark = event_mark(event, REG_LIVE);
	int			cmp = mark_cmp(&mark, &subscription->failed);

	if (cmp < 0)
		return MB_OUTCOME_STALE;
	if (cmp == 0 && subscription->failed_period_start == event->period_start &&
		subscription->failed_period_end == event->period_end)
		return MB_OUTCOME_DUPLICATE;
	subscription->failed_period_start = event->period_start;
	subscription->failed_period_end = event->period_end;
	subscription->failed = mark;
	*changed = true;
	if (mb_subscription_payment_failed(subscription))
		return MB_OUTCOME_APPLIED;
	return mark.created < subscription->state.created ? MB_OUTCOME_STALE : MB_OUTCOME_UNCHANGED;
}

static bool
is_live(MbText status)
{
	return mb_text_is(status, "active") || mb_text_is(status, "trialing");
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
		if (key_cmp(&subscription->fell, &subscription->live) >= 0)
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
