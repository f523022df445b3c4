/*
 * webhooks.c
 *	  The figures about an event's way into the inbox and to its effect.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "measure.h"
#include "signature.h"
#include "webhooks.h"

#define BODIES_IN_BLOCK 10
#define LATENCY_DEADLINE 60e9	/* ns */

typedef struct Body
{
	char	   *text;
	int			len;
	char		event_id[32];
	char		signature[128];
} Body;

static long next_event = 0;		/* every event is sent once */

static double body_block(PGconn *conn, const Body *bodies, int n, bool signed_call);
static void send_body(PGconn *conn, const Body *body, bool signed_call);
static Body *make_bodies(PGconn *conn, int nbodies, int users);
static void sign(Body *body);
static void free_bodies(Body *bodies, int nbodies);

/*
 * AIM SQL_A SQL_B: a signed call against the insertion of the same kind of
 * body, or against another signed call.
 */
void
receive(char **args)
{
	PGconn	   *a = open_connection(args[1]);
	PGconn	   *b = open_connection(args[2]);
	bool		b_is_signed = count_parameters(b) == 2;
	double		cpu_a[MAX_ROUNDS],
				cpu_b[MAX_ROUNDS],
				wall_a[MAX_ROUNDS],
				wall_b[MAX_ROUNDS];

	for (int round = -1; round < rounds; round++)
	{
		Body	   *bodies_a = make_bodies(a, count, 5000);
		Body	   *bodies_b = make_bodies(b, count, 5000);
		double		before_a = cpu_of(PQbackendPID(a));
		double		before_b = cpu_of(PQbackendPID(b));
		double		time_a = 0;
		double		time_b = 0;

		for (int done = 0; done < count; done += BODIES_IN_BLOCK)
		{
			int			n = done + BODIES_IN_BLOCK <= count ? BODIES_IN_BLOCK : count - done;

			time_a += body_block(a, bodies_a + done, n, true);
			time_b += body_block(b, bodies_b + done, n, b_is_signed);
		}
		if (round >= 0)
		{
			cpu_a[round] = (cpu_of(PQbackendPID(a)) - before_a) / count;
			cpu_b[round] = (cpu_of(PQbackendPID(b)) - before_b) / count;
			wall_a[round] = time_a / count;
			wall_b[round] = time_b / count;
		}
		free_bodies(bodies_a, count);
		free_bodies(bodies_b, count);
	}
	report("backend CPU", args[0], cpu_a, cpu_b, rounds);
	report("wall time", args[0], wall_a, wall_b, rounds);
}

/*
 * SQL_A SQL_B: from the answer to a signed call until a second connection,
 * which asks all the time, sees the app's row changed; against the wall time
 * of a bare insertion.
 */
void
latency(char **args)
{
	PGconn	   *a = open_connection(args[0]);
	PGconn	   *b = open_connection(args[1]);
	PGconn	   *poll = open_connection("SELECT \"currentPeriodEnd\" FROM public.\"Subscription\""
									   " WHERE \"userId\" = 'c' || substr(md5('1'), 1, 24)");
	double	   *applied = malloc(rounds * count * sizeof(double));
	double	   *inserted = malloc(rounds * count * sizeof(double));
	double		median_a[MAX_ROUNDS],
				median_b[MAX_ROUNDS];
	double		polling = 0;
	long		polls = 0;

	for (int round = 0; round < rounds; round++)
	{
		double	   *in_round_a = applied + round * count;
		double	   *in_round_b = inserted + round * count;

		for (int i = 0; i < count; i++)
		{
			Body	   *bodies = make_bodies(a, 2, 1);
			PGresult   *result;
			char		before[64];
			double		start;
			bool		changed;

			result = execute(poll, 0, NULL, NULL, NULL);
			snprintf(before, sizeof(before), "%s", PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "");
			PQclear(result);
			send_body(a, &bodies[0], true);
			start = now();
			do
			{
				result = execute(poll, 0, NULL, NULL, NULL);
				changed = PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), before) != 0;
				PQclear(result);
				polls++;
				if (now() - start > LATENCY_DEADLINE)
					die("the worker has not applied an event");
			} while (!changed);
			in_round_a[i] = now() - start;
			polling += in_round_a[i];

			start = now();
			send_body(b, &bodies[1], false);
			in_round_b[i] = now() - start;
			free_bodies(bodies, 2);
		}
		median_a[round] = median(in_round_a, count);
		median_b[round] = median(in_round_b, count);
	}
	report("median of a round", NULL, median_a, median_b, rounds);
	qsort(applied, rounds * count, sizeof(double), double_cmp);
	qsort(inserted, rounds * count, sizeof(double), double_cmp);
	for (int percent = 50; percent <= 99; percent += percent < 90 ? 40 : 9)
		printf("    p%d: applied %.2f ms after the commit's answer; a bare insertion takes %.2f ms%s\n",
			   percent, applied[rounds * count * percent / 100] / 1e6, inserted[rounds * count * percent / 100] / 1e6,
			   percent != 50 ? "" : applied[rounds * count / 2] <= 2e6 ? "  (aim: 2 ms, met)" : "  (aim: 2 ms, MISSED)");
	printf("    (one poll takes %.2f ms: by that much the first figure may be too high)\n", polling / polls / 1e6);
}

