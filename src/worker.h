/*
 * worker.h
 *	  The background worker that drains the inbox of one database.
 */
#ifndef MB_WORKER_H
#define MB_WORKER_H

#include "postgres.h"

#include "compat.h"

/* Register one worker per database; once, from _PG_init, when preloaded. */
extern void mb_worker_init(void);

/* The worker's entry point, by name in the postmaster's registration. */
pg_noreturn extern PGDLLEXPORT void momento_billing_worker_main(Datum slot);

#endif							/* MB_WORKER_H */
