/*
 * allowance.c
 *	  What a user may still use of a feature, and where units come from.
 */
#include <stdlib.h>

#include "allowance.h"

static int64_t add(int64_t a, int64_t b);
static int64_t min(int64_t a, int64_t b);
static int	grant_cmp(const void *a, const void *b);
static MbQuotaGrant *find_grant(const MbAllowance *allowance, int64_t id);

int64_t
mb_units_total(const MbUnits *units)
{
	int64_t		total = units->plan;

	for (int i = 0; i < units->ngrants; i++)
		total = add(total, units->grants[i].units);
	return total;
}

/* A lower limit than what is used, after a downgrade, leaves nothing. */
int64_t
mb_allowance_plan(const MbAllowance *allowance)
{
	int64_t		limit = allowance->limit == MB_UNLIMITED ? INT64_MAX : allowance->limit;

	if (limit == MB_NOT_IN_PLAN || allowance->used >= limit || allowance->held >= limit - allowance->used)
		return 0;
	return limit - allowance->used - allowance->held;
}

int64_t
mb_allowance_granted(const MbAllowance *allowance, MbTime at)
{
	int64_t		total = 0;

	for (int i = 0; i < allowance->ngrants; i++)
		if (allowance->grants[i].expires_at > at)
			total = add(total, allowance->grants[i].remaining);
	return total;
}

int64_t
mb_allowance_remaining(const MbAllowance *allowance, MbTime at)
{
	return add(mb_allowance_plan(allowance), mb_allowance_granted(allowance, at));
}

bool
mb_allowance_take(MbAllowance *allowance, int64_t amount, MbTime at, MbUnits *taken)
{
	if (amount > mb_allowance_remaining(allowance, at))
		return false;
	taken->plan = min(amount, mb_allowance_plan(allowance));
	taken->ngrants = 0;
	amount -= taken->plan;
	if (amount > 0)
		qsort(allowance->grants, allowance->ngrants, sizeof(MbQuotaGrant), grant_cmp);
	for (int i = 0; amount > 0; i++)
	{
		MbQuotaGrant *grant = &allowance->grants[i];
		int64_t		units = grant->expires_at > at ? min(amount, grant->remaining) : 0;

		if (units == 0)
			continue;
		grant->remaining -= units;
		amount -= units;
		taken->grants[taken->ngrants++] = (MbGrantUnits)
		{
			grant->id, units
		};
	}
	return true;
}

int64_t
mb_allowance_give_back(MbAllowance *allowance, int64_t amount, MbUnits *units)
{
	while (amount > 0 && units->ngrants > 0)
	{
		MbGrantUnits *last = &units->grants[units->ngrants - 1];
		MbQuotaGrant *grant = find_grant(allowance, last->id);
		int64_t		back = min(amount, last->units);

		if (grant != NULL)
			grant->remaining += back;
		last->units -= back;
		amount -= back;
		if (last->units == 0)
			units->ngrants--;
	}
	amount = min(amount, units->plan);
	units->plan -= amount;
	return amount;
}

int64_t
mb_allowance_80_percent(int64_t limit)
{
	return limit - limit / 5;
}

/* Of two numbers that are not negative. */
static int64_t
add(int64_t a, int64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int64_t
min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The one that ends first, first. */
static int
grant_cmp(const void *a, const void *b)
{
	const MbQuotaGrant *x = a;
	const MbQuotaGrant *y = b;

	if (x->expires_at != y->expires_at)
		return x->expires_at < y->expires_at ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

static MbQuotaGrant *
find_grant(const MbAllowance *allowance, int64_t id)
{
	for (int i = 0; i < allowance->ngrants; i++)
		if (allowance->grants[i].id == id)
			return &allowance->grants[i];
	return NULL;
}
