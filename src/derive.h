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
	MbAppRow   *rows;			/* per user: the row as it is then */
	bool	   *row_changed;	/* per user: was it written? */
} MbDerived;

/*
 * Lock the users' rows, derive them anew, write what differs, and the users'
 * other entitlements.  Needs an SPI connection, whose memory the results live
 * in, and the app's table locked.  Raises what the app's table and its
 * triggers raise; 27000 if a trigger suppresses a row.
 */
extern void mb_derive(MbDerived *derived);

#endif							/* MB_DERIVE_H */
