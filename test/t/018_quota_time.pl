# The server's clock is moved: where months begin and end, in calendar and in
# billing months, and what the worker removes when it is old.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Quota;
use Test::More;

plan skip_all => 'the Debian package libfaketime is not installed' unless faketime_library();

my $seed = $ENV{MOMENTO_SEED} || int(rand(1 << 31));
srand($seed);
diag("MOMENTO_SEED=$seed");

my $node = new_server('quota_time', ['app'], "log_statement = none\nmomento_billing.naptime = '100ms'\n");
$node->safe_psql('postgres', 'CREATE DATABASE direct');
$node->stop;
set_clock($node, '2027-01-01 12:00:00');
start_with_clock($node);
is($node->safe_psql('postgres', 'SELECT statement_timestamp()'), '2027-01-01 12:00:00+00', 'the clock is moved');
set_up($node, $_) foreach 'app', 'direct';

# One session for all times: what it remembers must not outlive the month.
my $session = $node->background_psql('direct');

sub at
{
	my ($time, $query) = @_;

	set_clock($node, $time);
	return $session->query_safe($query);
}

# How a call answers: allowed, used and when it starts anew.
sub consume
{
	my ($time, $user, @arguments) = @_;

	return at($time, "SELECT concat_ws(' ', allowed, used, resets_at AT TIME ZONE 'UTC') FROM momento_billing.consume_quota('$user', 'auto_tags'@arguments)");
}

sub window
{
	my ($time, $user) = @_;

	return at($time, "SELECT concat_ws(' to ', period_start AT TIME ZONE 'UTC', resets_at AT TIME ZONE 'UTC') FROM momento_billing.quota_remaining('$user') WHERE feature = 'auto_tags'");
}

# ---------------------------------------------------------------------------
# Calendar months of UTC
# ---------------------------------------------------------------------------

foreach my $case (
	[ '2027-01-31 23:59:59.999', '2027-02-01 00:00:00', '2027-03-01 00:00:00', 'January' ],
	[ '2027-02-28 23:59:59.999', '2027-03-01 00:00:00', '2027-04-01 00:00:00', 'a February of 28 days' ],
	[ '2027-04-30 23:59:59.999', '2027-05-01 00:00:00', '2027-06-01 00:00:00', 'April' ],
	[ '2027-12-31 23:59:59.999', '2028-01-01 00:00:00', '2028-02-01 00:00:00', 'a year' ],
	[ '2028-02-29 23:59:59.999', '2028-03-01 00:00:00', '2028-04-01 00:00:00', 'a February of 29 days' ])
{
	my ($last, $first, $next, $what) = @$case;

	consume($last, $what, ', 4');
	is(consume($last, $what), "t 5 $first", "the last moment of $what");
	is(consume($first, $what), "t 1 $next", "the first moment after $what");
	is(window($last, $what), join(' to ', $first =~ s/-(\d\d)-01/sprintf('-%02d-01', $1 - 1)/er =~ s/2028-00/2027-12/r, $first), "the whole of $what");
}
is(consume('2028-02-28 12:00:00', 'leap'), 't 1 2028-03-01 00:00:00', 'the day before the leap day');
is(consume('2028-02-29 12:00:00', 'leap'), 't 2 2028-03-01 00:00:00', 'the leap day belongs to the same month');

# A session's time zone and its clocks that are put forward and back change
# nothing: at these times it is another month there, or an hour that there is
# not, or is twice.
foreach my $zone ('UTC', 'Europe/Paris', 'America/New_York', 'Pacific/Kiritimati', 'Pacific/Pago_Pago', 'Australia/Lord_Howe', 'Asia/Kathmandu')
{
	my $user = "zone $zone";

	at('2027-03-01 00:00:00', "SET timezone = '$zone'");
	is(consume('2027-03-01 00:00:00', $user), 't 1 2027-04-01 00:00:00', "$zone: the month's first moment");
	is(consume('2027-03-14 07:00:00', $user), 't 2 2027-04-01 00:00:00', "$zone: New York's clocks go forward");
	is(consume('2027-03-28 01:00:00', $user), 't 3 2027-04-01 00:00:00', "$zone: Paris' clocks go forward");
	is(consume('2027-03-31 23:59:59', $user), 't 4 2027-04-01 00:00:00', "$zone: the month's last moment");
	is(consume('2027-04-01 00:00:00', $user), 't 1 2027-05-01 00:00:00', "$zone: the next month");
	is(consume('2027-10-31 01:00:00', $user), 't 1 2027-11-01 00:00:00', "$zone: Paris' clocks go back, on the last day");
	is(consume('2027-10-31 23:59:59', $user), 't 2 2027-11-01 00:00:00', "$zone: that day's last moment");
}
at('2027-03-01 00:00:00', "SET timezone = 'UTC'");

