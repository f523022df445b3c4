/*
 * forget.h
 *	  Users whose data was erased.
 */
#ifndef MB_FORGET_H
#define MB_FORGET_H

#include "apply.h"

/*
 * Keep forget_user() out until the transaction ends.  Before the catalogue is
 * asked for, so that what was forgotten meanwhile is known.  Without "wait", a
 * lock that is taken is a lock failure at once.
 */
extern void mb_forget_lock(bool wait);

/*
 * Ignore the events of users who were forgotten, with reason "forgotten".
 * Needs an SPI connection.  Costs nothing while nobody was.
 */
extern void mb_forget_ignore(MbApplyEvent *events, int nevents);

#endif							/* MB_FORGET_H */
