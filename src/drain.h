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

typedef enum MbDrainKind
{
	MB_DRAIN_CLIENT,			/* in subtransactions of the caller's */
	MB_DRAIN_WORKER,			/* in transactions of its own */
	MB_DRAIN_AFTER_START,		/* of the server, maybe because a worker has
								 * died of an event */
	MB_DRAIN_AFTER_END			/* of a worker, in order, but amid events */
} MbDrainKind;

/* A drain that begins where the last one stopped, in the current context. */
extern MbDrain *mb_drain_create(MbDrainKind kind);

/*
 * Settle what is due, at most "limit" events, and count it; the number of
 * events looked at, 0 if nothing is left to be done.  With own transactions there must be
 * none around, and none is left; errors of events are recorded and passed
 * over, others are raised.
 */
extern int	mb_drain_batch(MbDrain *drain, int limit, MbCounts *counts);

/*
 * The process ends in order, while it may be trying an event alone: that is no
 * crash.  Outside any transaction.
 */
extern void mb_drain_interrupted(MbDrain *drain);

#endif							/* MB_DRAIN_H */
