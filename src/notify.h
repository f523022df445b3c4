/*
 * notify.h
 *	  Telling the app that a user's tier has changed, or a quota runs out.
 */
#ifndef MB_NOTIFY_H
#define MB_NOTIFY_H

#include "text.h"

/*
 * Have it said, once this transaction has committed, that a user's effective
 * tier went from one to another: in the worker with the commit, elsewhere by
 * the worker soon after.  Nothing where no worker serves the database, or with
 * momento_billing.notify off.  Needs an SPI connection and the user's row
 * locked, which keeps what is said of a user in order.
 */
extern void mb_notify_tier(MbText user_id, MbText from, MbText to);

/* The worker's side, with an SPI connection: say what others left to be said. */
extern void mb_notify_send(void);

/*
 * The same for users who have used 80 or 100 percent of a limit, as many as
 * one transaction should tell of; false if there may be more.
 */
extern bool mb_notify_quotas(void);

#endif							/* MB_NOTIFY_H */
