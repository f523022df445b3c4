/*
 * spi.c
 *	  Small helpers around the server programming interface.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "optimizer/plancat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#include "compat.h"
#include "spi.h"

/* The size of a table that is planned for, at least. */
#define PLANNED_PAGES 100000
#define PLANNED_TUPLES 1000000

static get_relation_info_hook_type prev_get_relation_info_hook = NULL;
static bool planning = false;

static void make_plan(SPIPlanPtr plan);
static void set_local(const char *name, const char *value);
static void enlarge_relation(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel);

void
mb_spi_init(void)
{
	prev_get_relation_info_hook = get_relation_info_hook;
	get_relation_info_hook = enlarge_relation;
}

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
	int			nest_level = 0;
	int			result;

	/* a session that forces custom plans would plan anew, and otherwise */
	if (plan_cache_mode == PLAN_CACHE_MODE_FORCE_CUSTOM_PLAN)
	{
		nest_level = NewGUCNestLevel();
		set_local("plan_cache_mode", "auto");
	}
	make_plan(plan);
	result = SPI_execute_plan(plan, args, NULL, read_only, 0);
	if (nest_level > 0)
		AtEOXact_GUC(true, nest_level);
	if (result != expected)
		elog(ERROR, "unexpected result of a plan: %s", SPI_result_code_string(result));
}

void
mb_spi_run(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *args, int expected)
{
	if (*plan == NULL)
		*plan = mb_spi_prepare(sql, nargs, types);
	mb_spi_execute(*plan, args, false, expected);
}

TupleDesc
mb_spi_result_desc(FunctionCallInfo fcinfo, TupleDesc *cache)
{
	TupleDesc	desc;
	MemoryContext old_context;

	if (*cache != NULL)
		return *cache;
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	old_context = MemoryContextSwitchTo(CacheMemoryContext);
	*cache = BlessTupleDesc(CreateTupleDescCopy(desc));
	MemoryContextSwitchTo(old_context);
	return *cache;
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
 * Make the plan, if one has to be made, for tables of a size that they will
 * have.  A plan made while a table is tiny would otherwise read all of it, and
 * be kept while the table grows; and rows would not be locked in the order of
 * the sorted array that names them.  Nor is a short statement worth compiling.
 * All this is over before the plan is executed, so that the triggers of the
 * app's table do not see it.
 */
static void
make_plan(SPIPlanPtr plan)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	CachedPlan *cached;
	int			nest_level;

	if (source->is_valid && source->gplan != NULL && source->gplan->is_valid)
		return;
	nest_level = NewGUCNestLevel();
	set_local("jit", "off");
	PG_TRY();
	{
		planning = true;
		cached = SPI_plan_get_cached_plan(plan);
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	}
	PG_FINALLY();
	{
		planning = false;
	}
	PG_END_TRY();
	AtEOXact_GUC(true, nest_level);
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* The planner's idea of a table, made large while it plans for us. */
static void
enlarge_relation(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	ListCell   *lc;

	if (prev_get_relation_info_hook)
		prev_get_relation_info_hook(root, relid, inhparent, rel);
	if (!planning)
		return;
	rel->pages = Max(rel->pages, PLANNED_PAGES);
	rel->tuples = Max(rel->tuples, PLANNED_TUPLES);
	foreach(lc, rel->indexlist)
	{
		IndexOptInfo *index = lfirst(lc);

		index->pages = Max(index->pages, PLANNED_PAGES / 10);
		index->tuples = Max(index->tuples, PLANNED_TUPLES);
	}
}
