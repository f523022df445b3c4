/*
 * subtransaction.h
 *	  Run something that may fail, and have the failure as a value.
 */
#ifndef MB_SUBTRANSACTION_H
#define MB_SUBTRANSACTION_H

#include "postgres.h"

#include "text.h"

/*
 * Run body(arg) in a subtransaction.  NULL if it succeeded; else everything
 * it did is rolled back and the error is returned, in the current context.
 * Never leaves the subtransaction open, so the caller may throw the error
 * again with ReThrowError().  The current context and resource owner are
 * those of before.
 */
extern ErrorData *mb_subtransaction_run(void (*body) (void *arg), void *arg);

/* Is it the session, not the work, that the error is about?  Cancel, lack of
 * resources and the like are never to be taken for an event's failure. */
extern bool mb_error_is_fatal(const ErrorData *error);

/* SQLSTATE and message for last_error, cut to a length that can be kept. */
extern MbText mb_error_text(const ErrorData *error);

#endif							/* MB_SUBTRANSACTION_H */
