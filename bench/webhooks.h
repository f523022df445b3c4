/*
 * webhooks.h
 *	  The figures about the receipt of events.  Each takes its arguments from the command line.
 */
#ifndef BENCH_WEBHOOKS_H
#define BENCH_WEBHOOKS_H

extern void receive(char **args);
extern void latency(char **args);

#endif
