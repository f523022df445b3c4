/*
 * input.h
 *	  A fuzzer's input, taken piece by piece.  An input that is used up goes
 *	  on with zeros.
 */
#ifndef MB_FUZZ_INPUT_H
#define MB_FUZZ_INPUT_H

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "text.h"

typedef struct MbInput
{
	const uint8_t *data;
	size_t		size;
} MbInput;

/* As assert(), but whatever NDEBUG says; the fuzzer takes it for a crash. */
#define MB_CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int
mb_input_byte(MbInput *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

static inline int
mb_input_below(MbInput *input, int n)
{
	return mb_input_byte(input) % n;
}

/* Up to "len" bytes of the input itself. */
static inline MbText
mb_input_text(MbInput *input, size_t len)
{
	MbText		text;

	if (len > input->size)
		len = input->size;
	text = (MbText)
	{
		(const char *) input->data, (int) len
	};
	input->data += len;
	input->size -= len;
	return text;
}

#endif							/* MB_FUZZ_INPUT_H */
