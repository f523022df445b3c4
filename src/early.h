/*
 * early.h
 *	  Letting go of a counter's row before its commit is flushed.
 */
#ifndef MB_EARLY_H
#define MB_EARLY_H

#include "postgres.h"

#include "executor/tuptable.h"

/* Register the callbacks; once, from _PG_init. */
extern void mb_early_init(void);

/*
 * What is written between these two concerns quotas only.  A transaction that
 * writes nothing else is flushed after its locks are released; its client has
 * the answer after that, as ever.
 */
extern void mb_early_begin(void);
extern void mb_early_end(void);

/*
 * An answer is taken from a row: make the commit durable that made the row
 * visible, which may be one that is not flushed yet.
 */
extern void mb_early_flush(TupleTableSlot *slot);

#endif							/* MB_EARLY_H */