/* Returns the wall time of all. */
static double
body_block(PGconn *conn, const Body *bodies, int n, bool signed_call)
{
	double		start = now();

	for (int i = 0; i < n; i++)
		send_body(conn, &bodies[i], signed_call);
	return now() - start;
}

/*
 * A signed call is given the raw bytes, as from an app's route.  A bare
 * insertion has the body as the jsonb parameter, and the other columns from
 * its client, which is not measured: two of its ways to be cheaper.
 */
static void
send_body(PGconn *conn, const Body *body, bool signed_call)
{
	if (signed_call)
	{
		const char *values[] = {body->text, body->signature};
		int			lengths[] = {body->len, 0};
		int			formats[] = {1, 0};

		PGresult   *result = execute(conn, 2, values, lengths, formats);

		if (strcmp(PQgetvalue(result, 0, PQfnumber(result, "duplicate")), "f") != 0)
			die("event %s was sent before", body->event_id);
		PQclear(result);
	}
	else
	{
		const char *values[] = {body->event_id, "customer.subscription.updated", "2026-03-01 12:00:00+00",
		"true", "2025-03-31.basil", body->text};

		PQclear(execute(conn, 6, values, NULL, NULL));
	}
}

static Body *
make_bodies(PGconn *conn, int nbodies, int users)
{
	Body	   *bodies = malloc(nbodies * sizeof(Body));
	char		sql[128];
	PGresult   *result;

	snprintf(sql, sizeof(sql), "SELECT body FROM bench.events(%ld, %d, %d) AS body", next_event, nbodies, users);
	result = query(conn, sql);
	for (int i = 0; i < nbodies; i++)
	{
		const char *id;

		bodies[i].text = strdup(PQgetvalue(result, i, 0));
		bodies[i].len = strlen(bodies[i].text);
		id = strstr(bodies[i].text, "evt_");
		snprintf(bodies[i].event_id, sizeof(bodies[i].event_id), "%.*s", (int) strcspn(id, "\""), id);
		sign(&bodies[i]);
	}
	PQclear(result);
	next_event += nbodies;
	return bodies;
}

/* As Stripe signs: HMAC-SHA256 of "time.body". */
static void
sign(Body *body)
{
	char	   *text = malloc(body->len + 32);
	int			prefix = snprintf(text, body->len + 32, "%ld.", (long) time(NULL));
	char		hex[MB_SIGNATURE_HEX];

	memcpy(text + prefix, body->text, body->len);
	if (!mb_signature_sign(mb_text(secret), (unsigned char *) text, prefix + body->len, hex))
	{
		fprintf(stderr, "client: cannot sign\n");
		exit(1);
	}
	snprintf(body->signature, sizeof(body->signature), "t=%.*s,v1=%.*s", prefix - 1, text, MB_SIGNATURE_HEX, hex);
	free(text);
}

static void
free_bodies(Body *bodies, int nbodies)
{
	for (int i = 0; i < nbodies; i++)
		free(bodies[i].text);
	free(bodies);
}
