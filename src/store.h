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

/* Which of these subscriptions have a user: their ids, sorted. */
extern MbText *mb_store_subscriptions_with_user(const MbText *ids, int nids, int *count);

/*
 * Lock and read these subscriptions, and all of these customers'; sorted by
 * id; those without a row are absent.  "tids" says where each row is, while it
 * is locked and not updated.
 */
extern MbSubscription *mb_store_lock_subscriptions(const MbText *ids, int nids,
												   const MbText *customers, int ncustomers,
												   ItemPointerData **tids, int *count);

/* All subscriptions of these users, as committed now and as changed by us. */
extern MbSubscription *mb_store_subscriptions_of_users(const MbText *users, int nusers, int *count);

/* The same under the active snapshot. */
extern MbSubscription *mb_store_subscriptions_seen(const MbText *users, int nusers, int *count);

/*
 * Insert subscriptions, or update locked ones.  Error 40001 if one to insert was inserted
 * by somebody else meanwhile: the caller's transaction is to be tried again.
 */
extern void mb_store_insert_subscriptions(const MbSubscription *const *subscriptions, int count);
extern void mb_store_update_subscriptions(const MbSubscription *const *subscriptions,
										  const ItemPointerData *tids, int count);

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
