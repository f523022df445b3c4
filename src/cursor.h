/*
 * cursor.h
 *	  Where a drain is in the inbox, and what is due there.
 */
#ifndef MB_CURSOR_H
#define MB_CURSOR_H

#include "postgres.h"

typedef struct MbCursor MbCursor;
typedef struct MbGapSet MbGapSet;

/* What one look at the inbox found. */
typedef struct MbFound
{
	int			limit;			/* set by the caller */
	MemoryContext context;		/* set by the caller: outlives the transaction
								 * that looks */
	bool		locked;			/* false: another drainer is at it */
	int64	   *due;			/* ids, sorted, each once */
	int			ndue;
	int64	   *crashed;		/* those whose last attempt ended a process */
	int			ncrashed;
	int			nseen;			/* 0: nothing is left to be looked at */
	int64		gaps_end;		/* what is in gaps behind it was beyond the
								 * limit */
	int64		position;		/* to be the cursor's */
	MbGapSet   *gaps;			/* to be added to the cursor's, or NULL */
} MbFound;

/*
 * A cursor in the current context, at no position yet.  One that does not
 * wait (the worker's) gives way to another drainer, and takes the full limit
 * of each kind of events; one that waits (a client's) takes it of all kinds,
 * and of retries those that are due when it is created.
 */
extern MbCursor *mb_cursor_create(bool waits);

/*
 * Lock the state, which makes one drainer at a time, and take the position
 * from it; false if another drainer has it and the cursor does not
 * wait.  Needs an SPI connection, as do the following.
 */
extern bool mb_cursor_lock(MbCursor *cursor);

/*
 * The event that is being tried alone; 0: none.  Whoever finds one at the
 * start knows what its predecessor died of; a negative id, that it was ended
 * in order meanwhile.  The state is locked.
 */
extern int64 mb_cursor_trying(void);
extern void mb_cursor_set_trying(int64 id);

/* What is due?  Locks the state first, and stores the low water. */
extern void mb_cursor_look(MbCursor *cursor, MbFound *found);

/* Everything found is settled: move on.  Needs no SPI connection. */
extern void mb_cursor_advance(MbCursor *cursor, MbFound *found);

/* Look at this id again when one of those who have locked rows of the inbox has ended. */
extern void mb_cursor_add_gap(MbCursor *cursor, int64 id);

#endif							/* MB_CURSOR_H */
