/*
 * tie.h
 *	  Events of one second: which of them have to be looked at together.
 */
#ifndef MB_TIE_H
#define MB_TIE_H

#include "batch.h"

/*
 * Read again the events that the batch's events tie with, from the inbox.
 * The subscriptions are locked.  Needs an SPI connection.
 */
extern void mb_tie_load(MbBatch *batch);

/*
 * Apply an event of the batch to its subscription, with those that it ties
 * with, and remember these in the subscription.
 */
extern MbDecision mb_tie_apply(MbBatch *batch, int event);

#endif							/* MB_TIE_H */
