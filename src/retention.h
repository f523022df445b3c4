/*
 * retention.h
 *	  Removing usage that is too old, and what goes with it: the worker's.
 *
 * A part at a time, in a transaction and an SPI connection of the caller's.
 * What others have locked is left for the next time.
 */
#ifndef MB_RETENTION_H
#define MB_RETENTION_H

#include "postgres.h"

#include "text.h"

/* How far a walk through usage has come. */
typedef struct MbUsageWalk
{
	MemoryContext context;		/* of the texts */
	char	   *user_id;		/* NULL at the beginning */
	char	   *feature;
	MbTime		period_start;
} MbUsageWalk;

/*
 * Remove counters of periods that began before a time, among the next rows of
 * a walk; false at its end.
 */
extern bool mb_retention_remove_usage(MbTime before, MbUsageWalk *walk);

/* Begin anew. */
extern void mb_retention_restart(MbUsageWalk *walk);

/* The same, some thousand rows at most; true if there may be more. */
extern bool mb_retention_remove_requests(MbTime before);
extern bool mb_retention_remove_crossings(MbTime before);
extern bool mb_retention_remove_reservations(MbTime before);

#endif							/* MB_RETENTION_H */
