/*
 * sync.c
 *	  sync_subscription_from_event(): one event, now, in the caller's
 *	  transaction.  Needs no worker.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "apply.h"
#include "catalog.h"
#include "inbox.h"
#include "settle.h"
#include "spi.h"

static void sync_event(Jsonb *payload, MbApplyEvent *event);
static bool is_settled(const MbInboxRow *row);

PG_FUNCTION_INFO_V1(sync_subscription_from_event);

/*
 * sync_subscription_from_event(event jsonb)
 *
 * The event is recorded in the inbox in the same transaction: one that is
 * settled there is a duplicate, one that is pending is taken over.
 */
Datum
sync_subscription_from_event(PG_FUNCTION_ARGS)
{
	MbApplyEvent event = {.outcome = MB_OUTCOME_IGNORED};
	static TupleDesc cache = NULL;
	TupleDesc	desc = mb_spi_result_desc(fcinfo, &cache);
	Datum		values[6];
	bool		nulls[6];
	MbText		results[6];
	Jsonb	   *payload;
	HeapTuple	result;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event must not be null")));
	payload = PG_GETARG_JSONB_P(0);

	SPI_connect();
	mb_apply_read(payload, &mb_catalog_get()->plans, &event);
	event.reason = mb_text(event.event.reason);

	/* What has no id is no event and cannot be recorded as one. */
	if (event.event.id.data != NULL)
		sync_event(payload, &event);

	results[0] = mb_text(mb_outcome_label(event.outcome));
	results[1] = event.reason;
	results[2] = event.user_id;
	results[3] = event.event.subscription_id;
	results[4] = event.row != NULL ? event.row->tier : MB_NO_TEXT;
	results[5] = event.row != NULL ? mb_text(mb_status_label(event.row->status)) : MB_NO_TEXT;
	for (int i = 0; i < 6; i++)
	{
		nulls[i] = results[i].data == NULL;
		values[i] = nulls[i] ? (Datum) 0 : SPI_datumTransfer(mb_spi_text_datum(results[i]), false, -1);
	}
	SPI_finish();
	result = heap_form_tuple(desc, values, nulls);
	return HeapTupleGetDatum(result);
}

/*
 * The inbox row is written last, as the worker does, so that the two wait for
 * each other in one direction only.  Two sessions with the same event meet at
 * its subscription; the second finds it applied.
 */
static void
sync_event(Jsonb *payload, MbApplyEvent *event)
{
	MbInboxRow	row;
	MbCounts	counts = {0};

	bool		found = mb_inbox_find(event->event.id, &row);

	if (!found || !is_settled(&row))
	{
		/* of two bodies of one event the first counts (R24) */
		if (found && row.payload != NULL)
		{
			mb_apply_read(row.payload, &mb_catalog_get()->plans, event);
			event->reason = mb_text(event->event.reason);
		}
		mb_apply_events(event, 1, true, false, false);
		mb_inbox_store(payload, &row);
	}
	if (is_settled(&row))
	{
		event->outcome = MB_OUTCOME_DUPLICATE;
		event->reason = MB_NO_TEXT;
	}
	else
		mb_settle_events(&row, event, 1, &counts);
}

/* A dead event is worth another try, and a pending one is taken over. */
static bool
is_settled(const MbInboxRow *row)
{
	return mb_text_is(row->status, "processed") || mb_text_is(row->status, "ignored");
}
