/*
 * subscription_history.h
 *	  A subscription and what a caller of mb_subscription_apply() keeps beside
 *	  it: the ties, and the events that can still be asked for.
 */
#ifndef MB_SUBSCRIPTION_HISTORY_H
#define MB_SUBSCRIPTION_HISTORY_H

#include "plans_fixture.h"
#include "remember.h"

#define MB_TEST_MAX_HISTORY 128

typedef struct MbTestHistory
{
	MbSubscription subscription;
	const MbEvent *events[MB_TEST_MAX_HISTORY]; /* each once */
	int			nevents;
	MbTie		ties[2][2 * MB_TEST_MAX_HISTORY];	/* in turns */
} MbTestHistory;

static inline void
mb_test_begin(MbTestHistory *history, MbText subscription_id)
{
	mb_subscription_init(&history->subscription, subscription_id);
	history->nevents = 0;
}

static inline bool
mb_test_remembers(const MbTestHistory *history, const MbEvent *event)
{
	for (int i = 0; i < history->nevents; i++)
		if (history->events[i] == event)
			return true;
	return false;
}

/* As when its payload is gone: it is no peer any more. */
static inline void
mb_test_forget(MbTestHistory *history, const MbEvent *event)
{
	int			kept = 0;

	for (int i = 0; i < history->nevents; i++)
		if (history->events[i] != event)
			history->events[kept++] = history->events[i];
	history->nevents = kept;
}

/* Is it one of the peers that subscription.h asks for with "event"? */
static inline bool
mb_test_is_peer(const MbSubscription *subscription, const MbEvent *event, const MbEvent *other)
{
	const MbMark *marks[] = {
		&subscription->state, &subscription->tier_mark, &subscription->period, &subscription->live, &subscription->fell,
	};

	for (int i = 0; i < subscription->nties; i++)
		if (mb_text_eq(subscription->ties[i].event_id, other->id))
			return true;
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (mb_text_eq(marks[i]->event_id, other->id))
			return true;
	return other == event;
}

/* Apply an event with the peers that it needs, and no other. */
static inline MbDecision
mb_test_apply(MbTestHistory *history, const MbEvent *event)
{
	const MbEvent *peers[MB_TEST_MAX_HISTORY];
	MbSubscription before = history->subscription;
	MbTie	   *ties = history->ties[before.ties == history->ties[0]];
	int			npeers = 0;
	MbDecision	decision;

	if (!mb_test_remembers(history, event))
		history->events[history->nevents++] = event;
	if (mb_subscription_has_tie(&history->subscription, event))
		for (int i = 0; i < history->nevents; i++)
			if (mb_test_is_peer(&history->subscription, event, history->events[i]))
				peers[npeers++] = history->events[i];
	decision = mb_subscription_apply(&history->subscription, event, peers, npeers, mb_test_plans());
	if (event->kind != MB_EVENT_PAYMENT_FAILED)
	{
		history->subscription.nties = mb_remember_ties(&before, &history->subscription, event, peers, npeers, ties);
		history->subscription.ties = ties;
	}
	return decision;
}

static inline bool
mb_test_mark_eq(MbMark a, MbMark b)
{
	return a.created == b.created && a.rank == b.rank && mb_text_eq(a.event_id, b.event_id);
}

/* The name of a field in which two subscriptions differ, or NULL. */
static inline const char *
mb_test_difference(const MbSubscription *a, const MbSubscription *b)
{
#define TEXT_FIELD(field) if (!mb_text_eq(a->field, b->field)) return #field
#define FIELD(field) if (a->field != b->field) return #field
#define MARK_FIELD(field) if (!mb_test_mark_eq(a->field, b->field)) return #field
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

#endif							/* MB_SUBSCRIPTION_HISTORY_H */
