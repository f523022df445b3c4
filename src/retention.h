/*
 * retention.h
 *	  Removing what is too old: the worker's.
 */
#ifndef MB_RETENTION_H
#define MB_RETENTION_H

#include "postgres.h"

/*
 * Remove a part of what is too old, some thousand rows at most; true when all
 * has been looked at, and the next call begins anew.  In a transaction and an
 * SPI connection of the caller's.  What others have locked is left for the
 * next time, and what fails too: the next call goes on behind it.
 */
extern bool mb_retention_step(void);

#endif							/* MB_RETENTION_H */
