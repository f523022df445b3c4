/*
 * drains.c
 *	  The figures about draining: our worker against other ways from stored
 *	  events to rows.
 *
 * Each way has a schema with the functions clear(), load(sequence, events,
 * users, first_user) and loaded(): what comes before its measured part.
 */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drains.h"
#include "measure.h"

#define DRAIN_DEADLINE 1800e9	/* ns */

/* A program that drains: it is told by lines what to do, and answers each. */
typedef struct Program
{
	FILE	   *to;
	FILE	   *from;
} Program;

/* One of those that are compared. */
typedef struct Side
{
	PGconn	   *loader;
	const char *schema;			/* unless it is a program */
	PGconn	   *worker;			/* executes its statement until it answers 0 */
	Program    *program;
	int			count;			/* events in a round */
} Side;

/* ns per event */
typedef struct Cost
{
	double		backend;
	double		all;			/* with the program's own CPU time */
	double		wall;
} Cost;

static long next_event = 0;		/* every event is new to a side */

static Side our_side(void);
static void compare(const char *aim, const Side *a, const Side *b, int users);
static void compare_sizes(const Side *side, int users, int size, int small);
static Cost drain_block(const Side *side, int users, int first_user);
static Cost drain_by_worker(const Side *side);
static Cost drain_by_statement(const Side *side);
static Cost drain_by_program(const Side *side, int users);
static Cost cost_of(double backend, double own, double wall);
static void call(const Side *side, const char *function, const char *arguments);
static Program *start_program(char **command);
static double tell(Program *program, const char *line);
static double rival_backends(PGconn *conn, int *n);
static double worker_settled(PGconn *conn);
static int	worker_pid(PGconn *conn);

/*
 * AIM SCHEMA SQL USERS: our worker against the repeated execution of a
 * statement that answers how many events it has settled.
 */
void
drain(char **args)
{
	Side		a = our_side();
	Side		b = a;

	b.schema = args[1];
	b.worker = open_connection(args[2]);
	compare(args[0], &a, &b, atoi(args[3]));
}

/*
 * AIM CONNINFO_B USERS: our worker against the worker of another version of
 * ours, in a server of its own.
 */
void
versions(char **args)
{
	Side		a = our_side();
	Side		b = a;

	conninfo = args[1];
	b.loader = open_connection(NULL);
	compare(args[0], &a, &b, atoi(args[2]));
}

/*
 * AIM COUNT_B USERS COMMAND...: our worker against a program, which is slow or
 * not, so that it has a number of events of its own.  Its connections are the
 * role rival's.
 */
void
program(char **args)
{
	Side		a = our_side();
	Side		b = a;

	b.count = atoi(args[1]);
	b.program = start_program(args + 3);
	compare(args[0], &a, &b, atoi(args[2]));
}

/*
 * USERS SMALL SIZE...: our worker's cost per event of backlogs of several
 * sizes, each against backlogs of SMALL events right before and after it.
 */
void
backlog(char **args, int nargs)
{
	Side		side = our_side();
	int			users = atoi(args[0]);

	/* at first every user's rows are made */
	side.count = users;
	(void) drain_block(&side, users, 1);
	PQclear(query(side.loader, "VACUUM ANALYZE"));
	for (int i = 2; i < nargs; i++)
		compare_sizes(&side, users, atoi(args[i]), atoi(args[1]));
}

static Side
our_side(void)
{
	Side		side = {.loader = open_connection(NULL),.schema = "ours",.count = count};

	return side;
}

