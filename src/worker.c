/*
 * worker.c
 *	  The background worker of one database: wait, drain, report.
 *
 * Started once recovery has ended, so never on a standby, and by itself after
 * a promotion; restarted ten seconds after any end but the server's.
 *
 * It sleeps on its latch, which a commit of new events sets (stats.c), with
 * naptime as the safety net.  While it sleeps it has no transaction, no
 * snapshot and no lock.
 *
 * Memory: "mb worker" lives as long as the process; a drain (drain.c) lives
 * below it.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "app_table.h"
#include "apply.h"
#include "catalog.h"
#include "compat.h"
#include "drain.h"
#include "notify.h"
#include "retention.h"
#include "settings.h"
#include "stats.h"
#include "worker.h"

#define RESTART_SECONDS 10

/* Between two looks for what is too old: of its age, but at most, in s. */
#define REMOVAL_FRACTION 24
#define REMOVAL_INTERVAL (24 * 60 * 60)

/*
 * Lines that may be logged at once, in all and of one trouble; and one more
 * each so many ms.
 */
#define LOG_LINES 20
#define LOG_TROUBLE_LINES 3
#define LOG_INTERVAL (60 * 1000)

/* How until_done() ended. */
typedef enum Outcome
{
	STEP_DONE,
	STEP_FAILED,
	STEP_INTERRUPTED
} Outcome;

static MemoryContext worker_context;
static const char *database;	/* that this worker serves */
static bool in_trouble;			/* since this look began */
static MbDrain *drain = NULL;
static TimestampTz next_removal = 0;

static void pin_settings(void);
static void wait_until_enabled(void);
static void wait_for_database(void);
static const char *database_trouble(void);
static bool ready(void);
static void leave(int code, Datum arg);
static void drain_all(void);
static bool send_notifications(void);
static bool send_quotas(void);
static void remove_old(void);
static Outcome until_done(bool (*step) (void));
static void abort_and_report(MemoryContext context, bool is_ready);
static void nap(long timeout);
static void check_for_interrupts(void);
static void reload_settings(void);
static void report(MbWorkerState state, const char *message);
static bool may_log(bool later);

void
mb_worker_init(void)
{
	/* pg_upgrade moves databases that nobody may be connected to */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	for (int slot = 0; slot < mb_stats_nworkers(); slot++)
	{
		BackgroundWorker worker = {
			.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
			.bgw_start_time = BgWorkerStart_RecoveryFinished,
			.bgw_restart_time = RESTART_SECONDS,
			.bgw_main_arg = Int32GetDatum(slot),
		};

		strlcpy(worker.bgw_library_name, "momento_billing", sizeof(worker.bgw_library_name));
		strlcpy(worker.bgw_function_name, "momento_billing_worker_main", sizeof(worker.bgw_function_name));
		snprintf(worker.bgw_name, sizeof(worker.bgw_name), "momento_billing worker: %s", mb_stats_database(slot));
		strlcpy(worker.bgw_type, "momento_billing worker", sizeof(worker.bgw_type));
		RegisterBackgroundWorker(&worker);
	}
}

void
momento_billing_worker_main(Datum slot)
{
	MbPredecessor predecessor;
	uint32		wakes;

	worker_context = AllocSetContextCreate(TopMemoryContext, "mb worker", ALLOCSET_DEFAULT_SIZES);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	database = mb_stats_database(DatumGetInt32(slot));
	predecessor = mb_stats_attach(DatumGetInt32(slot));

	/* registered before the connection's, so that it runs after the rollback */
	before_shmem_exit(leave, (Datum) 0);

	/* Switched off, it is not even connected: DROP DATABASE works. */
	wait_until_enabled();
	if (predecessor == MB_PREDECESSOR_CONNECTING)
		wait_for_database();
	mb_stats_set_connecting(true);
	BackgroundWorkerInitializeConnection(database, NULL, 0);
	mb_stats_set_connecting(false);
	pin_settings();
	mb_stats_set_database(MyDatabaseId);

	MemoryContextSwitchTo(worker_context);
	drain = mb_drain_create(predecessor == MB_PREDECESSOR_NONE ? MB_DRAIN_AFTER_START :
							predecessor == MB_PREDECESSOR_DRAINING ? MB_DRAIN_AFTER_END : MB_DRAIN_WORKER);
	for (;;)
	{
		check_for_interrupts();
		reload_settings();
		if (!mb_enabled)
		{
			/* a process cannot leave its database: a successor rests */
			ereport(LOG,
					(errmsg("momento_billing worker for database \"%s\" stops: momento_billing.enabled is off",
							database)));
			proc_exit(1);
		}

		/* Before looking, so that what commits while we look wakes us again. */
		ResetLatch(MyLatch);
		wakes = mb_stats_wakes();
		in_trouble = false;
		MemoryContextSwitchTo(worker_context);
		if (ready())
			drain_all();
		MemoryContextSwitchTo(worker_context);
		if (mb_stats_wakes() == wakes && !ConfigReloadPending)
			nap(mb_naptime);
	}
}

