/*
 * test_json.c
 *	  What the event reader's tests stand on: json.h over jansson.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "json_jansson.h"

static const char document[] =
"{\"null\": null, \"true\": true, \"false\": false, \"string\": \"caf\\u00e9\", \"empty\": \"\","
" \"nul\": \"a\\u0000b\","
" \"integer\": -9223372036854775808, \"whole\": 1.75e9, \"largest\": 9007199254740992.0,"
" \"beyond\": 1e17, \"huge\": -1e300, \"fraction\": 1.5, \"minus_zero\": -0.0,"
" \"array\": [1, [], {\"key\": \"value\"}], \"object\": {\"a\": {\"b\": 2}}}";

static int
load(void **state)
{
	*state = json_loads(document, JSON_ALLOW_NUL, NULL);
	return *state == NULL;
}

static int
unload(void **state)
{
	json_decref(*state);
	return 0;
}

static void
test_scalars(void **state)
{
	MbJson		root = mb_json_from_jansson(*state);
	MbJson		nul = mb_json_get(root, "nul");

	assert_int_equal(root.type, MB_JSON_OBJECT);
	assert_int_equal(mb_json_get(root, "null").type, MB_JSON_NULL);
	assert_int_equal(mb_json_get(root, "true").type, MB_JSON_BOOL);
	assert_true(mb_json_get(root, "true").boolean);
	assert_int_equal(mb_json_get(root, "false").type, MB_JSON_BOOL);
	assert_false(mb_json_get(root, "false").boolean);
	assert_int_equal(mb_json_get(root, "string").type, MB_JSON_STRING);
	assert_true(mb_text_is(mb_json_get(root, "string").string, "caf\xC3\xA9"));
	assert_int_equal(mb_json_get(root, "empty").type, MB_JSON_STRING);
	assert_true(mb_text_is(mb_json_get(root, "empty").string, ""));
	assert_int_equal(nul.string.len, 3);
	assert_memory_equal(nul.string.data, "a\0b", 3);
}

static void
test_numbers(void **state)
{
	static const struct
	{
		const char *key;
		MbJsonType	type;
		int64_t		integer;
	}			cases[] = {
		{"integer", MB_JSON_INTEGER, INT64_MIN},
		{"whole", MB_JSON_INTEGER, 1750000000},
		{"largest", MB_JSON_INTEGER, INT64_C(9007199254740992)},
		{"minus_zero", MB_JSON_INTEGER, 0},
		{"beyond", MB_JSON_NUMBER, 0},
		{"huge", MB_JSON_NUMBER, 0},
		{"fraction", MB_JSON_NUMBER, 0},
	};
	MbJson		root = mb_json_from_jansson(*state);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		MbJson		number = mb_json_get(root, cases[i].key);

		assert_int_equal(number.type, cases[i].type);
		assert_true(number.integer == cases[i].integer);
	}
}

static void
test_containers(void **state)
{
	MbJson		root = mb_json_from_jansson(*state);
	MbJson		array = mb_json_get(root, "array");
	MbJson		object = mb_json_get(root, "object");

	assert_int_equal(array.type, MB_JSON_ARRAY);
	assert_int_equal(mb_json_length(array), 3);
	assert_true(mb_json_element(array, 0).integer == 1);
	assert_int_equal(mb_json_element(array, 1).type, MB_JSON_ARRAY);
	assert_int_equal(mb_json_length(mb_json_element(array, 1)), 0);
	assert_true(mb_text_is(mb_json_get(mb_json_element(array, 2), "key").string, "value"));
	assert_true(mb_json_get(mb_json_get(object, "a"), "b").integer == 2);
}

/* A reader may ask anything of anything: what is not there is missing. */
static void
test_missing(void **state)
{
	MbJson		root = mb_json_from_jansson(*state);
	MbJson		array = mb_json_get(root, "array");
	MbJson		string = mb_json_get(root, "string");
	MbJson		missing = mb_json_get(root, "no such key");

	assert_int_equal(mb_json_from_jansson(NULL).type, MB_JSON_MISSING);
	assert_int_equal(missing.type, MB_JSON_MISSING);
	assert_int_equal(mb_json_get(missing, "key").type, MB_JSON_MISSING);
	assert_int_equal(mb_json_get(string, "key").type, MB_JSON_MISSING);
	assert_int_equal(mb_json_get(array, "0").type, MB_JSON_MISSING);
	assert_int_equal(mb_json_element(array, 3).type, MB_JSON_MISSING);
	assert_int_equal(mb_json_element(array, -1).type, MB_JSON_MISSING);
	assert_int_equal(mb_json_element(root, 0).type, MB_JSON_MISSING);
	assert_int_equal(mb_json_element(missing, 0).type, MB_JSON_MISSING);
	assert_int_equal(mb_json_length(root), 0);
	assert_int_equal(mb_json_length(string), 0);
	assert_int_equal(mb_json_length(missing), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scalars),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_containers),
		cmocka_unit_test(test_missing),
	};

	return cmocka_run_group_tests_name("json", tests, load, unload);
}
