# A session that keeps an old snapshot, and one that sits in a transaction which
# has written: draining does not get dearer with all that is drained meanwhile.
# Counted in pages that are looked at; script/endurance does the same with a
# million events and a clock.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $PART = 1000;
my $PARTS = 8;

my $node = new_server('old_snapshot', ['app'], "autovacuum = off\n");
my $users = 0;
my $stored = 0;

# Each a user's first event or, once everybody has had one, another one.  It is
# sent twice, and takes a second id from the sequence.
sub store
{
	my ($count, $at) = @_;

	$node->safe_psql('app', <<"SQL");
INSERT INTO momento_billing.webhook_inbox (payload)
SELECT sub_event('evt_$at' || n, $at, 'sub_' || n, 'price_pro', 'active', 'user' || n)
FROM generate_series($users + 1, $users + $count) AS n, generate_series(1, 2)
ON CONFLICT (event_id) DO NOTHING
SQL
	$users += $count;
	$stored += $count;
	$node->poll_query_until('app',
		"SELECT n_tup_ins >= $stored AND n_tup_upd >= $stored FROM pg_stat_user_tables WHERE relname = 'webhook_inbox'")
	  or die 'the events are not drained';
}

# What everybody has looked at in our tables and the app's.
sub pages
{
	return $node->safe_psql('app', <<'SQL');
SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit
	+ coalesce(toast_blks_read + toast_blks_hit + tidx_blks_read + tidx_blks_hit, 0)) FROM pg_statio_user_tables
SQL
}

# The inbox is long; nobody reads it from end to end.
sub scans
{
	return $node->safe_psql('app', "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'webhook_inbox'");
}

sub costs_are_flat
{
	my ($at, $test) = @_;
	my @costs;
	my $scans = scans();

	$users = 0;
	foreach (1 .. $PARTS)
	{
		my $before = pages();

		store($PART, $at);
		push @costs, (pages() - $before) / $PART;
	}
	note("pages per event: @costs");
	cmp_ok($costs[-1], '<=', 1.2 * $costs[0], "$test: what an event costs stays");
	is(scans(), $scans, "$test: nobody scans the inbox");
}

set_up($node, 'app');
$node->safe_psql('app', 'CREATE TABLE app_data (n int)');
store($PART * $PARTS, 1);
$node->safe_psql('app', 'VACUUM ANALYZE');

my $reader = $node->background_psql('app');
my $writer = $node->background_psql('app');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM app_data');
$writer->query_safe('BEGIN; INSERT INTO app_data VALUES (1)');
costs_are_flat(2, 'with a writer elsewhere');

# each commit wakes the worker
$node->safe_psql('app', join("\n", map {
	"INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_single$_', 3, 'sub_$_', 'price_pro', 'active', 'user$_'));"
} 1 .. 1000));
$stored += 1000;
wait_for($node, 'app', "SELECT n_tup_upd >= $stored FROM pg_stat_user_tables WHERE relname = 'webhook_inbox'", 'single events are drained');
cmp_ok($node->safe_psql('app', "SELECT pg_relation_size('momento_billing.drain_state')"), '<=', 16384,
	'waking leaves no versions of drain_state behind');

# The worker waits for what the writer has in the inbox, and for ids that were
# used up while it has: it cannot know whose they are.
$writer->query_safe('COMMIT');
$writer->query_safe("BEGIN; INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_late', 9, 'sub_1', 'price_business', 'active', 'user1'))");
costs_are_flat(4, 'with a writer in the inbox');
$writer->query_safe('COMMIT');
wait_for($node, 'app', q{SELECT tier = 'BUSINESS' FROM "Subscription" WHERE "userId" = 'user1'}, 'what the writer had is applied when it commits');

$reader->query_safe('COMMIT');
$_->quit foreach $reader, $writer;
$node->stop;
done_testing();
