/*
 * stats.c
 *	  Shared memory of the workers.
 *
 * Plain values only: a worker is found by its process number, not by a
 * pointer to its latch, so that a stale value can wake the wrong process,
 * which is harmless, but never point into nowhere.
 *
 * Waking goes through a resource owner's callback, registered once per backend when
 * the library is loaded.  It runs after a commit is visible to others and must
 * not fail, so it reads atomics and sets a latch, nothing else.  An abort
 * wakes too: what the transaction kept the worker from is free again.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "compat.h"
#include "settings.h"
#include "stats.h"

#define NO_PROC PG_UINT32_MAX

/* Over which the view tells the rate. */
#define RATE_SECONDS 60

/* Events settled in one second. */
typedef struct Second
{
	int64		second;
	int64		events;
} Second;

typedef struct Slot
{
	pg_atomic_uint32 database;	/* Oid; invalid while not connected */
	pg_atomic_uint32 procno;	/* NO_PROC: no process */
	pg_atomic_uint32 wakes;

	slock_t		mutex;			/* protects the rest */
	int			pid;
	MbWorkerState state;
	bool		connecting;		/* true from before the attempt until it
								 * succeeded */
	bool		rested;			/* the last process ended between batches */
	TimestampTz started;
	TimestampTz last_wake;
	int64		position;		/* in the inbox: what is before it was seen */
	Second		rate[RATE_SECONDS]; /* by the second, modulo */
	MbCounts	counts;
	char		last_event[MB_STATS_TEXT];
	TimestampTz last_event_at;
	char		last_error[MB_STATS_TEXT];
	TimestampTz last_error_at;
} Slot;

static char **databases = NULL; /* made by the postmaster, inherited */
static int	nworkers = 0;
static Slot *slots = NULL;
static Slot *my_slot = NULL;
static bool wake = false;
static mb_shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void read_databases(void);
static void shmem_request(void);
static void shmem_startup(void);
static int64 rate_second(TimestampTz time);
static void detach(int code, Datum arg);
static void release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg);

PG_FUNCTION_INFO_V1(worker_stats);
PG_FUNCTION_INFO_V1(wake_worker);

void
mb_stats_init(void)
{
	RegisterResourceReleaseCallback(release_callback, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	read_databases();
	mb_install_shmem_request(prev_shmem_request_hook, shmem_request);
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

int
mb_stats_nworkers(void)
{
	return nworkers;
}

const char *
mb_stats_database(int slot)
{
	return databases[slot];
}

MbPredecessor
mb_stats_attach(int slot)
{
	MbPredecessor predecessor = MB_PREDECESSOR_NONE;

	my_slot = &slots[slot];
	SpinLockAcquire(&my_slot->mutex);
	if (my_slot->connecting)
		predecessor = MB_PREDECESSOR_CONNECTING;
	else if (my_slot->rested)
		predecessor = MB_PREDECESSOR_RESTED;
	else if (my_slot->started != 0)
		predecessor = MB_PREDECESSOR_DRAINING;
	my_slot->rested = false;
	my_slot->pid = MyProcPid;
	my_slot->state = MB_WORKER_STARTING;
	my_slot->started = GetCurrentTimestamp();
	SpinLockRelease(&my_slot->mutex);
	pg_atomic_write_u32(&my_slot->procno, MyProcNumber);
	before_shmem_exit(detach, (Datum) 0);
	return predecessor;
}

void
mb_stats_set_connecting(bool connecting)
{
	SpinLockAcquire(&my_slot->mutex);
	my_slot->connecting = connecting;
	SpinLockRelease(&my_slot->mutex);
}

void
mb_stats_set_database(Oid database)
{
	pg_atomic_write_u32(&my_slot->database, database);
}

void
mb_stats_set_state(MbWorkerState state)
{
	SpinLockAcquire(&my_slot->mutex);
	my_slot->state = state;
	SpinLockRelease(&my_slot->mutex);
}

void
mb_stats_count(const MbCounts *counts)
{
	TimestampTz now = GetCurrentTimestamp();
	Second	   *second = &my_slot->rate[rate_second(now) % RATE_SECONDS];

	SpinLockAcquire(&my_slot->mutex);
	if (second->second != rate_second(now))
		*second = (Second)
	{
		.second = rate_second(now)
	};
	second->events += counts->processed + counts->ignored + counts->waiting + counts->dead;
	my_slot->counts.processed += counts->processed;
	my_slot->counts.ignored += counts->ignored;
	my_slot->counts.waiting += counts->waiting;
	my_slot->counts.dead += counts->dead;
	my_slot->counts.failed += counts->failed;
	if (counts->last_event[0] != '\0')
	{
		strlcpy(my_slot->last_event, counts->last_event, MB_STATS_TEXT);
		my_slot->last_event_at = now;
	}
	if (counts->last_error[0] != '\0')
	{
		strlcpy(my_slot->last_error, counts->last_error, MB_STATS_TEXT);
		my_slot->last_error_at = now;
	}
	SpinLockRelease(&my_slot->mutex);
}

void
mb_stats_error(const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	int			len = pg_mbcliplen(message, strlen(message), MB_STATS_TEXT - 1);

	SpinLockAcquire(&my_slot->mutex);
	strlcpy(my_slot->last_error, message, len + 1);
	my_slot->last_error_at = now;
	SpinLockRelease(&my_slot->mutex);
}

void
mb_stats_set_position(int64 position)
{
	SpinLockAcquire(&my_slot->mutex);
	my_slot->position = position;
	SpinLockRelease(&my_slot->mutex);
}

uint32
mb_stats_wakes(void)
{
	static uint32 last = 0;
	uint32		wakes = pg_atomic_read_u32(&my_slot->wakes);

	if (wakes != last)
	{
		TimestampTz now = GetCurrentTimestamp();

		SpinLockAcquire(&my_slot->mutex);
		my_slot->last_wake = now;
		SpinLockRelease(&my_slot->mutex);
		last = wakes;
	}
	return wakes;
}

bool
mb_stats_is_worker(void)
{
	return my_slot != NULL;
}

bool
mb_stats_has_worker(void)
{
	char	   *name = nworkers > 0 ? get_database_name(MyDatabaseId) : NULL;

	for (int i = 0; name != NULL && i < nworkers; i++)
		if (strcmp(databases[i], name) == 0)
			return true;
	return false;
}

void
mb_stats_wake_at_end(void)
{
	wake = true;
}

/* The rows of the view worker_status; no rows where not preloaded. */
Datum
worker_stats(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {
		"stopped", "starting", "disabled", "no database", "no extension", "not ready", "idle", "draining"
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		now = rate_second(GetCurrentTimestamp());

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; slots != NULL && i < nworkers; i++)
	{
		Datum		values[16];
		bool		nulls[16] = {false};
		Slot		copy;
		int64		rate = 0;

		SpinLockAcquire(&slots[i].mutex);
		copy = slots[i];
		SpinLockRelease(&slots[i].mutex);

		values[0] = CStringGetTextDatum(databases[i]);
		values[1] = Int32GetDatum(copy.pid);
		nulls[1] = copy.pid == 0;
		values[2] = CStringGetTextDatum(states[copy.state]);
		values[3] = TimestampTzGetDatum(copy.started);
		nulls[3] = copy.started == 0;
		values[4] = Int64GetDatum(copy.counts.processed);
		values[5] = Int64GetDatum(copy.counts.ignored);
		values[6] = Int64GetDatum(copy.counts.waiting);
		values[7] = Int64GetDatum(copy.counts.dead);
		values[8] = Int64GetDatum(copy.counts.failed);
		values[9] = CStringGetTextDatum(copy.last_event);
		values[10] = TimestampTzGetDatum(copy.last_event_at);
		nulls[9] = nulls[10] = copy.last_event_at == 0;
		values[11] = CStringGetTextDatum(copy.last_error);
		values[12] = TimestampTzGetDatum(copy.last_error_at);
		nulls[11] = nulls[12] = copy.last_error_at == 0;
		for (int s = 0; s < RATE_SECONDS; s++)
			if (copy.rate[s].second > now - RATE_SECONDS)
				rate += copy.rate[s].events;
		values[13] = Int64GetDatum(rate);
		values[14] = TimestampTzGetDatum(copy.last_wake);
		nulls[14] = copy.last_wake == 0;
		values[15] = Int64GetDatum(copy.position);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* wake_worker(): when the transaction ends */
Datum
wake_worker(PG_FUNCTION_ARGS)
{
	mb_stats_wake_at_end();
	PG_RETURN_BOOL(slots != NULL);
}

static void
read_databases(void)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	List	   *names;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(mb_databases), ',', &names))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\": \"%s\"", "momento_billing.databases", mb_databases),
				 errhint("Give a comma-separated list of database names.")));
	databases = palloc(Max(list_length(names), 1) * sizeof(char *));
	foreach(lc, names)
		databases[nworkers++] = lfirst(lc);
	MemoryContextSwitchTo(old_context);
}