# What is held or given back counts in the month that it was taken in.
my $next_minute = "interval '10 min'";
at('2027-05-31 23:55:00', "SELECT momento_billing.consume_quota('over', 'auto_tags', 3, 'may')");
at('2027-05-31 23:55:00', "SELECT momento_billing.reserve_quota('over', 'auto_tags', 4, $next_minute, 'in time'), momento_billing.reserve_quota('over', 'auto_tags', 5, $next_minute, 'too late')");
my $of = "FROM momento_billing.quota_request AS r, momento_billing";
is(at('2027-06-01 00:00:00', "SELECT used, held, remaining FROM momento_billing.quota_remaining('over') WHERE feature = 'auto_tags'"), '0|0|20', 'in June nothing of May is used or held');
is(at('2027-06-01 00:04:59.999', "SELECT c.* $of.commit_reservation(r.reservation_id) AS c WHERE idempotency_key = 'in time'"),
	't|4|7|5|8|', 'committed in time: it counts in May');
is(at('2027-06-01 00:05:00', "SELECT c.* $of.commit_reservation(r.reservation_id) AS c WHERE idempotency_key = 'too late'"),
	't|5|5|0|15|', 'committed at its end: it counts in June');
is(at('2027-06-01 00:06:00', "SELECT refunded, used, remaining FROM momento_billing.refund_quota('over', 'auto_tags', 3, 'may')"), '3|4|16', 'a refund goes back to May');
is(at('2027-06-01 00:06:00', "SELECT refunded, used, remaining FROM momento_billing.refund_quota('over', 'auto_tags', 2, 'in time')"), '2|2|18', 'also that of a reservation');
is(at('2027-06-01 00:06:00', "SELECT refunded, used, remaining FROM momento_billing.refund_quota('over', 'auto_tags', 1, 'too late')"), '1|4|16', 'that of the other to June');
is(at('2027-06-01 00:06:00', "SELECT refunded, used, remaining FROM momento_billing.refund_quota('over', 'auto_tags', 20)"), '4|0|20', 'and one without a key to this month');
is(at('2027-07-01 00:00:00', "SELECT allowed, used, resets_at AT TIME ZONE 'UTC', replayed FROM momento_billing.consume_quota('over', 'auto_tags', 3, 'may')"),
	't|3|2027-06-01 00:00:00|t', 'the first answer is still known');

# An extra unit is there before its end, not at it.
at('2027-07-10 00:00:00', "SELECT momento_billing.grant_quota('extra', 'ai_chat', 9, '2027-07-20 00:00:00')");
is(at('2027-07-19 23:59:59.999', "SELECT allowed, remaining, reason FROM momento_billing.consume_quota('extra', 'ai_chat', 1)"), 't|8|', 'a grant before its end');
is(at('2027-07-20 00:00:00', "SELECT allowed, remaining, reason FROM momento_billing.consume_quota('extra', 'ai_chat', 1)"), 'f|0|not_in_plan', 'and at it');
at('2027-07-19 23:59:00', "SELECT momento_billing.reserve_quota('extra', 'ai_chat', 5, '5 min', 'r')");
is(at('2027-07-20 00:01:00', "SELECT c.committed, c.amount, c.remaining $of.commit_reservation(r.reservation_id, 3) AS c WHERE user_id = 'extra'"), 't|3|0', 'what is held of it may be used after its end, and what is left is over');
at('2027-07-10 00:00:00', "SELECT momento_billing.reserve_quota('ttl', 'auto_tags', 20, '24 h')");
is(at('2027-07-10 23:59:59', "SELECT allowed, held FROM momento_billing.consume_quota('ttl', 'auto_tags')"), 'f|20', 'a reservation before its end');
is(at('2027-07-11 00:00:00', "SELECT allowed, held FROM momento_billing.consume_quota('ttl', 'auto_tags')"), 't|0', 'and at it');

