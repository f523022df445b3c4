/*
 * inbox.c
 *	  Webhooks into the inbox: verify, store once, wake the worker.
 *
 * An app may also insert payloads directly; therefore what makes a row whole
 * (its columns from the payload, a durable commit, waking the worker) is done
 * by a trigger, for every way in.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/jsonapi.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "errors.h"
#include "event.h"
#include "inbox.h"
#include "json_jsonb.h"
#include "secret_file.h"
#include "settings.h"
#include "signature.h"
#include "spi.h"
#include "stats.h"
#include "subtransaction.h"

/* Seconds from the Unix epoch to 2000-01-01. */
#define EPOCH_SECONDS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

typedef struct Parse
{
	MbText		body;
	Jsonb	   *result;
} Parse;

static Datum receive(FunctionCallInfo fcinfo, MbText body);
static void read_row(MbInboxRow *row);
static void verify(MbText body, FunctionCallInfo fcinfo);
static int64 unix_seconds(TimestampTz time);
static Jsonb *parse_body(MbText body);
static void parse_jsonb(void *arg);
static char *body_in_server_encoding(MbText body);
static bool is_json(MbText body);
static int64 store_raw(MbText body);
static void check_row(HeapTuple tuple, TupleDesc desc);
static void fill_column(TupleDesc desc, const char *name, Datum value, bool present,
						int *attnums, Datum *values, bool *nulls, HeapTuple tuple, int *n);

PG_FUNCTION_INFO_V1(verify_signature);
PG_FUNCTION_INFO_V1(receive_webhook);
PG_FUNCTION_INFO_V1(receive_webhook_text);
PG_FUNCTION_INFO_V1(webhook_inbox_fill);
PG_FUNCTION_INFO_V1(webhook_inbox_truncated);

/*
 * verify_signature(payload, signature, secret, tolerance, received_at)
 *
 * Never raises on a bad header; a NULL among the first three is a failed
 * verification, a NULL tolerance checks no age.
 */
Datum
verify_signature(PG_FUNCTION_ARGS)
{
	MbText		args[3];
	int64		tolerance = -1;
	int64		now = 0;

	for (int i = 0; i < 3; i++)
		args[i] = mb_spi_text(PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	if (args[0].data == NULL || args[1].data == NULL || args[2].data == NULL)
		PG_RETURN_BOOL(false);
	if (!PG_ARGISNULL(3))
	{
		Interval   *interval = PG_GETARG_INTERVAL_P(3);

		/* the age of nothing is not known */
		if (PG_ARGISNULL(4))
			PG_RETURN_BOOL(false);
		now = unix_seconds(PG_GETARG_TIMESTAMPTZ(4));
		tolerance = interval->time / USECS_PER_SEC +
			((int64) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY;
		if (tolerance < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tolerance must not be negative")));
	}
	PG_RETURN_BOOL(mb_signature_check(args[0], args[1], &args[2], 1, now, tolerance) == MB_SIGNATURE_OK);
}

/* receive_webhook(payload bytea, signature text) */
Datum
receive_webhook(PG_FUNCTION_ARGS)
{
	return receive(fcinfo, mb_spi_text(PG_GETARG_DATUM(0), PG_ARGISNULL(0)));
}

/* receive_webhook(payload text, signature text): Stripe signed UTF-8. */
Datum
receive_webhook_text(PG_FUNCTION_ARGS)
{
	MbText		body = mb_spi_text(PG_GETARG_DATUM(0), PG_ARGISNULL(0));

	if (body.data != NULL && GetDatabaseEncoding() != PG_UTF8)
	{
		char	   *utf8 = pg_server_to_any(body.data, body.len, PG_UTF8);

		if (utf8 != body.data)
			body = mb_text(utf8);
	}
	return receive(fcinfo, body);
}

/*
 * Row trigger BEFORE INSERT on webhook_inbox.
 *
 * Fills columns that are NULL from the payload, and never raises on its
 * shape: an odd event is the reader's to judge, not to be lost here.
 */
Datum
webhook_inbox_fill(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	HeapTuple	tuple;
	TupleDesc	desc;
	Datum		payload;
	bool		isnull;
	MbEvent		event;
	int			attnums[5];
	Datum		values[5];
	bool		nulls[5];
	int			n = 0;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"webhook_inbox_fill\" must be fired before insert for each row")));
	tuple = trigdata->tg_trigtuple;
	desc = RelationGetDescr(trigdata->tg_relation);

	/*
	 * What Stripe is told we have must survive a crash, even if the session
	 * does not wait for its commits.
	 */
	ForceSyncCommit();
	mb_stats_wake_at_end();

	check_row(tuple, desc);
	payload = heap_getattr(tuple, SPI_fnumber(desc, "payload"), desc, &isnull);
	if (isnull)
		return PointerGetDatum(tuple);
	mb_event_read_envelope(mb_json_from_jsonb(DatumGetJsonbP(payload)), &event);

	fill_column(desc, "event_id", mb_spi_text_datum(event.id), event.id.data != NULL, attnums, values, nulls, tuple, &n);
	fill_column(desc, "event_type", mb_spi_text_datum(event.type), event.type.data != NULL, attnums, values, nulls, tuple, &n);
	fill_column(desc, "event_created", TimestampTzGetDatum(event.created), event.created != MB_NO_TIME,
				attnums, values, nulls, tuple, &n);
	fill_column(desc, "livemode", BoolGetDatum(event.livemode), event.has_livemode, attnums, values, nulls, tuple, &n);
	fill_column(desc, "api_version", mb_spi_text_datum(event.api_version), event.api_version.data != NULL,
				attnums, values, nulls, tuple, &n);
	if (n > 0)
		tuple = heap_modify_tuple_by_cols(tuple, desc, n, attnums, values, nulls);
	return PointerGetDatum(tuple);
}