static void
compare(const char *aim, const Side *a, const Side *b, int users)
{
	double		backend_a[MAX_ROUNDS],
				backend_b[MAX_ROUNDS],
				all_b[MAX_ROUNDS],
				wall_a[MAX_ROUNDS],
				wall_b[MAX_ROUNDS];

	/* at first every user's rows are made; then a round warms up */
	for (int round = -1 - (users + count - 1) / count; round < rounds; round++)
	{
		int			first_user = round < -1 ? 1 + (-round - 2) * count : 0;
		long		first_event = next_event;
		Cost		cost_a;
		Cost		cost_b = {0};

		/* what autovacuum would do within a minute: plans for full tables */
		if (round == -1)
		{
			PQclear(query(a->loader, "ANALYZE"));
			if (b->loader != a->loader)
				PQclear(query(b->loader, "ANALYZE"));
		}
		cost_a = drain_block(a, users, first_user);

		/* the same events; a program makes its rows itself */
		next_event = first_event;
		if (round >= -1 || b->program == NULL)
			cost_b = drain_block(b, users, first_user);
		next_event = first_event + count;
		if (round < 0)
			continue;
		backend_a[round] = cost_a.backend;
		backend_b[round] = cost_b.backend;
		all_b[round] = cost_b.all;
		wall_a[round] = cost_a.wall;
		wall_b[round] = cost_b.wall;
	}
	report("backend CPU per event", aim, backend_a, backend_b, rounds);
	if (b->program != NULL)
		report("with the program's CPU", aim, backend_a, all_b, rounds);
	report("wall time per event", NULL, wall_a, wall_b, rounds);
}

static void
compare_sizes(const Side *side, int users, int size, int small)
{
	Side		of_size = *side;
	Side		of_small = *side;
	double		large[MAX_ROUNDS],
				small_ones[MAX_ROUNDS],
				wall[MAX_ROUNDS],
				wall_of_small[MAX_ROUNDS];
	char		what[64];

	of_size.count = size;
	of_small.count = small;
	for (int round = 0; round < rounds; round++)
	{
		double		backend[8];
		double		walls[8];
		Cost		cost = {0};

		for (int i = 0; i < 8; i++)
		{
			Cost		of_one = drain_block(&of_small, users, 0);

			backend[i] = of_one.backend;
			walls[i] = of_one.wall;
			if (i == 3)
				cost = drain_block(&of_size, users, 0);
		}
		large[round] = cost.backend;
		wall[round] = cost.wall;
		small_ones[round] = median(backend, 8);
		wall_of_small[round] = median(walls, 8);
	}
	snprintf(what, sizeof(what), "%d events, CPU", size);
	report(what, "1.15", large, small_ones, rounds);
	snprintf(what, sizeof(what), "%d events, wall", size);
	report(what, NULL, wall, wall_of_small, rounds);
}

/* Load the events in one transaction and drain them. */
static Cost
drain_block(const Side *side, int users, int first_user)
{
	char		arguments[128];
	char		first[32] = "NULL";
	Cost		cost;

	if (first_user > 0)
		snprintf(first, sizeof(first), "%d", first_user);
	if (side->program == NULL)
	{
		call(side, "clear", "");

		/* page images after a checkpoint burden both alike */
		PQclear(query(side->loader, "CHECKPOINT"));
		PQclear(query(side->loader, "BEGIN"));
		snprintf(arguments, sizeof(arguments), "%ld, %d, %d, %s", next_event, side->count, users, first);
		call(side, "load", arguments);
	}
	cost = side->program != NULL ? drain_by_program(side, users)
		: side->worker != NULL ? drain_by_statement(side) : drain_by_worker(side);
	next_event += side->count;
	cost.backend /= side->count;
	cost.all /= side->count;
	cost.wall /= side->count;
	return cost;
}

/* The commit wakes our worker: its time begins there. */
static Cost
drain_by_worker(const Side *side)
{
	double		settled = worker_settled(side->loader);
	int			pid = worker_pid(side->loader);
	double		cpu = cpu_of(pid);
	double		start = now();

	PQclear(query(side->loader, "COMMIT"));
	while (worker_settled(side->loader) < settled + side->count)
	{
		if (now() - start > DRAIN_DEADLINE)
			die("the worker does not drain");
		nap(1000000);
	}
	start = now() - start;
	cpu = cpu_of(pid) - cpu;
	return cost_of(cpu, 0, start);
}

