/*
 * spi.c
 *	  Small helpers around the server programming interface.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#include "compat.h"
#include "spi.h"

static void make_plan(SPIPlanPtr plan);

SPIPlanPtr
mb_spi_prepare(const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(sql, nargs, types, CURSOR_OPT_GENERIC_PLAN);

	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	return plan;
}

void
mb_spi_execute(SPIPlanPtr plan, Datum *args, bool read_only, int expected)
{
	int			result;

	make_plan(plan);
	result = SPI_execute_plan(plan, args, NULL, read_only, 0);
	if (result != expected)
		elog(ERROR, "unexpected result of a plan: %s", SPI_result_code_string(result));
}

Datum
mb_spi_array(Datum *elements, int count, Oid type)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;

	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_array(elements, count, type, typlen, typbyval, typalign));
}

Datum
mb_spi_text_array(const MbText *texts, int count)
{
	Datum	   *elements = palloc(Max(count, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(count, 1) * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < count; i++)
	{
		nulls[i] = texts[i].data == NULL;
		elements[i] = nulls[i] ? (Datum) 0 : mb_spi_text_datum(texts[i]);
	}
	return PointerGetDatum(construct_md_array(elements, nulls, 1, &count, &lower, TEXTOID, -1, false, TYPALIGN_INT));
}

MbText
mb_spi_get_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(tuple, desc, column, &isnull);

	return mb_spi_text(datum, isnull);
}

MbText
mb_spi_text(Datum datum, bool isnull)
{
	text	   *value;

	if (isnull)
		return MB_NO_TEXT;
	value = DatumGetTextPP(datum);
	return (MbText)
	{
		VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)
	};
}

Datum
mb_spi_text_datum(MbText text)
{
	return PointerGetDatum(cstring_to_text_with_len(text.data, text.len));
}

MbText
mb_text_copy(MbText text)
{
	if (text.data == NULL)
		return text;
	return (MbText)
	{
		pnstrdup(text.data, text.len), text.len
	};
}

/*
 * Plan under our planner settings, if a plan has to be made: index nested
 * loops.  Set-wise statements join a sorted array to a table; a plan made
 * while the table was tiny would otherwise be a sequential scan that is kept
 * while the table grows, and a hash join would lose the order in which rows
 * are locked.  Nor is a short statement worth compiling, whatever the guessed
 * size of an array makes it cost.  The settings are back before the plan is executed, so that the
 * triggers of the app's table do not see them.
 */
static void
make_plan(SPIPlanPtr plan)
{
	static const char *const off[] = {"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"};
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	CachedPlan *cached;
	int			nest_level;

	if (source->is_valid && source->gplan != NULL && source->gplan->is_valid)
		return;
	nest_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(true, nest_level);
}