# The tier is that of the time, too.
at('2027-07-01 00:00:00', q(INSERT INTO "Subscription" (id, "userId", tier, status, "currentPeriodStart", "currentPeriodEnd", "updatedAt")
	VALUES ('ends', 'ends', 'PRO', 'CANCELED', '2027-06-15', '2027-07-15', now())));
at('2027-07-14 00:00:00', "SELECT momento_billing.consume_quota('ends', 'auto_tags', 50)");
is(at('2027-07-14 23:59:59.999', "SELECT allowed, used, remaining, tier FROM momento_billing.consume_quota('ends', 'auto_tags')"), 't|51|149|PRO', 'the last moment that is paid for');
is(at('2027-07-15 00:00:00', "SELECT allowed, used, remaining, tier, reason FROM momento_billing.consume_quota('ends', 'auto_tags')"), 'f|51|0|BASIC|limit_reached', 'and the next');

# ---------------------------------------------------------------------------
# Billing months
# ---------------------------------------------------------------------------

settings($node, 'momento_billing.quota_period' => 'billing');
ok($node->poll_query_until('direct', "SELECT current_setting('momento_billing.quota_period') = 'billing'"), 'quota_period = billing');
$session->quit;
$session = $node->background_psql('direct');

sub subscriber
{
	my ($user, $status, $start, $end) = @_;

	$start = $start ? "'$start'" : 'NULL';
	$end = $end ? "'$end'" : 'NULL';
	$session->query_safe(<<SQL);
INSERT INTO "Subscription" (id, "userId", tier, status, "currentPeriodStart", "currentPeriodEnd", "updatedAt")
VALUES ('$user', '$user', 'PRO', '$status', $start, $end, now())
ON CONFLICT ("userId") DO UPDATE SET status = EXCLUDED.status, "currentPeriodStart" = EXCLUDED."currentPeriodStart", "currentPeriodEnd" = EXCLUDED."currentPeriodEnd"
SQL
}

# A month, and the same month when the news of the renewal is late, or comes
subscriber('monthly', 'ACTIVE', '2027-01-15 10:30:00', '2027-02-15 10:30:00');
is(window('2027-01-15 10:30:00', 'monthly'), '2027-01-15 10:30:00 to 2027-02-15 10:30:00', 'a month begins with the subscription');
is(consume('2027-02-15 10:29:59.999', 'monthly', ', 7'), 't 7 2027-02-15 10:30:00', 'the last moment of the first');
is(consume('2027-02-15 10:30:00', 'monthly', ', 3'), 't 3 2027-03-15 10:30:00', 'the next begins on time, its webhook is late');
is(consume('2027-02-15 11:00:00', 'monthly', ', 1, \'late\''), 't 4 2027-03-15 10:30:00', 'and goes on');
subscriber('monthly', 'ACTIVE', '2027-02-15 10:30:00', '2027-03-15 10:30:00');
is(consume('2027-02-15 12:00:00', 'monthly'), 't 5 2027-03-15 10:30:00', 'the webhook changes nothing');
is(window('2027-02-15 12:00:00', 'monthly'), '2027-02-15 10:30:00 to 2027-03-15 10:30:00', 'it is the same month');
is(at('2027-03-15 10:30:00', "SELECT refunded, used FROM momento_billing.refund_quota('monthly', 'auto_tags', 1, 'late')"), '1|4', 'a refund goes back to its month');
is(window('2027-07-01 00:00:00', 'monthly'), '2027-06-15 10:30:00 to 2027-07-15 10:30:00', 'months later: it still goes on');
is(window('2027-01-20 00:00:00', 'monthly'), '2027-01-15 10:30:00 to 2027-02-15 10:30:00', 'a clock before the period: the month before');

