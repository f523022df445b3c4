/*
 * webhooks.h
 *	  The figures about events.  Each takes its arguments from the command line.
 */
#ifndef BENCH_WEBHOOKS_H
#define BENCH_WEBHOOKS_H

extern void receive(char **args);
extern void latency(char **args);
extern void drain(char **args);
extern void versions(char **args);

#endif
