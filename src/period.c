/*
 * period.c
 *	  The months that quotas are counted in.
 */
#include <stdbool.h>

#include "period.h"

#define DAY INT64_C(86400000000)

/* Days from 0000-03-01, with which this file counts, to 2000-01-01. */
#define EPOCH_DAY INT64_C(730425)

typedef struct Date
{
	int64_t		month;			/* since January of the year 0 */
	int			day;			/* 1 to 31 */
} Date;

static MbPeriod calendar_month(int64_t month);
static Date date_of(MbTime time);
static MbTime time_of(int64_t month, int day);
static int	month_length(int64_t month);
static int64_t floor_div(int64_t a, int64_t b);

MbPeriod
mb_period_calendar(MbTime at)
{
	return calendar_month(date_of(at).month);
}

MbPeriod
mb_period_month(int year, int month)
{
	return calendar_month(year * INT64_C(12) + month - 1);
}

MbPeriod
mb_period_billing(MbTime start, MbTime end, MbTime at)
{
	MbTime		hour = start - floor_div(start, DAY) * DAY;
	Date		first = date_of(start);
	int			day = first.day;
	int64_t		month = date_of(at).month;

	/*
	 * A period that begins on a month's last day may belong to a later one:
	 * of 31 January to 28 February to 31 March, the end says so.
	 */
	if (day == month_length(first.month) && end > start && end != INT64_MAX &&
		end - floor_div(end, DAY) * DAY == hour && date_of(end).day > day)
		day = date_of(end).day;
	if (time_of(month, day) + hour > at)
		month--;
	return (MbPeriod)
	{
		time_of(month, day) + hour, time_of(month + 1, day) + hour
	};
}

static MbPeriod
calendar_month(int64_t month)
{
	return (MbPeriod)
	{
		time_of(month, 1), time_of(month + 1, 1)
	};
}

/*
 * Years are counted from March, so that the leap day is a year's last: days
 * within a cycle of 400 years, of which each has 146,097, then the months'
 * lengths as a straight line, 30.6 days each.
 */
static Date
date_of(MbTime time)
{
	int64_t		days = floor_div(time, DAY) + EPOCH_DAY;
	int64_t		cycle = floor_div(days, 146097);
	int64_t		day = days - cycle * 146097;
	int64_t		year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
	int64_t		month;

	day -= year * 365 + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	return (Date)
	{
		(cycle * 400 + year) * 12 + month + 2, (int) (day - (153 * month + 2) / 5) + 1
	};
}

/* The beginning of a day, or of the month's last where it has no such day. */
static MbTime
time_of(int64_t month, int day)
{
	int64_t		from_march = month - 2;
	int64_t		year = floor_div(from_march, 12);
	int64_t		days = year * 365 + floor_div(year, 4) - floor_div(year, 100) + floor_div(year, 400) +
	(153 * (from_march - year * 12) + 2) / 5;

	if (day > month_length(month))
		day = month_length(month);
	return (days + day - 1 - EPOCH_DAY) * DAY;
}

static int
month_length(int64_t month)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t		year = floor_div(month, 12);
	int			of_year = (int) (month - year * 12);
	bool		leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return of_year == 1 && leap ? 29 : lengths[of_year];
}

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}
