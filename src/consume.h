/*
 * consume.h
 *	  Using units: the decision that consume_quota(), reserve_quota() and
 *	  enforce_quota() share.
 */
#ifndef MB_CONSUME_H
#define MB_CONSUME_H

#include "postgres.h"

#include "request.h"

typedef struct MbUse
{
	MbText		user_id;		/* canonical */
	MbText		feature;
	int64		amount;			/* units > 0 */
	MbTime		ttl;			/* 0: consume, else hold so long */
	MbText		key;			/* or no text */
} MbUse;

/*
 * Use or hold units, all of the amount or nothing.  A refusal that is plain
 * from what is visible writes and locks nothing.  At READ COMMITTED it decides
 * on what is committed; at higher levels error 40001 where that is not what
 * the transaction sees.  Error 22023 for an unknown feature.
 */
extern void mb_consume(const MbUse *use, MbAnswer *answer);

/* An amount argument; error 22023 if it is null, below 1 or absurd. */
extern int64 mb_amount_argument(Datum datum, bool isnull);

#endif							/* MB_CONSUME_H */
