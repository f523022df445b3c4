/*
 * subscription_row.h
 *	  MbSubscription as a row of stripe_subscription.
 */
#ifndef MB_SUBSCRIPTION_ROW_H
#define MB_SUBSCRIPTION_ROW_H

#include "postgres.h"

#include "subscription.h"

/* All columns, in the table's order, each with the prefix. */
extern const char *mb_subscription_row_columns(const char *prefix);

/* "column = n.column" of all columns but the first, the key. */
extern const char *mb_subscription_row_assignments(void);

/* What the last statement gave, all columns; needs an SPI connection. */
extern MbSubscription *mb_subscription_row_fetched(int *count);

/* An array of the table's row type. */
extern Datum mb_subscription_row_array(Oid row_type, const MbSubscription *const *subscriptions, int count);

#endif							/* MB_SUBSCRIPTION_ROW_H */
