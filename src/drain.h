/*
 * drain.h
 *	  From the inbox to apply: which events are due, in what batches, and
 *	  what becomes of those that fail.
 */
#ifndef MB_DRAIN_H
#define MB_DRAIN_H

#include "postgres.h"

#include "stats.h"

typedef struct MbDrain MbDrain;

/*
 * A drain that begins where the last one stopped, in the current context.
 * The worker's runs transactions of its own; drain_inbox()'s runs
 * subtransactions of the caller's.
 */
extern MbDrain *mb_drain_create(bool own_transactions);

/*
 * Settle what is due, at most "limit" events, and count it; the number of
 * events looked at, 0 if nothing is left to be done.  With own transactions there must be
 * none around, and none is left; errors of events are recorded and passed
 * over, others are raised.
 */
extern int	mb_drain_batch(MbDrain *drain, int limit, MbCounts *counts);

#endif							/* MB_DRAIN_H */
