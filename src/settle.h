/*
 * settle.h
 *	  What becomes of an event's inbox row.  Needs an SPI connection.
 */
#ifndef MB_SETTLE_H
#define MB_SETTLE_H

#include "postgres.h"

#include "apply.h"
#include "inbox.h"
#include "stats.h"

/* Write the outcomes of applied events into their rows, and count them. */
extern void mb_settle_events(const MbInboxRow *rows, const MbApplyEvent *events, int nevents, MbCounts *counts);

/*
 * Record that an event failed: another attempt later, or dead.  A lock that
 * was in the way is nobody's failure; the event is only put off.  False if
 * the row itself is locked: a client has taken the event over.
 */
extern bool mb_settle_failure(int64 id, const ErrorData *error, MbCounts *counts);

/*
 * Record that the process ended that tried an event alone.  If that was a
 * crash, not somebody's wish, the event is dead the second time in a row: each
 * time costs every session of the server.
 */
extern void mb_settle_end(int64 id, bool is_crash, MbCounts *counts);

#endif							/* MB_SETTLE_H */
