/*
 * json_jansson.h
 *	  json.h over jansson: how the tests give the event reader a document.
 */
#ifndef MB_JSON_JANSSON_H
#define MB_JSON_JANSSON_H

#include <jansson.h>

#include "json.h"

/*
 * A value as the event reader sees it; MB_JSON_MISSING for NULL.  It borrows
 * from "value", which must outlive it.
 */
extern MbJson mb_json_from_jansson(const json_t *value);

#endif							/* MB_JSON_JANSSON_H */
