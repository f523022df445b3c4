/*
 * errors.h
 *	  SQLSTATEs of our own, class MB.  docs/reference.md has the table.
 */
#ifndef MB_ERRORS_H
#define MB_ERRORS_H

#include "utils/elog.h"

#define MB_ERRCODE_SIGNATURE_REJECTED MAKE_SQLSTATE('M', 'B', '0', '0', '1')
#define MB_ERRCODE_NOT_CONFIGURED MAKE_SQLSTATE('M', 'B', '0', '0', '2')
#define MB_ERRCODE_QUOTA_EXCEEDED MAKE_SQLSTATE('M', 'B', '0', '0', '5')

#endif							/* MB_ERRORS_H */
