/*
 * reads.h
 *	  What a user is entitled to, from the app's row and other_access.
 */
#ifndef MB_READS_H
#define MB_READS_H

#include "postgres.h"

#include "catalog.h"
#include "entitlement.h"

typedef struct MbEntitlement
{
	int			tier;			/* effective; index into the catalogue's */
	MbTime		until;			/* INT64_MAX: no end is planned */
	const char *source;			/* "subscription", "other" or "default" */
} MbEntitlement;

/*
 * The entitlement at a time: the highest tier among the row (NULL: no row)
 * and the user's other entitlements.  Under the active snapshot.
 */
extern MbEntitlement mb_entitlement_at(const MbCatalog *catalog, MbText user_id, const MbUserRow *row, MbTime at);

/* The effective tier of a canonical user at a time. */
extern int	mb_effective_tier(const MbCatalog *catalog, MbText user_id, MbTime at);

/* A user id argument, canonical; error 22023 if it is NULL or empty. */
extern MbText mb_user_argument(Datum datum, bool isnull);

#endif							/* MB_READS_H */
