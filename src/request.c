/*
 * request.c
 *	  Idempotency keys: what a call with a key answered the first time.
 *
 * A key is claimed before anything else is locked or changed: of two calls
 * with one key, the second waits there and then finds the first's answer.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "early.h"
#include "request.h"
#include "spi.h"

/* Stripe's limit for its own keys. */
#define MAX_KEY 255

#define OF_KEY \
	" WHERE user_id OPERATOR(pg_catalog.=) $1 AND idempotency_key OPERATOR(pg_catalog.=) $2"

/* Columns of quota_request. */
enum
{
	COL_ARGUMENTS = 3,
	COL_RESERVATION_ID = 7,
	COL_USED = 12,
	COL_HELD,
	COL_MONTHLY_LIMIT,
	COL_REMAINING,
	COL_UNLIMITED,
	COL_RESETS_AT,
	COL_TIER,
	COL_EXPIRES_AT
};

MbText
mb_key_argument(Datum datum, bool isnull)
{
	MbText		key = mb_spi_text(datum, isnull);

	if (key.data != NULL && (key.len == 0 || key.len > MAX_KEY))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency_key must have 1 to %d bytes", MAX_KEY),
				 errhint("NULL is a call without a key.")));
	return key;
}

bool
mb_request_find(const MbAccount *account, MbText key, const char *arguments, MbAnswer *answer)
{
	Relation	rel = table_open(account->catalog->quota_request_relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	Datum		keys[2] = {mb_spi_text_datum(account->user_id), mb_spi_text_datum(key)};
	MbProbeScan scan;
	TupleTableSlot *slot;

	mb_probe_begin(&scan, &account->catalog->quota_request_probe, rel, keys);
	slot = mb_probe_next(&scan);
	if (slot != NULL)
	{
		const Datum *values;
		const bool *nulls;

		mb_early_flush(slot);
		slot_getsomeattrs(slot, desc->natts);
		values = slot->tts_values - 1;
		nulls = slot->tts_isnull - 1;
		if (!mb_text_is(mb_spi_text(values[COL_ARGUMENTS], false), arguments))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("idempotency key \"%.*s\" was used with other arguments", key.len, key.data),
					 errdetail("The call was: %s.", TextDatumGetCString(values[COL_ARGUMENTS])),
					 errhint("A key stands for one call: use a new key for a new call.")));
		*answer = (MbAnswer)
		{
			.allowed = true,
			.used = DatumGetInt64(values[COL_USED]),
			.held = DatumGetInt64(values[COL_HELD]),
			.monthly_limit = nulls[COL_MONTHLY_LIMIT] ? MB_UNLIMITED : DatumGetInt64(values[COL_MONTHLY_LIMIT]),
			.remaining = nulls[COL_REMAINING] ? 0 : DatumGetInt64(values[COL_REMAINING]),
			.unlimited = DatumGetBool(values[COL_UNLIMITED]),
			.resets_at = DatumGetTimestampTz(values[COL_RESETS_AT]),
			.tier = mb_text_copy(mb_spi_text(values[COL_TIER], false)),
			.replayed = true,
			.reservation_id = nulls[COL_RESERVATION_ID] ? 0 : DatumGetInt64(values[COL_RESERVATION_ID]),
			.expires_at = nulls[COL_EXPIRES_AT] ? 0 : DatumGetTimestampTz(values[COL_EXPIRES_AT]),
		};
	}
	mb_probe_end(&scan);
	table_close(rel, NoLock);
	return slot != NULL;
}

bool
mb_request_claim(const MbAccount *account, MbText key, const char *arguments, int64 amount)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID};
	Datum		args[6];

	args[0] = mb_spi_text_datum(account->user_id);
	args[1] = mb_spi_text_datum(key);
	args[2] = CStringGetTextDatum(arguments);
	args[3] = mb_spi_text_datum(account->feature);
	args[4] = Int64GetDatum(amount);
	args[5] = TimestampTzGetDatum(account->counted);
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.quota_request (user_id, idempotency_key, arguments, feature, amount, period_start)"
			   " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (user_id, idempotency_key) DO NOTHING",
			   6, types, args, SPI_OK_INSERT);
	return SPI_processed == 1;
}

