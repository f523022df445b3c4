/*
 * measure.c
 *	  What the figures share: connections, clocks, medians, the printed line.
 */
/* sched_setaffinity() */
#define _GNU_SOURCE

#include <libpq-fe.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "measure.h"

typedef enum Unit
{
	UNIT_COST,					/* ns; the less the better */
	UNIT_RATE,					/* per second; the more the better */
} Unit;

const char *conninfo;
const char *secret;
int			rounds;
int			count;

static void report_ratios(const char *what, const char *aim, const double *a, const double *b, int n, Unit unit);

void
report(const char *what, const char *aim, const double *a, const double *b, int n)
{
	report_ratios(what, aim, a, b, n, UNIT_COST);
}

void
report_rates(const char *what, const char *aim, const double *a, const double *b, int n)
{
	report_ratios(what, aim, a, b, n, UNIT_RATE);
}

double
median(const double *values, int n)
{
	double		sorted[MAX_ROUNDS];

	if (n > MAX_ROUNDS)
		die("too many values");
	memcpy(sorted, values, n * sizeof(double));
	qsort(sorted, n, sizeof(double), double_cmp);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

int
double_cmp(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

PGconn *
open_connection(const char *prepare)
{
	PGconn	   *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		die("%s", PQerrorMessage(conn));
	if (prepare != NULL)
		PQclear(check(conn, PQprepare(conn, "s", prepare, 0, NULL)));
	return conn;
}

PGresult *
query(PGconn *conn, const char *sql)
{
	return check(conn, PQexec(conn, sql));
}

char **
query_column(PGconn *conn, const char *sql, int *nvalues)
{
	PGresult   *result = query(conn, sql);
	char	  **values = malloc(PQntuples(result) * sizeof(char *));

	*nvalues = PQntuples(result);
	if (*nvalues == 0)
		die("no answer to: %s", sql);
	for (int i = 0; i < *nvalues; i++)
		values[i] = PQgetvalue(result, i, 0);
	return values;
}

PGresult *
execute(PGconn *conn, int nparams, const char *const *values, const int *lengths, const int *formats)
{
	return check(conn, PQexecPrepared(conn, "s", nparams, values, lengths, formats, 0));
}

PGresult *
check(PGconn *conn, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		die("%s", PQerrorMessage(conn));
	return result;
}

double
query_number(PGconn *conn, const char *sql)
{
	PGresult   *result = query(conn, sql);
	double		number;

	if (PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
		die("no answer to: %s", sql);
	number = atof(PQgetvalue(result, 0, 0));
	PQclear(result);
	return number;
}

int
count_parameters(PGconn *conn)
{
	PGresult   *result = check(conn, PQdescribePrepared(conn, "s"));
	int			nparams = PQnparams(result);

	PQclear(result);
	return nparams;
}

void
share_processor(PGconn *conn)
{
	static int	processor = -1;
	cpu_set_t	set;

	if (processor < 0)
		processor = sched_getcpu();
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0 || sched_setaffinity(PQbackendPID(conn), sizeof(set), &set) != 0)
		die("cannot choose a process's processor");
}

double
cpu_of(int pid)
{
	char		path[64];
	FILE	   *file;
	double		ns = 0;

	nap(500000);
	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%lf", &ns) != 1)
		die("cannot read %s, which tells a process's CPU time", path);
	fclose(file);
	return ns;
}

double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

void
nap(long ns)
{
	struct timespec time = {.tv_nsec = ns};

	nanosleep(&time, NULL);
}

void
die(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void
report_ratios(const char *what, const char *aim, const double *a, const double *b, int n, Unit unit)
{
	double		ratios[MAX_ROUNDS] = {0};
	double		ratio;
	double		least = INFINITY;
	double		most = 0;
	double		scale = unit == UNIT_COST ? 1000 : 1;

	for (int i = 0; i < n; i++)
	{
		ratios[i] = a[i] / b[i];
		least = fmin(least, ratios[i]);
		most = fmax(most, ratios[i]);
	}
	ratio = median(ratios, n);
	printf("    %-22s %.2f  (%d rounds, %.2f to %.2f; medians %.1f against %.1f %s)",
		   what, ratio, n, least, most, median(a, n) / scale, median(b, n) / scale, unit == UNIT_COST ? "us" : "/s");
	if (aim != NULL && aim[0] != '\0')
		printf("  aim %s: %s", aim, (unit == UNIT_COST ? ratio <= atof(aim) : ratio >= atof(aim)) ? "met" : "MISSED");
	printf("\n");
	fflush(stdout);
}