static void
shmem_request(void)
{
	mb_call_shmem_request(prev_shmem_request_hook);
	RequestAddinShmemSpace(MAXALIGN(Max(nworkers, 1) * sizeof(Slot)));
}

static void
shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	slots = ShmemInitStruct("momento_billing", Max(nworkers, 1) * sizeof(Slot), &found);
	if (!found)
	{
		memset(slots, 0, Max(nworkers, 1) * sizeof(Slot));
		for (int i = 0; i < nworkers; i++)
		{
			SpinLockInit(&slots[i].mutex);
			pg_atomic_init_u32(&slots[i].database, InvalidOid);
			pg_atomic_init_u32(&slots[i].procno, NO_PROC);
			pg_atomic_init_u32(&slots[i].wakes, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

static int64
rate_second(TimestampTz time)
{
	return time / USECS_PER_SEC;
}

/* At exit, unless a successor has taken the slot. */
static void
detach(int code, Datum arg)
{
	SpinLockAcquire(&my_slot->mutex);
	if (my_slot->pid == MyProcPid)
	{
		my_slot->pid = 0;
		my_slot->rested = my_slot->state != MB_WORKER_DRAINING && my_slot->state != MB_WORKER_STARTING;
		my_slot->state = MB_WORKER_STOPPED;
		pg_atomic_write_u32(&my_slot->procno, NO_PROC);
		pg_atomic_write_u32(&my_slot->database, InvalidOid);
	}
	SpinLockRelease(&my_slot->mutex);
}

/*
 * The very last thing of a transaction: only then are its rows visible and its
 * invalidations sent, so that the worker sees both when it wakes.  A prepared
 * transaction wakes it in vain; what it holds is found at a nap's end.
 */
static void
release_callback(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!wake || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	wake = false;
	for (int i = 0; slots != NULL && i < nworkers; i++)
	{
		uint32		procno = pg_atomic_read_u32(&slots[i].procno);

		if (procno != NO_PROC && pg_atomic_read_u32(&slots[i].database) == MyDatabaseId)
		{
			pg_atomic_fetch_add_u32(&slots[i].wakes, 1);
			SetLatch(&ProcGlobal->allProcs[procno].procLatch);
		}
	}
}
