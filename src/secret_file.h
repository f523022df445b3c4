/*
 * secret_file.h
 *	  Secrets read from a file that only the server's user can read.
 */
#ifndef MB_SECRET_FILE_H
#define MB_SECRET_FILE_H

#include "text.h"

/*
 * The lines of a file, each a secret, for the current transaction.  The file
 * is kept in memory and read again when it has changed; empty lines are left
 * out.  "setting" names the setting that holds the path, for messages.
 * Returns 0 if "path" is empty.  Error 42501 if the file does not belong to
 * the server's user or others could read it, 58030 and the like if it cannot
 * be read.  No message contains a secret.
 */
extern int	mb_secret_file_read(const char *setting, const char *path, const MbText **secrets);

#endif							/* MB_SECRET_FILE_H */
