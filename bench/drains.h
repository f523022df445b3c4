/*
 * drains.h
 *	  The figures about draining.  Each takes its arguments from the command line.
 */
#ifndef BENCH_DRAINS_H
#define BENCH_DRAINS_H

extern void drain(char **args);
extern void versions(char **args);
extern void program(char **args);
extern void backlog(char **args, int nargs);

#endif
