/*
 * direct.h
 *	  Updating rows of our own tables without the executor.
 */
#ifndef MB_DIRECT_H
#define MB_DIRECT_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "storage/itemptr.h"

typedef struct MbDirect
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *info;
	TupleTableSlot *slot;		/* the new row: all of its values */
	TupleTableSlot *old;
} MbDirect;

/*
 * False if somebody has put triggers on updates, checks or generated columns on the
 * table: these are the executor's business.
 */
extern bool mb_direct_is_possible(Relation rel);

/*
 * Begin to update rows of a table, which the caller has locked for it.  After
 * an error the resource owner and the memory context clean up.
 */
extern void mb_direct_begin(MbDirect *direct, Relation rel);

/*
 * Put the values of a version of a row into the slot; false if the active
 * snapshot does not see it.
 */
extern bool mb_direct_fetch(MbDirect *direct, const ItemPointerData *tid);

/*
 * Replace the version of a row at a place by the values in the slot.  False
 * if it is not the newest any more, when who has changed it has ended.
 */
extern bool mb_direct_update(MbDirect *direct, const ItemPointerData *tid);

extern void mb_direct_end(MbDirect *direct);

#endif							/* MB_DIRECT_H */
