/*
 * apply.h
 *	  Apply a batch of events: read and lock what they are about, decide in
 *	  memory, write set-wise.
 */
#ifndef MB_APPLY_H
#define MB_APPLY_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "entitlement.h"

typedef struct MbApplyEvent
{
	MbEvent		event;
	Jsonb	   *payload;		/* as read by mb_apply_read(), or NULL */

	/* results; texts in the SPI connection's memory or static */
	MbOutcome	outcome;
	MbText		reason;			/* no text: nothing to say */
	bool		conflict;		/* of links: for a person to settle */
	bool		busy;			/* set by mb_busy_find(): left out */
	MbText		user_id;
	MbText		waiting_for;	/* MB_OUTCOME_WAITING: the customer, or else
								 * the subscription */
	MbText		error;			/* MB_OUTCOME_WAITING: the app's table refused */
	const MbUserRow *row;		/* the user's row after the batch, if any */

	/* private to the batch */
	int			subscription;	/* -1: none, or the event is left out */
	int			customer;
	bool		linked;			/* its link changed its customer */
	int			previous_event; /* of its subscription, in the batch */
} MbApplyEvent;

/*
 * Read an event, with users spelt as the app's table spells them; an id that
 * its user column's type refuses is nobody's.  Borrows the payload's memory.
 * May raise what makes the table unusable.
 */
extern void mb_apply_read(Jsonb *payload, const MbPlans *plans, MbApplyEvent *event);

/*
 * Apply events in the current transaction, Stripe's or, of the kinds
 * MB_EVENT_ADOPTED and MB_EVENT_LINKED, what others say.  Needs an SPI connection, whose
 * memory the results live in; "events" are read already, busy ones are left
 * out.  The outcomes do not
 * depend on how events are cut into batches, nor on their order.
 *
 * With "guarded", the app's table is written in a subtransaction, and an
 * error there (a violated constraint, an app's trigger) makes the events
 * wait, with the error; else it is raised.
 *
 * "can_retry" says that a serialization failure costs the caller nothing but
 * another try; then a little is taken for granted that is true as a rule.
 *
 * "careful" says that the caller has locked rows already: what is locked
 * before rows is not waited for then, and is a lock failure at once.
 *
 * May raise: whatever the app's table raises; lock, deadlock and
 * serialization failures, after which trying again is right.
 */
extern void mb_apply_events(MbApplyEvent *events, int nevents, bool guarded, bool can_retry, bool careful);

/* Is it worth trying again at once, or soon, because only a lock was in the way? */
extern bool mb_apply_is_conflict(int sqlerrcode);

extern const char *mb_outcome_label(MbOutcome outcome);

#endif							/* MB_APPLY_H */
