/*
 * consume.c
 *	  consume_quota(), reserve_quota().
 *
 * The account is read first, without locks: a refusal ends there.  What the
 * plan has room for is then one conditional UPDATE, which is what cannot be
 * over-sold; only where grants are burnt, or holds have expired, is the
 * account locked first (quota_store.c).  If somebody has come in between, all
 * of it is done again.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "consume.h"
#include "early.h"
#include "quota_store.h"
#include "reads.h"
#include "spi.h"

/* More than any plan sells: a sum of millions of such calls does not overflow. */
#define MAX_AMOUNT INT64CONST(1000000000000)

#define MAX_TTL (24 * USECS_PER_HOUR)

static char *arguments(const MbUse *use);
static bool read_account(const MbUse *use, const char *call, MbAccount *account, MbAnswer *answer);
static bool attempt(const MbUse *use, const char *call, MbAccount *account, MbAnswer *answer);
static bool take(const MbUse *use, MbAccount *account, MbUnits *units);
static void describe(const MbAccount *account, MbAnswer *answer);
static MbTime ttl_argument(Datum datum, bool isnull);
static int	put_answer(const MbAnswer *answer, Datum *values, bool *nulls);

PG_FUNCTION_INFO_V1(consume_quota);
PG_FUNCTION_INFO_V1(reserve_quota);

/* consume_quota(user_id text, feature text, amount bigint, idempotency_key text) */
Datum
consume_quota(PG_FUNCTION_ARGS)
{
	static TupleDesc desc = NULL;
	MbUse		use = {
		.user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0)),
		.feature = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1)),
		.amount = mb_amount_argument(PG_GETARG_DATUM(2), PG_ARGISNULL(2)),
		.key = mb_key_argument(PG_GETARG_DATUM(3), PG_ARGISNULL(3)),
	};
	MbAnswer	answer;
	Datum		values[10];
	bool		nulls[10] = {false};

	mb_consume(&use, &answer);
	put_answer(&answer, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(mb_spi_result_desc(fcinfo, &desc), values, nulls)));
}

/* reserve_quota(user_id text, feature text, amount bigint, ttl interval, idempotency_key text) */
Datum
reserve_quota(PG_FUNCTION_ARGS)
{
	static TupleDesc desc = NULL;
	MbUse		use = {
		.user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0)),
		.feature = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1)),
		.amount = mb_amount_argument(PG_GETARG_DATUM(2), PG_ARGISNULL(2)),
		.ttl = ttl_argument(PG_GETARG_DATUM(3), PG_ARGISNULL(3)),
		.key = mb_key_argument(PG_GETARG_DATUM(4), PG_ARGISNULL(4)),
	};
	MbAnswer	answer;
	Datum		values[12];
	bool		nulls[12] = {false};
	int			n;

	mb_consume(&use, &answer);
	values[0] = Int64GetDatum(answer.reservation_id);
	n = 1 + put_answer(&answer, values + 1, nulls + 1);
	values[n] = TimestampTzGetDatum(answer.expires_at);
	nulls[0] = nulls[n] = answer.reservation_id == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(mb_spi_result_desc(fcinfo, &desc), values, nulls)));
}

void
mb_consume(const MbUse *use, MbAnswer *answer)
{
	char	   *call = use->key.data != NULL ? arguments(use) : NULL;
	bool		done;

	do
	{
		MbAccount	account;

		CHECK_FOR_INTERRUPTS();

		/*
		 * Each statement of a volatile function looks at what is committed by
		 * then, and so does each attempt.
		 */
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		done = !read_account(use, call, &account, answer);
		if (!done)
		{
			SPI_connect();
			mb_early_begin();
			done = attempt(use, call, &account, answer);
			mb_early_end();
			SPI_finish();
		}
		PopActiveSnapshot();
	} while (!done);
}

