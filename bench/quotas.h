/*
 * quotas.h
 *	  The figures about quotas.  Each takes its arguments from the command line.
 */
#ifndef BENCH_QUOTAS_H
#define BENCH_QUOTAS_H

extern void rates(char **args);
extern void wal(char **args);

#endif
