/*
 * reservation.c
 *	  commit_reservation(), release_reservation(): settling what is held.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "account.h"
#include "early.h"
#include "quota_store.h"
#include "spi.h"

/* How a reservation was settled. */
typedef struct Settled
{
	bool		done;
	int64		amount;			/* used by it */
	int64		used;
	int64		held;
	int64		remaining;
	bool		unlimited;
	const char *reason;			/* or NULL */
} Settled;

static void settle(int64 id, bool commit, bool has_actual, int64 actual, Settled *settled);
static void read_reservation(int64 id, bool lock, MbReservation *reservation);
static void settle_held(MbAccount *account, MbReservation *reservation, int64 actual, bool commit);
static void consume_again(MbAccount *account, MbReservation *reservation, int64 actual, Settled *settled);
static int64 reservation_argument(Datum datum, bool isnull);
static void put_settled(const Settled *settled, Datum *values, bool *nulls);

PG_FUNCTION_INFO_V1(commit_reservation);
PG_FUNCTION_INFO_V1(release_reservation);

/* commit_reservation(reservation_id bigint, actual bigint) */
Datum
commit_reservation(PG_FUNCTION_ARGS)
{
	static TupleDesc desc = NULL;
	Settled		settled;
	Datum		values[6];
	bool		nulls[6] = {false};

	settle(reservation_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0)), true,
		   !PG_ARGISNULL(1), PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1), &settled);
	values[0] = BoolGetDatum(settled.done);
	values[1] = Int64GetDatum(settled.amount);
	put_settled(&settled, values + 2, nulls + 2);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(mb_spi_result_desc(fcinfo, &desc), values, nulls)));
}

/* release_reservation(reservation_id bigint) */
Datum
release_reservation(PG_FUNCTION_ARGS)
{
	static TupleDesc desc = NULL;
	Settled		settled;
	Datum		values[5];
	bool		nulls[5] = {false};

	settle(reservation_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0)), false, true, 0, &settled);
	values[0] = BoolGetDatum(settled.done);
	put_settled(&settled, values + 1, nulls + 1);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(mb_spi_result_desc(fcinfo, &desc), values, nulls)));
}

static void
settle(int64 id, bool commit, bool has_actual, int64 actual, Settled *settled)
{
	MbReservation reservation;
	MbAccount	account;
	bool		over;

	SPI_connect();
	read_reservation(id, false, &reservation);
	if (!has_actual)
		actual = reservation.amount;
	else if (actual < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actual must not be negative")));

	PushActiveSnapshot(GetTransactionSnapshot());
	mb_account_open(&account, reservation.user_id, true);
	mb_account_choose_known(&account, reservation.feature);
	PopActiveSnapshot();

	/*
	 * Units that are still to be found are found in the current period, whose
	 * row is locked before that of an older one; so it is where another call
	 * may find the hold to be over before we have it.
	 */
	over = mb_text_is(reservation.state, "expired") ||
		(mb_text_is(reservation.state, "held") && reservation.expires_at <= account.now);
	account.exists = reservation.period_start == account.period.start;

	mb_early_begin();
	mb_quota_lock(&account, over && commit ? account.period.start : reservation.period_start, commit);
	read_reservation(id, true, &reservation);

	/* what was committed may have been less than the amount then */
	if (actual > reservation.amount && !mb_text_is(reservation.state, "committed"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actual must not exceed the amount reserved, " INT64_FORMAT, reservation.amount)));
	*settled = (Settled)
	{
		.done = true
	};
	if (mb_text_is(reservation.state, "held"))
		settle_held(&account, &reservation, actual, commit);
	else if (mb_text_is(reservation.state, "committed"))
	{
		settled->done = commit;
		settled->reason = "already_committed";
	}
	else if (mb_text_is(reservation.state, "released"))
	{
		settled->done = !commit;
		settled->reason = "already_released";
	}
	else if (commit)
		consume_again(&account, &reservation, actual, settled);
	else
	{
		settled->done = false;
		settled->reason = "reservation_expired";
	}
	mb_quota_write(&account);
	mb_early_end();

	/* somebody else has settled it meanwhile, in another period */
	if (mb_text_is(reservation.state, "committed") && reservation.period_start != account.counted)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		mb_account_read(&account, reservation.period_start);
		PopActiveSnapshot();
	}
	if (settled->done && commit)
		settled->amount = reservation.amount;
	settled->used = account.allowance.used;
	settled->held = account.allowance.held;
	settled->remaining = mb_allowance_remaining(&account.allowance, account.now);
	settled->unlimited = account.allowance.limit == MB_UNLIMITED;
	SPI_finish();
}

static void
read_reservation(int64 id, bool lock, MbReservation *reservation)
{
	if (!mb_quota_read_reservation(id, lock, reservation))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reservation " INT64_FORMAT " does not exist", id),
				 errhint("reserve_quota() returns the id; it is null when the units were refused.")));
}

/* What was promised is kept, whatever the limit is by now. */
static void
settle_held(MbAccount *account, MbReservation *reservation, int64 actual, bool commit)
{
	MbUnits    *units = &reservation->units;

	account->allowance.held -= Min(units->plan, account->allowance.held);
	(void) mb_allowance_give_back(&account->allowance, mb_units_total(units) - actual, units);
	account->allowance.used += units->plan;
	if (commit)
		reservation->amount = actual;
	reservation->state = commit ? MB_TEXT_LITERAL("committed") : MB_TEXT_LITERAL("released");
	mb_quota_update_reservation(reservation);
}

/*
 * Too late: the units are anybody's.  They are used now if they are still
 * there, in the current period.
 */
static void
consume_again(MbAccount *account, MbReservation *reservation, int64 actual, Settled *settled)
{
	MbUnits		units = {0};

	if (account->counted != account->period.start)
	{
		mb_quota_write(account);
		mb_quota_lock(account, account->period.start, false);
	}
	units.grants = palloc(Max(account->allowance.ngrants, 1) * sizeof(MbGrantUnits));
	if (actual > 0 && !mb_allowance_take(&account->allowance, actual, account->now, &units))
	{
		settled->done = false;
		settled->reason = "reservation_expired";
		return;
	}
	account->allowance.used += units.plan;
	reservation->units = units;
	reservation->amount = actual;
	reservation->period_start = account->counted;
	reservation->state = MB_TEXT_LITERAL("committed");
	mb_quota_update_reservation(reservation);
}

static int64
reservation_argument(Datum datum, bool isnull)
{
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reservation_id must not be null"),
				 errhint("reserve_quota() returns no id when the units are refused: look at \"allowed\" first.")));
	return DatumGetInt64(datum);
}

/* The columns from used to reason. */
static void
put_settled(const Settled *settled, Datum *values, bool *nulls)
{
	values[0] = Int64GetDatum(settled->used);
	values[1] = Int64GetDatum(settled->held);
	values[2] = Int64GetDatum(settled->remaining);
	nulls[2] = settled->unlimited;
	nulls[3] = settled->reason == NULL;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(settled->reason);
}