static Cost
drain_by_statement(const Side *side)
{
	int			pid = PQbackendPID(side->worker);
	double		settled = 0;
	double		cpu;
	double		start;
	double		n;

	PQclear(query(side->loader, "COMMIT"));
	call(side, "loaded", "");
	cpu = cpu_of(pid);
	start = now();
	do
	{
		PGresult   *result = execute(side->worker, 0, NULL, NULL, NULL);

		n = atof(PQgetvalue(result, 0, 0));
		settled += n;
		PQclear(result);
	} while (n > 0);
	start = now() - start;
	if (settled != side->count)
		die("the rival has drained %.0f events of %d", settled, side->count);
	cpu = cpu_of(pid) - cpu;
	return cost_of(cpu, 0, start);
}

static Cost
drain_by_program(const Side *side, int users)
{
	char		line[128];
	int			backends;
	int			backends_then;
	double		cpu;
	double		own;
	double		start;

	snprintf(line, sizeof(line), "load %ld %d %d", next_event, side->count, users);
	(void) tell(side->program, line);
	PQclear(query(side->loader, "CHECKPOINT"));
	cpu = rival_backends(side->loader, &backends);
	start = now();
	own = tell(side->program, "drain");
	start = now() - start;
	cpu = rival_backends(side->loader, &backends_then) - cpu;
	if (backends == 0 || backends_then != backends)
		die("the rival had %d connections, then %d", backends, backends_then);
	return cost_of(cpu, own, start);
}

static Cost
cost_of(double backend, double own, double wall)
{
	Cost		cost = {.backend = backend,.all = backend + own,.wall = wall};

	return cost;
}

static void
call(const Side *side, const char *function, const char *arguments)
{
	char		sql[256];

	snprintf(sql, sizeof(sql), "SELECT %s.%s(%s)", side->schema, function, arguments);
	PQclear(query(side->loader, sql));
}

static Program *
start_program(char **command)
{
	Program    *program = malloc(sizeof(Program));
	int			to[2];
	int			from[2];

	if (pipe(to) != 0 || pipe(from) != 0)
		die("cannot make a pipe");
	switch (fork())
	{
		case -1:
			die("cannot start %s", command[0]);
		case 0:
			dup2(to[0], STDIN_FILENO);
			dup2(from[1], STDOUT_FILENO);

			/* the end of its input is the end of the program */
			close(to[0]);
			close(to[1]);
			close(from[0]);
			close(from[1]);
			execvp(command[0], command);
			die("cannot start %s", command[0]);
	}
	close(to[0]);
	close(from[1]);
	program->to = fdopen(to[1], "w");
	program->from = fdopen(from[0], "r");
	return program;
}

/* Its answer is the CPU time that it took, in ns. */
static double
tell(Program *program, const char *line)
{
	double		answer;

	fprintf(program->to, "%s\n", line);
	fflush(program->to);
	if (fscanf(program->from, "%lf", &answer) != 1)
		die("the rival has not answered to: %s", line);
	return answer;
}

/* The CPU time of the connections of a program. */
static double
rival_backends(PGconn *conn, int *n)
{
	char	  **pids = query_column(conn, "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity"
									" WHERE usename = 'rival' AND application_name <> 'loader'", n);
	char	   *next = pids[0];
	double		sum = 0;

	for (*n = 0; *next != '\0'; (*n)++)
		sum += cpu_of(strtol(next, &next, 10));
	return sum;
}

/* Not by the view, which looks into the inbox as well. */
static double
worker_settled(PGconn *conn)
{
	return query_number(conn, "SELECT processed + ignored + waiting + dead FROM momento_billing.worker_stats()"
						" WHERE database = current_database()");
}

static int
worker_pid(PGconn *conn)
{
	return query_number(conn, "SELECT pid FROM momento_billing.worker_stats() WHERE database = current_database()");
}
