/*
 * plans.h
 *	  The catalogue as plain data: tiers, prices, features and limits.
 *
 * Pure: catalog.c fills it from the tables, tests by hand.  Tiers are sorted
 * by rank, so that of two tier indexes the greater includes more.
 */
#ifndef MB_PLANS_H
#define MB_PLANS_H

#include "text.h"

/* A limit that is not a number of units. */
#define MB_UNLIMITED (-1)
#define MB_NOT_IN_PLAN (-2)

#define MB_NO_TIER (-1)

typedef struct MbTier
{
	MbText		name;
	int			rank;
} MbTier;

typedef struct MbPrice
{
	MbText		price_id;
	int			tier;			/* index into tiers */
	MbText		billing_interval;
	bool		active;
} MbPrice;

typedef struct MbFeature
{
	MbText		name;
	int64_t    *limits;			/* per tier: units, MB_UNLIMITED or
								 * MB_NOT_IN_PLAN */
} MbFeature;

/* Settings that say how long access lasts; all zero is the guide's way. */
typedef struct MbAccessRules
{
	bool		has_past_due_grace;
	MbTime		past_due_grace; /* from the unpaid period's start, at most to
								 * its end */
	bool		cancel_at_ended_at; /* a canceled subscription gives nothing
									 * after ended_at */
} MbAccessRules;

typedef struct MbPlans
{
	MbAccessRules rules;

	int			ntiers;
	MbTier	   *tiers;			/* ascending rank */
	int			default_tier;	/* MB_NO_TIER: not configured */
	int			nprices;
	MbPrice    *prices;			/* ascending price_id, bytewise */
	int			nfeatures;
	MbFeature  *features;		/* in the order of the table */
} MbPlans;

/* The index of a tier, or MB_NO_TIER. */
static inline int
mb_plans_find_tier(const MbPlans *plans, MbText name)
{
	for (int i = 0; i < plans->ntiers; i++)
		if (mb_text_eq(plans->tiers[i].name, name))
			return i;
	return MB_NO_TIER;
}

/* The tier that a price buys, active or not, or MB_NO_TIER. */
static inline int
mb_plans_tier_of_price(const MbPlans *plans, MbText price_id)
{
	int			low = 0;
	int			high = plans->nprices;

	while (low < high)
	{
		int			mid = (low + high) / 2;
		int			cmp = mb_text_cmp(plans->prices[mid].price_id, price_id);

		if (cmp == 0)
			return plans->prices[mid].tier;
		if (cmp < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return MB_NO_TIER;
}

/* The index of a feature, or -1. */
static inline int
mb_plans_find_feature(const MbPlans *plans, MbText name)
{
	for (int i = 0; i < plans->nfeatures; i++)
		if (mb_text_eq(plans->features[i].name, name))
			return i;
	return -1;
}

#endif							/* MB_PLANS_H */
