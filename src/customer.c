/*
 * customer.c
 *	  The link from a Stripe customer to a user.  Pure.
 */
#include "customer.h"

static const char *const labels[] = {NULL, "client_reference_id", "metadata", "manual"};

const char *
mb_link_source_label(MbLinkSource source)
{
	return labels[source];
}

MbLinkSource
mb_link_source_from_label(MbText label)
{
	for (int source = MB_LINK_CLIENT_REFERENCE_ID; source <= MB_LINK_MANUAL; source++)
		if (mb_text_is(label, labels[source]))
			return (MbLinkSource) source;
	return MB_LINK_NONE;
}

MbLinkResult
mb_customer_offer(MbCustomer *customer, MbText user_id, MbLinkSource source, MbTime created)
{
	bool		same_user = mb_text_eq(customer->user_id, user_id);
	bool		older = created < customer->created;

	/* a total order, so that the winner does not depend on who came first */
	if (created == customer->created)
		older = mb_text_cmp(user_id, customer->user_id) < 0;

	if (source < customer->source)
		return MB_LINK_UNCHANGED;
	if (source == customer->source && !older)
		return same_user ? MB_LINK_UNCHANGED : MB_LINK_CONFLICT;

	customer->user_id = user_id;
	customer->source = source;
	customer->created = created;
	return same_user ? MB_LINK_REFRESHED : MB_LINK_BOUND;
}
