/*
 * settings.h
 *	  The settings momento_billing.*; each is explained in settings.c.
 */
#ifndef MB_SETTINGS_H
#define MB_SETTINGS_H

#include "postgres.h"

/* the worker's */
extern char *mb_databases;		/* NULL unless preloaded */
extern bool mb_enabled;
extern int	mb_batch_size;
extern int	mb_naptime;			/* ms */
extern int	mb_max_attempts;
extern int	mb_retry_base;		/* ms */
extern int	mb_retry_max;		/* ms */
extern int	mb_waiting_timeout; /* s */

/* everybody's */
extern char *mb_subscription_table;
extern char *mb_webhook_secret_file;
extern int	mb_signature_tolerance; /* s */
extern int	mb_livemode;		/* MbLivemode */
extern char *mb_user_id;
extern bool mb_force_spi;

/* Define the settings; once, from _PG_init. */
extern void mb_settings_init(void);

#endif							/* MB_SETTINGS_H */
