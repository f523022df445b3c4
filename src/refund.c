/*
 * refund.c
 *	  refund_quota(): units of a call that failed go back to where they came
 *	  from.
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
#include "consume.h"
#include "early.h"
#include "quota_store.h"
#include "reads.h"
#include "request.h"
#include "spi.h"

static int64 refund_request(MbAccount *account, MbText key, int64 amount);
static int64 refund_current(MbAccount *account, int64 amount);
static int64 give_back(MbAccount *account, MbTime counted, int64 amount, MbUnits *units);
static void look(MbAccount *account, MbTime counted);

PG_FUNCTION_INFO_V1(refund_quota);

/* refund_quota(user_id text, feature text, amount bigint, idempotency_key text) */
Datum
refund_quota(PG_FUNCTION_ARGS)
{
	static TupleDesc desc = NULL;
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	MbText		name = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	int64		amount = mb_amount_argument(PG_GETARG_DATUM(2), PG_ARGISNULL(2));
	MbText		key = mb_key_argument(PG_GETARG_DATUM(3), PG_ARGISNULL(3));
	MbAccount	account;
	Datum		values[3];
	bool		nulls[3] = {false};

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	mb_account_open(&account, user_id, true);
	PopActiveSnapshot();
	if (key.data == NULL || name.data == NULL)
		mb_account_choose(&account, name);
	else
		mb_account_choose_known(&account, name);

	SPI_connect();
	mb_early_begin();
	values[0] = Int64GetDatum(key.data != NULL ? refund_request(&account, key, amount) :
							  refund_current(&account, amount));
	mb_early_end();
	values[1] = Int64GetDatum(account.allowance.used);
	values[2] = Int64GetDatum(mb_allowance_remaining(&account.allowance, account.now));
	nulls[2] = account.allowance.limit == MB_UNLIMITED;
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(mb_spi_result_desc(fcinfo, &desc), values, nulls)));
}

/*
 * Of the call that came with the key, "amount" units at most are given back,
 * however often this is called.  The units of a reservation are in its row,
 * once it is committed, which is final.  The feature may have gone from the
 * catalogue since.
 */
static int64
refund_request(MbAccount *account, MbText key, int64 amount)
{
	MbRequest	request;
	MbReservation reservation = {0};
	MbUnits    *units = &request.units;
	MbTime		counted;
	bool		settled = true;
	int64		refunded;

	if (!mb_request_lock(account->user_id, key, &request))
	{
		mb_account_choose(account, account->feature);
		look(account, account->period.start);
		return 0;
	}
	if (!mb_text_eq(request.feature, account->feature))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency key \"%.*s\" was used for another feature", key.len, key.data),
				 errdetail("It was used for \"%.*s\".", request.feature.len, request.feature.data)));
	counted = request.period_start;
	if (request.reservation_id != 0)
	{
		settled = mb_quota_read_reservation(request.reservation_id, false, &reservation) &&
			mb_text_is(reservation.state, "committed");
		units = &reservation.units;
		if (settled)
			counted = reservation.period_start;
	}
	amount = settled ? Min(amount - request.refunded, mb_units_total(units)) : 0;
	if (amount <= 0)
	{
		look(account, counted);
		return 0;
	}
	/* the call was counted there */
	account->exists = true;
	refunded = give_back(account, counted, amount, units);
	mb_request_refund(account->user_id, key, request.refunded + amount, &request.units);
	if (request.reservation_id != 0)
		mb_quota_update_reservation(&reservation);
	return refunded;
}

/* Without a key: whatever has been used of the plan in this period. */
static int64
refund_current(MbAccount *account, int64 amount)
{
	MbUnits		units = {.plan = amount};

	look(account, account->period.start);
	return account->allowance.used > 0 ? give_back(account, account->counted, amount, &units) : 0;
}

/* Never more than is counted as used, which another refund may have lowered. */
static int64
give_back(MbAccount *account, MbTime counted, int64 amount, MbUnits *units)
{
	int64		of_plan;
	int64		plan_back;

	mb_quota_lock(account, counted, false);
	of_plan = mb_allowance_give_back(&account->allowance, amount, units);
	plan_back = Min(of_plan, account->allowance.used);
	account->allowance.used -= plan_back;
	mb_quota_write(account);
	return amount - of_plan + plan_back;
}

/* What there is now, after whatever was waited for. */
static void
look(MbAccount *account, MbTime counted)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	mb_account_read(account, counted);
	PopActiveSnapshot();
}
