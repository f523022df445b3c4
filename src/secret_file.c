/*
 * secret_file.c
 *	  Reading and caching of a file of secrets.
 *
 * The file is looked at (one stat) at each use, so that a rotation takes
 * effect at once, and read only if it has changed.  The copy in memory is
 * overwritten before it is freed.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"
#include "utils/memutils.h"

#include "secret_file.h"
#include "signature.h"

#define MAX_FILE 65536
#define MAX_SECRETS 64

static MemoryContext context = NULL;
static char *cached_path = NULL;
static struct stat cached_stat;
static char *buffer = NULL;
static MbText secrets[MAX_SECRETS];
static int	nsecrets = 0;

static void forget(void);
static void check_file(const char *setting, const char *path, const struct stat *st);
static void split_lines(size_t len);

int
mb_secret_file_read(const char *setting, const char *path, const MbText **result)
{
	struct stat st;
	int			fd;
	ssize_t		len = 0;
	ssize_t		got;

	*result = secrets;
	if (path == NULL || path[0] == '\0')
		return 0;
	if (cached_path != NULL && strcmp(cached_path, path) == 0 && stat(path, &st) == 0 &&
		st.st_ino == cached_stat.st_ino && st.st_dev == cached_stat.st_dev &&
		st.st_size == cached_stat.st_size && st.st_mode == cached_stat.st_mode && st.st_uid == cached_stat.st_uid &&
		memcmp(&st.st_mtim, &cached_stat.st_mtim, sizeof(st.st_mtim)) == 0 &&
		memcmp(&st.st_ctim, &cached_stat.st_ctim, sizeof(st.st_ctim)) == 0)
		return nsecrets;

	forget();
	/* not to wait for the other end, should it be a pipe */
	fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" of parameter \"%s\": %m", path, setting),
				 errhint("The server's user must be able to read it.")));
	check_file(setting, path, &st);

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "mb secrets", ALLOCSET_SMALL_SIZES);
	buffer = MemoryContextAlloc(context, MAX_FILE);
	while (len < MAX_FILE && (got = read(fd, buffer + len, MAX_FILE - len)) != 0)
	{
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\" of parameter \"%s\": %m", path, setting)));
		len += got;
	}
	CloseTransientFile(fd);
	split_lines(len);
	cached_path = MemoryContextStrdup(context, path);
	cached_stat = st;
	return nsecrets;
}

static void
forget(void)
{
	if (buffer != NULL)
	{
		mb_signature_cleanse(buffer, MAX_FILE);
		pfree(buffer);
	}
	if (cached_path != NULL)
		pfree(cached_path);
	buffer = cached_path = NULL;
	nsecrets = 0;
}

static void
check_file(const char *setting, const char *path, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("file \"%s\" of parameter \"%s\" is not a regular file", path, setting)));
	if (st->st_uid != geteuid() || (st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("file \"%s\" of parameter \"%s\" is not private", path, setting),
				 errdetail("It must belong to the server's user, and its permissions must be u=rw (0600) or less."),
				 errhint("chown it to the server's user and chmod 0600 it.")));
	if (st->st_size >= MAX_FILE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("file \"%s\" of parameter \"%s\" is too large", path, setting),
				 errdetail("It must hold one secret per line, and less than %d bytes.", MAX_FILE)));
}

/* Lines end with \n or \r\n; a secret is used verbatim otherwise. */
static void
split_lines(size_t len)
{
	char	   *line = buffer;
	char	   *end = buffer + len;

	while (line < end && nsecrets < MAX_SECRETS)
	{
		char	   *newline = memchr(line, '\n', end - line);
		char	   *stop = newline != NULL ? newline : end;
		int			line_len = stop - line;

		if (line_len > 0 && line[line_len - 1] == '\r')
			line_len--;
		if (line_len > 0)
			secrets[nsecrets++] = (MbText)
		{
			line, line_len
		};
		line = stop + 1;
	}
}
