/*
 * measure.h
 *	  What the figures share.  Whatever fails ends the program with a message.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <libpq-fe.h>

#define MAX_ROUNDS 1000

/* from the command line */
extern const char *conninfo;
extern const char *secret;
extern int	rounds;
extern int	count;				/* operations of each side in a round */

/* The ratios a/b of n rounds: of costs in ns, or of operations per second. */
extern void report(const char *what, const char *aim, const double *a, const double *b, int n);
extern void report_rates(const char *what, const char *aim, const double *a, const double *b, int n);
extern double median(const double *values, int n);
extern int	double_cmp(const void *a, const void *b);

/* A connection, with the statement prepared if there is one. */
extern PGconn *open_connection(const char *prepare);
extern PGresult *query(PGconn *conn, const char *sql);
extern double query_number(PGconn *conn, const char *sql);
extern char **query_column(PGconn *conn, const char *sql, int *nvalues);
extern PGresult *execute(PGconn *conn, int nparams, const char *const *values, const int *lengths, const int *formats);
extern PGresult *check(PGconn *conn, PGresult *result);

/* The parameters of the prepared statement. */
extern int	count_parameters(PGconn *conn);

/*
 * Run the client and the backend on one processor, whichever it is: to wake a
 * process on an idle processor costs the waker several microseconds, which
 * would burden one side and not the other by chance.
 */
extern void share_processor(PGconn *conn);

/* The CPU time that a process has used, and the time, in ns. */
extern double cpu_of(int pid);
extern double now(void);
extern void nap(long ns);

extern void die(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));

#endif
