/*
 * cuid.h
 *	  Ids for rows that the app's own client would have made.
 */
#ifndef MB_CUID_H
#define MB_CUID_H

/*
 * A new id of the shape that Prisma's cuid() has: "c" and 24 characters of
 * base 36, the first eight of them the time.  Allocated in the current
 * context.
 */
extern char *mb_cuid(void);

#endif							/* MB_CUID_H */
