/*
 * quota.c
 *	  quota_remaining(), in its three forms.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account.h"
#include "compat.h"
#include "reads.h"
#include "settings.h"
#include "spi.h"

static Datum all_features(FunctionCallInfo fcinfo, MbText user_id);

PG_FUNCTION_INFO_V1(quota_remaining);
PG_FUNCTION_INFO_V1(quota_remaining_all);
PG_FUNCTION_INFO_V1(quota_remaining_session);

/* quota_remaining(user_id text, feature text) */
Datum
quota_remaining(PG_FUNCTION_ARGS)
{
	MbText		user_id = mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0));
	MbText		name = mb_spi_text(PG_GETARG_DATUM(1), PG_ARGISNULL(1));
	MbAccount	account;

	mb_account_open(&account, user_id, false);
	mb_account_choose(&account, name);
	if (account.allowance.limit == MB_UNLIMITED)
		PG_RETURN_NULL();
	if (account.allowance.limit == MB_NOT_IN_PLAN && !account.catalog->has_quota_grants)
		PG_RETURN_INT64(0);
	mb_account_read(&account, account.period.start);
	PG_RETURN_INT64(mb_allowance_remaining(&account.allowance, account.now));
}

/* quota_remaining(user_id text) */
Datum
quota_remaining_all(PG_FUNCTION_ARGS)
{
	return all_features(fcinfo, mb_user_argument(PG_GETARG_DATUM(0), PG_ARGISNULL(0)));
}

/* quota_remaining() */
Datum
quota_remaining_session(PG_FUNCTION_ARGS)
{
	if (mb_user_id == NULL || mb_user_id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is not set", "momento_billing.user_id"),
				 errhint("SET LOCAL momento_billing.user_id = '...', or name the user in the call.")));
	return all_features(fcinfo, mb_user_argument(CStringGetTextDatum(mb_user_id), false));
}

static Datum
all_features(FunctionCallInfo fcinfo, MbText user_id)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const MbPlans *plans;
	MbAccount	account;

	mb_account_open(&account, user_id, false);
	plans = &account.catalog->plans;
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < plans->nfeatures; i++)
	{
		const MbAllowance *allowance = &account.allowance;
		Datum		values[10];
		bool		nulls[10] = {false};

		mb_account_choose(&account, plans->features[i].name);
		mb_account_read(&account, account.period.start);
		values[0] = mb_spi_text_datum(account.feature);
		values[1] = mb_spi_text_datum(plans->tiers[account.tier].name);
		values[2] = Int64GetDatum(allowance->used);
		values[3] = Int64GetDatum(allowance->held);
		values[4] = Int64GetDatum(allowance->limit);
		nulls[4] = allowance->limit < 0;
		values[5] = Int64GetDatum(mb_allowance_remaining(allowance, account.now));
		nulls[5] = allowance->limit == MB_UNLIMITED;
		values[6] = BoolGetDatum(allowance->limit == MB_UNLIMITED);
		values[7] = BoolGetDatum(allowance->limit != MB_NOT_IN_PLAN);
		values[8] = TimestampTzGetDatum(account.period.start);
		values[9] = TimestampTzGetDatum(account.period.end);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