/* Statement trigger AFTER TRUNCATE on webhook_inbox. */
Datum
webhook_inbox_truncated(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"webhook_inbox_truncated\" must be called as a trigger")));
	SPI_connect();
	if (SPI_execute("DELETE FROM momento_billing.drain_state", false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not reset the drain's state");
	SPI_finish();
	return PointerGetDatum(NULL);
}

bool
mb_inbox_find(MbText event_id, MbInboxRow *row)
{
	static SPIPlanPtr find = NULL;
	Oid			types[] = {TEXTOID};
	Datum		args[] = {mb_spi_text_datum(event_id)};
	Datum		payload;
	bool		isnull;

	if (find == NULL)
		find = mb_spi_prepare("SELECT id, event_id, event_type, status, received_at, attempts, payload"
							  " FROM momento_billing.webhook_inbox WHERE event_id OPERATOR(pg_catalog.=) $1",
							  1, types);
	mb_spi_execute(find, args, false, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	read_row(row);
	row->inserted = false;
	payload = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 7, &isnull);
	row->payload = isnull ? NULL : DatumGetJsonbP(payload);
	return true;
}

void
mb_inbox_store(Jsonb *payload, MbInboxRow *row)
{
	static SPIPlanPtr insert = NULL;
	Oid			types[] = {JSONBOID};
	Datum		args[] = {JsonbPGetDatum(payload)};
	MbEvent		event;

	if (insert == NULL)
		insert = mb_spi_prepare("INSERT INTO momento_billing.webhook_inbox (payload) VALUES ($1)"
								" ON CONFLICT (event_id) DO NOTHING"
								" RETURNING id, event_id, event_type, status, received_at, attempts",
								1, types);
	mb_spi_execute(insert, args, false, SPI_OK_INSERT_RETURNING);
	if (SPI_processed == 1)
	{
		read_row(row);
		row->inserted = true;
		return;
	}

	/* it was there for the insert, but our snapshot may be older */
	mb_event_read_envelope(mb_json_from_jsonb(payload), &event);
	if (!mb_inbox_find(event.id, row))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("event \"%.*s\" was stored concurrently", event.id.len, event.id.data),
				 errhint("Retry the transaction.")));
}

