/*
 * busy.h
 *	  Which events of a batch would wait for somebody else's lock.
 */
#ifndef MB_BUSY_H
#define MB_BUSY_H

#include "apply.h"

/*
 * Lock what the events are about, as far as it is free, without waiting, and
 * mark the events of which something is not: mb_apply_events then leaves
 * them out and goes on with the others.  Returns how many.  Needs an SPI
 * connection.  Rows that are only being inserted are not seen.
 */
extern int	mb_busy_find(MbApplyEvent *events, int nevents);

/*
 * Lock the free ones of these users' rows, without waiting, and leave the
 * others out of "users"; returns how many are left.
 */
extern int	mb_busy_leave_free(MbText *users, int nusers);

#endif							/* MB_BUSY_H */
