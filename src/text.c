/*
 * text.c
 *	  Sorted sets of texts.  Pure.
 */
#include <stdlib.h>

#include "text.h"

int
mb_text_qsort_cmp(const void *a, const void *b)
{
	return mb_text_cmp(*(const MbText *) a, *(const MbText *) b);
}

int
mb_text_sort_unique(MbText *texts, int count)
{
	int			n = 0;

	if (count > 0)
		qsort(texts, count, sizeof(MbText), mb_text_qsort_cmp);
	for (int i = 0; i < count; i++)
		if (n == 0 || !mb_text_eq(texts[n - 1], texts[i]))
			texts[n++] = texts[i];
	return n;
}

int
mb_text_find(const MbText *texts, int count, MbText text)
{
	const MbText *found = NULL;

	if (count > 0)
		found = bsearch(&text, texts, count, sizeof(MbText), mb_text_qsort_cmp);
	return found == NULL ? -1 : (int) (found - texts);
}
