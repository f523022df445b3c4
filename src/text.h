/*
 * text.h
 *	  Strings and times of the pure code: slices of somebody else's memory.
 *
 * An MbText borrows its bytes; it is valid as long as the buffer it points
 * into (a payload, a tuple, a literal).  It is not NUL-terminated.
 *
 * An MbTime counts microseconds from 2000-01-01 00:00 UTC, as a server's
 * TimestampTz does, so that values cross the border unconverted.
 */
#ifndef MB_TEXT_H
#define MB_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct MbText
{
	const char *data;			/* NULL: no value */
	int			len;			/* bytes */
} MbText;

typedef int64_t MbTime;

/* No time at all.  The server's -infinity, which no event can carry. */
#define MB_NO_TIME INT64_MIN

#define MB_TEXT_LITERAL(s) ((MbText) {(s), (int) sizeof(s) - 1})
#define MB_NO_TEXT ((MbText) {NULL, 0})

static inline MbText
mb_text(const char *s)
{
	return (MbText)
	{
		s, s ? (int) strlen(s) : 0
	};
}

static inline bool
mb_text_is(MbText text, const char *s)
{
	return text.data != NULL && (size_t) text.len == strlen(s) && memcmp(text.data, s, text.len) == 0;
}

/* Bytewise order, which is that of the "C" collation; no value sorts first. */
static inline int
mb_text_cmp(MbText a, MbText b)
{
	int			len = a.len < b.len ? a.len : b.len;
	int			cmp;

	if (a.data == NULL || b.data == NULL)
		return (a.data != NULL) - (b.data != NULL);
	cmp = len > 0 ? memcmp(a.data, b.data, len) : 0;
	return cmp != 0 ? cmp : (a.len > b.len) - (a.len < b.len);
}

static inline bool
mb_text_eq(MbText a, MbText b)
{
	return a.len == b.len && (a.data == NULL) == (b.data == NULL) &&
		(a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* For qsort and bsearch over structs that begin with an MbText. */
extern int	mb_text_qsort_cmp(const void *a, const void *b);

/* Sort, keep each once; returns how many are left. */
extern int	mb_text_sort_unique(MbText *texts, int count);

/* The index of a text in a sorted set, or -1. */
extern int	mb_text_find(const MbText *texts, int count, MbText text);

#endif							/* MB_TEXT_H */
