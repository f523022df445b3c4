/*
 * notify.h
 *	  Telling the app that a user's tier has changed.
 */
#ifndef MB_NOTIFY_H
#define MB_NOTIFY_H

#include "text.h"

/*
 * Have the worker say, once this transaction has committed, that a user's
 * effective tier went from one to another.  Nothing where no worker serves
 * the database, or with momento_billing.notify off.  Needs an SPI connection.
 */
extern void mb_notify_tier(MbText user_id, MbText from, MbText to);

/*
 * The worker's side, in a transaction of its own with an SPI connection: send
 * what is to be said.
 */
extern void mb_notify_send(void);

#endif							/* MB_NOTIFY_H */