static Datum
receive(FunctionCallInfo fcinfo, MbText body)
{
	static TupleDesc cache = NULL;
	TupleDesc	desc = mb_spi_result_desc(fcinfo, &cache);
	Datum		values[4];
	bool		nulls[4] = {false};
	Jsonb	   *payload;
	HeapTuple	result;

	if (body.data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payload must not be null"),
				 errhint("Pass the raw bytes of the request's body.")));
	verify(body, fcinfo);

	SPI_connect();
	payload = parse_body(body);
	if (payload == NULL)
	{
		values[0] = Int64GetDatum(store_raw(body));
		nulls[1] = nulls[2] = true;
		values[3] = BoolGetDatum(false);
		SPI_finish();
	}
	else
	{
		MbInboxRow	row;

		mb_inbox_store(payload, &row);
		values[0] = Int64GetDatum(row.id);
		nulls[1] = row.event_id.data == NULL;
		nulls[2] = row.event_type.data == NULL;
		values[1] = nulls[1] ? (Datum) 0 : SPI_datumTransfer(mb_spi_text_datum(row.event_id), false, -1);
		values[2] = nulls[2] ? (Datum) 0 : SPI_datumTransfer(mb_spi_text_datum(row.event_type), false, -1);
		values[3] = BoolGetDatum(!row.inserted);
		SPI_finish();
	}
	result = heap_form_tuple(desc, values, nulls);
	return HeapTupleGetDatum(result);
}

/* The first row of the last result. */
static void
read_row(MbInboxRow *row)
{
	HeapTuple	tuple = SPI_tuptable->vals[0];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;

	row->reread = row->was_conflict = false;
	ItemPointerSetInvalid(&row->place);
	row->id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	row->event_id = mb_spi_get_text(tuple, desc, 2);
	row->event_type = mb_spi_get_text(tuple, desc, 3);
	row->status = mb_spi_get_text(tuple, desc, 4);
	row->received_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 5, &isnull));
	row->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 6, &isnull));
}

/* MB001 unless the signature is right; the message says which check failed. */
static void
verify(MbText body, FunctionCallInfo fcinfo)
{
	MbText		header = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	const MbText *secrets;
	int			nsecrets = mb_secret_file_read("momento_billing.webhook_secret_file", mb_webhook_secret_file, &secrets);
	MbSignatureResult result = mb_signature_check(body, header, secrets, nsecrets,
												  unix_seconds(GetCurrentTimestamp()), mb_signature_tolerance);

	if (result == MB_SIGNATURE_OK)
		return;
	if (result == MB_SIGNATURE_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("%s", mb_signature_describe(result))));
	/* The statement holds the payload, which does not belong in the log. */
	ereport(ERROR,
			(errcode(MB_ERRCODE_SIGNATURE_REJECTED),
			 errhidestmt(true),
			 errmsg("webhook signature rejected: %s", mb_signature_describe(result)),
			 result == MB_SIGNATURE_NO_SECRET ?
			 errhint("Write the endpoint's signing secret (whsec_...) to a file and name the file in momento_billing.webhook_secret_file.") :
			 result == MB_SIGNATURE_NO_MATCH ?
			 errhint("Pass the body's raw bytes, not JSON parsed and printed again, and the secret of this very endpoint.") : 0));
}

static int64
unix_seconds(TimestampTz time)
{
	int64		seconds = time / USECS_PER_SEC;

	/* rounded down, also before 2000 */
	if (time % USECS_PER_SEC < 0)
		seconds--;
	return seconds + EPOCH_SECONDS;
}

/*
 * The body as jsonb.  NULL: it is JSON, but jsonb cannot hold it (R42).
 * Error 22P02 where it is not JSON, 22021 where it is not even UTF-8; neither
 * shows any of the payload.
 */