int64
mb_amount_argument(Datum datum, bool isnull)
{
	if (isnull || DatumGetInt64(datum) < 1 || DatumGetInt64(datum) > MAX_AMOUNT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must be between 1 and " INT64_FORMAT, MAX_AMOUNT)));
	return DatumGetInt64(datum);
}

/* A call in words, by which it is known again. */
static char *
arguments(const MbUse *use)
{
	if (use->ttl > 0)
		return psprintf("reserve_quota %.*s " INT64_FORMAT " for " INT64_FORMAT " ms",
						use->feature.len, use->feature.data ? use->feature.data : "", use->amount, use->ttl / 1000);
	return psprintf("consume_quota %.*s " INT64_FORMAT,
					use->feature.len, use->feature.data ? use->feature.data : "", use->amount);
}

/*
 * False if the answer is clear without any change: the key has been answered,
 * or there is not enough.
 */
static bool
read_account(const MbUse *use, const char *call, MbAccount *account, MbAnswer *answer)
{
	mb_account_open(account, use->user_id, true);
	mb_account_choose(account, use->feature);
	if (call != NULL && mb_request_find(account, use->key, call, answer))
		return false;
	mb_account_read(account, account->period.start);
	*answer = (MbAnswer)
	{
		.allowed = false
	};
	describe(account, answer);
	return use->amount <= mb_allowance_remaining(&account->allowance, account->now);
}

/* False if somebody has come in between, and nothing has been done. */
static bool
attempt(const MbUse *use, const char *call, MbAccount *account, MbAnswer *answer)
{
	MbUnits		units = {0};

	if (call != NULL && !mb_request_claim(account, use->key, call, use->amount))
		return false;
	if (!take(use, account, &units))
	{
		if (call != NULL)
			mb_request_drop(use->user_id, use->key);
		return false;
	}
	answer->allowed = true;
	if (use->ttl > 0)
	{
		answer->expires_at = account->now + use->ttl;
		answer->reservation_id = mb_quota_insert_reservation(account, use->amount, &units, answer->expires_at);
		units = (MbUnits)
		{
			0
		};						/* the reservation has them */
	}
	describe(account, answer);
	if (call != NULL)
		mb_request_answer(use->user_id, use->key, answer, &units);
	return true;
}

/* Use or hold the units; false if they are not there any more. */
static bool
take(const MbUse *use, MbAccount *account, MbUnits *units)
{
	MbAllowance *allowance = &account->allowance;
	bool		taken;

	if (!account->has_expired && use->amount <= mb_allowance_plan(allowance))
	{
		*units = (MbUnits)
		{
			.plan = use->amount
		};
		return mb_quota_add(account, use->ttl == 0 ? use->amount : 0, use->ttl > 0 ? use->amount : 0);
	}
	mb_quota_lock(account, account->period.start, false);
	units->grants = palloc(Max(allowance->ngrants, 1) * sizeof(MbGrantUnits));
	taken = mb_allowance_take(allowance, use->amount, account->now, units);
	if (taken && use->ttl == 0)
		allowance->used += units->plan;
	else if (taken)
		allowance->held += units->plan;
	mb_quota_write(account);
	return taken;
}

static void
describe(const MbAccount *account, MbAnswer *answer)
{
	const MbAllowance *allowance = &account->allowance;
	bool		closed = allowance->limit == MB_NOT_IN_PLAN && mb_allowance_granted(allowance, account->now) == 0;

	answer->used = allowance->used;
	answer->held = allowance->held;
	answer->monthly_limit = allowance->limit;
	answer->remaining = mb_allowance_remaining(allowance, account->now);
	answer->unlimited = allowance->limit == MB_UNLIMITED;
	answer->resets_at = account->period.end;
	answer->tier = account->catalog->plans.tiers[account->tier].name;
	answer->reason = answer->allowed ? NULL : closed ? "not_in_plan" : "limit_reached";
}

/* A day has 24 hours here: a hold lasts as long whatever the clocks do. */
static MbTime
ttl_argument(Datum datum, bool isnull)
{
	Interval	ttl = {0};

	if (!isnull)
		ttl = *DatumGetIntervalP(datum);
	if (ttl.month == 0 && ttl.day >= 0 && ttl.day <= 1 && ttl.time >= -MAX_TTL && ttl.time <= MAX_TTL)
		ttl.time += ttl.day * USECS_PER_DAY;
	else
		ttl.time = 0;
	if (ttl.time <= 0 || ttl.time > MAX_TTL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl must be more than 0 and at most 24 hours")));
	return ttl.time;
}

/* The columns from allowed to replayed; returns how many. */
static int
put_answer(const MbAnswer *answer, Datum *values, bool *nulls)
{
	values[0] = BoolGetDatum(answer->allowed);
	values[1] = Int64GetDatum(answer->used);
	values[2] = Int64GetDatum(answer->held);
	values[3] = Int64GetDatum(answer->monthly_limit);
	nulls[3] = answer->monthly_limit < 0;
	values[4] = Int64GetDatum(answer->remaining);
	nulls[4] = answer->unlimited;
	values[5] = BoolGetDatum(answer->unlimited);
	values[6] = TimestampTzGetDatum(answer->resets_at);
	values[7] = mb_spi_text_datum(answer->tier);
	nulls[8] = answer->reason == NULL;
	if (!nulls[8])
		values[8] = CStringGetTextDatum(answer->reason);
	values[9] = BoolGetDatum(answer->replayed);
	return 10;
}
