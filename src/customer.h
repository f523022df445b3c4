/*
 * customer.h
 *	  Whose Stripe customer it is: a register of its own.  Pure.
 *
 * A link is offered by an event or made by hand; the strongest wins, among
 * equals the oldest.  Two equally strong links to different users are a
 * conflict that a person has to settle.
 */
#ifndef MB_CUSTOMER_H
#define MB_CUSTOMER_H

#include "text.h"

/* By strength. */
typedef enum MbLinkSource
{
	MB_LINK_NONE,
	MB_LINK_CLIENT_REFERENCE_ID,	/* anybody with a payment link can set it
									 * (R27) */
	MB_LINK_METADATA,			/* the app's own metadata.userId */
	MB_LINK_MANUAL
} MbLinkSource;

typedef struct MbCustomer
{
	MbText		customer_id;
	MbText		user_id;		/* none while source is MB_LINK_NONE */
	MbLinkSource source;
	MbTime		created;		/* of the event that made the link */
	bool		deleted;		/* at Stripe; the link is kept */
} MbCustomer;

typedef enum MbLinkResult
{
	MB_LINK_UNCHANGED,			/* known, or weaker than what is known */
	MB_LINK_REFRESHED,			/* the same user, by a stronger or older link */
	MB_LINK_BOUND,				/* to a user, or to another one */
	MB_LINK_CONFLICT			/* equally strong, and newer: refused */
} MbLinkResult;

extern const char *mb_link_source_label(MbLinkSource source);
extern MbLinkSource mb_link_source_from_label(MbText label);

/* Offer a link; borrows "user_id". */
extern MbLinkResult mb_customer_offer(MbCustomer *customer, MbText user_id, MbLinkSource source, MbTime created);

#endif							/* MB_CUSTOMER_H */
