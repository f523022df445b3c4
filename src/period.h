/*
 * period.h
 *	  The months that quotas are counted in.
 *
 * Pure.  All of it is UTC: a session's time zone, and its clocks that are put
 * forward and back, change nothing.
 */
#ifndef MB_PERIOD_H
#define MB_PERIOD_H

#include "text.h"

/* Holds start <= t < end. */
typedef struct MbPeriod
{
	MbTime		start;
	MbTime		end;
} MbPeriod;

/* The calendar month of a time, which is finite. */
extern MbPeriod mb_period_calendar(MbTime at);

/* The calendar month "month", 1 to 12, of a year. */
extern MbPeriod mb_period_month(int year, int month);

/*
 * The month of a time among those that begin at the start of a subscription's
 * current period and at the same day and hour of every month before and after;
 * in a month without that day, on its last.  So a yearly subscription has
 * months too, and when the news of a renewal is late, the next month begins
 * without it.  "start" and "at" are finite; "end" is the current period's, or
 * MB_NO_TIME.
 */
extern MbPeriod mb_period_billing(MbTime start, MbTime end, MbTime at);

#endif							/* MB_PERIOD_H */
