/*
 * spi.h
 *	  Saved plans with parameters, and values in and out of them.
 */
#ifndef MB_SPI_H
#define MB_SPI_H

#include "postgres.h"

#include "executor/spi.h"

#include "text.h"

/* Install the planner hook; once, from _PG_init. */
extern void mb_spi_init(void);

/*
 * Prepare and keep a plan.  Needs an SPI connection.  The plan is generic:
 * our statements have one good plan, and planning each time would cost more
 * than executing.
 */
extern SPIPlanPtr mb_spi_prepare(const char *sql, int nargs, Oid *types);

/*
 * Execute a kept plan; an unexpected result code is an error.  "args" are
 * never NULL values.  Results in SPI_processed and SPI_tuptable.
 */
extern void mb_spi_execute(SPIPlanPtr plan, Datum *args, bool read_only, int expected);

/* Execute a plan as above, read-write; prepared and kept at its first use. */
extern void mb_spi_run(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *args, int expected);

/*
 * The row type that a function of ours returns, worked out once per backend
 * and kept in "cache".
 */
extern TupleDesc mb_spi_result_desc(FunctionCallInfo fcinfo, TupleDesc *cache);

/* An array of a type. */
extern Datum mb_spi_array(Datum *elements, int count, Oid type);

/* An array of text; no text is NULL. */
extern Datum mb_spi_text_array(const MbText *texts, int count);

/* A column of a row, counted from 1; NULL is no text, borrowed as below. */
extern MbText mb_spi_get_text(HeapTuple tuple, TupleDesc desc, int column);

/* A text value, borrowed from the datum, which is detoasted if need be. */
extern MbText mb_spi_text(Datum datum, bool isnull);
extern Datum mb_spi_text_datum(MbText text);

/* A copy in the current context. */
extern MbText mb_text_copy(MbText text);

#endif							/* MB_SPI_H */