# A year has twelve months.
subscriber('yearly', 'ACTIVE', '2027-01-31 08:00:00', '2028-01-31 08:00:00');
is(consume('2027-02-28 07:59:59', 'yearly', ', 2'), 't 2 2027-02-28 08:00:00', 'a year: its first month, which ends on the last of February');
is(consume('2027-02-28 08:00:00', 'yearly'), 't 1 2027-03-31 08:00:00', 'its second, until the 31st');
is(window('2027-04-30 08:00:00', 'yearly'), '2027-04-30 08:00:00 to 2027-05-31 08:00:00', 'its fourth, from the 30th');
is(window('2027-12-31 23:00:00', 'yearly'), '2027-12-31 08:00:00 to 2028-01-31 08:00:00', 'its last');
is(window('2028-02-29 08:00:00', 'yearly'), '2028-02-29 08:00:00 to 2028-03-31 08:00:00', 'the next year, unpaid yet, with a leap day');
is(window('2028-02-29 07:59:59', 'yearly'), '2028-01-31 08:00:00 to 2028-02-29 08:00:00', 'and the moment before');

# The 29th, 30th and 31st, seen from a period that began in February
subscriber('29th', 'ACTIVE', '2027-01-29', '2027-02-28');
is(window('2027-02-28 00:00:00', '29th'), '2027-02-28 00:00:00 to 2027-03-29 00:00:00', 'the 29th, where February has none');
is(window('2028-02-29 00:00:00', '29th'), '2028-02-29 00:00:00 to 2028-03-29 00:00:00', 'the 29th, where it has');
subscriber('30th', 'ACTIVE', '2027-01-30', '2027-02-28');
is(window('2027-03-29 23:59:59', '30th'), '2027-02-28 00:00:00 to 2027-03-30 00:00:00', 'the 30th');
subscriber('31st', 'ACTIVE', '2027-02-28', '2027-03-31');
is(window('2027-03-30 12:00:00', '31st'), '2027-02-28 00:00:00 to 2027-03-31 00:00:00', 'the 31st, in the period of February');
is(window('2027-04-30 00:00:00', '31st'), '2027-04-30 00:00:00 to 2027-05-31 00:00:00', 'and later');
subscriber('28th', 'ACTIVE', '2027-02-28', '2027-03-28');
is(window('2027-03-30 12:00:00', '28th'), '2027-03-28 00:00:00 to 2027-04-28 00:00:00', 'the 28th is the 28th');
subscriber('leap', 'ACTIVE', '2028-02-29', '2029-02-28');
is(window('2029-02-28 00:00:00', 'leap'), '2029-02-28 00:00:00 to 2029-03-29 00:00:00', 'begun on a leap day, a year later');
is(window('2032-02-29 00:00:00', 'leap'), '2032-02-29 00:00:00 to 2032-03-29 00:00:00', 'and four years later');

# Who has no live subscription counts by the calendar.
is(window('2027-05-20 00:00:00', 'nobody'), '2027-05-01 00:00:00 to 2027-06-01 00:00:00', 'no row: the calendar');
subscriber('no start', 'ACTIVE', undef, '2027-06-15');
is(window('2027-05-20 00:00:00', 'no start'), '2027-05-01 00:00:00 to 2027-06-01 00:00:00', 'no period: the calendar');
subscriber('inactive', 'INACTIVE', '2027-05-15', '2027-06-15');
is(window('2027-05-20 00:00:00', 'inactive'), '2027-05-01 00:00:00 to 2027-06-01 00:00:00', 'an inactive one: the calendar');
subscriber('canceled', 'CANCELED', '2027-05-15', '2027-06-15');
is(window('2027-06-14 23:59:59', 'canceled'), '2027-05-15 00:00:00 to 2027-06-15 00:00:00', 'a canceled one that is paid for');
is(window('2027-06-15 00:00:00', 'canceled'), '2027-06-01 00:00:00 to 2027-07-01 00:00:00', 'and when it is over: the calendar');
subscriber('past due', 'PAST_DUE', '2027-05-15', '2027-06-15');
is(window('2027-06-14 23:59:59', 'past due'), '2027-05-15 00:00:00 to 2027-06-15 00:00:00', 'one that is past due');
is(window('2027-06-15 00:00:00', 'past due'), '2027-06-01 00:00:00 to 2027-07-01 00:00:00', 'and when its period is over: the calendar');
subscriber('trialing', 'TRIALING', '2027-05-15', '2027-05-29');
is(window('2027-05-20 00:00:00', 'trialing'), '2027-05-15 00:00:00 to 2027-06-15 00:00:00', 'a trial: a month as well');

