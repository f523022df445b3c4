/*
 * batch.h
 *	  A batch of events while it is applied; for apply.c, links.c and tie.c.
 */
#ifndef MB_BATCH_H
#define MB_BATCH_H

#include "postgres.h"

#include "apply.h"
#include "customer.h"
#include "derive.h"
#include "store.h"

typedef struct MbBatchCustomer
{
	MbCustomer	customer;		/* first: found by its id */
	bool		read;			/* else no event can change it, see links.c */
	bool		lock;
	bool		changed;
	bool		bound;			/* to a user, or to another one, or by a claim
								 * no longer */
	MbText		left_user;		/* who had it before */
} MbBatchCustomer;

typedef struct MbBatchSubscription
{
	MbSubscription subscription;	/* first: found by its id */
	bool		exists;
	MbPlace		place;			/* of the row that exists */
	bool		changed;
	bool		won_user;		/* it had none */
	MbText		left_user;		/* who had it before its customer was bound */
	int			customer;		/* -1: not known */
	int			last_event;		/* of the batch, applied to it; -1: none */
	bool		peers_loaded;	/* those of its ties that were known before */
} MbBatchSubscription;

typedef struct MbBatch
{
	const MbCatalog *catalog;
	MbApplyEvent *events;
	int			nevents;
	MbBatchSubscription *subscriptions; /* sorted by id */
	int			nsubscriptions;
	MbBatchCustomer *customers; /* sorted by id */
	int			ncustomers;
	bool		can_retry;		/* after a serialization failure, by itself */
	bool		careful;		/* there are rows locked already */
	MbEvent    *known;			/* events read again for ties, sorted by id */
	int			nknown;
	MbDerived	derived;		/* of every user concerned */
	MbText	   *errors;			/* per user: why the row was not written;
								 * NULL: all were */
} MbBatch;

/* The index of a subscription or customer of the batch, or -1. */
extern int	mb_batch_find_subscription(const MbBatch *batch, MbText id);
extern int	mb_batch_find_customer(const MbBatch *batch, MbText id);

#endif							/* MB_BATCH_H */
