/*
 * probe.h
 *	  Look up rows by equality on the leading columns of an index, without
 *	  planner or executor.
 */
#ifndef MB_PROBE_H
#define MB_PROBE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"

#define MB_PROBE_MAX_KEYS 3

/* A prepared look-up: plain values, valid until the relation changes. */
typedef struct MbProbe
{
	Oid			indexid;
	TransactionId check_xmin;	/* if valid, the index is only for snapshots
								 * that are newer */
	int			nkeys;
	ScanKeyData keys[MB_PROBE_MAX_KEYS];
} MbProbe;

typedef struct MbProbeScan
{
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} MbProbeScan;

/*
 * Prepare a probe of "rel", which the caller has open.  With "unique", the
 * index must be one on exactly these columns that always enforces uniqueness:
 * valid, immediate, without predicate or expressions.  Otherwise it need only
 * begin with them; a predicate it may have only if it is the index "partial".
 * False if there is no such btree index.
 */
extern bool mb_probe_init(MbProbe *probe, Relation rel, const AttrNumber *columns, int ncolumns,
						  bool unique, Oid partial);

/*
 * May the index be used by this transaction?  One that was built over rows
 * with broken HOT chains lacks what older snapshots see; the planner leaves it
 * alone for the same reason.
 */
extern bool mb_probe_usable(const MbProbe *probe);

/* A row, and where the index has it: at the root of its chain of versions. */
typedef struct MbProbeRow
{
	HeapTuple	tuple;
	ItemPointerData root;
} MbProbeRow;

/*
 * The rows of every key of a probe by one column, in the order of the keys,
 * copied: under the active snapshot, or locked as FOR NO KEY UPDATE does it,
 * and then as they are now.  The caller has "rel" open.
 */
extern MbProbeRow *mb_probe_rows(const MbProbe *probe, Relation rel, const Datum *keys, int nkeys, bool lock, int *count);

/*
 * For every key: is this root the only entry that the index has, of rows that
 * anybody may see or is inserting?
 */
extern void mb_probe_only(const MbProbe *probe, Relation rel, const Datum *keys, const ItemPointerData *roots, int nkeys, bool *only);

/*
 * Scan under the active snapshot: rows are the user's data, and a statement
 * must see one state of them.  The caller has "rel" open.  After an error the
 * resource owner cleans up.
 */
extern void mb_probe_begin(MbProbeScan *scan, const MbProbe *probe, Relation rel, const Datum *values);

/* The next row, or NULL. */
extern TupleTableSlot *mb_probe_next(MbProbeScan *scan);
extern void mb_probe_end(MbProbeScan *scan);

#endif							/* MB_PROBE_H */