# A counter taken over from Redis is this month's, or that of a month past.
my $take_over = "SELECT momento_billing.import_redis_usage";
is(at('2027-03-20 00:00:00', "$take_over('usage:monthly:auto_titles:2027-03', 5)"), '5', 'from Redis: this month');
is(at('2027-03-20 00:00:00', "$take_over('usage:monthly:auto_titles:2027-02', 9)"), '9', 'and last month');
is(at('2027-03-20 00:00:00', "SELECT used FROM momento_billing.quota_remaining('monthly') WHERE feature = 'auto_titles'"), '5', 'they are kept apart');
is(at('2027-03-20 00:00:00', "SELECT string_agg(used || ' ' || (period_start AT TIME ZONE 'UTC')::date, ', ' ORDER BY period_start) FROM momento_billing.usage WHERE user_id = 'monthly' AND feature = 'auto_titles'"),
	'9 2027-02-01, 5 2027-03-15', 'this month is that of the subscription');

# Any start at any time, in any zone: months that hold the time and begin on
# the same day and hour, or on the last of a month that has no such day.
foreach my $n (1 .. 300)
{
	my $start = 1767225600 + int(rand(126230400));

	subscriber("random $n", 'ACTIVE', scalar(gmtime_text($start)), scalar(gmtime_text($start + 2592000 * (1 + int(rand(2))))));
}

sub gmtime_text
{
	my ($seconds, $minute, $hour, $day, $month, $year) = gmtime($_[0]);

	return sprintf('%04d-%02d-%02d %02d:%02d:%02d', $year + 1900, $month + 1, $day, $hour, $minute, $seconds);
}

my $wrong = <<'SQL';
SELECT string_agg(concat_ws(' ', s."userId", s."currentPeriodStart", s."currentPeriodEnd", q.period_start AT TIME ZONE 'UTC', q.resets_at AT TIME ZONE 'UTC'), ', ')
FROM "Subscription" AS s, momento_billing.quota_remaining(s."userId") AS q,
	-- a period that began on a month's last day may stem from a later day
	LATERAL (SELECT s."currentPeriodStart" + CASE
		WHEN extract(month FROM s."currentPeriodStart" + interval '1 day') <> extract(month FROM s."currentPeriodStart")
			AND extract(day FROM s."currentPeriodEnd") > extract(day FROM s."currentPeriodStart")
			AND s."currentPeriodEnd"::time = s."currentPeriodStart"::time
		THEN s."currentPeriodEnd" - s."currentPeriodStart" ELSE interval '0' END AS anchor) AS a
WHERE s."userId" LIKE 'random %' AND q.feature = 'auto_tags'
	AND NOT EXISTS (SELECT FROM generate_series(-120, 120) AS n
		WHERE q.period_start AT TIME ZONE 'UTC' = a.anchor + n * interval '1 month'
			AND q.resets_at AT TIME ZONE 'UTC' = a.anchor + (n + 1) * interval '1 month'
			AND statement_timestamp() >= q.period_start AND statement_timestamp() < q.resets_at)
SQL
foreach my $n (1 .. 12)
{
	my $time = gmtime_text(1767225600 + int(rand(157788000)));

	$time = ('2028-02-29 00:00:00', '2027-02-28 23:59:59', '2027-03-01 00:00:00', '2027-12-31 23:59:59')[ $n - 1 ] if $n <= 4;
	is(at($time, "SET timezone = '" . (qw(UTC America/New_York Pacific/Kiritimati Europe/Paris))[ $n % 4 ] . "'; $wrong"), '', "300 subscriptions at $time");
}
at('2027-01-01 00:00:00', "SET timezone = 'UTC'");
$session->quit;
settings($node, 'momento_billing.quota_period' => 'calendar');

