/*
 * catalog.h
 *	  The catalogue tables, cached per backend.
 */
#ifndef MB_CATALOG_H
#define MB_CATALOG_H

#include "postgres.h"

#include "plans.h"
#include "probe.h"

typedef struct MbCatalog
{
	MbPlans		plans;
	uint64		generation;		/* grows with each change */
	bool		has_other_access;	/* does any user have a row in it? */

	/* our tables */
	Oid			customer_relid;
	MbProbe		customer_probe; /* by customer_id */
	Oid			subscription_relid;
	MbProbe		subscription_probe; /* by subscription_id */
	MbProbe		subscription_user_probe;	/* by user_id */
	Oid			inbox_relid;
	Oid			history_relid;
	Oid			other_access_relid;
	MbProbe		other_access_probe; /* by user_id */
	Oid			usage_relid;
	MbProbe		usage_probe;	/* by user_id, feature, period_start */
	bool		has_quota_grants;	/* has anybody ever got one? */
	bool		has_forgotten;	/* was ever anybody? */
	Oid			quota_grant_relid;
	MbProbe		quota_grant_probe;	/* by user_id, feature */
	Oid			quota_reservation_relid;
	MbProbe		quota_reservation_probe;	/* by user_id, feature; those that
											 * are held */
	Oid			quota_request_relid;
	MbProbe		quota_request_probe;	/* by user_id, idempotency_key */
} MbCatalog;

/* Register the invalidation callback; once, from _PG_init. */
extern void mb_catalog_init(void);

/*
 * The catalogue as committed now (and as changed by this transaction).  Needs
 * a transaction.  The result is valid to the transaction's end, even when a
 * change makes later calls return a newer one.  Error 55000 where the
 * extension is not installed, or where no default tier exists.
 */
extern const MbCatalog *mb_catalog_get(void);

/*
 * The version of the extension's SQL in this database, in the current
 * context; NULL if it is not installed.  Needs a transaction.
 */
extern char *mb_catalog_extension_version(void);

/* Is the SQL of a later version than this library? */
extern bool mb_catalog_is_newer(const char *version);

#endif							/* MB_CATALOG_H */
