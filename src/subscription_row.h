/*
 * subscription_row.h
 *	  MbSubscription as a row of stripe_subscription.
 */
#ifndef MB_SUBSCRIPTION_ROW_H
#define MB_SUBSCRIPTION_ROW_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

#include "subscription.h"

/* All columns, in the table's order, each with the prefix. */
extern const char *mb_subscription_row_columns(const char *prefix);

/* "column = n.column" of all columns but the first, the key. */
extern const char *mb_subscription_row_assignments(void);

/* A row of the table, whose memory the texts are in. */
extern void mb_subscription_row_read(HeapTuple tuple, TupleDesc desc, MbSubscription *subscription);

/* The row's values, in the table's order. */
extern void mb_subscription_row_values(const MbSubscription *subscription, Datum *values, bool *nulls);

/* An array of the table's row type. */
extern Datum mb_subscription_row_array(Oid row_type, const MbSubscription *const *subscriptions, int count);

#endif							/* MB_SUBSCRIPTION_ROW_H */