static Jsonb *
parse_body(MbText body)
{
	Parse		parse = {.body = body};
	ErrorData  *error;

	if (!pg_verify_mbstr(PG_UTF8, body.data, body.len, true))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("webhook payload is not valid UTF-8"),
				 errhidestmt(true)));

	/*
	 * jsonb's parser reports by raising, with an excerpt in the context; a
	 * subtransaction makes that a result.
	 */
	error = mb_subtransaction_run(parse_jsonb, &parse);
	if (error == NULL)
		return parse.result;

	/* out of memory, nested too deeply, canceled: not the text's fault */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
	{
		error->context = NULL;
		error->hide_stmt = true;
		ReThrowError(error);
	}
	if (!is_json(body))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("webhook payload is not JSON"),
				 errhidestmt(true)));
	return NULL;
}

static void
parse_jsonb(void *arg)
{
	Parse	   *parse = arg;
	char	   *text = body_in_server_encoding(parse->body);

	parse->result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	pfree(text);
}

/* A NUL-terminated copy in the server's encoding. */
static char *
body_in_server_encoding(MbText body)
{
	char	   *copy = pnstrdup(body.data, body.len);
	char	   *converted;

	/* it was verified already */
	if (GetDatabaseEncoding() == PG_UTF8)
		return copy;
	converted = pg_any_to_server(copy, body.len, PG_UTF8);
	if (converted != copy)
		pfree(copy);
	return converted;
}

/* Is it JSON by the grammar, whatever its strings and numbers hold? */
static bool
is_json(MbText body)
{
	JsonLexContext *lex = mb_make_json_lexer((char *) body.data, body.len);

	return pg_parse_json(lex, &nullSemAction) == JSON_SUCCESS;
}

/* Kept as it came, so that it is not lost; a person has to look at it. */
static int64
store_raw(MbText body)
{
	static SPIPlanPtr insert = NULL;
	Oid			types[] = {BYTEAOID};
	Datum		args[] = {mb_spi_text_datum(body)};
	bool		isnull;

	if (insert == NULL)
		insert = mb_spi_prepare("INSERT INTO momento_billing.webhook_inbox (payload_raw, status, reason)"
								" VALUES ($1, 'dead', 'not_jsonb') RETURNING id", 1, types);
	mb_spi_execute(insert, args, false, SPI_OK_INSERT_RETURNING);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* What CHECK constraints would do, which are parsed anew in each statement. */
static void
check_row(HeapTuple tuple, TupleDesc desc)
{
	static const char *const statuses[] = {"pending", "processed", "ignored", "waiting", "dead"};
	bool		isnull;
	Datum		datum = heap_getattr(tuple, SPI_fnumber(desc, "status"), desc, &isnull);
	MbText		status = mb_spi_text(datum, isnull);
	bool		known = isnull; /* NOT NULL refuses it */

	for (int i = 0; i < (int) lengthof(statuses); i++)
		known |= mb_text_is(status, statuses[i]);
	if (!known)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("invalid status \"%.*s\" in table \"webhook_inbox\"", status.len, status.data),
				 errhint("It is pending, processed, ignored, waiting or dead.")));
	if (mb_text_is(status, "pending") && heap_attisnull(tuple, SPI_fnumber(desc, "payload"), desc) &&
		heap_attisnull(tuple, SPI_fnumber(desc, "payload_raw"), desc))
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"payload\" of table \"webhook_inbox\"")));
}

static void
fill_column(TupleDesc desc, const char *name, Datum value, bool present,
			int *attnums, Datum *values, bool *nulls, HeapTuple tuple, int *n)
{
	int			attnum = SPI_fnumber(desc, name);

	if (!present || !heap_attisnull(tuple, attnum, desc))
		return;
	attnums[*n] = attnum;
	values[*n] = value;
	nulls[*n] = false;
	(*n)++;
}