/* At an exit in order, also while an event is being applied. */
static void
leave(int code, Datum arg)
{
	if (drain != NULL)
		mb_drain_interrupted(drain);
}

/*
 * What a database or role may have set must not change what the worker does.
 * search_path is left alone: the triggers of the app's table may need it.
 */
static void
pin_settings(void)
{
	static const struct
	{
		const char *name;
		const char *value;
	}			pins[] =
	{
		{"application_name", "momento_billing worker"},
		{"statement_timeout", "0"},
		{"lock_timeout", "500ms"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"role", "none"},
		{"row_security", "on"},
		{"session_replication_role", "origin"},
	};

	for (int i = 0; i < (int) lengthof(pins); i++)
		SetConfigOption(pins[i].name, pins[i].value, PGC_SUSET, PGC_S_OVERRIDE);
}

static void
wait_until_enabled(void)
{
	while (!mb_enabled)
	{
		mb_stats_set_state(MB_WORKER_DISABLED);
		nap(-1);
		ResetLatch(MyLatch);
		reload_settings();
	}
}

/*
 * After a failed connection: wait on the shared catalogs alone until the
 * database can be connected to.  A process cannot connect twice, so it ends
 * then, and its successor connects.
 */
static void
wait_for_database(void)
{
	mb_stats_set_connecting(false);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	for (;;)
	{
		const char *trouble = database_trouble();

		if (trouble == NULL || !mb_enabled)
			proc_exit(1);
		report(MB_WORKER_NO_DATABASE, trouble);
		nap(mb_naptime);
		ResetLatch(MyLatch);
		reload_settings();
	}
}

/*
 * Why the database cannot be connected to, or NULL.  By a plain scan: without
 * a database there are no other catalogs to ask.
 */
static const char *
database_trouble(void)
{
	const char *trouble = "the database does not exist";
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (strcmp(NameStr(form->datname), database) == 0)
			trouble = form->datallowconn ? NULL : "the database does not accept connections";
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	return trouble;
}

/*
 * Can events be applied?  What is missing (the extension, the plans, the
 * app's table) is said once per change; the inbox keeps its events meanwhile.
 */
static bool
ready(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = false;

	PG_TRY();
	{
		char	   *version;

		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		version = mb_catalog_extension_version();
		if (version == NULL)
			report(MB_WORKER_NO_EXTENSION, "extension \"momento_billing\" is not installed in this database");
		else if (mb_catalog_is_newer(version))
			report(MB_WORKER_NOT_READY,
				   psprintf("the extension is at version %s, but the library that the server has loaded is %s: restart the server",
							version, MB_VERSION));
		else
		{
			mb_catalog_get();
			mb_app_table_lock_table();
			result = true;
		}
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		abort_and_report(context, true);
	}
	PG_END_TRY();
	return result;
}

