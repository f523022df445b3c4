# Events keep coming and are removed when they are too old: the worker's memory,
# its descriptors and the inbox stay as they are, and autovacuum does its part.
# script/endurance does the same with a million events.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(max);
use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'this system has no /proc' unless -r '/proc/self/status';

my $ROUNDS = 8;
my $EVENTS = 2000;
my $USERS = 500;

my $node = new_server('endurance', ['app'], "momento_billing.inbox_retention = 1\nautovacuum_naptime = 1\n");

# What the worker has now: bytes of its own, descriptors, bytes in memory
# contexts; and bytes of the inbox.
sub sample
{
	my $pid = $node->safe_psql('app', 'SELECT pid FROM momento_billing.worker_status');
	my $offset = -s $node->logfile;

	$node->safe_psql('app', "SELECT pg_log_backend_memory_contexts($pid)");
	$node->wait_for_log(qr/Grand total: \d+ bytes/, $offset);
	my ($contexts) = slurp_file($node->logfile, $offset) =~ /Grand total: (\d+) bytes/;
	my ($memory) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	my @descriptors = glob("/proc/$pid/fd/*");
	return {
		memory => $memory * 1024, descriptors => scalar @descriptors, contexts => $contexts,
		inbox => $node->safe_psql('app', "SELECT pg_total_relation_size('momento_billing.webhook_inbox')") };
}

set_up($node, 'app');
my @samples;
foreach my $round (1 .. $ROUNDS)
{
	$node->safe_psql('app', <<"SQL");
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_' || n, n, 'sub_' || n % $USERS, 'price_pro', 'active', 'user' || n % $USERS)
FROM generate_series(@{[ $round * $EVENTS + 1 ]}, @{[ ($round + 1) * $EVENTS ]}) AS n
SQL
	# a reload makes the worker look for what is too old; each subscription's
	# newest event stays
	$node->poll_query_until('app', "SELECT pg_reload_conf(), count(*) <= $USERS FROM momento_billing.webhook_inbox", 't|t')
	  or die 'old events are not removed';
	$node->poll_query_until('app', <<'SQL') or die 'autovacuum does not come';
SELECT max(n_dead_tup) < 500 FROM pg_stat_all_tables, pg_class AS c
WHERE c.oid = 'momento_billing.webhook_inbox'::regclass AND relid IN (c.oid, c.reltoastrelid)
SQL
	push @samples, sample();
}
# The inbox has two sizes by turns, before and after what is behind its last row
# is given back.
foreach my $what ('memory', 'descriptors', 'contexts', 'inbox')
{
	my @sizes = map { $_->{$what} } @samples;

	note("$what: @sizes");
	cmp_ok(max(@sizes[ -2, -1 ]), '<=', 1.1 * max(@sizes[ 2, 3 ]), "$what: no more than after four rounds");
}
wait_for($node, 'app', <<'SQL', 'autovacuum and autoanalyze see our tables');
SELECT min(least(autovacuum_count, autoanalyze_count)) > 0 FROM pg_stat_user_tables
WHERE relname IN ('webhook_inbox', 'stripe_subscription')
SQL
is($node->safe_psql('app', "SELECT processed FROM momento_billing.worker_status"), $ROUNDS * $EVENTS, 'every event was applied');

$node->stop;
done_testing();
