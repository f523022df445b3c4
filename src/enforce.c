/*
 * enforce.c
 *	  enforce_quota(): a trigger by which each new row of an app's table uses
 *	  one unit, so that no way into the table goes round the limit.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "consume.h"
#include "errors.h"
#include "reads.h"
#include "spi.h"

static void say_where(void *arg);

PG_FUNCTION_INFO_V1(enforce_quota);

/* enforce_quota('feature', 'user column'), INSERT FOR EACH ROW */
Datum
enforce_quota(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	char	  **args;
	int			column;
	char	   *user_id;
	ErrorContextCallback context = {.previous = error_context_stack,.callback = say_where,.arg = trigdata};
	MbUse		use = {.amount = 1};
	MbAnswer	answer;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) || TRIGGER_FIRED_INSTEAD(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("\"enforce_quota\" must be called as a trigger AFTER or BEFORE INSERT, for each row"),
				 errhint("CREATE TRIGGER ... AFTER INSERT ON ... FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('feature', 'userId');")));
	args = trigdata->tg_trigger->tgargs;
	if (trigdata->tg_trigger->tgnargs != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\" must have two arguments", trigdata->tg_trigger->tgname),
				 errhint("They are the feature and the column with the user's id.")));
	desc = RelationGetDescr(trigdata->tg_relation);
	column = SPI_fnumber(desc, args[1]);
	if (column <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", args[1], RelationGetRelationName(trigdata->tg_relation)),
				 errhint("It is the second argument of trigger \"%s\".", trigdata->tg_trigger->tgname)));
	user_id = SPI_getvalue(trigdata->tg_trigtuple, desc, column);
	/* blanks that only fill a char(n) up are no part of an id */
	if (user_id != NULL && getBaseType(SPI_gettypeid(desc, column)) == BPCHAROID)
		user_id[bpchartruelen(user_id, strlen(user_id))] = '\0';
	if (user_id == NULL || user_id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" of table \"%s\" must not be null or empty", args[1], RelationGetRelationName(trigdata->tg_relation)),
				 errdetail("Trigger \"%s\" counts each row for its user.", trigdata->tg_trigger->tgname),
				 errhint("For rows of nobody give the trigger a condition: WHEN (NEW.%s IS NOT NULL).", quote_identifier(args[1]))));

	error_context_stack = &context;
	use.user_id = mb_user_argument(CStringGetTextDatum(user_id), false);
	use.feature = mb_text(args[0]);
	mb_consume(&use, &answer);
	error_context_stack = context.previous;
	if (!answer.allowed)
		ereport(ERROR,
				(errcode(MB_ERRCODE_QUOTA_EXCEEDED),
				 errmsg("quota of \"%s\" exceeded", args[0]),
				 answer.monthly_limit >= 0 ?
				 errdetail("User \"%s\" has used " INT64_FORMAT " and holds " INT64_FORMAT " of " INT64_FORMAT " units of tier %.*s.",
						   user_id, answer.used, answer.held, answer.monthly_limit, answer.tier.len, answer.tier.data) :
				 errdetail("The feature is not in tier %.*s of user \"%s\".", answer.tier.len, answer.tier.data, user_id),
				 errhint("quota_remaining() says when the next period begins; a higher tier may include more.")));
	return PointerGetDatum(trigdata->tg_trigtuple);
}

/* Of an error that is about the user or the feature, not about the row. */
static void
say_where(void *arg)
{
	const TriggerData *trigdata = arg;

	errcontext("trigger \"%s\" on table \"%s\"", trigdata->tg_trigger->tgname, RelationGetRelationName(trigdata->tg_relation));
}