# ---------------------------------------------------------------------------
# What is old goes: by the worker, some thousand rows at a time.
# ---------------------------------------------------------------------------

# The worker looks for it once an hour; its clock only goes forward from here.
$node->stop;
set_clock($node, '2027-01-10 00:00:00');
start_with_clock($node);
$node->safe_psql('app', <<'SQL');
CREATE TABLE gone (what text, xid xid8, rows bigint);
CREATE FUNCTION note_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.gone SELECT tg_table_name, pg_current_xact_id(), count(*) FROM old HAVING count(*) > 0;
	RETURN NULL;
END
$$;
CREATE TRIGGER note_gone AFTER DELETE ON momento_billing.usage REFERENCING OLD TABLE AS old FOR EACH STATEMENT EXECUTE FUNCTION note_gone();
CREATE TRIGGER note_gone AFTER DELETE ON momento_billing.quota_request REFERENCING OLD TABLE AS old FOR EACH STATEMENT EXECUTE FUNCTION note_gone();
CREATE TRIGGER note_gone AFTER DELETE ON momento_billing.quota_reservation REFERENCING OLD TABLE AS old FOR EACH STATEMENT EXECUTE FUNCTION note_gone();
SELECT momento_billing.consume_quota('january', 'auto_tags', 2, 'k');
SELECT momento_billing.consume_quota('january', 'auto_titles', 8);
SELECT commit_reservation FROM momento_billing.reserve_quota('january', 'auto_tags', 1, '1 h', 'committed') AS r, momento_billing.commit_reservation(r.reservation_id);
SELECT release_reservation FROM momento_billing.reserve_quota('january', 'auto_tags', 1, '1 h', 'released') AS r, momento_billing.release_reservation(r.reservation_id);
SELECT momento_billing.reserve_quota('january', 'auto_tags', 1, '1 h', 'expired');
SELECT momento_billing.grant_quota('january', 'auto_tags', 5);
SQL
my $all = <<'SQL';
concat_ws(' ', (SELECT count(*) FROM momento_billing.usage), (SELECT count(*) FROM momento_billing.quota_request),
	(SELECT count(*) FROM momento_billing.quota_reservation), (SELECT count(*) FROM momento_billing.quota_crossing))
SQL
is($node->safe_psql('app', "SELECT $all"), '2 4 3 1', 'what January leaves: usage, requests, reservations, crossings');

# A sign that the worker has been round since the clock was set: a row that is
# certainly old has gone.
sub worker_has_been_round
{
	my ($time) = @_;

	$node->safe_psql('app', "INSERT INTO momento_billing.usage (user_id, feature, period_start, used) VALUES ('sign', 'auto_tags', '2020-01-01', 1)");
	set_clock($node, $time);
	ok($node->poll_query_until('app', "SELECT count(*) = 0 FROM momento_billing.usage WHERE user_id = 'sign'"), "$time: the worker removes what is old");
}

worker_has_been_round('2027-03-31 12:00:00');
is($node->safe_psql('app', "SELECT $all"), '2 4 3 1', 'after 89 days all of it is there');
set_clock($node, '2027-04-15 00:00:00');
wait_for($node, 'app', "SELECT $all = '0 0 0 0'", 'after 95 days all of it is gone');
is($node->safe_psql('app', 'SELECT remaining FROM momento_billing.quota_grant'), '5', 'but not what was granted');
is($node->safe_psql('app', "SELECT allowed, used, replayed FROM momento_billing.consume_quota('january', 'auto_tags', 2, 'k')"), 't|2|f', 'its key may be used anew');

