/*
 * upkeep.h
 *	  What has to be done without an event: repairs after a change of prices,
 *	  rows that time alone has changed.
 */
#ifndef MB_UPKEEP_H
#define MB_UPKEEP_H

#include "postgres.h"

#include "stats.h"

/*
 * If prices have changed since this was last done in this database, have the
 * events that mention them read again, a part of the inbox at a time.  True if
 * there is more to be done at once.  Needs a transaction and an SPI
 * connection; drain_state is locked.
 */
extern bool mb_upkeep_prices(void);

/* Bytes of the text that tells mb_upkeep_rows() where to go on. */
#define MB_UPKEEP_USER 256

/*
 * Take out grants that are over, and derive anew the users whose rows time has
 * changed, but those whose rows somebody else has locked; the next time is for
 * them.  An error of the app's table concerns one user, and is counted.  A
 * part of the users at a time: "after" is empty at first and moves on; returns
 * how many there were, 0 at the end.  Needs a transaction and an SPI
 * connection.
 */
extern int	mb_upkeep_rows(char *after, MbCounts *counts);

/*
 * One user at a time, where deriving may end the process: put off the next one
 * behind "after", who it is then; false if there is none.  And derive that one.
 */
extern bool mb_upkeep_put_off(char *after);
extern void mb_upkeep_row(const char *user_id, MbCounts *counts);

#endif							/* MB_UPKEEP_H */
