/*
 * quota_store.h
 *	  Changing usage, reservations, grants and requests.
 *
 * All of it needs an SPI connection, whose memory results live in.  Rows are
 * locked in this order: quota_request, usage from the newest period on,
 * quota_reservation, quota_grant by id.
 */
#ifndef MB_QUOTA_STORE_H
#define MB_QUOTA_STORE_H

#include "postgres.h"

#include "account.h"

typedef struct MbReservation
{
	int64		id;
	MbText		user_id;
	MbText		feature;
	MbTime		period_start;
	int64		amount;
	MbUnits		units;			/* that have not been given back */
	MbTime		expires_at;
	MbText		state;
} MbReservation;

/*
 * Count more units of the plan as used or as held, for which the account has
 * room.  The row may have changed since the account was read, under the active
 * snapshot: if there is no room then, false, and nothing is done.  The account
 * must not have expired holds.
 */
extern bool mb_quota_add(MbAccount *account, int64 used, int64 held);

/*
 * Lock what the user has of the feature, end holds that are over, and read
 * what there is now, counting in a period that begins at "counted", which may
 * be an older one than the current: with_current locks that one's row too, if
 * there is one.  Keeps others out until the transaction
 * ends.  mb_quota_write() must follow, also when nothing else changes: what
 * holds that were over give back to grants is only in the account.
 */
extern void mb_quota_lock(MbAccount *account, MbTime counted, bool with_current);

/* Write the locked account: the row of the counted period, and the grants. */
extern void mb_quota_write(MbAccount *account);

/* Hold units; returns the reservation's id. */
extern int64 mb_quota_insert_reservation(const MbAccount *account, int64 amount, const MbUnits *units, MbTime expires_at);

/* False if there is none.  With "lock", its row is locked; usage is before. */
extern bool mb_quota_read_reservation(int64 id, bool lock, MbReservation *reservation);

/* Write everything but id, user and feature, and lock. */
extern void mb_quota_update_reservation(const MbReservation *reservation);

#endif							/* MB_QUOTA_STORE_H */
