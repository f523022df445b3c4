/*
 * request.h
 *	  Idempotency keys: what a call with a key answered the first time.
 */
#ifndef MB_REQUEST_H
#define MB_REQUEST_H

#include "postgres.h"

#include "account.h"

/* What consume_quota() and reserve_quota() answer. */
typedef struct MbAnswer
{
	bool		allowed;
	int64		used;
	int64		held;
	int64		monthly_limit;	/* < 0: none, see "unlimited" */
	int64		remaining;		/* not if unlimited */
	bool		unlimited;
	MbTime		resets_at;
	MbText		tier;
	const char *reason;			/* NULL if allowed */
	bool		replayed;
	int64		reservation_id; /* 0: none */
	MbTime		expires_at;		/* of the reservation */
} MbAnswer;

/* A call that was allowed, as refund_quota() sees it. */
typedef struct MbRequest
{
	MbText		feature;
	int64		amount;
	MbTime		period_start;
	int64		reservation_id; /* 0: none */
	MbUnits		units;			/* that have not been given back */
	int64		refunded;
} MbRequest;

/* A key argument, or no text; error 22023 if it is empty or too long. */
extern MbText mb_key_argument(Datum datum, bool isnull);

/*
 * What the call answered that came with this key, under the active snapshot;
 * false if there was none.  Error 22023 if it had other arguments.
 */
extern bool mb_request_find(const MbAccount *account, MbText key, const char *arguments, MbAnswer *answer);

/*
 * Claim a key, which makes others that come with it wait for this
 * transaction's end.  False if it has been claimed meanwhile.  The functions
 * from here on need an SPI connection.
 */
extern bool mb_request_claim(const MbAccount *account, MbText key, const char *arguments, int64 amount);

/* Give a claim up, as if it had never been. */
extern void mb_request_drop(MbText user_id, MbText key);

/* Record the answer of a claimed key, and of a call that used units, which. */
extern void mb_request_answer(MbText user_id, MbText key, const MbAnswer *answer, const MbUnits *units);

/* Lock a request; false if there is none. */
extern bool mb_request_lock(MbText user_id, MbText key, MbRequest *request);

/* Record what has been given back of a locked request; without units, only how much. */
extern void mb_request_refund(MbText user_id, MbText key, int64 refunded, const MbUnits *units);

#endif							/* MB_REQUEST_H */