void
mb_request_drop(MbText user_id, MbText key)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[2] = {mb_spi_text_datum(user_id), mb_spi_text_datum(key)};

	mb_spi_run(&plan, "DELETE FROM momento_billing.quota_request" OF_KEY, 2, types, args, SPI_OK_DELETE);
}

void
mb_request_answer(MbText user_id, MbText key, const MbAnswer *answer, const MbUnits *units)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, BOOLOID, TIMESTAMPTZOID, TEXTOID,
	INT8OID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID, INT8ARRAYOID};
	Datum		args[14];

	args[0] = mb_spi_text_datum(user_id);
	args[1] = mb_spi_text_datum(key);
	args[2] = Int64GetDatum(answer->used);
	args[3] = Int64GetDatum(answer->held);
	args[4] = Int64GetDatum(answer->monthly_limit);
	args[5] = Int64GetDatum(answer->remaining);
	args[6] = BoolGetDatum(answer->unlimited);
	args[7] = TimestampTzGetDatum(answer->resets_at);
	args[8] = mb_spi_text_datum(answer->tier);
	args[9] = Int64GetDatum(answer->reservation_id);
	args[10] = TimestampTzGetDatum(answer->expires_at);
	args[11] = Int64GetDatum(units->plan);
	args[12] = mb_units_grant_ids(units);
	args[13] = mb_units_grant_units(units);
	mb_spi_run(&plan,
			   "UPDATE momento_billing.quota_request SET used = $3, held = $4,"
			   " monthly_limit = CASE WHEN $5 OPERATOR(pg_catalog.>=) 0 THEN $5 END,"
			   " remaining = CASE WHEN NOT $7 THEN $6 END, unlimited = $7, resets_at = $8, tier = $9,"
			   " reservation_id = CASE WHEN $10 OPERATOR(pg_catalog.>) 0 THEN $10 END,"
			   " expires_at = CASE WHEN $10 OPERATOR(pg_catalog.>) 0 THEN $11 END,"
			   " plan_units = $12, grant_ids = $13, grant_units = $14" OF_KEY,
			   14, types, args, SPI_OK_UPDATE);
}

bool
mb_request_lock(MbText user_id, MbText key, MbRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[2] = {mb_spi_text_datum(user_id), mb_spi_text_datum(key)};
	Datum		values[8];
	bool		nulls[8];

	mb_spi_run(&plan,
			   "SELECT feature, amount, period_start, reservation_id, plan_units, grant_ids, grant_units, refunded"
			   " FROM momento_billing.quota_request" OF_KEY " FOR NO KEY UPDATE",
			   2, types, args, SPI_OK_SELECT);
	if (SPI_processed == 0)
		return false;
	for (int i = 0; i < (int) lengthof(values); i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	*request = (MbRequest)
	{
		.feature = mb_spi_text(values[0], false),
		.amount = DatumGetInt64(values[1]),
		.period_start = DatumGetTimestampTz(values[2]),
		.reservation_id = nulls[3] ? 0 : DatumGetInt64(values[3]),
		.units = mb_units_from_datums(values[4], values[5], values[6]),
		.refunded = DatumGetInt64(values[7]),
	};
	return true;
}

void
mb_request_refund(MbText user_id, MbText key, int64 refunded, const MbUnits *units)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID};
	Datum		args[6];

	args[0] = mb_spi_text_datum(user_id);
	args[1] = mb_spi_text_datum(key);
	args[2] = Int64GetDatum(refunded);
	args[3] = Int64GetDatum(units->plan);
	args[4] = mb_units_grant_ids(units);
	args[5] = mb_units_grant_units(units);
	mb_spi_run(&plan,
			   "UPDATE momento_billing.quota_request SET refunded = $3, plan_units = $4, grant_ids = $5, grant_units = $6" OF_KEY,
			   6, types, args, SPI_OK_UPDATE);
}
