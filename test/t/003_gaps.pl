# Ids commit out of order: what the cursor passed over is drained when it
# commits, and a restart begins below it.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use Momento;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('gaps', [ 'app', 'idle' ]);

sub insert
{
	my ($name) = @_;

	return "INSERT INTO momento_billing.webhook_inbox (payload) VALUES (sub_event('evt_$name', 1, 'sub_$name', 'price_pro', 'active', '$name'))";
}

sub is_settled
{
	my ($name, $database) = @_;

	wait_for($node, $database // 'app', "SELECT status = 'processed' FROM momento_billing.webhook_inbox WHERE event_id = 'evt_$name'",
		"$name is applied");
}

sub low_water_is_below
{
	my ($name, $test) = @_;

	is($node->safe_psql('app', "SELECT low_water < $name FROM momento_billing.drain_state"), 't', $test);
}

set_up($node, 'app');
my $held = $node->background_psql('app');
my $other = $node->background_psql('app');

# A lower id commits after later ones have been drained.
$held->query_safe('BEGIN');
$held->query_safe(insert('held'));
my $id = $node->safe_psql('app', 'SELECT last_value FROM momento_billing.webhook_inbox_id_seq');
$node->safe_psql('app', insert("later$_")) foreach 1 .. 5;
is_settled("later$_") foreach 1, 5;
low_water_is_below($id, 'low_water stays below the gap');
$held->query_safe('COMMIT');
is_settled('held');

# Rolled-back ids do not hold anything up; an open gap beside them stays.
$held->query_safe('BEGIN');
$held->query_safe(insert('held2'));
$id = $node->safe_psql('app', 'SELECT last_value FROM momento_billing.webhook_inbox_id_seq');
$node->safe_psql('app', 'BEGIN; ' . insert("rolled_back$_") . '; ROLLBACK') foreach 1 .. 3;
$other->query_safe('BEGIN');
$other->query_safe(insert('other'));
$node->safe_psql('app', insert('later6'));
is_settled('later6');
$other->query_safe('ROLLBACK');

# The worker dies with the gap open; its successor begins below it.
my $pid = $node->safe_psql('app', "SELECT pid FROM momento_billing.worker_status WHERE database = 'app'");
$node->safe_psql('app', "SELECT pg_terminate_backend($pid)");
$held->query_safe('COMMIT');
wait_for($node, 'app', "SELECT pid <> $pid FROM momento_billing.worker_status WHERE database = 'app'", 'the worker comes back');
is_settled('held2');
$node->safe_psql('app', insert('later7'));
is_settled('later7');
# (it is stored seldom: when it has moved far)
$node->safe_psql('app', "SELECT count(nextval('momento_billing.webhook_inbox_id_seq')) FROM generate_series(1, 10000)");
foreach my $name ('later8', 'far1', 'far2')
{
	$node->safe_psql('app', insert($name));
	is_settled($name);
}
wait_for($node, 'app', "SELECT low_water > $id FROM momento_billing.drain_state", 'low_water passes closed gaps');

# Of a large gap a client has locked more than a batch: the rest goes on.
settings($node, 'momento_billing.batch_size' => 10);
$held->query_safe('BEGIN');
$held->query_safe(insert("many$_")) foreach 1 .. 50;
$node->safe_psql('app', insert('beside'));
is_settled('beside');
$other->query_safe('BEGIN');
$other->query_safe('SELECT momento_billing.drain_inbox()');
$held->query_safe('COMMIT');
$held->query_safe('BEGIN');
$held->query_safe("SELECT count(*) FROM (SELECT FROM momento_billing.webhook_inbox WHERE event_id ~ '^evt_many([1-9]|1.|2.)\$' FOR UPDATE) AS i");
$other->query_safe('ROLLBACK');
is_settled("many$_") foreach 30, 50;
is($node->safe_psql('app', "SELECT count(*) FROM momento_billing.webhook_inbox WHERE status = 'pending'"), 29, 'what is locked waits');
$held->query_safe('COMMIT');
is_settled("many$_") foreach 1, 29;
settings($node, 'momento_billing.batch_size' => 1000);

# A subtransaction's rolled-back ids, and a savepoint's kept ones
$node->safe_psql('app', 'BEGIN; SAVEPOINT a; ' . insert('savepoint1') . '; ROLLBACK TO a; ' . insert('savepoint2') . '; COMMIT');
is_settled('savepoint2');

# A prepared transaction is a gap too.  Nothing wakes the worker at COMMIT
# PREPARED: the nap ends.
settings($node, 'momento_billing.naptime' => '100ms');
$node->safe_psql('app', 'BEGIN; ' . insert('prepared') . "; PREPARE TRANSACTION 'held'");
$node->safe_psql('app', insert('later9'));
is_settled('later9');
$node->safe_psql('app', "COMMIT PREPARED 'held'");
is_settled('prepared');
settings($node, 'momento_billing.naptime' => '1h');

# drain_inbox() in a database whose worker is not there: it passes gaps too
set_up($node, 'idle');
settings($node, 'momento_billing.enabled' => 'off');
wait_for($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'momento_billing worker'", 'no worker');
my $client = $node->background_psql('idle');
$client->query_safe('BEGIN');
$client->query_safe(insert('held'));
$node->safe_psql('idle', insert("later$_")) foreach 1 .. 3;
is($node->safe_psql('idle', 'SELECT momento_billing.drain_inbox()'), 3, 'drain_inbox passes an open transaction');
is($node->safe_psql('idle', 'SELECT momento_billing.drain_inbox()'), 0, 'and does nothing twice');
$client->query_safe('COMMIT');
is($node->safe_psql('idle', 'SELECT momento_billing.drain_inbox()'), 1, 'and takes what it passed over');
$node->safe_psql('idle', insert("more$_")) foreach 1 .. 5;
is($node->safe_psql('idle', 'SELECT momento_billing.drain_inbox(2), momento_billing.drain_inbox(0), momento_billing.drain_inbox()'),
	'2|0|3', 'max_events limits it');
$node->safe_psql('idle', 'BEGIN; ' . insert('undone') . '; SELECT momento_billing.drain_inbox(); ROLLBACK');
$node->safe_psql('idle', insert('undone'));
is($node->safe_psql('idle', 'SELECT momento_billing.drain_inbox()'), 1, 'a drain that was rolled back is done anew');

$_->quit foreach $held, $other, $client;
$node->stop;
done_testing();
