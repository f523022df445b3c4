# NOTIFY momento_billing: that 80 % or all of a quota is used is said once per
# user, feature and period, by the worker.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Quota;
use Test::More;

my $seed = $ENV{MOMENTO_SEED} || int(rand(1 << 31));
diag("MOMENTO_SEED=$seed");

my $node = new_server('quota_notify', ['app'], "log_statement = none\nmax_connections = 40\n");
away_from_month_end($node);
set_up($node, 'app');
my $all_said = 'SELECT NOT EXISTS (SELECT FROM momento_billing.quota_crossing WHERE NOT notified)';
my $month = $node->safe_psql('app', q(SELECT to_char(date_trunc('month', now() AT TIME ZONE 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')));
my $listener = listener();

sub listener
{
	my $session = $node->background_psql('app');

	$session->query_safe('LISTEN momento_billing');
	return $session;
}

sub sql
{
	return $node->safe_psql('app', join(";\n", @_));
}

sub consume
{
	my ($user, $units, $feature) = @_;

	$feature //= 'auto_tags';
	return "SELECT momento_billing.consume_quota('$user', '$feature', $units)";
}

sub worker
{
	return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'");
}

# What is heard, in words; each from the worker.
sub heard
{
	my ($count) = @_;

	return join(', ', map {
			my $said = $_;

			join(' ', map { $said->{$_} } qw(userId feature percent))
			  . ($said->{pid} == worker() ? '' : " from $said->{pid}") . ($said->{periodStart} eq $month ? '' : " of $said->{periodStart}")
			  . (keys(%$said) == 5 ? '' : ' and more')
		} heard_quota($node, $listener, $count, $all_said));
}

# A sign after which nothing that was to be said before is missing
my $signs = 0;

sub nothing_but
{
	my ($expected, $what) = @_;
	my $sign = 'sign ' . ++$signs;

	sql(consume($sign, 1, 'brainstorm_create'));
	is(heard(1 + ($expected eq '' ? 0 : scalar(split(/, /, $expected)))), join(', ', $expected || (), "$sign brainstorm_create 100"), $what);
}

# A limit of 20: 80 % are 16.
sql(consume('ann', 15));
nothing_but('', 'below 80 %: nothing');
sql(consume('ann', 1));
is(heard(1), 'ann auto_tags 80', 'at 80 %');
sql(consume('ann', 3));
nothing_but('', 'above 80 %: nothing more');
sql(consume('ann', 1));
is(heard(1), 'ann auto_tags 100', 'at 100 %');
sql(consume('ann', 1), consume('ann', 20));
nothing_but('', 'refusals say nothing');
sql("SELECT momento_billing.refund_quota('ann', 'auto_tags', 20)", consume('ann', 16), consume('ann', 4));
nothing_but('', 'once a month, also after a refund');
sql(consume('ann', 8, 'auto_titles'));
is(heard(1), 'ann auto_titles 80', 'another feature of the user');
sql(consume('ben', 20));
is(heard(1), 'ben auto_tags 100', 'from nothing to all: 100 % alone');
sql(consume('joe "the\\user"', 20));
is(heard(1), 'joe "the\\user" auto_tags 100', 'a strange name is JSON');
sql(consume('cyd', 21), consume('cyd', 1, 'ai_chat'), consume('cyd', 15));
nothing_but('', 'a refusal from below, or of what is not in the plan');
sql('BEGIN', consume('cyd', 2), 'ROLLBACK');
nothing_but('', 'what is rolled back');
sql(consume('odd', 7, 'auto_titles'));
nothing_but('', 'a limit of 10: not at 7');
sql(q(INSERT INTO momento_billing.feature VALUES ('small', 'small')), q(INSERT INTO momento_billing.plan_limit VALUES ('BASIC', 'small', 3)));
sql(consume('odd', 2, 'small'));
nothing_but('', 'a limit of 3: not at 2');
sql(consume('odd', 1, 'small'));
is(heard(1), 'odd small 100', 'but at 3');

# By reservations: when they are committed
my $id = sql("SELECT reservation_id FROM momento_billing.reserve_quota('dan', 'auto_tags', 20)");
nothing_but('', 'what is held is not used');
sql("SELECT momento_billing.commit_reservation($id, 17)");
is(heard(1), 'dan auto_tags 80', 'a commit');
$id = sql("SELECT reservation_id FROM momento_billing.reserve_quota('dan', 'auto_tags', 3)");
sql("SELECT momento_billing.release_reservation($id)");
nothing_but('', 'a release');
sql("SELECT momento_billing.commit_reservation(reservation_id) FROM momento_billing.reserve_quota('dan', 'auto_tags', 3)");
is(heard(1), 'dan auto_tags 100', 'another commit');

# By the trigger, and not by what is taken over from Redis
sql('CREATE TABLE note (owner text)',
	q(CREATE TRIGGER quota AFTER INSERT ON note FOR EACH ROW EXECUTE FUNCTION momento_billing.enforce_quota('auto_titles', 'owner')),
	q(INSERT INTO note SELECT 'eve' FROM generate_series(1, 9)));
is(heard(1), 'eve auto_titles 80', 'nine rows of ten, in a statement');
sql(q(SELECT momento_billing.import_redis_usage('usage:fay:auto_tags:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM'), 20)));
nothing_but('', 'what is taken over from Redis was said there');

# Unlimited, and extra units: these have no 80 %.
sql(q(INSERT INTO "Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('1', 'gil', 'ENTERPRISE', 'ACTIVE', now())), consume('gil', 1000000));
sql(q(SELECT momento_billing.grant_quota('hal', 'ai_chat', 10)), consume('hal', 10, 'ai_chat'));
nothing_but('', 'unlimited, or by a grant alone');

# A limit that changes: what counts is the limit when units are used.
sql(q(INSERT INTO "Subscription" (id, "userId", tier, status, "updatedAt") VALUES ('2', 'ida', 'PRO', 'ACTIVE', now())), consume('ida', 19));
nothing_but('', '19 of 200');
sql(q(UPDATE "Subscription" SET tier = 'BASIC' WHERE "userId" = 'ida'));
nothing_but('', 'a downgrade uses nothing');
sql(consume('ida', 1));
is(heard(1), 'ida auto_tags 100', 'the last unit after it');

sql(q(UPDATE "Subscription" SET tier = 'PRO' WHERE "userId" = 'ida'), consume('ida', 30, 'reformulation'));
$id = sql("SELECT reservation_id FROM momento_billing.reserve_quota('ida', 'reformulation', 5)");
sql(q(UPDATE momento_billing.plan_limit SET monthly_limit = 10 WHERE tier = 'PRO' AND feature = 'reformulation'));
sql("SELECT momento_billing.refund_quota('ida', 'reformulation', 1)", "SELECT momento_billing.release_reservation($id)", consume('ida', 1, 'reformulation'));
nothing_but('', 'nor does a refund, a release or a refusal below a lower limit');

# Last month is another period.
sql((map { "UPDATE momento_billing.$_ SET period_start = period_start - interval '1 month' WHERE user_id = 'ann'" } 'usage', 'quota_crossing'), consume('ann', 16));
is(heard(1), 'ann auto_tags 80', 'another month');

# Many at once: whatever the worker sees of it, each is said once, the lesser
# first, and the last is that all is used.
my $users = 40;
write_file($node->basedir . '/many.sql', <<SQL);
\\set n random(1, $users)
\\set units random(1, 2)
SELECT momento_billing.consume_quota('many ' || :n, 'auto_tags', :units);
SQL
write_file($node->basedir . '/back.sql', <<SQL);
\\set n random(1, $users)
SELECT momento_billing.refund_quota('many ' || :n, 'auto_tags', 1);
SQL
$node->command_checks_all(
	[ 'pgbench', '-n', '-c', 16, '-j', 2, '-t', 150, '--random-seed', $seed, '-f', $node->basedir . '/many.sql@9', '-f', $node->basedir . '/back.sql@1', $node->connstr('app') ],
	0, [qr/number of failed transactions: 0 /], [qr/^pgbench: setting random seed to \d+$/], '16 clients');
sql(map { my $n = $_; map { consume("many $n", 1) } 1 .. 20 } 1 .. $users);
my %said;
push @{ $said{ $_->{userId} } }, $_->{percent} foreach grep { $_->{userId} =~ /^many/ } heard_quota($node, $listener, $users, $all_said);
push @{ $said{ $_->{userId} } }, $_->{percent} foreach heard_quota($node, $listener, 0, $all_said);
is(scalar(keys %said), $users, 'all of them have used all');
is(join(', ', grep { $said{$_} !~ /^many/ && join(' ', @{ $said{$_} }) !~ /^(80 )?100$/ } sort keys %said), '', 'and it is said once');
note('80 and 100: ' . grep({ @{ $said{$_} } == 2 } keys %said) . ', 100 alone: ' . grep({ @{ $said{$_} } == 1 } keys %said));

# One user, slowly: both.
foreach my $percent (80, 100)
{
	write_file($node->basedir . '/one.sql', "SELECT momento_billing.consume_quota('one', 'semantic_search');\n");
	$node->command_ok([ 'pgbench', '-n', '-c', 6, '-j', 2, '-t', $percent == 80 ? 4 : 8, '-f', $node->basedir . '/one.sql', $node->connstr('app') ],
		'six clients use one quota');
	is(heard(1), "one semantic_search $percent", "$percent % is said once");
}
nothing_but('', 'and nothing more');

# notify = off
settings($node, 'momento_billing.notify' => 'off');
wait_for($node, 'app', "SELECT current_setting('momento_billing.notify') = 'off'", 'notify = off');
sql(consume('kim', 16));
wait_for($node, 'app', $all_said, 'it is done with');
settings($node, 'momento_billing.notify' => 'on');
wait_for($node, 'app', "SELECT current_setting('momento_billing.notify') = 'on'", 'notify = on');
nothing_but('', 'what was used while it was off is not said');
sql(consume('kim', 4));
is(heard(1), 'kim auto_tags 100', 'but what follows');

# The worker rests: it is said when it is back.
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'no worker');
sql(consume('lea', 20));
settings($node, 'momento_billing.enabled' => 'on');
is(heard(1), 'lea auto_tags 100', 'used up without a worker: it is said by the next');

# The worker stands still when quotas are used up, and the server dies.
kill('STOP', worker());
sql(consume('max', 20), consume('ned', 16));
is(sql("SELECT count(*) FROM momento_billing.quota_crossing WHERE user_id IN ('max', 'ned') AND NOT notified"), 2, 'it is known and not said');
$listener->quit;
kill_server($node);

# the listener has to be there first
write_file($node->data_dir . '/postgresql.auto.conf', "momento_billing.enabled = off\n");
$node->start;
$listener = listener();
is(sql($all_said), 'f', 'the server is back, and it is not said yet');
settings($node, 'momento_billing.enabled' => 'on');
is(join(', ', sort split(/, /, heard(2))), 'max auto_tags 100, ned auto_tags 80', 'the next worker says it');
nothing_but('', 'once');

$listener->quit;
$node->stop;
is(log_count($node, qr/PANIC|TRAP|deadlock|ERROR/), 0, 'no error');
done_testing();
