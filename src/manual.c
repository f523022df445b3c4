/*
 * manual.c
 *	  What people say instead of Stripe: link_customer(), adopt_subscriptions().
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "app_table.h"
#include "apply.h"
#include "catalog.h"
#include "grants.h"
#include "links.h"
#include "reads.h"
#include "spi.h"
#include "store.h"

/* Rows of the app's table that are taken over at once, in one transaction. */
#define ADOPT_ROWS 1000

/* Between two words about a long adoption. */
#define PROGRESS_SECONDS 5

static int64 adopt(const MbAppRow *rows, int nrows);
static bool has_event(const MbApplyEvent *events, int nevents, MbText user_id);

PG_FUNCTION_INFO_V1(link_customer);
PG_FUNCTION_INFO_V1(adopt_subscriptions);

/* link_customer(customer_id text, user_id text) */
Datum
link_customer(PG_FUNCTION_ARGS)
{
	static SPIPlanPtr plan = NULL;
	MbText		customer_id = mb_spi_text(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	MbApplyEvent event = {
		.event = {
			.kind = MB_EVENT_LINKED,
			.created = GetCurrentTransactionStartTimestamp(),
		}
	};
	Oid			types[] = {TEXTOID};
	Datum		args[1];
	bool		isnull;
	int64		count;

	if (customer_id.len == 0 || customer_id.len > MB_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("customer_id must not be null, empty or longer than %d bytes", MB_MAX_ID),
				 errhint("It is Stripe's id of the customer, as cus_NffrFeUfNV2Hib.")));
	event.event.customer_id = customer_id;
	event.event.user_id = mb_user_argument(PG_GETARG_DATUM(1), PG_ARGISNULL(1));

	SPI_connect();
	mb_apply_events(&event, 1, false, false, false);
	args[0] = mb_spi_text_datum(customer_id);
	mb_spi_run(&plan,
			   "SELECT pg_catalog.count(*) FROM momento_billing.stripe_subscription"
			   " WHERE customer_id OPERATOR(pg_catalog.=) $1",
			   1, types, args, SPI_OK_SELECT);
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PG_RETURN_INT64(count);
}

/*
 * adopt_subscriptions(): how many of the app's rows were taken over.  Calling
 * it again takes over what has come since.
 */
Datum
adopt_subscriptions(PG_FUNCTION_ARGS)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mb adopt", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context;
	TimestampTz said = GetCurrentTimestamp();
	Portal		cursor;
	int64		looked_at = 0;
	int64		adopted = 0;
	int			count;

	mb_catalog_get();
	SPI_connect();
	mb_app_table_lock_table();
	cursor = mb_app_table_open();
	do
	{
		MbAppRow   *rows;
		SPITupleTable *table;

		CHECK_FOR_INTERRUPTS();
		old_context = MemoryContextSwitchTo(context);
		rows = mb_app_table_fetch(cursor, ADOPT_ROWS, &count);
		table = SPI_tuptable;

		/* of its own, so that its memory ends with the part */
		SPI_connect();
		adopted += adopt(rows, count);
		SPI_finish();
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
		SPI_freetuptable(table);
		looked_at += count;
		if (TimestampDifferenceExceeds(said, GetCurrentTimestamp(), PROGRESS_SECONDS * 1000))
		{
			said = GetCurrentTimestamp();
			ereport(NOTICE,
					(errmsg(INT64_FORMAT " rows looked at, " INT64_FORMAT " taken over", looked_at, adopted)));
		}
	} while (count > 0);
	SPI_finish();
	MemoryContextDelete(context);
	PG_RETURN_INT64(adopted);
}

/*
 * A row is taken over by its customer's link, its subscription's state, or a
 * grant.  The app may have changed a row since it was read; a grant lasts, so
 * it is made of what the locked row says.
 */
static int64
adopt(const MbAppRow *rows, int nrows)
{
	const MbPlans *plans = &mb_catalog_get()->plans;
	MbTime		now = GetCurrentTimestamp();
	MbText	   *users = palloc(Max(nrows, 1) * sizeof(MbText));
	int			nusers = 0;
	int			nevents;
	MbApplyEvent *events;
	MbAppRow   *locked;
	int			nlocked;
	int64		adopted;

	mb_store_begin();
	events = mb_links_adopt_rows(rows, nrows, plans, &nevents);
	if (nevents > 0)
		mb_apply_events(events, nevents, true, false, false);
	adopted = nevents;

	for (int i = 0; i < nrows; i++)
		if (rows[i].row.subscription_id.data == NULL && rows[i].user_id.data != NULL)
			users[nusers++] = rows[i].user_id;
	nusers = mb_text_sort_unique(users, nusers);
	locked = mb_app_table_lock(users, nusers, &nlocked);
	for (int i = 0; i < nlocked; i++)
		if (locked[i].row.subscription_id.data == NULL && mb_grant_keep_row(&locked[i], plans, now) &&
			!has_event(events, nevents, locked[i].user_id))
			adopted++;
	return adopted;
}

static bool
has_event(const MbApplyEvent *events, int nevents, MbText user_id)
{
	for (int i = 0; i < nevents; i++)
		if (mb_text_eq(events[i].event.user_id, user_id))
			return true;
	return false;
}
