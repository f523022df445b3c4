/*
 * settings.c
 *	  The settings momento_billing.*.
 *
 * Only user_id may be set by anybody: a role that could point a secret's path
 * or the table's name elsewhere would be past every grant.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "app_binding.h"
#include "compat.h"
#include "event.h"
#include "settings.h"

char	   *mb_databases = NULL;
bool		mb_enabled = true;
int			mb_batch_size = 1000;
int			mb_naptime = 5000;
int			mb_max_attempts = 12;
int			mb_retry_base = 2000;
int			mb_retry_max = 3600 * 1000;
int			mb_waiting_timeout = 72 * 3600;
int			mb_inbox_retention = 90 * 24 * 3600;
int			mb_usage_retention = 90 * 24 * 3600;
bool		mb_notify = true;
char	   *mb_subscription_table = NULL;
char	   *mb_webhook_secret_file = NULL;
int			mb_signature_tolerance = 300;
int			mb_livemode = MB_LIVEMODE_ANY;
int			mb_past_due_grace = -1;
int			mb_cancel_access = MB_CANCEL_PERIOD_END;
int			mb_quota_period = MB_QUOTA_CALENDAR;
char	   *mb_user_id = NULL;
bool		mb_force_spi = false;

static const struct config_enum_entry livemode_options[] = {
	{"any", MB_LIVEMODE_ANY, false},
	{"live", MB_LIVEMODE_LIVE, false},
	{"test", MB_LIVEMODE_TEST, false},
	{NULL, 0, false}
};

static const struct config_enum_entry cancel_access_options[] = {
	{"period_end", MB_CANCEL_PERIOD_END, false},
	{"ended_at", MB_CANCEL_ENDED_AT, false},
	{NULL, 0, false}
};

static const struct config_enum_entry quota_period_options[] = {
	{"calendar", MB_QUOTA_CALENDAR, false},
	{"billing", MB_QUOTA_BILLING, false},
	{NULL, 0, false}
};

static void assign_subscription_table(const char *newval, void *extra);

void
mb_settings_init(void)
{
	/*
	 * One background worker is started per database in this list, so it can
	 * only be set where the library is preloaded.
	 */
	if (process_shared_preload_libraries_in_progress)
		DefineCustomStringVariable("momento_billing.databases",
								   "Databases whose inbox a background worker drains.",
								   "A comma-separated list of names; one worker each.",
								   &mb_databases, "postgres",
								   PGC_POSTMASTER, GUC_LIST_INPUT, NULL, NULL, NULL);

	/* The feature flag: off stops the workers, not the inbox nor the reads. */
	DefineCustomBoolVariable("momento_billing.enabled",
							 "Lets the workers drain the inbox.",
							 "When off, events are still stored and reads answer as before; billing_status() says billingEnabled false.",
							 &mb_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* Events that one transaction of the worker applies. */
	DefineCustomIntVariable("momento_billing.batch_size",
							"Events per transaction of the worker.",
							NULL,
							&mb_batch_size, 1000, 1, 100000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* A safety net: commits of new events wake the worker at once. */
	DefineCustomIntVariable("momento_billing.naptime",
							"How long the worker sleeps when nothing wakes it.",
							NULL,
							&mb_naptime, 5000, 100, 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	/* Lock conflicts are not failures and are not counted. */
	DefineCustomIntVariable("momento_billing.max_attempts",
							"Failed attempts after which an event is dead.",
							NULL,
							&mb_max_attempts, 12, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* The delay doubles with each attempt, with jitter, up to retry_max. */
	DefineCustomIntVariable("momento_billing.retry_base",
							"Delay before an event's second attempt.",
							NULL,
							&mb_retry_base, 2000, 1, 3600 * 1000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	DefineCustomIntVariable("momento_billing.retry_max",
							"Longest delay between two attempts.",
							NULL,
							&mb_retry_max, 3600 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);

	/* The state of a waiting event's subscription is kept in any case. */
	DefineCustomIntVariable("momento_billing.waiting_timeout",
							"How long an event waits for its user to become known before it is dead.",
							NULL,
							&mb_waiting_timeout, 72 * 3600, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	/*
	 * Stripe sends an event again for three days, and tells of it for thirty
	 * (R5).  An event that comes again after its row is gone changes nothing.
	 */
	DefineCustomIntVariable("momento_billing.inbox_retention",
							"How long processed and ignored events are kept.",
							"Events that a subscription's present state comes from are kept longer.",
							&mb_inbox_retention, 90 * 24 * 3600, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	/*
	 * As long as the guide keeps its counters; a month that may still run
	 * stays.
	 */
	DefineCustomIntVariable("momento_billing.usage_retention",
							"How long usage is kept, from the start of its period.",
							"Reservations and idempotency keys are kept as long.",
							&mb_usage_retention, 90 * 24 * 3600, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);

	/* NOTIFY takes a lock of the cluster when its transaction commits. */
	DefineCustomBoolVariable("momento_billing.notify",
							 "Lets the worker NOTIFY momento_billing when a user's tier has changed or a quota runs out.",
							 NULL,
							 &mb_notify, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);

	/* Always schema-qualified, because search_path is never consulted. */
	DefineCustomStringVariable("momento_billing.subscription_table",
							   "The app's table with one row per user.",
							   "A schema-qualified name, quoted as in SQL.",
							   &mb_subscription_table, "public.\"Subscription\"",
							   PGC_SUSET, 0, NULL, assign_subscription_table, NULL);

	/* The path only: settings are visible, so a secret must not be one. */
	DefineCustomStringVariable("momento_billing.webhook_secret_file",
							   "File with the webhook endpoint's signing secrets, one per line.",
							   "It must belong to the server's user and be readable by nobody else.",
							   &mb_webhook_secret_file, "",
							   PGC_SUSET, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);

	/* Stripe signs each delivery attempt anew, so retries are never old. */
	DefineCustomIntVariable("momento_billing.signature_tolerance",
							"How old, or how far in the future, a webhook's signature may be.",
							NULL,
							&mb_signature_tolerance, 300, 1, 24 * 3600,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	/* Events of the other mode are recorded as ignored. */
	DefineCustomEnumVariable("momento_billing.livemode",
							 "Which of Stripe's modes this database takes events of.",
							 NULL,
							 &mb_livemode, MB_LIVEMODE_ANY, livemode_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	/* The guide gives the whole period to mend a card in. */
	DefineCustomIntVariable("momento_billing.past_due_grace",
							"How long a past due subscription gives its tier, from the start of the unpaid period.",
							"-1 is until the period's end, which is the most in any case.",
							&mb_past_due_grace, -1, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);

	/* What was paid for is kept, unless the operator decides otherwise. */
	DefineCustomEnumVariable("momento_billing.cancel_access",
							 "Until when a canceled subscription gives its tier.",
							 "Rows are written with it: a change shows in a row with the user's next event.",
							 &mb_cancel_access, MB_CANCEL_PERIOD_END, cancel_access_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	/*
	 * The guide counts by month; a subscription's months begin on its own
	 * day.
	 */
	DefineCustomEnumVariable("momento_billing.quota_period",
							 "Which months quotas are counted in.",
							 "\"calendar\" is the month of UTC, \"billing\" the subscription's; users without one have the calendar's.",
							 &mb_quota_period, MB_QUOTA_CALENDAR, quota_period_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	/* Harmless: who may call quota_remaining() may ask for any user anyway. */
	DefineCustomStringVariable("momento_billing.user_id",
							   "The user of this session, for quota_remaining() and row policies.",
							   NULL,
							   &mb_user_id, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);

	/* For the tests: both ways of reading must answer alike. */
	DefineCustomBoolVariable("momento_billing.force_spi",
							 "Reads take the SQL fallback instead of the index probe.",
							 "A developer setting.",
							 &mb_force_spi, false,
							 PGC_SUSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);

	MarkGUCPrefixReserved("momento_billing");
}

static void
assign_subscription_table(const char *newval, void *extra)
{
	mb_binding_forget();
}
