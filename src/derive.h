/*
 * derive.h
 *	  Users' rows from all of their subscriptions.
 */
#ifndef MB_DERIVE_H
#define MB_DERIVE_H

#include "postgres.h"

#include "app_table.h"
#include "catalog.h"

typedef struct MbDerived
{
	const MbCatalog *catalog;	/* set by the caller, as are the users */
	MbText	   *users;			/* canonical, sorted, each once */
	int			nusers;
	MbText	   *events;			/* per user: what is to blame for a change; no
								 * text: no event.  NULL: none is */
	const MbSubscription **known;	/* per user: a subscription that this
									 * transaction has updated, or NULL; */
	ItemPointerData *roots;		/* where it is.  NULL: none is known */

	/* results */
	MbAppRow   *rows;			/* per user: the row as it is then */
	bool	   *row_changed;	/* per user: was it written? */
	MbText	   *uncounted_customers;	/* sorted: claimed for a user by a
										 * client_reference_id that does not
										 * count */
	int			nuncounted;
	MbText	   *claimed_customers;	/* by one that does */
	int			nclaimed;
} MbDerived;

/*
 * Lock the users' rows, derive them anew, write what differs, and the users'
 * other entitlements, history and notifications.  Needs an SPI connection, whose memory the results live
 * in, and the app's table locked.  Raises what the app's table and its
 * triggers raise; 27000 if a trigger suppresses a row.
 */
extern void mb_derive(MbDerived *derived);

/*
 * The customers of these users that are theirs by a claim that does not
 * count; sorted.  Sorts "users".  Needs an SPI connection.
 */
extern MbText *mb_derive_uncounted(MbText *users, int nusers, int *count);

#endif							/* MB_DERIVE_H */
