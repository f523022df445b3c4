/*
 * json_jsonb.h
 *	  The server's side of json.h.
 */
#ifndef MB_JSON_JSONB_H
#define MB_JSON_JSONB_H

#include "utils/jsonb.h"

#include "json.h"

/* A view of a detoasted document, valid as long as that is. */
extern MbJson mb_json_from_jsonb(Jsonb *jsonb);

#endif							/* MB_JSON_JSONB_H */
