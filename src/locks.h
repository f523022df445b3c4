/*
 * locks.h
 *	  Advisory locks of ours, until the transaction ends.  A client's own are
 *	  of the kinds 1 and 2.
 */
#ifndef MB_LOCKS_H
#define MB_LOCKS_H

#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

typedef enum MbLockKind
{
	MB_LOCK_USERS = 3,			/* of the users with this number: links.c */
	MB_LOCK_FORGET = 4,			/* forget.c */
	MB_LOCK_DRAIN = 5			/* one drainer at a time: cursor.c */
} MbLockKind;

/* False if it is taken, and the caller does not wait. */
static inline bool
mb_lock(MbLockKind kind, uint32 number, LOCKMODE mode, bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, number, kind);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

#endif							/* MB_LOCKS_H */
