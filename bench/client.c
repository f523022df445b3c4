/*
 * client.c
 *	  Measures two ways of doing the same thing against each other.
 *
 * The two are run in blocks, one after the other, A B A B ..., each on
 * connections of its own, as prepared statements with one round trip per
 * execution.  A machine's speed changes from one moment to the next, so blocks
 * last a few milliseconds where an operation is short, and what is reported is
 * the median of the ratios of many rounds of blocks.
 *
 * CPU is the scheduler's account of the backend's process (user and system,
 * in nanoseconds).  It is booked when the process goes to sleep, so a moment
 * passes before it is read.
 */
#include <libpq-fe.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "drains.h"
#include "measure.h"
#include "quotas.h"
#include "webhooks.h"

#define CALLS_IN_BLOCK 50

static void calls(char **args, int nargs);
static void call_block(PGconn *conn, int nparams, char *const *users, int nusers, const char *feature, int first, int n);
static void pairs(char **args);

int
main(int argc, char **argv)
{
	char	  **args = argv + 6;
	int			nargs = argc - 6;

	if (argc < 6)
		die("usage: client FIGURE CONNINFO SECRET ROUNDS COUNT ARGUMENT...");
	conninfo = argv[2];
	secret = argv[3];
	rounds = atoi(argv[4]);
	count = atoi(argv[5]);
	if (rounds < 1 || rounds > MAX_ROUNDS || count < 1)
		die("bad number of rounds or operations");

	if (strcmp(argv[1], "calls") == 0 && nargs >= 3)
		calls(args, nargs);
	else if (strcmp(argv[1], "pairs") == 0 && nargs == 2)
		pairs(args);
	else if (strcmp(argv[1], "rates") == 0 && nargs == 8)
		rates(args);
	else if (strcmp(argv[1], "wal") == 0 && nargs == 3)
		wal(args);
	else if (strcmp(argv[1], "receive") == 0 && nargs == 3)
		receive(args);
	else if (strcmp(argv[1], "latency") == 0 && nargs == 2)
		latency(args);
	else if (strcmp(argv[1], "drain") == 0 && nargs == 4)
		drain(args);
	else if (strcmp(argv[1], "versions") == 0 && nargs == 3)
		versions(args);
	else if (strcmp(argv[1], "program") == 0 && nargs >= 4)
		program(args);
	else if (strcmp(argv[1], "backlog") == 0 && nargs >= 3)
		backlog(args, nargs);
	else
		die("unknown figure or missing argument");
	return 0;
}

/*
 * AIM SQL_A SQL_B [USERS [FEATURE]]: USERS is a query for the values of the
 * first parameter, FEATURE the value of the second, where a statement has one.
 */
static void
calls(char **args, int nargs)
{
	PGconn	   *a = open_connection(args[1]);
	PGconn	   *b = open_connection(args[2]);
	int			nparams_a = count_parameters(a);
	int			nparams_b = count_parameters(b);
	const char *feature = nargs > 4 ? args[4] : NULL;
	double		cpu_a[MAX_ROUNDS],
				cpu_b[MAX_ROUNDS];
	char	  **users = NULL;
	int			nusers = 0;

	share_processor(a);
	share_processor(b);
	if (nargs > 3)
		users = query_column(a, args[3], &nusers);

	/* the first round warms up */
	for (int round = -1; round < rounds; round++)
	{
		double		before_a = cpu_of(PQbackendPID(a));
		double		before_b = cpu_of(PQbackendPID(b));

		for (int done = 0; done < count; done += CALLS_IN_BLOCK)
		{
			int			first = (round + 1) * count + done;
			int			n = done + CALLS_IN_BLOCK <= count ? CALLS_IN_BLOCK : count - done;

			/* other users: what one side has read is in the caches */
			call_block(a, nparams_a, users, nusers, feature, first, n);
			call_block(b, nparams_b, users, nusers, feature, first + nusers / 2, n);
		}
		if (round < 0)
			continue;
		cpu_a[round] = (cpu_of(PQbackendPID(a)) - before_a) / count;
		cpu_b[round] = (cpu_of(PQbackendPID(b)) - before_b) / count;
	}
	report("backend CPU", args[0], cpu_a, cpu_b, rounds);
}

/* n executions with users from the list, or without a parameter. */
static void
call_block(PGconn *conn, int nparams, char *const *users, int nusers, const char *feature, int first, int n)
{
	for (int i = 0; i < n; i++)
	{
		const char *values[] = {nusers > 0 ? users[(first + i) % nusers] : NULL, feature};

		PQclear(execute(conn, nparams, values, NULL, NULL));
	}
}

/*
 * AIM WHAT: the rates that another program has measured, on standard input a
 * line of both per round.
 */
static void
pairs(char **args)
{
	double		a[MAX_ROUNDS],
				b[MAX_ROUNDS];
	int			n = 0;

	while (n < MAX_ROUNDS && scanf("%lf %lf", &a[n], &b[n]) == 2)
		n++;
	if (n == 0)
		die("no rates on standard input");
	report_rates(args[1], args[0], a, b, n);
}
