/*
 * entitlement.c
 *	  Which subscription a user's row shows, and what access a row gives.
 *	  Pure.
 */
#include "entitlement.h"

/* How good a subscription is for the user, the first criterion of choice. */
typedef enum AccessClass
{
	ACCESS_UNKNOWN,				/* a status that we do not know: no row
								 * changes for it */
	ACCESS_NONE,
	ACCESS_CANCELED,			/* in a period paid for */
	ACCESS_PAST_DUE,			/* in its period */
	ACCESS_LIVE
} AccessClass;

/* MB_STATUS_OTHER has no label of ours. */
static const char *const labels[] = {"ACTIVE", "TRIALING", "PAST_DUE", "CANCELED", "INACTIVE", NULL};

static MbStatus app_status(const MbSubscription *subscription);
static int	better_tier(int tier, MbText name, const MbPlans *plans);
static AccessClass access_class(const MbSubscription *subscription, const MbUserRow *row, const MbPlans *plans, MbTime now);
static int	candidate_cmp(const MbSubscription *a, const MbSubscription *b, const MbPlans *plans, MbTime now);

const char *
mb_status_label(MbStatus status)
{
	return labels[status];
}

MbStatus
mb_status_from_label(MbText label)
{
	for (int i = 0; i < MB_STATUS_OTHER; i++)
		if (mb_text_is(label, labels[i]))
			return (MbStatus) i;
	return MB_STATUS_OTHER;
}

MbTime
mb_entitlement_until(const MbUserRow *row, const MbPlans *plans)
{
	MbTime		grace_end;

	switch (row->status)
	{
		case MB_STATUS_ACTIVE:
		case MB_STATUS_TRIALING:
			return INT64_MAX;
		case MB_STATUS_PAST_DUE:
			if (!plans->rules.has_past_due_grace || row->period_start == MB_NO_TIME || row->period_end == MB_NO_TIME)
				return row->period_end;
			grace_end = row->period_start + plans->rules.past_due_grace;
			return grace_end < row->period_end ? grace_end : row->period_end;
		case MB_STATUS_CANCELED:
			return row->period_end;
		case MB_STATUS_INACTIVE:
		case MB_STATUS_OTHER:
			break;
	}
	return MB_NO_TIME;
}

int
mb_entitlement_tier(const MbUserRow *row, const MbOtherAccess *others, int nothers, const MbPlans *plans, MbTime at)
{
	int			best = plans->default_tier;

	if (row != NULL && mb_entitlement_until(row, plans) > at)
		best = better_tier(best, row->tier, plans);
	for (int i = 0; i < nothers; i++)
		if ((others[i].valid_from == MB_NO_TIME || others[i].valid_from <= at) &&
			(others[i].valid_until == MB_NO_TIME || others[i].valid_until > at))
			best = better_tier(best, others[i].tier, plans);
	return best;
}

void
mb_entitlement_row(const MbSubscription *subscription, const MbPlans *plans, MbUserRow *row)
{
	*row = (MbUserRow)
	{
		.tier = subscription->tier,
		.status = app_status(subscription),
		.customer_id = subscription->customer_id,
		.subscription_id = subscription->subscription_id,
		.price_id = subscription->price_id,
		.period_start = subscription->period_start,
		.period_end = subscription->period_end,
		/* R16: flexible billing plans a cancel by cancel_at alone */
		.cancel_at_period_end = subscription->cancel_at_period_end || subscription->cancel_at != MB_NO_TIME,
	};

	/* A price that was never known buys nothing. */
	if (row->tier.data == NULL && plans->default_tier != MB_NO_TIER)
		row->tier = plans->tiers[plans->default_tier].name;

	/*
	 * The charge failed before the subscription's own event has come: show
	 * the period that was to be paid, so that access does not flicker.
	 */
	if (mb_subscription_payment_failed(subscription) && subscription->failed_period_start != MB_NO_TIME)
	{
		row->period_start = subscription->failed_period_start;
		row->period_end = subscription->failed_period_end;
	}

	/* What nobody pays for ends where the paid time ends (R14, R15). */
	if (row->status == MB_STATUS_CANCELED && subscription->paid_through != MB_NO_TIME &&
		(row->period_end == MB_NO_TIME || subscription->paid_through < row->period_end))
		row->period_end = subscription->paid_through;
	if (plans->rules.cancel_at_ended_at && mb_text_is(subscription->status, "canceled") &&
		subscription->ended_at != MB_NO_TIME && subscription->ended_at < row->period_end)
		row->period_end = subscription->ended_at;
}

