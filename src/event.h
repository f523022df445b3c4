/*
 * event.h
 *	  A Stripe event, read from any API version's shape into one struct.
 *
 * Pure.  The shape is decided by what is present, never by the version
 * string (R1-R11).
 */
#ifndef MB_EVENT_H
#define MB_EVENT_H

#include "json.h"
#include "plans.h"

/* Stripe's ids are text of up to 255 characters (R11); longer is no id. */
#define MB_MAX_ID 255

typedef enum MbEventKind
{
	MB_EVENT_IGNORED,			/* "reason" says why */
	MB_EVENT_SUBSCRIPTION,		/* customer.subscription.*, a whole object */
	MB_EVENT_CHECKOUT,			/* a completed, paid subscription checkout */
	MB_EVENT_PAYMENT_FAILED,	/* a renewal's automatic charge failed */
	MB_EVENT_CUSTOMER_DELETED,

	/* not Stripe's: what the app's row, or a person, says */
	MB_EVENT_ADOPTED,			/* a row that the app wrote itself */
	MB_EVENT_LINKED				/* a customer's user, set by hand */
} MbEventKind;

/* The order of types within one second (R21). */
typedef enum MbEventOrder
{
	MB_ORDER_CREATED = 0,		/* also checkout and invoice events */
	MB_ORDER_UPDATED = 1,
	MB_ORDER_DELETED = 2
} MbEventOrder;

/* Which events a database takes: setting momento_billing.livemode. */
typedef enum MbLivemode
{
	MB_LIVEMODE_ANY,
	MB_LIVEMODE_LIVE,
	MB_LIVEMODE_TEST
} MbLivemode;

typedef struct MbEvent
{
	MbEventKind kind;
	const char *reason;			/* MB_EVENT_IGNORED: why; static text */

	/* the envelope; id is MB_NO_TEXT where there is no usable one */
	MbText		id;
	MbText		type;
	MbText		api_version;
	MbTime		created;
	bool		livemode;
	bool		has_livemode;

	/* what it is about; MB_NO_TEXT and MB_NO_TIME where not said */
	MbEventOrder order;
	MbText		subscription_id;
	MbText		customer_id;
	MbText		user_id;		/* metadata.userId */
	MbText		client_reference_id;	/* checkout only */

	/* state; checkout: what its metadata promise, if anything */
	MbText		status;
	MbText		previous_status;	/* previous_attributes.status */
	MbText		price_id;
	int			tier;			/* of price_id; MB_NO_TIER: unknown price */
	MbTime		period_start;	/* the pair is there or it is not */
	MbTime		period_end;
	MbTime		cancel_at;
	bool		cancel_at_period_end;
	MbTime		ended_at;
	MbText		cancellation_reason;

	/* for events of one second */
	MbJson		object;			/* data.object */
	MbJson		previous;		/* data.previous_attributes */
	const struct MbEvent *before;	/* see mb_event_read_before(); NULL: the
									 * event does not say */
} MbEvent;

/*
 * Read the envelope only: id, type, api_version, created, livemode; kind
 * MB_EVENT_IGNORED.  Never fails; what is absent or of a wrong type is left
 * without a value.
 */
extern void mb_event_read_envelope(MbJson document, MbEvent *event);

/*
 * Read a whole event.  Never fails: what cannot be used is MB_EVENT_IGNORED
 * with a reason.  The event borrows the document's memory.
 */
extern void mb_event_read(MbJson document, const MbPlans *plans, MbLivemode livemode, MbEvent *event);

/*
 * Read the state that a subscription's event found: its object overlaid with
 * its previous_attributes, in "before"'s status, price, tier, period and
 * planned cancel.  False if the event does not say.
 */
extern bool mb_event_read_before(const MbEvent *event, const MbPlans *plans, MbEvent *before);

#endif							/* MB_EVENT_H */
