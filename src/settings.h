/*
 * settings.h
 *	  The settings momento_billing.*; each is explained in settings.c.
 */
#ifndef MB_SETTINGS_H
#define MB_SETTINGS_H

#include "postgres.h"

typedef enum MbCancelAccess
{
	MB_CANCEL_PERIOD_END,
	MB_CANCEL_ENDED_AT
} MbCancelAccess;

typedef enum MbQuotaPeriod
{
	MB_QUOTA_CALENDAR,
	MB_QUOTA_BILLING
} MbQuotaPeriod;

/* the worker's */
extern char *mb_databases;		/* NULL unless preloaded */
extern bool mb_enabled;
extern int	mb_batch_size;
extern int	mb_naptime;			/* ms */
extern int	mb_max_attempts;
extern int	mb_retry_base;		/* ms */
extern int	mb_retry_max;		/* ms */
extern int	mb_waiting_timeout; /* s */
extern int	mb_inbox_retention; /* s */
extern int	mb_usage_retention; /* s */
extern bool mb_notify;

/* everybody's */
extern char *mb_subscription_table;
extern char *mb_webhook_secret_file;
extern int	mb_signature_tolerance; /* s */
extern int	mb_livemode;		/* MbLivemode */
extern int	mb_past_due_grace;	/* s; -1: to the period's end */
extern int	mb_cancel_access;	/* MbCancelAccess */
extern int	mb_quota_period;	/* MbQuotaPeriod */
extern char *mb_user_id;
extern bool mb_force_spi;

/* Define the settings; once, from _PG_init. */
extern void mb_settings_init(void);

#endif							/* MB_SETTINGS_H */
