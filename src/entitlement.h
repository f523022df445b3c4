/*
 * entitlement.h
 *	  What a user's subscriptions give: the app's row, and access at a time.
 *
 * Pure.  The rules are those of the guide's section 3.3 for Stripe's eight
 * statuses.
 */
#ifndef MB_ENTITLEMENT_H
#define MB_ENTITLEMENT_H

#include "subscription.h"

/* Labels of the app's enum "SubscriptionStatus", in its order. */
typedef enum MbStatus
{
	MB_STATUS_ACTIVE,
	MB_STATUS_TRIALING,
	MB_STATUS_PAST_DUE,
	MB_STATUS_CANCELED,
	MB_STATUS_INACTIVE,
	MB_STATUS_OTHER				/* a label of the app's own: no access */
} MbStatus;

/* NULL for MB_STATUS_OTHER. */
extern const char *mb_status_label(MbStatus status);

/* MB_STATUS_OTHER if it is none of ours. */
extern MbStatus mb_status_from_label(MbText label);

/* The billing columns of the app's row. */
typedef struct MbUserRow
{
	MbText		tier;
	MbStatus	status;
	MbText		customer_id;
	MbText		subscription_id;
	MbText		price_id;
	MbTime		period_start;
	MbTime		period_end;
	bool		cancel_at_period_end;
} MbUserRow;

/* An entitlement beside the app's row; see the table other_access. */
typedef struct MbOtherAccess
{
	MbText		user_id;
	MbText		source;
	MbText		ref;
	MbText		tier;
	MbTime		valid_from;		/* MB_NO_TIME: always */
	MbTime		valid_until;	/* MB_NO_TIME: without end */
} MbOtherAccess;

/*
 * How long a row gives its tier: MB_NO_TIME = not at all, INT64_MAX = no end
 * is planned, else access holds before that time, not at it.
 */
extern MbTime mb_entitlement_until(const MbUserRow *row, const MbPlans *plans);

/*
 * The tier that a user has at a time: the highest of the row (NULL: none) and
 * the other entitlements, else the default.  An unknown tier counts for
 * nothing.
 */
extern int	mb_entitlement_tier(const MbUserRow *row, const MbOtherAccess *others, int nothers,
								const MbPlans *plans, MbTime at);

/* The row that one subscription alone would make.  It must have a status. */
extern void mb_entitlement_row(const MbSubscription *subscription, const MbPlans *plans, MbUserRow *row);

/*
 * Which of a user's subscriptions the row shows: best access class first,
 * then tier, then period end, then newest.  -1: none has a status yet.
 */
extern int	mb_entitlement_choose(const MbSubscription *const *subscriptions, int n,
								  const MbPlans *plans, MbTime now);

extern bool mb_user_row_eq(const MbUserRow *a, const MbUserRow *b);

#endif							/* MB_ENTITLEMENT_H */