/* Drain until nothing is due. */
static void
drain_all(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile int seen;

	do
	{
		MbCounts	counts = {0};

		check_for_interrupts();
		seen = 0;
		report(MB_WORKER_DRAINING, NULL);
		pgstat_report_activity(STATE_RUNNING, "draining momento_billing.webhook_inbox");
		PG_TRY();
		{
			seen = mb_drain_batch(drain, mb_batch_size, &counts);
		}
		PG_CATCH();
		{
			/* not an event's failure: the server's, or the inbox's own */
			abort_and_report(context, false);
		}
		PG_END_TRY();
		mb_stats_count(&counts);

		/* what is installed, or missing, may change while many are drained */
	} while (seen > 0 && !ConfigReloadPending && (seen < mb_batch_size || ready()));

	if (!in_trouble && until_done(send_notifications) == STEP_DONE)
		(void) until_done(send_quotas);
	if (!in_trouble)
		remove_old();
	if (!in_trouble)
		report(MB_WORKER_IDLE, NULL);

	/* what is held back between two reports would wait for the next event */
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Step: every tier change of a committed transaction is waiting to be said. */
static bool
send_notifications(void)
{
	mb_notify_send();
	return true;
}

/* Step. */
static bool
send_quotas(void)
{
	return mb_notify_quotas();
}

/*
 * Remove what is too old.  Events do not wait for it: it goes on where it was
 * when nothing else is to be done.
 */
static void
remove_old(void)
{
	if (GetCurrentTimestamp() >= next_removal && until_done(mb_retention_step) == STEP_DONE)
		next_removal = GetCurrentTimestamp() +
			Min(Min(mb_inbox_retention, mb_usage_retention) / REMOVAL_FRACTION + 1, REMOVAL_INTERVAL) * USECS_PER_SEC;
}

/*
 * Run a step, each time in a transaction of its own, until it says that it is
 * done, it fails, or there is something else to do first: events do not wait
 * for many steps.
 */
static Outcome
until_done(bool (*step) (void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;
	volatile bool failed = false;

	do
	{
		check_for_interrupts();
		PG_TRY();
		{
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			PushActiveSnapshot(GetTransactionSnapshot());
			SPI_connect();
			done = step();
			SPI_finish();
			PopActiveSnapshot();
			CommitTransactionCommand();
		}
		PG_CATCH();
		{
			failed = true;
			abort_and_report(context, false);
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
	} while (!done && !failed && !ConfigReloadPending && !MyLatch->is_set);
	return failed ? STEP_FAILED : done ? STEP_DONE : STEP_INTERRUPTED;
}

/*
 * In a handler: end the transaction and say what the trouble is.  A client that
 * drains is none; and if something is missing now, then that is what it is.
 */
static void
abort_and_report(MemoryContext context, bool is_ready)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(context);
	if (!mb_apply_is_conflict(error->sqlerrcode) && (is_ready || ready()))
		report(MB_WORKER_NOT_READY, error->message);
	FreeErrorData(error);
}

static void
nap(long timeout)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0);

	(void) WaitLatch(MyLatch, events, timeout, mb_wait_event());
	check_for_interrupts();
}

/*
 * Between batches a cancel has nothing to cancel, and must not end the
 * process.  (Ignoring the signal would also ignore lock_timeout's.)  Without
 * its postmaster it must not go on, or no new server could start.
 */
static void
check_for_interrupts(void)
{
	if (!PostmasterIsAlive())
		proc_exit(1);
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
}

static void
reload_settings(void)
{
	if (!ConfigReloadPending)
		return;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	next_removal = 0;
}

/* Publish the state; log it when it changes from or to a trouble. */
static void
report(MbWorkerState state, const char *message)
{
	static char *trouble = NULL;
	static int	said = 0;

	mb_stats_set_state(state);
	if (message == NULL)
	{
		if (trouble != NULL && state == MB_WORKER_IDLE)
		{
			if (said > 0)
				ereport(LOG,
						(errmsg("momento_billing worker for database \"%s\" goes on", database)));
			pfree(trouble);
			trouble = NULL;
			said = 0;
		}
		return;
	}
	in_trouble = true;
	if (trouble != NULL && strcmp(trouble, message) == 0)
		return;
	if (trouble != NULL)
		pfree(trouble);
	trouble = MemoryContextStrdup(worker_context, message);
	mb_stats_error(message);
	if (!may_log(said >= LOG_TROUBLE_LINES))
		return;
	ereport(LOG,
			(errmsg("momento_billing worker for database \"%s\" waits: %s", database, message)));
	said++;
}

/* A trouble whose message changes each time must not fill the log. */
static bool
may_log(bool later)
{
	static int	lines = LOG_LINES;
	static TimestampTz since = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (TimestampDifferenceExceeds(since, now, LOG_INTERVAL))
	{
		lines = Min(lines + (now - since) / 1000 / LOG_INTERVAL, LOG_LINES);
		since = now;
		later = false;
	}
	if (lines == 0 || later)
		return false;
	lines--;
	return true;
}
