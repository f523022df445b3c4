/*
 * account.h
 *	  What a user has of a feature: the plan's limit, what is used and held,
 *	  and grants; read without locks.
 */
#ifndef MB_ACCOUNT_H
#define MB_ACCOUNT_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "allowance.h"
#include "catalog.h"
#include "period.h"

typedef struct MbAccount
{
	const MbCatalog *catalog;
	MbText		user_id;		/* canonical */
	MbTime		now;
	int			usage_lock;		/* LOCKMODE with which usage is read */
	int			tier;			/* in effect */
	MbPeriod	period;			/* that "now" is in */

	MbText		feature;
	MbTime		counted;		/* start of the period that is counted in */
	MbAllowance allowance;
	bool		exists;			/* is there a row of usage? false also if it
								 * is not known */
	ItemPointerData row;		/* where; good for the snapshot it was read
								 * with */
	int64		locked_used;	/* when it was locked; see quota_store.h */
	bool		has_expired;	/* some of what is held in the row, or taken
								 * off grants, does not count any more */
} MbAccount;

/*
 * The user's tier and period, at the statement's time and under the active
 * snapshot.  Who may write to usage afterwards says so: a stronger lock asked
 * for later could deadlock with somebody who waits for the table already.
 */
extern void mb_account_open(MbAccount *account, MbText user_id, bool to_write);

/*
 * The feature that the account is about, with the limit of the user's tier.
 * Error 22023 if there is no such feature, or it is null.
 */
extern void mb_account_choose(MbAccount *account, MbText feature);

/*
 * The same for what a row of ours names: if the feature has gone from the
 * catalogue since, it is in no plan.  False then.
 */
extern bool mb_account_choose_known(MbAccount *account, MbText feature);

/*
 * What the user has of the feature in the period that begins at "counted";
 * under the active snapshot.  Grants are allocated in the current context.
 */
extern void mb_account_read(MbAccount *account, MbTime counted);

/* The index of a feature; error 22023 if there is no such feature, or it is null. */
extern int	mb_feature_argument(const MbPlans *plans, MbText feature);

/* Units from columns of a row: of the plan, and of grants by their ids. */
extern MbUnits mb_units_from_datums(Datum plan, Datum grant_ids, Datum grant_units);

/* The same into arrays. */
extern Datum mb_units_grant_ids(const MbUnits *units);
extern Datum mb_units_grant_units(const MbUnits *units);

#endif							/* MB_ACCOUNT_H */
