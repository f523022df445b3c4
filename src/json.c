/*
 * json.c
 *	  json.h over the server's jsonb.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "json_jsonb.h"

static const MbJson missing = {.type = MB_JSON_MISSING};

static MbJson from_value(const JsonbValue *value);
static void read_number(Numeric numeric, MbJson *result);

MbJson
mb_json_from_jsonb(Jsonb *jsonb)
{
	JsonbContainer *root = &jsonb->root;
	MbJson		result = {.type = MB_JSON_OBJECT,.node = root};

	/* A scalar document is no event, whatever it is. */
	if (JsonContainerIsScalar(root))
		result.type = MB_JSON_NULL;
	else if (JsonContainerIsArray(root))
		result.type = MB_JSON_ARRAY;
	return result;
}

MbJson
mb_json_get(MbJson object, const char *key)
{
	JsonbValue	value;

	if (object.type != MB_JSON_OBJECT ||
		getKeyJsonValueFromContainer((JsonbContainer *) object.node, key, strlen(key), &value) == NULL)
		return missing;
	return from_value(&value);
}

int
mb_json_length(MbJson array)
{
	return array.type == MB_JSON_ARRAY ? (int) JsonContainerSize((const JsonbContainer *) array.node) : 0;
}

MbJson
mb_json_element(MbJson array, int index)
{
	JsonbValue *value;
	MbJson		result;

	if (array.type != MB_JSON_ARRAY || index < 0)
		return missing;
	value = getIthJsonbValueFromContainer((JsonbContainer *) array.node, index);
	if (value == NULL)
		return missing;
	result = from_value(value);
	pfree(value);
	return result;
}

static MbJson
from_value(const JsonbValue *value)
{
	MbJson		result = {.type = MB_JSON_NULL};

	switch (value->type)
	{
		case jbvBool:
			result.type = MB_JSON_BOOL;
			result.boolean = value->val.boolean;
			break;
		case jbvNumeric:
			read_number(value->val.numeric, &result);
			break;
		case jbvString:
			result.type = MB_JSON_STRING;
			result.string = (MbText)
			{
				value->val.string.val, value->val.string.len
			};
			break;
		case jbvBinary:
			result.type = JsonContainerIsArray(value->val.binary.data) ? MB_JSON_ARRAY : MB_JSON_OBJECT;
			result.node = value->val.binary.data;
			break;
		default:
			break;
	}
	return result;
}

/*
 * numeric's own conversion to bigint raises an error out of range and rounds
 * fractions; here both only mean "not an integer".
 */
static void
read_number(Numeric numeric, MbJson *result)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(numeric)));
	char	   *end;

	errno = 0;
	result->integer = strtoll(text, &end, 10);
	result->type = errno == 0 && end != text && *end == '\0' ? MB_JSON_INTEGER : MB_JSON_NUMBER;
	pfree(text);
}
