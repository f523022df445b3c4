/*
 * subscription.h
 *	  What we know of one Stripe subscription: a join of registers.  Pure.
 *
 * Each register carries the mark of the event that set it.  An event sets a
 * register if its mark is greater; therefore the registers are a function of
 * the set of events, whatever the order, repetition or timing of arrival.
 */
#ifndef MB_SUBSCRIPTION_H
#define MB_SUBSCRIPTION_H

#include "event.h"

/*
 * Classes of states, the first part of the ordering key.  Whatever the times:
 * a terminal state is never left (R15), a state that a checkout only promised
 * yields to any event of the subscription itself, and "incomplete", always a
 * subscription's first state, to any other (R13).  A status that we do not
 * know yields to all that we do.
 */
typedef enum MbStateClass
{
	MB_CLASS_UNKNOWN = 0,
	MB_CLASS_INCOMPLETE = 1,
	MB_CLASS_PROVISIONAL = 2,
	MB_CLASS_NORMAL = 3,
	MB_CLASS_TERMINAL = 4
} MbStateClass;

/*
 * The ordering key: class, then created, then order of types, then event id.
 * The rank is class * 4 + order; marks of registers that are only about time
 * (live, fell, failed) have class 0.  created is MB_NO_TIME in a register
 * that was never set, which is less than any other mark.
 */
typedef struct MbMark
{
	MbTime		created;
	int			rank;
	MbText		event_id;
} MbMark;

/* One of several events of one second that nothing but its id tells apart. */
typedef struct MbTie
{
	MbText		event_id;
	MbTime		created;
} MbTie;

typedef struct MbSubscription
{
	MbText		subscription_id;
	MbText		customer_id;
	MbText		user_id;
	bool		weak_link;		/* whose user only a client_reference_id
								 * claims */
	MbTime		link_created;	/* when the user's link was made, or later */

	MbText		status;			/* Stripe's, verbatim; no text: not known yet */
	MbText		price_id;
	MbTime		cancel_at;
	bool		cancel_at_period_end;
	MbTime		ended_at;
	MbText		cancellation_reason;
	bool		livemode;
	MbMark		state;

	MbText		tier;			/* survives an event with an unknown price */
	MbMark		tier_mark;

	MbTime		period_start;	/* survives an event without a period (R4) */
	MbTime		period_end;
	MbMark		period;

	MbTime		live_period_end;	/* newest period while active or trialing */
	MbMark		live;

	MbTime		fell_period_start;	/* period in which that ended */
	MbMark		fell;

	MbTime		failed_period_start;	/* period whose charge failed */
	MbTime		failed_period_end;
	MbMark		failed;

	MbTime		paid_through;	/* derived from the registers */

	/* events whose order among themselves decided a register above */
	const MbTie *ties;
	int			nties;
} MbSubscription;

typedef enum MbOutcome
{
	MB_OUTCOME_APPLIED,
	MB_OUTCOME_UNCHANGED,		/* newer, but says nothing new */
	MB_OUTCOME_STALE,			/* older than what is known */
	MB_OUTCOME_DUPLICATE,		/* this very event was applied before */
	MB_OUTCOME_IGNORED,
	MB_OUTCOME_WAITING			/* the user is not known yet */
} MbOutcome;

/* A subscription of which nothing is known but its id. */
extern void mb_subscription_init(MbSubscription *subscription, MbText subscription_id);

/* What an event did to its subscription. */
typedef struct MbDecision
{
	MbOutcome	outcome;		/* APPLIED, UNCHANGED, STALE or DUPLICATE */
	const char *reason;			/* static text, or NULL */
	bool		changed;		/* content or a mark: the row is to be written */
} MbDecision;

/*
 * Are there events of one second whose order among themselves matters?  Then
 * they have to be known to mb_subscription_apply().
 */
extern bool mb_subscription_has_tie(const MbSubscription *subscription, const MbEvent *event);

/* Did an event of this time set any register, as far as ties go? */
extern bool mb_subscription_refers_to(const MbSubscription *subscription, MbTime created);

/*
 * Apply an event of this subscription.  Borrows the texts of all events.  With
 * a tie, "peers" are the events in "ties", those that hold a register of the
 * event's second, and the event itself, as far as they are known, with their
 * "before" read; else none are needed.
 * An event that was applied already is applied again, so that what the plans
 * make of it now replaces what they made of it then.
 */
extern MbDecision mb_subscription_apply(MbSubscription *subscription, const MbEvent *event,
										const MbEvent *const *peers, int npeers, const MbPlans *plans);

/* Is the renewal's payment known to have failed, though the state is active? */
extern bool mb_subscription_payment_failed(const MbSubscription *subscription);

/* The class of one of Stripe's statuses (R12). */
extern MbStateClass mb_status_class(MbText status);

/* The class of the subscription's state; meaningless without a status. */
extern MbStateClass mb_subscription_class(const MbSubscription *subscription);

#endif							/* MB_SUBSCRIPTION_H */
