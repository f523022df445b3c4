/*
 * grants.h
 *	  Tiers given by hand.
 */
#ifndef MB_GRANTS_H
#define MB_GRANTS_H

#include "app_table.h"

/*
 * A subscription takes over a row that the app wrote itself: what the row
 * gives now is kept as a grant with the reason "app row", for as long as the
 * row would have given it; unless there is one that lasts as long.  True if one was made.
 * Needs an SPI connection.
 */
extern bool mb_grant_keep_row(const MbAppRow *row, const MbPlans *plans, MbTime now);

#endif							/* MB_GRANTS_H */
