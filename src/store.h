/*
 * store.h
 *	  Our rows: customers, subscriptions and other_access, read and written
 *	  set-wise.
 *
 * Everything here needs an SPI connection, and returns texts in its memory.
 * Locks are taken in one order everywhere: customers, then subscriptions,
 * then the app's user rows, each sorted by id.
 */
#ifndef MB_STORE_H
#define MB_STORE_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "customer.h"
#include "entitlement.h"

/*
 * Forget the saved plans if the extension was dropped and created again:
 * they hold the old row types.  Before any other function here.
 */
extern void mb_store_begin(void);

/* Customers, sorted by id; those without a row are absent. */
extern MbCustomer *mb_store_read_customers(const MbText *ids, int nids, int *count);

/* The same, locked; rows are made for those that had none. */
extern MbCustomer *mb_store_lock_customers(const MbText *ids, int nids, int *count);

/* Customers that are linked to these users. */
extern MbCustomer *mb_store_customers_of_users(const MbText *users, int nusers, int *count);

/* Write back locked customers. */
extern void mb_store_save_customers(const MbCustomer *customers, int count);

/* Where a row is: the version that was read, and the first of its chain. */
typedef struct MbPlace
{
	ItemPointerData version;
	ItemPointerData root;
} MbPlace;

/*
 * These subscriptions, locked or not, in the order of the ids; those without
 * a row are absent.
 */
extern MbSubscription *mb_store_read_subscriptions(const MbText *ids, int nids, bool lock,
												   MbPlace **places, int *count);

/* The ids of these customers' subscriptions. */
extern MbText *mb_store_subscriptions_of_customers(const MbText *customers, int ncustomers, int *count);

/* All subscriptions of these users, as committed now and as changed by us. */
extern MbSubscription *mb_store_subscriptions_of_users(const MbText *users, int nusers, int *count);

/* The same under the active snapshot. */
extern MbSubscription *mb_store_subscriptions_seen(const MbText *users, int nusers, int *count);

/*
 * Has each of these users no other subscription but the one at this root,
 * which we have updated, not even one that somebody is only inserting?  Never
 * true if in doubt.
 */
extern void mb_store_have_only(const MbText *users, const ItemPointerData *roots, int nusers, bool *only);

/*
 * Insert subscriptions.  Error 40001 if one was inserted by somebody else
 * meanwhile: the caller's transaction is to be tried again.
 */
extern void mb_store_insert_subscriptions(const MbSubscription *const *subscriptions, int count);

/*
 * Update the versions that were read.  They must have been locked, unless
 * they can be updated directly: then one that was changed meanwhile is error
 * 40001.
 */
extern void mb_store_update_subscriptions(const MbSubscription *const *subscriptions,
										  const ItemPointerData *tids, int count);
extern bool mb_store_updates_subscriptions_directly(void);

/* A row, whose it is, and whether somebody else has locked it. */
typedef struct MbLocked
{
	MbText		id;
	MbText		user_id;
	bool		busy;
} MbLocked;

/* Lock those of these rows that are free, without waiting, and tell which. */
extern MbLocked *mb_store_lock_free_customers(const MbText *ids, int nids, int *count);
extern MbLocked *mb_store_lock_free_subscriptions(const MbText *ids, int nids, int *count);

/* The other entitlements of these users, sorted by user, source and ref. */
extern MbOtherAccess *mb_store_other_access(const MbText *users, int nusers, int *count);

/* Replace these users' other entitlements by subscriptions. */
extern void mb_store_replace_other_access(const MbText *users, int nusers,
										  const MbOtherAccess *access, int count);

/*
 * Events that waited for these customers' users are processed now: their
 * subscriptions' states were kept.  Returns how many.
 */
extern uint64 mb_store_end_waiting(const MbText *customers, int count);

/*
 * Users with a subscription in other_access that is over: at most "limit",
 * sorted, after a user (no text: from the first).
 */
extern MbText *mb_store_users_due(MbText after, int limit, int *count);

/*
 * Take out of other_access a user's subscriptions that are over, and have the
 * user found again at a time; the tier is the default one, which gives nothing.
 */
extern void mb_store_put_off_user(MbText user_id, MbText tier, MbTime until);

/* Take out of other_access the grants that are over and that nobody has locked. */
extern void mb_store_remove_past_grants(void);

/* All users in other_access, sorted. */
extern MbText *mb_store_users_with_other_access(int *count);

/* Which of these subscriptions have a row: their ids, sorted. */
extern MbText *mb_store_known_subscriptions(const MbText *ids, int nids, int *count);

/* A change of a user's row, for subscription_history. */
typedef struct MbHistory
{
	MbText		user_id;
	MbText		event_id;		/* no text: not by an event */
	MbText		old_tier;
	MbText		new_tier;
	MbText		old_status;
	MbText		new_status;
} MbHistory;

extern void mb_store_add_history(const MbHistory *changes, int count);

#endif							/* MB_STORE_H */
