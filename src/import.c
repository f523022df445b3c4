/*
 * import.c
 *	  import_redis_usage(): the guide's counters move in.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account.h"
#include "reads.h"
#include "spi.h"

/* More than anybody uses in a month. */
#define MAX_VALUE INT64CONST(1000000000000000)

/* A key's parts. */
typedef struct Key
{
	MbText		user_id;
	MbText		feature;
	MbPeriod	month;
} Key;

static Key	key_argument(MbText text);
static bool read_month(MbText text, MbPeriod *month);
static int64 keep_greater(const MbAccount *account, int64 value);

PG_FUNCTION_INFO_V1(import_redis_usage);

/*
 * import_redis_usage(key text, value bigint)
 *
 * The current month's counter goes on in the user's current period, whichever
 * that is; others are history.
 */
Datum
import_redis_usage(PG_FUNCTION_ARGS)
{
	Key			key = key_argument(mb_spi_text(PG_GETARG_DATUM(0), PG_ARGISNULL(0)));
	int64		value = PG_ARGISNULL(1) ? -1 : PG_GETARG_INT64(1);
	MbAccount	account;

	if (value < 0 || value > MAX_VALUE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value must be between 0 and " INT64_FORMAT, MAX_VALUE)));
	mb_account_open(&account, mb_user_argument(mb_spi_text_datum(key.user_id), false), true);
	mb_account_choose(&account, key.feature);
	account.counted = account.now >= key.month.start && account.now < key.month.end ? account.period.start : key.month.start;

	SPI_connect();
	value = keep_greater(&account, value);
	SPI_finish();
	PG_RETURN_INT64(value);
}

/* A user's id may have colons. */
static Key
key_argument(MbText text)
{
	static const char prefix[] = "usage:";
	const int	prefix_len = sizeof(prefix) - 1;
	int			colons[2];		/* the last two */
	int			ncolons = 0;
	Key			key;
	MbText		month;

	for (int i = text.len - 1; i >= prefix_len && ncolons < 2; i--)
		if (text.data[i] == ':')
			colons[ncolons++] = i;
	if (ncolons == 2 && memcmp(text.data, prefix, prefix_len) == 0)
	{
		key.user_id = (MbText)
		{
			text.data + prefix_len, colons[1] - prefix_len
		};
		key.feature = (MbText)
		{
			text.data + colons[1] + 1, colons[0] - colons[1] - 1
		};
		month = (MbText)
		{
			text.data + colons[0] + 1, text.len - colons[0] - 1
		};
		if (key.user_id.len > 0 && read_month(month, &key.month))
			return key;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid key \"%.*s\"", text.len, text.data ? text.data : ""),
			 errhint("A counter's key is usage:{userId}:{feature}:{period}, with a period such as 2026-06.")));
}

/* YYYY-MM */
static bool
read_month(MbText text, MbPeriod *month)
{
	int			digits[7];
	int			year;
	int			of_year;

	if (text.len != 7 || text.data[4] != '-')
		return false;
	for (int i = 0; i < 7; i++)
	{
		digits[i] = text.data[i] - '0';
		if (i != 4 && (digits[i] < 0 || digits[i] > 9))
			return false;
	}
	year = digits[0] * 1000 + digits[1] * 100 + digits[2] * 10 + digits[3];
	of_year = digits[5] * 10 + digits[6];
	if (of_year < 1 || of_year > 12)
		return false;
	*month = mb_period_month(year, of_year);
	return true;
}

/*
 * The greater value, so that it can be done again while the app still counts
 * in Redis, or already here.  Whom Redis' counters had to warn has been
 * warned: nothing is to be told.
 */
static int64
keep_greater(const MbAccount *account, int64 value)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr plan_read = NULL;
	static SPIPlanPtr plan_crossings = NULL;
	Oid			types[] = {TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID};
	Datum		args[4];
	int64		limit = account->allowance.limit;
	bool		isnull;

	args[0] = mb_spi_text_datum(account->user_id);
	args[1] = mb_spi_text_datum(account->feature);
	args[2] = TimestampTzGetDatum(account->counted);
	args[3] = Int64GetDatum(value);

	/* what is there already costs the live consumers no wait */
	mb_spi_run(&plan_read,
			   "SELECT used FROM momento_billing.usage WHERE user_id OPERATOR(pg_catalog.=) $1"
			   " AND feature OPERATOR(pg_catalog.=) $2 AND period_start OPERATOR(pg_catalog.=) $3",
			   3, types, args, SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		int64		used = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

		if (used >= value)
			return used;
	}
	mb_spi_run(&plan,
			   "INSERT INTO momento_billing.usage AS u (user_id, feature, period_start, used)"
			   " VALUES ($1, $2, $3, $4) ON CONFLICT (user_id, feature, period_start) DO UPDATE"
			   " SET used = GREATEST(u.used, $4), updated_at = pg_catalog.clock_timestamp() RETURNING used",
			   4, types, args, SPI_OK_INSERT_RETURNING);
	value = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (limit > 0 && value >= mb_allowance_80_percent(limit))
	{
		args[3] = Int64GetDatum(value >= limit ? 100 : 80);
		mb_spi_run(&plan_crossings,
				   "INSERT INTO momento_billing.quota_crossing (user_id, feature, period_start, percent, notified)"
				   " SELECT $1, $2, $3, n.percent, true FROM (VALUES (80), (100)) AS n (percent)"
				   " WHERE n.percent OPERATOR(pg_catalog.<=) $4"
				   " ON CONFLICT (user_id, feature, period_start, percent) DO NOTHING",
				   4, types, args, SPI_OK_INSERT);
	}
	return value;
}
