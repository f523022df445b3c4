/*
 * early.c
 *	  Letting go of a counter's row before its commit is flushed.
 *
 * Consumers of one user wait for each other's row lock, and a commit keeps it
 * while the WAL is being flushed: one unit per flush, however many ask.  So a
 * transaction that only counts units commits without waiting, which releases
 * its locks, and is flushed right after that, before the client is told.
 * Those who waited come into the same flush.
 *
 * Nothing answered is lost: who has counted on top of an unflushed commit is
 * behind it in the WAL, so whatever makes the later one durable makes the
 * earlier one so; and who only repeats an answer flushes it first.  Nothing is
 * over-sold: the rows and their locks are as ever.
 * What is given up is that others see a unit as used a moment before it is
 * durable.  For other data that may be too early to see it; so a transaction
 * that has written anything else, be it before, between or after, is left
 * alone, and so is one that a synchronous standby has to confirm.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "replication/syncrep.h"
#include "utils/guc.h"
#include "utils/resowner.h"

#include "early.h"

/* Up to here all that this transaction has written is ours; or 0. */
static XLogRecPtr ours = InvalidXLogRecPtr;
static bool begun = false;
static bool flush = false;

static void xact_callback(XactEvent event, void *arg);
static void release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg);

void
mb_early_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterResourceReleaseCallback(release_callback, NULL);
}

/* Before the first write there is no transaction id; WAL without one is of no transaction. */
void
mb_early_begin(void)
{
	begun = !TransactionIdIsValid(GetTopTransactionIdIfAny()) || (ours != InvalidXLogRecPtr && XactLastRecEnd == ours);
}

void
mb_early_end(void)
{
	ours = begun ? XactLastRecEnd : InvalidXLogRecPtr;
	begun = false;
}

void
mb_early_flush(TupleTableSlot *slot)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(ExecFetchSlotHeapTuple(slot, false, NULL)->t_data);
	XLogRecPtr	commit;

	if (synchronous_commit == SYNCHRONOUS_COMMIT_OFF || RecoveryInProgress() || TransactionIdIsCurrentTransactionId(xmin))
		return;
	commit = TransactionIdGetCommitLSN(xmin);
	if (commit != InvalidXLogRecPtr)
		XLogFlush(commit);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT && ours != InvalidXLogRecPtr && XactLastRecEnd == ours &&
		synchronous_commit > SYNCHRONOUS_COMMIT_OFF &&
		(synchronous_commit <= SYNCHRONOUS_COMMIT_LOCAL_FLUSH || SyncRepStandbyNames == NULL || SyncRepStandbyNames[0] == '\0'))
	{
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		flush = true;
	}
	if (event != XACT_EVENT_PARALLEL_PRE_COMMIT)
		ours = InvalidXLogRecPtr;
}

static void
release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!flush || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	flush = false;
	if (is_commit)
		XLogFlush(XactLastCommitEnd);
}
