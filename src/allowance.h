/*
 * allowance.h
 *	  What a user may still use of a feature, and where units come from.
 *
 * Pure.  Units are taken from the plan first, then from the grant that ends
 * first; they go back the other way round.
 */
#ifndef MB_ALLOWANCE_H
#define MB_ALLOWANCE_H

#include "plans.h"

/* Extra units given to the user. */
typedef struct MbQuotaGrant
{
	int64_t		id;
	MbTime		expires_at;		/* INT64_MAX: never */
	int64_t		remaining;
} MbQuotaGrant;

typedef struct MbAllowance
{
	int64_t		limit;			/* units, MB_UNLIMITED or MB_NOT_IN_PLAN */
	int64_t		used;			/* of the plan, this period */
	int64_t		held;			/* of the plan, by holds that live */
	MbQuotaGrant *grants;		/* in any order */
	int			ngrants;
} MbAllowance;

typedef struct MbGrantUnits
{
	int64_t		id;
	int64_t		units;
} MbGrantUnits;

/* Where some units came from. */
typedef struct MbUnits
{
	int64_t		plan;
	MbGrantUnits *grants;		/* in the order they were taken */
	int			ngrants;
} MbUnits;

extern int64_t mb_units_total(const MbUnits *units);

/* Units of the plan that are left; if unlimited, those that can still be counted. */
extern int64_t mb_allowance_plan(const MbAllowance *allowance);

/* Units of the grants that are left at a time; sums stop at INT64_MAX. */
extern int64_t mb_allowance_granted(const MbAllowance *allowance, MbTime at);

/* All that is left at a time: never below 0. */
extern int64_t mb_allowance_remaining(const MbAllowance *allowance, MbTime at);

/*
 * Take an amount > 0, all of it or nothing.  What comes from grants is taken
 * off them; what comes from the plan the caller counts as used or held.
 * "taken->grants" has room for all grants.
 */
extern bool mb_allowance_take(MbAllowance *allowance, int64_t amount, MbTime at, MbUnits *taken);

/*
 * Give back an amount, at most all, of units taken before: "units" is what
 * remains of them, grants get theirs; returns the plan's part, which the
 * caller counts.  What came from a grant that is gone is gone.
 */
extern int64_t mb_allowance_give_back(MbAllowance *allowance, int64_t amount, MbUnits *units);

/* From how many units on 80 % of a limit are used. */
extern int64_t mb_allowance_80_percent(int64_t limit);

#endif							/* MB_ALLOWANCE_H */
