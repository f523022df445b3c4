/*
 * inbox.h
 *	  The table webhook_inbox: how events come in.
 */
#ifndef MB_INBOX_H
#define MB_INBOX_H

#include "postgres.h"

#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "text.h"

typedef struct MbInboxRow
{
	int64		id;
	MbText		event_id;		/* in the SPI connection's memory */
	MbText		event_type;
	MbText		status;
	MbText		waiting_for;	/* read by a drain only */
	TimestampTz received_at;
	int			attempts;		/* failed ones */
	bool		reread;			/* by a drain only: was settled before */
	bool		was_conflict;	/* and was dead with a conflict of links */
	bool		crashed;		/* by a drain only: the last attempt ended a
								 * process */
	ItemPointerData place;		/* of the version that was read, if known */
	bool		inserted;		/* or was it there before? */
	Jsonb	   *payload;		/* as stored; NULL: none.  By mb_inbox_find() */
} MbInboxRow;

/* Look an event up; false if it is not there.  Needs an SPI connection. */
extern bool mb_inbox_find(MbText event_id, MbInboxRow *row);

/* Store an event once.  Needs an SPI connection. */
extern void mb_inbox_store(Jsonb *payload, MbInboxRow *row);

#endif							/* MB_INBOX_H */