# Much of it: in small transactions, of each kind.  What is not old stays.
$node->safe_psql('app', <<'SQL');
TRUNCATE gone;
INSERT INTO momento_billing.usage (user_id, feature, period_start, used)
SELECT 'u' || i, 'auto_tags', '2026-11-01'::timestamptz - (i % 3) * interval '1 day', 5 FROM generate_series(1, 25000) AS i;
INSERT INTO momento_billing.quota_request (user_id, idempotency_key, arguments, feature, amount, period_start, created_at)
SELECT 'u' || i, 'k', '', 'auto_tags', 1, '2026-11-01', '2026-11-05' FROM generate_series(1, 25000) AS i;
INSERT INTO momento_billing.quota_reservation (user_id, feature, period_start, amount, plan_units, expires_at, state)
SELECT 'u' || i, 'auto_tags', '2026-11-01', 1, 0, '2026-11-05', (ARRAY['committed', 'released', 'expired'])[1 + i % 3] FROM generate_series(1, 25000) AS i;
INSERT INTO momento_billing.usage (user_id, feature, period_start, used)
SELECT 'u' || i, 'auto_tags', '2027-04-01', 7 FROM generate_series(1, 1000) AS i;
SQL
set_clock($node, '2027-04-16 00:00:00');
wait_for($node, 'app', "SELECT $all = '1001 1 0 0'", 'all that is old is gone');
is($node->safe_psql('app', 'SELECT what, sum(rows) FROM gone GROUP BY what ORDER BY what'),
	"quota_request|25000\nquota_reservation|25000\nusage|25000", 'it was the worker');
is($node->safe_psql('app', 'SELECT max(rows) <= 10000 FROM (SELECT sum(rows) AS rows FROM gone GROUP BY xid) AS x'), 't', 'some thousand rows in a transaction');
is($node->safe_psql('app', "SELECT count(*), sum(used) FROM momento_billing.usage WHERE period_start = '2027-04-01'"), '1001|7002', 'what is counted now stays');

# However short it is to be kept, this month stays: in February, whose 28 days
# are over, and in the longest month, on its last day; also a subscription's.
settings($node, 'momento_billing.usage_retention' => '1s', 'momento_billing.quota_period' => 'billing');
ok($node->poll_query_until('app', "SELECT current_setting('momento_billing.usage_retention') = '1s'"), 'usage_retention = 1s');
$node->safe_psql('app', 'TRUNCATE momento_billing.usage, momento_billing.quota_request, momento_billing.quota_reservation, gone');
set_clock($node, '2027-05-31 00:00:00');
$node->safe_psql('app', <<'SQL');
INSERT INTO "Subscription" (id, "userId", tier, status, "currentPeriodStart", "currentPeriodEnd", "updatedAt")
VALUES ('1', 'subscriber', 'PRO', 'ACTIVE', '2027-05-01 00:00:01', '2027-06-01 00:00:01', now());
INSERT INTO momento_billing.usage (user_id, feature, period_start, used)
VALUES ('calendar', 'auto_tags', '2027-05-01', 11), ('subscriber', 'auto_tags', '2027-05-01 00:00:01', 12);
SELECT momento_billing.consume_quota(u, 'auto_tags', 1, 'k'), momento_billing.reserve_quota(u, 'auto_tags', 2, '24 h', 'r')
FROM unnest('{calendar,subscriber}'::text[]) AS u;
SQL
worker_has_been_round('2027-05-31 23:59:59.999');
is($node->safe_psql('app', "SELECT user_id, used, held FROM momento_billing.usage ORDER BY user_id"), "calendar|12|2\nsubscriber|13|2", 'usage_retention = 1s: this month stays');
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.quota_reservation WHERE state = 'held'"), '2', 'what is held stays');
is($node->safe_psql('app', "SELECT u, allowed, used, replayed FROM unnest('{calendar,subscriber}'::text[]) AS u, momento_billing.consume_quota(u, 'auto_tags', 1, 'k')"),
	"calendar|t|12|t\nsubscriber|t|13|t", 'and this month\'s keys');
worker_has_been_round('2027-06-01 12:00:00');
is($node->safe_psql('app', "SELECT user_id, used, held FROM momento_billing.usage ORDER BY user_id"), "calendar|12|2\nsubscriber|13|2",
	'the month of a subscription is not over with the calendar\'s');
set_clock($node, '2027-07-15 00:00:00');
wait_for($node, 'app', "SELECT $all = '0 0 0 0'", 'and when it is over all of it goes');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|terminated by signal|ERROR/), 0, 'no error');
done_testing();
