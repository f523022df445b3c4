/*
 * inbox.h
 *	  The table webhook_inbox: how events come in.
 */
#ifndef MB_INBOX_H
#define MB_INBOX_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "text.h"

typedef struct MbInboxRow
{
	int64		id;
	MbText		event_id;		/* in the SPI connection's memory */
	MbText		event_type;
	MbText		status;
	TimestampTz received_at;
	int			attempts;		/* failed ones */
	bool		inserted;		/* or was it there before? */
} MbInboxRow;

/*
 * Store an event once.  Needs an SPI connection.  A row that was there before
 * is locked with "lock_existing".
 */
extern void mb_inbox_store(Jsonb *payload, bool lock_existing, MbInboxRow *row);

#endif							/* MB_INBOX_H */
