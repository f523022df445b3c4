/*
 * subscription_row.c
 *	  MbSubscription as a row of stripe_subscription.
 *
 * The order of "columns" below is that of the install script.
 */
#include "postgres.h"

#include <stddef.h>

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "json_jsonb.h"
#include "spi.h"
#include "subscription_row.h"

typedef enum FieldKind
{
	FIELD_TEXT,
	FIELD_TIME,
	FIELD_BOOL,
	FIELD_RANK,
	FIELD_TIES					/* two members: ties and nties */
} FieldKind;

/* A column and its place in MbSubscription. */
static const struct
{
	const char *name;
	FieldKind	kind;
	size_t		offset;
}			columns[] =
{
#define FIELD(name, kind, member) {name, kind, offsetof(MbSubscription, member)}
#define MARK(name, member) \
	FIELD(name "_created", FIELD_TIME, member.created), \
	FIELD(name "_rank", FIELD_RANK, member.rank), \
	FIELD(name "_event", FIELD_TEXT, member.event_id)
	FIELD("subscription_id", FIELD_TEXT, subscription_id),
	FIELD("customer_id", FIELD_TEXT, customer_id),
	FIELD("user_id", FIELD_TEXT, user_id),
	FIELD("weak_link", FIELD_BOOL, weak_link),
	FIELD("link_created", FIELD_TIME, link_created),
	FIELD("status", FIELD_TEXT, status),
	FIELD("price_id", FIELD_TEXT, price_id),
	FIELD("cancel_at", FIELD_TIME, cancel_at),
	FIELD("cancel_at_period_end", FIELD_BOOL, cancel_at_period_end),
	FIELD("ended_at", FIELD_TIME, ended_at),
	FIELD("cancellation_reason", FIELD_TEXT, cancellation_reason),
	FIELD("livemode", FIELD_BOOL, livemode),
	MARK("state", state),
	FIELD("tier", FIELD_TEXT, tier),
	MARK("tier", tier_mark),
	FIELD("current_period_start", FIELD_TIME, period_start),
	FIELD("current_period_end", FIELD_TIME, period_end),
	MARK("period", period),
	FIELD("live_period_end", FIELD_TIME, live_period_end),
	MARK("live", live),
	FIELD("fell_period_start", FIELD_TIME, fell_period_start),
	MARK("fell", fell),
	FIELD("failed_period_start", FIELD_TIME, failed_period_start),
	FIELD("failed_period_end", FIELD_TIME, failed_period_end),
	MARK("failed", failed),
	FIELD("paid_through", FIELD_TIME, paid_through),
	FIELD("tie_events", FIELD_TIES, ties),
#undef FIELD
#undef MARK
};

#define NUM_COLUMNS ((int) lengthof(columns))

static void check_columns(TupleDesc desc);
static const MbTie *read_ties(Jsonb *events, int *count);
static Datum ties_datum(const MbTie *ties, int count);

const char *
mb_subscription_row_columns(const char *prefix)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int c = 0; c < NUM_COLUMNS; c++)
		appendStringInfo(&list, "%s%s%s", c == 0 ? "" : ", ", prefix, columns[c].name);
	return list.data;
}

const char *
mb_subscription_row_assignments(void)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int c = 1; c < NUM_COLUMNS; c++)
		appendStringInfo(&list, "%s%s = n.%s", c == 1 ? "" : ", ", columns[c].name, columns[c].name);
	return list.data;
}

void
mb_subscription_row_read(HeapTuple tuple, TupleDesc desc, MbSubscription *subscription)
{
	Datum		values[NUM_COLUMNS];
	bool		nulls[NUM_COLUMNS];

	check_columns(desc);
	heap_deform_tuple(tuple, desc, values, nulls);
	subscription->nties = 0;
	for (int c = 0; c < NUM_COLUMNS; c++)
	{
		char	   *member = (char *) subscription + columns[c].offset;

		switch (columns[c].kind)
		{
			case FIELD_TEXT:
				*(MbText *) member = mb_spi_text(values[c], nulls[c]);
				break;
			case FIELD_TIME:
				*(MbTime *) member = nulls[c] ? MB_NO_TIME : DatumGetTimestampTz(values[c]);
				break;
			case FIELD_BOOL:
				*(bool *) member = !nulls[c] && DatumGetBool(values[c]);
				break;
			case FIELD_RANK:
				*(int *) member = nulls[c] ? 0 : DatumGetInt16(values[c]);
				break;
			case FIELD_TIES:
				if (!nulls[c])
					subscription->ties = read_ties(DatumGetJsonbP(values[c]), &subscription->nties);
				break;
		}
	}
}

void
mb_subscription_row_values(const MbSubscription *subscription, Datum *values, bool *nulls)
{
	for (int c = 0; c < NUM_COLUMNS; c++)
	{
		const char *member = (const char *) subscription + columns[c].offset;

		nulls[c] = false;
		switch (columns[c].kind)
		{
			case FIELD_TEXT:
				nulls[c] = ((const MbText *) member)->data == NULL;
				if (!nulls[c])
					values[c] = mb_spi_text_datum(*(const MbText *) member);
				break;
			case FIELD_TIME:
				nulls[c] = *(const MbTime *) member == MB_NO_TIME;
				values[c] = TimestampTzGetDatum(*(const MbTime *) member);
				break;
			case FIELD_BOOL:
				values[c] = BoolGetDatum(*(const bool *) member);
				break;
			case FIELD_RANK:
				values[c] = Int16GetDatum(*(const int *) member);
				break;
			case FIELD_TIES:
				nulls[c] = subscription->nties == 0;
				if (!nulls[c])
					values[c] = ties_datum(subscription->ties, subscription->nties);
				break;
		}
	}
}

Datum
mb_subscription_row_array(Oid row_type, const MbSubscription *const *subscriptions, int count)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(row_type, -1);
	Datum	   *elements = palloc(count * sizeof(Datum));

	check_columns(desc);
	for (int i = 0; i < count; i++)
	{
		Datum		values[NUM_COLUMNS];
		bool		nulls[NUM_COLUMNS];

		mb_subscription_row_values(subscriptions[i], values, nulls);
		elements[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);
	return mb_spi_array(elements, count, row_type);
}

static void
check_columns(TupleDesc desc)
{
	if (desc->natts != NUM_COLUMNS)
		elog(ERROR, "stripe_subscription has %d columns instead of %d", desc->natts, NUM_COLUMNS);
}

/* [{"id": "evt_1", "created": 1750000000}, ...] */
static const MbTie *
read_ties(Jsonb *events, int *count)
{
	MbJson		array = mb_json_from_jsonb(events);
	MbTie	   *ties;

	*count = mb_json_length(array);
	ties = palloc(Max(*count, 1) * sizeof(MbTie));
	for (int i = 0; i < *count; i++)
	{
		MbJson		event = mb_json_element(array, i);

		ties[i].event_id = mb_json_get(event, "id").string;
		ties[i].created = time_t_to_timestamptz((pg_time_t) mb_json_get(event, "created").integer);
	}
	return ties;
}

static Datum
ties_datum(const MbTie *ties, int count)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoString(&json, i == 0 ? "[{\"id\": " : ", {\"id\": ");
		escape_json(&json, pnstrdup(ties[i].event_id.data, ties[i].event_id.len));
		appendStringInfo(&json, ", \"created\": " INT64_FORMAT "}", (int64) timestamptz_to_time_t(ties[i].created));
	}
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}
