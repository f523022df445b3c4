/*
 * webhooks.c
 *	  The figures about events: their way into the inbox and out of it.
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
#define DRAIN_DEADLINE 120e9	/* ns */

typedef struct Body
{
	char	   *text;
	int			len;
	char		event_id[32];
	char		signature[128];
} Body;

static long next_event = 0;		/* every event is sent once */

static void compare_drains(const char *aim, PGconn *a, PGconn *loader_b, PGconn *b, int users);
static double body_block(PGconn *conn, const Body *bodies, int n, bool signed_call);
static void send_body(PGconn *conn, const Body *body, bool signed_call);
static Body *make_bodies(PGconn *conn, int nbodies, int users);
static void sign(Body *body);
static void free_bodies(Body *bodies, int nbodies);
static Cost drain_block(PGconn *loader, PGconn *conn, int users, int first_user);
static double worker_settled(PGconn *conn);
static int	worker_pid(PGconn *conn);

/* AIM SQL_A SQL_B: a signed call against the insertion of the same kind of body. */
void
receive(char **args)
{
	PGconn	   *a = open_connection(args[1]);
	PGconn	   *b = open_connection(args[2]);
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
			time_b += body_block(b, bodies_b + done, n, false);
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
				if (now() - start > DRAIN_DEADLINE)
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

/*
 * AIM SQL_B USERS: our worker against the repeated execution of a statement
 * that answers how many events it has settled.
 */
void
drain(char **args)
{
	PGconn	   *loader = open_connection(NULL);

	compare_drains(args[0], loader, loader, open_connection(args[1]), atoi(args[2]));
}

/*
 * AIM CONNINFO_B USERS: our worker against the worker of another version of
 * ours, in a server of its own.
 */
void
versions(char **args)
{
	PGconn	   *a = open_connection(NULL);

	conninfo = args[1];
	compare_drains(args[0], a, open_connection(NULL), NULL, atoi(args[2]));
}

/* Our worker where "a" is connected, against what drain_block() makes of the others. */
static void
compare_drains(const char *aim, PGconn *a, PGconn *loader_b, PGconn *b, int users)
{
	double		cpu_a[MAX_ROUNDS],
				cpu_b[MAX_ROUNDS],
				wall_a[MAX_ROUNDS],
				wall_b[MAX_ROUNDS];

	/* at first every user's rows are made; then a round warms up */
	for (int round = -1 - (users + count - 1) / count; round < rounds; round++)
	{
		int			first_user = round < -1 ? 1 + (-round - 2) * count : 0;
		long		first_event = next_event;
		Cost		cost_a;
		Cost		cost_b;

		/* what autovacuum would do within a minute: plans for full tables */
		if (round == -1)
		{
			PQclear(query(a, "ANALYZE"));
			if (loader_b != a)
				PQclear(query(loader_b, "ANALYZE"));
		}
		cost_a = drain_block(a, NULL, users, first_user);

		/* the same events */
		next_event = first_event;
		cost_b = drain_block(loader_b, b, users, first_user);
		if (round < 0)
			continue;
		cpu_a[round] = cost_a.cpu;
		cpu_b[round] = cost_b.cpu;
		wall_a[round] = cost_a.wall;
		wall_b[round] = cost_b.wall;
	}
	report("backend CPU per event", aim, cpu_a, cpu_b, rounds);
	report("wall time per event", NULL, wall_a, wall_b, rounds);
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

/*
 * Load the events in one transaction and drain them: on the connection, or
 * without one by our worker, which the commit wakes, so that its wall time
 * begins with the commit.
 */
static Cost
drain_block(PGconn *loader, PGconn *conn, int users, int first_user)
{
	bool		ours = conn == NULL;
	char		first[32] = "";
	char		sql[512];
	int			pid;
	double		cpu;
	double		start;
	double		settled = 0;
	Cost		cost;

	if (ours)
	{
		PQclear(query(loader, "TRUNCATE momento_billing.webhook_inbox"));
		settled = worker_settled(loader);
	}
	else
		PQclear(query(loader, "TRUNCATE rival.inbox"));

	/* page images after a checkpoint burden both alike */
	PQclear(query(loader, "CHECKPOINT"));
	pid = ours ? worker_pid(loader) : PQbackendPID(conn);
	PQclear(query(loader, "BEGIN"));
	snprintf(sql, sizeof(sql), "SELECT setseed(%ld %% 1000003 / 1000003.0)", next_event);
	PQclear(query(loader, sql));
	if (first_user > 0)
		snprintf(first, sizeof(first), ", %d", first_user);
	snprintf(sql, sizeof(sql), "INSERT INTO %s SELECT %s FROM bench.events(%ld, %d, %d%s) AS body",
			 ours ? "momento_billing.webhook_inbox (payload)" : "rival.inbox (event_id, payload)",
			 ours ? "body::jsonb" : "substring(body FROM 'evt_[a-z0-9]+'), body::jsonb",
			 next_event, count, users, first);
	PQclear(query(loader, sql));
	next_event += count;

	cpu = cpu_of(pid);
	start = now();
	PQclear(query(loader, "COMMIT"));
	if (ours)
	{
		while (worker_settled(loader) < settled + count)
		{
			if (now() - start > DRAIN_DEADLINE)
				die("the worker does not drain");
			nap(1000000);
		}
	}
	else
	{
		double		n;

		start = now();
		do
		{
			PGresult   *result = execute(conn, 0, NULL, NULL, NULL);

			n = atof(PQgetvalue(result, 0, 0));
			settled += n;
			PQclear(result);
		} while (n > 0);
		if (settled != count)
			die("the rival has drained %.0f events of %d", settled, count);
	}
	cost.wall = (now() - start) / count;
	cost.cpu = (cpu_of(pid) - cpu) / count;
	return cost;
}

static double
worker_settled(PGconn *conn)
{
	return query_number(conn, "SELECT processed + ignored + waiting + dead FROM momento_billing.worker_status"
						" WHERE database = current_database()");
}

static int
worker_pid(PGconn *conn)
{
	return query_number(conn, "SELECT pid FROM momento_billing.worker_status WHERE database = current_database()");
}
