/*
 * json_jansson.c
 *	  json.h over jansson: how the tests give the event reader a document.
 *
 * A node is a json_t.  A number with a fraction part of zero is an integer
 * here, as it is in jsonb (1.75e9), as far as a double is exact.
 */
#include "json_jansson.h"

/* Up to here every whole number is a double, and the other way round. */
#define EXACT_DOUBLE 9007199254740992.0

static MbJson from_real(double real);

MbJson
mb_json_from_jansson(const json_t *value)
{
	MbJson		json = {.type = MB_JSON_MISSING};

	if (value == NULL)
		return json;

	switch (json_typeof(value))
	{
		case JSON_NULL:
			json.type = MB_JSON_NULL;
			break;
		case JSON_TRUE:
		case JSON_FALSE:
			json.type = MB_JSON_BOOL;
			json.boolean = json_is_true(value);
			break;
		case JSON_INTEGER:
			json.type = MB_JSON_INTEGER;
			json.integer = json_integer_value(value);
			break;
		case JSON_REAL:
			return from_real(json_real_value(value));
		case JSON_STRING:
			json.type = MB_JSON_STRING;
			json.string.data = json_string_value(value);
			json.string.len = (int) json_string_length(value);
			break;
		case JSON_ARRAY:
			json.type = MB_JSON_ARRAY;
			json.node = value;
			break;
		case JSON_OBJECT:
			json.type = MB_JSON_OBJECT;
			json.node = value;
			break;
	}
	return json;
}

MbJson
mb_json_get(MbJson object, const char *key)
{
	if (object.type != MB_JSON_OBJECT)
		return mb_json_from_jansson(NULL);
	return mb_json_from_jansson(json_object_get(object.node, key));
}

int
mb_json_length(MbJson array)
{
	return array.type == MB_JSON_ARRAY ? (int) json_array_size(array.node) : 0;
}

MbJson
mb_json_element(MbJson array, int index)
{
	if (array.type != MB_JSON_ARRAY || index < 0)
		return mb_json_from_jansson(NULL);
	return mb_json_from_jansson(json_array_get(array.node, index));
}

static MbJson
from_real(double real)
{
	MbJson		json = {.type = MB_JSON_NUMBER};

	if (real >= -EXACT_DOUBLE && real <= EXACT_DOUBLE && real == (double) (int64_t) real)
	{
		json.type = MB_JSON_INTEGER;
		json.integer = (int64_t) real;
	}
	return json;
}
