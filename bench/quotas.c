/*
 * quotas.c
 *	  The figures about quotas: many connections at once, and bytes of WAL.
 *
 * One thread keeps all connections of a side busy: each sends its next call
 * as soon as it has the answer to the last.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "quotas.h"

#define MAX_CONNECTIONS 64
#define CALLS_IN_BLOCK 50		/* of a connection */

typedef struct Side
{
	PGconn	   *conns[MAX_CONNECTIONS];
	int			nconns;
	int			nparams;
	char	  **users;
	int			nusers;
	int			next_user;
	const char *feature;
	const char *answer;			/* what every call must answer, if not "any" */
} Side;

static void open_side(Side *side, const char *sql, int nconns, const char *feature, const char *answer);
static double side_cpu(const Side *side);
static double side_block(Side *side, int n);
static void send_call(Side *side, PGconn *conn);
static void check_answer(const Side *side, PGconn *conn, PGresult *result);

/*
 * AIM CPU_AIM CONNECTIONS ANSWER SQL_A SQL_B USERS FEATURE: calls per second.
 * ANSWER is "allowed", "refused" or "any"; each side goes through all users
 * before it asks about one again.
 */
void
rates(char **args)
{
	Side		a;
	Side		b;
	int			nconns = atoi(args[2]);
	int			block = CALLS_IN_BLOCK * nconns;
	double		cpu_a[MAX_ROUNDS],
				cpu_b[MAX_ROUNDS],
				rate_a[MAX_ROUNDS],
				rate_b[MAX_ROUNDS];

	if (nconns < 1 || nconns > MAX_CONNECTIONS)
		die("bad number of connections");
	open_side(&a, args[4], nconns, args[7], args[3]);
	open_side(&b, args[5], nconns, args[7], args[3]);
	a.users = query_column(a.conns[0], args[6], &a.nusers);
	b.users = a.users;
	b.nusers = a.nusers;

	/* other users: what one side has read is in the caches */
	b.next_user = b.nusers / 2;

	/* the first round warms up */
	for (int round = -1; round < rounds; round++)
	{
		double		before_a = side_cpu(&a);
		double		before_b = side_cpu(&b);
		double		time_a = 0;
		double		time_b = 0;

		for (int done = 0; done < count; done += block)
		{
			int			n = done + block <= count ? block : count - done;

			time_a += side_block(&a, n);
			time_b += side_block(&b, n);
		}
		if (round < 0)
			continue;
		rate_a[round] = count / time_a * 1e9;
		rate_b[round] = count / time_b * 1e9;
		cpu_a[round] = (side_cpu(&a) - before_a) / count;
		cpu_b[round] = (side_cpu(&b) - before_b) / count;
	}
	report_rates("calls per second", args[0], rate_a, rate_b, rounds);
	report("backend CPU per call", args[1], cpu_a, cpu_b, rounds);
}

/*
 * SQL USERS FEATURE: bytes of WAL that a round of refusals adds.  The server
 * writes a few of its own from time to time, which is why it is the median
 * that must be 0.
 */
void
wal(char **args)
{
	PGconn	   *control = open_connection(NULL);
	Side		side;
	double		bytes[MAX_ROUNDS];
	double		most = 0;
	double		middle;

	open_side(&side, args[0], 1, args[2], "refused");
	side.users = query_column(control, args[1], &side.nusers);
	PQclear(query(control, "CHECKPOINT"));
	for (int round = -1; round < rounds; round++)
	{
		double		before = query_number(control, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn");

		side_block(&side, count);
		if (round < 0)
			continue;
		bytes[round] = query_number(control, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn") - before;
		if (bytes[round] > most)
			most = bytes[round];
	}
	middle = median(bytes, rounds);
	printf("    WAL of %d refusals     %.0f bytes  (%d rounds, at most %.0f)  aim 0: %s\n",
		   count, middle, rounds, most, middle == 0 ? "met" : "MISSED");
	fflush(stdout);
}

static void
open_side(Side *side, const char *sql, int nconns, const char *feature, const char *answer)
{
	memset(side, 0, sizeof(*side));
	for (int i = 0; i < nconns; i++)
		side->conns[i] = open_connection(sql);
	side->nconns = nconns;
	if (nconns == 1)
		share_processor(side->conns[0]);
	side->nparams = count_parameters(side->conns[0]);
	side->feature = feature;
	side->answer = answer;
}

/* The CPU time that all of its backends have used, in ns. */
static double
side_cpu(const Side *side)
{
	double		ns = 0;

	for (int i = 0; i < side->nconns; i++)
		ns += cpu_of(PQbackendPID(side->conns[i]));
	return ns;
}

/* n calls over all connections; returns the wall time in ns. */
static double
side_block(Side *side, int n)
{
	struct pollfd fds[MAX_CONNECTIONS];
	int			sent = 0;
	int			answered = 0;
	double		start = now();

	for (int i = 0; i < side->nconns; i++)
	{
		fds[i].fd = PQsocket(side->conns[i]);
		fds[i].events = sent < n ? POLLIN : 0;
		if (sent < n)
		{
			send_call(side, side->conns[i]);
			sent++;
		}
	}
	while (answered < n)
	{
		if (poll(fds, side->nconns, -1) < 0)
			die("poll failed");
		for (int i = 0; i < side->nconns; i++)
		{
			PGconn	   *conn = side->conns[i];
			PGresult   *result;

			if (fds[i].revents == 0)
				continue;
			if (!PQconsumeInput(conn))
				die("%s", PQerrorMessage(conn));
			if (PQisBusy(conn))
				continue;
			result = PQgetResult(conn);
			check_answer(side, conn, result);
			PQclear(result);
			if (PQgetResult(conn) != NULL)
				die("more than one answer to a call");
			answered++;
			if (sent < n)
			{
				send_call(side, conn);
				sent++;
			}
			else
				fds[i].events = 0;
		}
	}
	return now() - start;
}

static void
send_call(Side *side, PGconn *conn)
{
	const char *values[] = {side->users[side->next_user++ % side->nusers], side->feature};

	if (!PQsendQueryPrepared(conn, "s", side->nparams, values, NULL, NULL, 0))
		die("%s", PQerrorMessage(conn));
}

/*
 * Allowed is: a row was changed, or a row came back, unless its first column
 * says false.
 */
static void
check_answer(const Side *side, PGconn *conn, PGresult *result)
{
	bool		allowed;
	const char *answer;

	check(conn, result);
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
		allowed = atoi(PQcmdTuples(result)) > 0;
	else
		allowed = PQntuples(result) > 0 && strcmp(PQgetvalue(result, 0, 0), "f") != 0;
	answer = allowed ? "allowed" : "refused";
	if (strcmp(side->answer, "any") != 0 && strcmp(side->answer, answer) != 0)
		die("a call was %s", answer);
}
