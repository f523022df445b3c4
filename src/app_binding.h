/*
 * app_binding.h
 *	  What is known of the app's table: columns, types, index, saved plans.
 *
 * For app_table.c, which reads and writes the table.
 */
#ifndef MB_APP_BINDING_H
#define MB_APP_BINDING_H

#include "postgres.h"

#include "access/attnum.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/palloc.h"
#include "utils/relcache.h"

#include "probe.h"
#include "text.h"

/* The model's columns, in its order. */
typedef enum MbAppColumn
{
	MB_COL_ID,
	MB_COL_USER_ID,
	MB_COL_TIER,
	MB_COL_STATUS,
	MB_COL_CUSTOMER_ID,
	MB_COL_SUBSCRIPTION_ID,
	MB_COL_PRICE_ID,
	MB_COL_PERIOD_START,
	MB_COL_PERIOD_END,
	MB_COL_CANCEL_AT_PERIOD_END,
	MB_COL_CREATED_AT,
	MB_COL_UPDATED_AT,
	MB_NUM_APP_COLUMNS
} MbAppColumn;

/* What a column's type may be. */
typedef enum MbColumnKind
{
	KIND_ANY,
	KIND_USER,					/* text, varchar, uuid, integer */
	KIND_LABEL,					/* enum, text, varchar */
	KIND_TEXT,					/* text, varchar */
	KIND_TIME,					/* timestamp with or without time zone */
	KIND_BOOL
} MbColumnKind;

/* A label of an enum column; text columns need no such list. */
typedef struct MbLabel
{
	Oid			value;
	MbText		label;
} MbLabel;

typedef struct MbBinding
{
	Oid			relid;
	Oid			owner;
	Oid			row_type;		/* the table's composite type */
	char	   *name;			/* qualified and quoted */
	AttrNumber	attnum[MB_NUM_APP_COLUMNS];
	Oid			type[MB_NUM_APP_COLUMNS];
	char	   *quoted[MB_NUM_APP_COLUMNS];
	bool		id_has_default;
	bool		user_is_text;
	FmgrInfo	user_in;
	Oid			user_ioparam;
	FmgrInfo	user_out;
	MbLabel    *labels[MB_NUM_APP_COLUMNS];
	int			nlabels[MB_NUM_APP_COLUMNS];
	bool		can_probe;
	MbProbe		probe;
	bool		is_table;		/* partitioned or not; else it is only read */
	bool		can_write;		/* is there a unique index for ON CONFLICT? */
	bool		keeps_places;	/* does a locked row stay where it is, until
								 * we update it? */
	SPIPlanPtr	plan_read;
	SPIPlanPtr	plan_read_all;
	SPIPlanPtr	plan_find;
	SPIPlanPtr	plan_holders;
	SPIPlanPtr	plan_lock;
	SPIPlanPtr	plan_lock_free;
	SPIPlanPtr	plan_update;
	SPIPlanPtr	plan_update_places;
	SPIPlanPtr	plan_insert;
	MemoryContextCallback free_plans;
} MbBinding;

/* Register invalidation callbacks; once, from _PG_init. */
extern void mb_binding_init(void);

/* Bind again at the next use: the setting has changed. */
extern void mb_binding_forget(void);

/* What is known of the table, valid to the transaction's end. */
extern MbBinding *mb_binding_get(void);

/*
 * The table, open and locked, with a binding that is true of it, and stays so
 * while the lock is held.
 */
extern MbBinding *mb_binding_open(Relation *rel, LOCKMODE lockmode);

/* Does a type fit a column of a kind? */
extern bool mb_binding_type_fits(Oid type, MbColumnKind kind);

/* A user id as a value of the user column (error 22023), and back (below). */
extern Datum mb_binding_user_datum(const MbBinding *b, MbText user_id);

/* Does the user column's type take it?  No error. */
extern bool mb_binding_takes_user(const MbBinding *b, MbText user_id);

extern MbText mb_binding_user_text(const MbBinding *b, Datum datum);

/*
 * A label as a value of an enum or text column (error 22P02), and back: that
 * of an enum in the binding's memory, of a text in the current context.
 */
extern Datum mb_binding_label_datum(const MbBinding *b, MbAppColumn column, MbText label);
extern MbText mb_binding_label_text(const MbBinding *b, MbAppColumn column, Datum datum);

#endif							/* MB_APP_BINDING_H */
