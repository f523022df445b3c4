/*
 * json.h
 *	  Read access to a JSON document, as the event reader needs it.
 *
 * The event reader is pure: it sees documents through these three functions
 * only.  In the server json.c gives them over jsonb; outside, the unit tests
 * and fuzzers give them over a JSON library.  None of them fails or keeps
 * memory; a value borrows the document's.
 */
#ifndef MB_JSON_H
#define MB_JSON_H

#include "text.h"

typedef enum MbJsonType
{
	MB_JSON_MISSING,			/* no such key or element */
	MB_JSON_NULL,
	MB_JSON_BOOL,
	MB_JSON_INTEGER,			/* a number without fraction, within int64 */
	MB_JSON_NUMBER,				/* any other number */
	MB_JSON_STRING,
	MB_JSON_ARRAY,
	MB_JSON_OBJECT
} MbJsonType;

typedef struct MbJson
{
	MbJsonType	type;
	bool		boolean;		/* MB_JSON_BOOL */
	int64_t		integer;		/* MB_JSON_INTEGER */
	MbText		string;			/* MB_JSON_STRING */
	const void *node;			/* MB_JSON_ARRAY and MB_JSON_OBJECT: the
								 * implementation's */
} MbJson;

/* The value of a key; MB_JSON_MISSING if there is none, or "object" is none. */
extern MbJson mb_json_get(MbJson object, const char *key);

/* The number of elements; 0 if "array" is no array. */
extern int	mb_json_length(MbJson array);

/* Element "index" from 0; MB_JSON_MISSING if out of range. */
extern MbJson mb_json_element(MbJson array, int index);

#endif							/* MB_JSON_H */
