/*
 * app_table.h
 *	  The app's table "Subscription", bound by name at run time.
 */
#ifndef MB_APP_TABLE_H
#define MB_APP_TABLE_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "utils/portal.h"

#include "entitlement.h"

/* A row as read or to be written; "user_id" is canonical. */
typedef struct MbAppRow
{
	MbText		user_id;
	bool		exists;			/* to be written: was it there when locked? */
	MbUserRow	row;
	ItemPointerData place;		/* of the version that was locked, if known */
} MbAppRow;

/*
 * Lock the table for writing rows, to the transaction's end: until then no
 * migration can change what we know of it.  Before the functions below that
 * lock or write rows.  Raises what makes writing impossible: 42P01 no table,
 * 42703 no column, 42804 a column's type, 42809 not a table, 42P10 no unique
 * index on the user.
 */
extern void mb_app_table_lock_table(void);

/*
 * A user id as the user column's type spells it ('042' and '42' are one user
 * of an integer column).  Allocated in the current context.  Error 22023 if
 * the type refuses it.
 */
extern MbText mb_app_table_canonical_user(MbText user_id);

/* The same for what Stripe says: no text if the type refuses it. */
extern MbText mb_app_table_user_or_none(MbText user_id);

/*
 * Read a user's row under the active snapshot, by index probe, or by SQL
 * where the table is no plain table or has no fitting index.  Reads as the
 * table's owner, without row security: EXECUTE on our functions is the gate.
 * False if there is none.  Of the ids, "row" only says whether there is a
 * subscription's; its tier lives in the current context or longer.
 */
extern bool mb_app_table_read(MbText user_id, MbUserRow *row);

/*
 * All rows; needs an SPI connection, whose memory the texts live in.  For
 * people's views, not for the hot path.
 */
extern MbAppRow *mb_app_table_read_all(int *count);

/*
 * All rows, a part at a time: a cursor, and its next rows, in the current
 * context and in SPI_tuptable.  Needs an SPI connection; the cursor ends with
 * it.
 */
extern Portal mb_app_table_open(void);
extern MbAppRow *mb_app_table_fetch(Portal cursor, int limit, int *count);

/*
 * The rows of these users and of these Stripe customers, each once, in no
 * order, under the active snapshot.  Needs an SPI connection.  Unless the app has an index on the
 * customer, it reads the whole table.
 */
extern MbAppRow *mb_app_table_find(const MbText *users, int nusers,
								   const MbText *customers, int ncustomers, int *count);

/* The rows that show these Stripe subscriptions, as now.  Needs an SPI connection. */
extern MbAppRow *mb_app_table_holders(const MbText *subscriptions, int nsubscriptions, int *count);

/*
 * Lock the rows of these users, always in the same order of users, and read
 * them.  "users" are canonical.  Needs an SPI connection.
 */
extern MbAppRow *mb_app_table_lock(const MbText *users, int nusers, int *count);

/*
 * Lock those of the rows that are free, without waiting; returns the users
 * whose rows somebody else has locked.  Needs an SPI connection.
 */
extern MbText *mb_app_table_lock_free(const MbText *users, int nusers, int *count);

/*
 * Update (exists) or insert (not exists) rows, as the table's owner, in a
 * security-restricted operation: a trigger that the app's owner puts on the
 * table must never run with our rights.  Returns false if a row to insert was
 * inserted by somebody else meanwhile: the caller locks and decides again.
 * Needs an SPI connection.
 */
extern bool mb_app_table_write(const MbAppRow *rows, int nrows);

#endif							/* MB_APP_TABLE_H */
