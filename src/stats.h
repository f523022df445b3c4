/*
 * stats.h
 *	  Shared memory of the workers: who they are, what they did, and how to
 *	  wake them.
 *
 * Present only where the library is preloaded; elsewhere waking does nothing
 * and the view is empty.
 */
#ifndef MB_STATS_H
#define MB_STATS_H

#include "postgres.h"

#include "text.h"

typedef enum MbWorkerState
{
	MB_WORKER_STOPPED,			/* no process */
	MB_WORKER_STARTING,
	MB_WORKER_DISABLED,			/* momento_billing.enabled is off */
	MB_WORKER_NO_DATABASE,
	MB_WORKER_NO_EXTENSION,		/* not created in this database */
	MB_WORKER_NOT_READY,		/* the app's table or the plans are missing */
	MB_WORKER_IDLE,
	MB_WORKER_DRAINING
} MbWorkerState;

/* Bytes of a text in shared memory; longer ones are cut. */
#define MB_STATS_TEXT 256

/* What one batch did. */
typedef struct MbCounts
{
	int64		processed;
	int64		ignored;
	int64		waiting;
	int64		dead;
	int64		failed;			/* attempts that raised an error */
	char		last_event[MB_STATS_TEXT];	/* id of the last one settled, or
											 * empty */
	char		last_error[MB_STATS_TEXT];	/* of the last failed attempt, or
											 * empty */
} MbCounts;

/* Ask for shared memory and register callbacks; once, from _PG_init. */
extern void mb_stats_init(void);

/* One slot per database of the setting; the slot is the worker's main argument. */
extern int	mb_stats_nworkers(void);
extern const char *mb_stats_database(int slot);

/* How a worker's predecessor ended, as far as shared memory tells. */
typedef enum MbPredecessor
{
	MB_PREDECESSOR_NONE,		/* the server has just started, maybe after a
								 * crash */
	MB_PREDECESSOR_DRAINING,	/* in order, but while it applied something */
	MB_PREDECESSOR_CONNECTING,	/* it could not connect to the database */
	MB_PREDECESSOR_RESTED		/* between two batches */
} MbPredecessor;

/*
 * The worker's side.  attach publishes this process as the slot's worker
 * until it exits; the rest speaks of the attached slot.
 */
extern MbPredecessor mb_stats_attach(int slot);
extern void mb_stats_set_connecting(bool connecting);
extern void mb_stats_set_database(Oid database);
extern void mb_stats_set_state(MbWorkerState state);
extern void mb_stats_count(const MbCounts *counts);
extern void mb_stats_error(const char *message);
extern void mb_stats_set_position(int64 position);

/*
 * How often the worker was to be woken so far.  A latch alone is not enough:
 * a wait for a lock uses it too, and resets it.
 */
extern uint32 mb_stats_wakes(void);

/* Is this process a worker? */
extern bool mb_stats_is_worker(void);

/* Is a worker meant to serve this database?  Needs a transaction. */
extern bool mb_stats_has_worker(void);

/* Wake this database's worker when the transaction ends. */
extern void mb_stats_wake_at_end(void);

#endif							/* MB_STATS_H */
