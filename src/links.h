/*
 * links.h
 *	  Whose customers a batch's customers are.
 */
#ifndef MB_LINKS_H
#define MB_LINKS_H

#include "batch.h"

/*
 * Read the batch's customers, and which of its subscriptions have a user,
 * unlocked.  Needs an SPI connection.
 */
extern void mb_links_read(MbBatch *batch);

/*
 * What the app's table says, and we do not know, of the batch's customers that
 * are not linked yet, and of users who get a subscription: events to be
 * applied before the batch's.  After mb_links_read().
 */
extern MbApplyEvent *mb_links_adopt(const MbBatch *batch, int *count);

/*
 * The events by which rows of the app's table are taken over: those with a
 * customer that has no user, or with a subscription that we do not know.
 */
extern MbApplyEvent *mb_links_adopt_rows(const MbAppRow *rows, int nrows, const MbPlans *plans, int *count);

/*
 * Offer the events' links to their customers, and lock those that change or
 * whose subscriptions may be new to them.  After mb_links_read().
 */
extern void mb_links_decide(MbBatch *batch);

#endif							/* MB_LINKS_H */