int
mb_entitlement_choose(const MbSubscription *const *subscriptions, int n, const MbPlans *plans, MbTime now)
{
	int			best = -1;

	for (int i = 0; i < n; i++)
		if (subscriptions[i]->status.data != NULL &&
			(best < 0 || candidate_cmp(subscriptions[i], subscriptions[best], plans, now) > 0))
			best = i;
	return best;
}

bool
mb_user_row_eq(const MbUserRow *a, const MbUserRow *b)
{
	return mb_text_eq(a->tier, b->tier) && a->status == b->status &&
		mb_text_eq(a->customer_id, b->customer_id) &&
		mb_text_eq(a->subscription_id, b->subscription_id) &&
		mb_text_eq(a->price_id, b->price_id) &&
		a->period_start == b->period_start && a->period_end == b->period_end &&
		a->cancel_at_period_end == b->cancel_at_period_end;
}

static MbStatus
app_status(const MbSubscription *subscription)
{
	static const struct
	{
		const char *stripe;
		MbStatus	status;
	}			map[] =
	{
		{"active", MB_STATUS_ACTIVE},
		{"trialing", MB_STATUS_TRIALING},
		{"past_due", MB_STATUS_PAST_DUE},
		{"canceled", MB_STATUS_CANCELED},
		{"unpaid", MB_STATUS_CANCELED},
	};

	if (mb_subscription_payment_failed(subscription))
		return MB_STATUS_PAST_DUE;
	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++)
		if (mb_text_is(subscription->status, map[i].stripe))
			return map[i].status;

	/* incomplete, incomplete_expired, paused, and whatever is not known (R12) */
	return MB_STATUS_INACTIVE;
}

static int
better_tier(int tier, MbText name, const MbPlans *plans)
{
	int			other = mb_plans_find_tier(plans, name);

	return other > tier ? other : tier;
}

static AccessClass
access_class(const MbSubscription *subscription, const MbUserRow *row, const MbPlans *plans, MbTime now)
{
	MbTime		until = mb_entitlement_until(row, plans);

	if (mb_status_class(subscription->status) == MB_CLASS_UNKNOWN)
		return ACCESS_UNKNOWN;
	if (until == MB_NO_TIME || until <= now)
		return ACCESS_NONE;
	if (row->status == MB_STATUS_CANCELED)
		return ACCESS_CANCELED;
	return row->status == MB_STATUS_PAST_DUE ? ACCESS_PAST_DUE : ACCESS_LIVE;
}

/* Total, so that the choice does not depend on the order of the candidates. */
static int
candidate_cmp(const MbSubscription *a, const MbSubscription *b, const MbPlans *plans, MbTime now)
{
	MbUserRow	row_a;
	MbUserRow	row_b;
	int64_t		keys[4][2];

	mb_entitlement_row(a, plans, &row_a);
	mb_entitlement_row(b, plans, &row_b);
	keys[0][0] = access_class(a, &row_a, plans, now);
	keys[0][1] = access_class(b, &row_b, plans, now);
	keys[1][0] = mb_plans_find_tier(plans, row_a.tier);
	keys[1][1] = mb_plans_find_tier(plans, row_b.tier);
	keys[2][0] = row_a.period_end;
	keys[2][1] = row_b.period_end;
	keys[3][0] = a->state.created;
	keys[3][1] = b->state.created;
	for (int i = 0; i < 4; i++)
		if (keys[i][0] != keys[i][1])
			return keys[i][0] > keys[i][1] ? 1 : -1;
	return mb_text_cmp(a->subscription_id, b->subscription_id);
}
