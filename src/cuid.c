/*
 * cuid.c
 *	  Ids of the shape of Prisma's cuid().
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "cuid.h"

/* Milliseconds from the Unix epoch to 2000-01-01. */
#define EPOCH_MS INT64CONST(946684800000)

char *
mb_cuid(void)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char	   *id = palloc(26);
	uint64		ms = GetCurrentTimestamp() / 1000 + EPOCH_MS;
	uint8		random[16];

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	id[0] = 'c';
	for (int i = 8; i >= 1; i--, ms /= 36)
		id[i] = digits[ms % 36];
	for (int i = 0; i < 16; i++)
		id[9 + i] = digits[random[i] % 36];
	id[25] = '\0';
	return id;
}
