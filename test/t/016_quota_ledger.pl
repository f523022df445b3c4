# One counter of a thousand units, and thirty-two clients at it.  Whatever they
# do at once, no more is out than there is, and what is out is what they were
# told; also when the server is killed while they wait for an answer.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/lib";

use List::Util qw(sum0);
use Momento;
use POSIX ();
use PostgreSQL::Test::Utils;
use Quota;
use Test::More;

my $seed = $ENV{MOMENTO_SEED} || int(rand(1 << 31));
srand($seed);
diag("MOMENTO_SEED=$seed");

my $node = new_server('quota_ledger', ['app'], <<'CONF');
log_statement = none
max_connections = 60
deadlock_timeout = '100ms'
CONF
away_from_month_end($node);
set_up($node, 'app');
$node->safe_psql('app', <<'SQL');
INSERT INTO "Subscription" (id, "userId", tier, status, "updatedAt")
VALUES ('1', 'hot', 'BUSINESS', 'ACTIVE', now()), ('2', 'killed', 'BUSINESS', 'ACTIVE', now());
SQL
is($node->safe_psql('app', "SELECT momento_billing.quota_remaining('hot', 'ai_chat'), momento_billing.quota_remaining('killed', 'ai_chat')"),
	'1000|1000', 'the limit is 1000');

# ---------------------------------------------------------------------------
# Clients that keep the ledger in their own transactions.  Beside the hot
# counter they use up the grants of a user who has nothing else.
# ---------------------------------------------------------------------------

$node->safe_psql('app', <<'SQL');
CREATE TABLE ledger (who text, what text, units bigint NOT NULL, reservation bigint, key text);
CREATE INDEX ON ledger (reservation);
CREATE TABLE hold (id bigint PRIMARY KEY, who text, units bigint, expires_at timestamptz);
CREATE TABLE sample (used bigint, held bigint, granted bigint);
SELECT momento_billing.grant_quota('granted', 'ai_chat', 100 * i, statement_timestamp() + i * interval '1 day') FROM generate_series(1, 3) AS i;
SQL

my $call = "\\set n random(1, 600)\n\\set units 1 + :n % 7\n\\set part random(0, 100)\n"
  . "\\set u random(1, 10)\n\\set who CASE WHEN :u > 2 THEN 1 ELSE 2 END\n\\set nth random(0, 15)\n";
my $who = "(ARRAY['hot', 'granted'])[:who]";
my $settle = "FROM (SELECT id, who, units FROM hold ORDER BY id DESC OFFSET :nth LIMIT 1) AS h,";
my %scripts = (
	'consume.sql@8' => <<SQL,
INSERT INTO ledger SELECT $who, CASE WHEN allowed THEN 'used' ELSE reason END, :units
FROM momento_billing.consume_quota($who, 'ai_chat', :units);
SQL
	'consume_with_key.sql@8' => <<SQL,
INSERT INTO ledger SELECT $who, CASE WHEN replayed THEN 'replayed' WHEN allowed THEN 'used' ELSE reason END, :units, NULL, 'c' || :n
FROM momento_billing.consume_quota($who, 'ai_chat', :units, 'c' || :n);
SQL
	'consume_and_work.sql@3' => <<SQL,
BEGIN;
SELECT allowed::int AS allowed FROM momento_billing.consume_quota($who, 'ai_chat', :units) \\gset
INSERT INTO ledger SELECT $who, 'used', :units WHERE :allowed = 1;
END;
SQL
	'consume_and_fail.sql@3' => <<SQL,
BEGIN;
SELECT allowed FROM momento_billing.consume_quota($who, 'ai_chat', :units);
SELECT allowed FROM momento_billing.reserve_quota($who, 'ai_chat', :units);
ROLLBACK;
SQL
	'refund.sql@1' => <<SQL,
INSERT INTO ledger SELECT $who, 'refunded', refunded
FROM momento_billing.refund_quota($who, 'ai_chat', 2);
SQL
	'refund_with_key.sql@5' => <<SQL,
INSERT INTO ledger SELECT q.user_id, 'refunded', r.refunded, NULL, q.idempotency_key
FROM (SELECT user_id, idempotency_key FROM momento_billing.quota_request
	WHERE user_id = $who AND reservation_id IS NULL AND refunded < amount ORDER BY created_at DESC OFFSET :nth % 3 LIMIT 1) AS q,
	momento_billing.refund_quota(q.user_id, 'ai_chat', 1 + :part % 7, q.idempotency_key) AS r;
SQL
	'refund_of_reservation.sql@3' => <<SQL,
INSERT INTO ledger SELECT $who, 'refunded', refunded, NULL, 'r' || :n
FROM momento_billing.refund_quota($who, 'ai_chat', 1 + :part % 7, 'r' || :n);
SQL
	'reserve.sql@4' => <<SQL,
INSERT INTO hold SELECT reservation_id, $who, :units, expires_at
FROM momento_billing.reserve_quota($who, 'ai_chat', :units, '2 h') WHERE allowed;
SQL
	'reserve_with_key.sql@5' => <<SQL,
INSERT INTO hold SELECT reservation_id, $who, :units, expires_at
FROM momento_billing.reserve_quota($who, 'ai_chat', :units, '1 h', 'r' || :n) WHERE allowed AND NOT replayed;
SQL
	'reserve_shortly.sql@4' => <<SQL,
INSERT INTO hold SELECT reservation_id, $who, :units, expires_at
FROM momento_billing.reserve_quota($who, 'ai_chat', :units, '20 ms') WHERE allowed;
SQL
	'commit.sql@8' => <<SQL,
INSERT INTO ledger SELECT h.who, CASE WHEN committed AND reason IS NULL THEN 'committed' ELSE reason END, amount, h.id
$settle momento_billing.commit_reservation(h.id, :part % (h.units + 1))
WHERE NOT EXISTS (SELECT FROM ledger AS l WHERE l.reservation = h.id AND l.what = 'committed');
SQL
	'commit_whole.sql@3' => <<SQL,
INSERT INTO ledger SELECT h.who, CASE WHEN committed AND reason IS NULL THEN 'committed' ELSE reason END, amount, h.id
$settle momento_billing.commit_reservation(h.id);
SQL
	'commit_oldest.sql@3' => <<SQL,
INSERT INTO ledger SELECT h.who, CASE WHEN committed AND reason IS NULL THEN 'committed' ELSE reason END, amount, h.id
FROM (SELECT id, who, units FROM hold
	WHERE id % 3 > 0 AND NOT EXISTS (SELECT FROM ledger WHERE reservation = id AND what IN ('committed', 'released'))
	ORDER BY id OFFSET :nth LIMIT 1) AS h, momento_billing.commit_reservation(h.id, :part % (h.units + 1));
SQL
	'release.sql@6' => <<SQL,
INSERT INTO ledger SELECT h.who, CASE WHEN released AND reason IS NULL THEN 'released' ELSE reason END, 0, h.id
$settle momento_billing.release_reservation(h.id);
SQL
	'sample.sql@3' => <<'SQL',
INSERT INTO sample
SELECT u.used, (SELECT sum(plan_units) FROM momento_billing.quota_reservation AS r
		WHERE r.user_id = u.user_id AND r.period_start = u.period_start AND state = 'held' AND expires_at > clock_timestamp()),
	(SELECT max(used) FROM momento_billing.usage WHERE user_id = 'granted')
FROM momento_billing.usage AS u WHERE u.user_id = 'hot';
SQL
);
my @files;
foreach my $script (sort keys %scripts)
{
	my ($name, $weight) = split(/\@/, $script);

	write_file($node->basedir . "/$name", $call . $scripts{$script});
	push @files, '-f', $node->basedir . "/$name\@$weight";
}
# All at once, at the end of a month and in the next, which all of them begin;
# then some more of it by callers with a snapshot of their own, who try again
# when they have met another.
foreach my $run ([ 32, 100, 'read committed', 'the month ends' ], [ 32, 400, 'read committed' ], [ 16, 100, 'repeatable read' ], [ 16, 100, 'serializable' ])
{
	my ($nclients, $ntransactions, $isolation, $month_ends) = @$run;
	my $total = $nclients * $ntransactions;

	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=' . ($isolation =~ s/ /\\ /r);
	$node->command_checks_all(
		[ 'pgbench', '-n', '-c', $nclients, '-j', 2, '-t', $ntransactions, '--max-tries', 10000, '--random-seed', $seed, @files, $node->connstr('app') ],
		0, [ qr/number of transactions actually processed: $total\/$total/, qr/number of failed transactions: 0 /,
			$isolation eq 'read committed' ? qr/retried: 0 / : qr/retried: [1-9]/ ],
		[qr/^pgbench: setting random seed to \d+$/], "$nclients clients, $isolation");
	$node->safe_psql('app', join(';', map {
				"UPDATE momento_billing.$_ SET period_start = (period_start AT TIME ZONE 'UTC' - interval '1 month') AT TIME ZONE 'UTC'"
			} 'usage', 'quota_request', 'quota_reservation', 'quota_crossing')) if $month_ends;
}

sub one
{
	my ($query) = @_;

	return $node->safe_psql('app', $query);
}

note('what was answered: ' . one("SELECT string_agg(what || ' ' || n, ', ' ORDER BY what) FROM (SELECT what, count(*) AS n FROM ledger GROUP BY what) AS l"));
note('most that was out: ' . one('SELECT max(used + coalesce(held, 0)) FROM sample'));
is( one("SELECT string_agg(DISTINCT what, ', ' ORDER BY what) FROM ledger"),
	'already_committed, already_released, committed, limit_reached, not_in_plan, refunded, released, replayed, reservation_expired, used',
	'every answer was given');
is(one('SELECT count(*) FROM sample WHERE used + coalesce(held, 0) > 1000 OR granted > 0'), 0, 'never was more out than there is');
cmp_ok(one('SELECT max(used + coalesce(held, 0)) FROM sample'), '>', 980, 'and it was nearly all');
is( one(<<'SQL'), '', 'each reservation was settled once');
SELECT reservation, count(*) FROM ledger WHERE what IN ('committed', 'released') GROUP BY reservation HAVING count(*) > 1
SQL

# What the clients were told: used by a call or by a commit, less what was given back.
sub told
{
	my ($user) = @_;

	return one("SELECT sum(CASE what WHEN 'used' THEN units WHEN 'committed' THEN units WHEN 'refunded' THEN -units ELSE 0 END) FROM ledger WHERE who = '$user'");
}

# Reservations that nobody has settled and that are in force for long.
sub open_holds
{
	my ($user) = @_;

	return one(<<SQL);
SELECT coalesce(sum(units), 0) FROM hold AS h
WHERE who = '$user' AND NOT EXISTS (SELECT FROM ledger AS l WHERE l.reservation = h.id AND l.what IN ('committed', 'released'))
AND expires_at > clock_timestamp()
SQL
}

ok($node->poll_query_until('app', "SELECT count(*) = 0 FROM hold WHERE expires_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 min'"),
	'the short holds are over');
my ($told, $open) = (told('hot'), open_holds('hot'));
cmp_ok($open, '>', 0, 'some reservations are open');
is(one("SELECT sum(used) FROM momento_billing.usage WHERE user_id = 'hot'"), $told, 'what is used is what the clients were told');
is(one("SELECT sum(plan_units) FROM momento_billing.quota_reservation WHERE user_id = 'hot' AND state = 'held' AND expires_at > clock_timestamp()"),
	$open, 'so is what is held');
is( one(<<'SQL'), 't', 'and what remains is the rest');
SELECT q.remaining = 1000 - u.used - q.held AND q.used = u.used AND u.held >= q.held
FROM momento_billing.quota_remaining('hot') AS q JOIN momento_billing.usage AS u USING (feature, period_start) WHERE user_id = 'hot'
SQL
is(one("SELECT sum(amount) FROM momento_billing.quota_reservation WHERE user_id = 'hot' AND state = 'held' AND expires_at > clock_timestamp()"),
	$open, 'and what the reservations say');
($told, $open) = (told('granted'), open_holds('granted'));
is(one("SELECT used, held, remaining FROM momento_billing.quota_remaining('granted') WHERE feature = 'ai_chat'"),
	'0|0|' . (600 - $told - $open), 'so are the units of grants');
is( one(<<'SQL'), '', 'what came with a key was used once, and given back once');
SELECT who, key FROM ledger JOIN momento_billing.quota_request ON user_id = who AND idempotency_key = key
GROUP BY who, key, amount HAVING count(*) FILTER (WHERE what = 'used') > 1 OR sum(units) FILTER (WHERE what = 'refunded') > amount
SQL
is( one(<<'SQL'), 't', 'and its request says so');
SELECT bool_and(r.amount = 1 + substr(r.idempotency_key, 2)::int % 7 AND r.refunded <= r.amount) FROM momento_billing.quota_request AS r
SQL

# All of it can be had again, and no more.
is(one("SELECT allowed, remaining FROM momento_billing.consume_quota('hot', 'ai_chat', (SELECT greatest(momento_billing.quota_remaining('hot', 'ai_chat'), 1)))"),
	't|0', 'the rest can be had') if one("SELECT momento_billing.quota_remaining('hot', 'ai_chat')") > 0;
is(one("SELECT allowed, reason, remaining FROM momento_billing.consume_quota('hot', 'ai_chat')"), 'f|limit_reached|0', 'and nothing more');

# ---------------------------------------------------------------------------
# Clients that write down what they were told, while the server is killed.
# Each has a list of calls with keys of its own, and goes on after a crash with
# the call that was not answered.
# ---------------------------------------------------------------------------

# With real flushes a commit takes its time, and is killed in the middle of it.
$node->append_conf('postgresql.conf', 'fsync = on');
$node->restart;

my $nclients = 32;
my $ncalls = 400;
my @clients = map { new_client($_) } 1 .. $nclients;

# A call: what it is, its units, its SQL, and the least and the most that it
# changes of what is out.
sub new_client
{
	my ($n) = @_;
	my %client = (n => $n, file => $node->basedir . "/client_$n", calls => [], answers => []);

	while (@{ $client{calls} } < $ncalls)
	{
		my $key = "$n-" . scalar(@{ $client{calls} });
		my $units = 1 + int(rand(3));
		my $kind = rand();
		my $reservation = "(SELECT reservation_id FROM momento_billing.quota_request WHERE user_id = 'killed' AND idempotency_key = '$key') AS r";

		if ($kind < 0.6)
		{
			push @{ $client{calls} }, { what => 'consume', key => $key, units => $units, least => 0, most => $units,
				sql => "SELECT allowed FROM momento_billing.consume_quota('killed', 'ai_chat', $units, '$key')" };
			push @{ $client{calls} }, { what => 'refund', key => $key, units => $units, least => -$units, most => 0,
				sql => "SELECT refunded FROM momento_billing.refund_quota('killed', 'ai_chat', $units, '$key')" }
			  if $kind < 0.53;
		}
		else
		{
			my $actual = int(rand($units + 1));

			push @{ $client{calls} }, { what => 'reserve', key => $key, units => $units, least => 0, most => $units,
				sql => "SELECT allowed FROM momento_billing.reserve_quota('killed', 'ai_chat', $units, '1 h', '$key')" };
			push @{ $client{calls} }, { what => 'commit', key => $key, units => $actual, least => $actual - $units, most => 0,
				sql => "SELECT committed, amount FROM $reservation, momento_billing.commit_reservation(r.reservation_id, $actual)" }
			  if $kind > 0.65 && $kind < 0.7;
			push @{ $client{calls} }, { what => 'release', key => $key, units => $units, least => -$units, most => 0,
				sql => "SELECT released FROM $reservation, momento_billing.release_reservation(r.reservation_id)" }
			  if $kind > 0.7;
		}
	}
	return \%client;
}

# A psql that goes on with a client's calls: "n answer", line by line.  It ends
# when it has done or when the server has gone.
sub start_client
{
	my ($client) = @_;
	my @calls = @{ $client->{calls} };

	write_file("$client->{file}.sql", join('', map { "\\echo call $_\n$calls[$_]{sql};\n\\echo done $_\n" } scalar(@{ $client->{answers} }) .. $#calls));
	$client->{pid} = fork() // die "could not fork: $!";
	return if $client->{pid};

	# whatever happens, this process must not end as the test does
	open(STDOUT, '>', "$client->{file}.out")
	  && open(STDERR, '>', "$client->{file}.err")
	  && exec('psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('app'), '-f', "$client->{file}.sql");
	POSIX::_exit(127);
}

# What it wrote down
sub end_client
{
	my ($client) = @_;

	waitpid($client->{pid}, 0);
	my $output = slurp_file("$client->{file}.out");

	while ($output =~ /^call (\d+)\n((?:.*\n)*?)done \1$/mg)
	{
		my $answer = $2;

		chomp($answer);
		$client->{answers}[$1] = $answer;
	}
	return slurp_file("$client->{file}.err");
}

# What an answered call has changed of what is out.  A refund that was done and
# not answered is answered with 0 later.
sub effect
{
	my ($client, $call, $answer) = @_;

	$client->{allowed}{ $call->{key} } = $answer eq 't' if $call->{what} =~ /consume|reserve/;
	return $client->{allowed}{ $call->{key} } ? $call->{what} =~ /consume|reserve/ ? $call->{units} : $call->{least} : 0;
}

sub out
{
	return one("SELECT used + held FROM momento_billing.quota_remaining('killed') WHERE feature = 'ai_chat'");
}

# How many keys there are when the server is killed; in the last round it is not.
my @kills = (400, 1000, 1600, 2200, undef);
my $unknown_done = 0;
foreach my $round (1 .. @kills)
{
	my $aim = $kills[ $round - 1 ];
	my (@lost, $least, $most, $unknown);

	my $watch = $node->background_psql('app');

	start_client($_) foreach @clients;
	if ($aim)
	{
		my $deadline = time() + $PostgreSQL::Test::Utils::timeout_default;

		while ($watch->query_safe("SELECT count(*) FROM momento_billing.quota_request WHERE user_id = 'killed'") < $aim)
		{
			die 'the clients do not come on' if time() > $deadline;
		}
		$watch->quit;
		kill_server($node);
	}
	else
	{
		$watch->quit;
	}
	my @errors = map { end_client($_) } @clients;
	my $answered = sum0(map { scalar @{ $_->{answers} } } @clients);

	if (!$aim)
	{
		is(join('', @errors), '', 'all clients come to an end');
		last;
	}
	$node->start;
	my %keys = map { $_ => 1 } split(/\n/, one("SELECT idempotency_key FROM momento_billing.quota_request WHERE user_id = 'killed'"));

	$least = $most = $unknown = 0;
	foreach my $client (@clients)
	{
		my @calls = @{ $client->{calls} };
		my $n = scalar @{ $client->{answers} };

		foreach my $i (0 .. $n - 1)
		{
			my $effect = effect($client, $calls[$i], $client->{answers}[$i]);

			push @lost, $calls[$i]{key} if $calls[$i]{what} =~ /consume|reserve/ && $client->{answers}[$i] eq 't' && !$keys{ $calls[$i]{key} };
			$least += $effect;
			$most += $effect;
		}
		next if $n > $#calls;
		$unknown++;
		$calls[$n]{retried} = 1;
		$unknown_done++ if $calls[$n]{what} =~ /consume|reserve/ && $keys{ $calls[$n]{key} };
		$least += $calls[$n]{least};
		$most += $calls[$n]{most};
	}
	is(join(' ', @lost), '', "kill $round: every call that was answered is there");
	my $out = out();
	ok(scalar(grep { @{ $_->{answers} } < @{ $_->{calls} } } @clients), "kill $round: in the middle of it");
	note("$answered calls answered, $unknown not; $out units are out, at least $least and at most $most");
	ok($out >= $least && $out <= $most && $out <= 1000, "kill $round: $out units are out, $least to $most are answered for");
}
note("calls that were done and not answered, and answered then: $unknown_done");

# Every call is answered now, some of them twice done but for their keys.
my ($used, $held, $refused, @wrong) = (0, 0, 0);
foreach my $client (@clients)
{
	my %allowed;

	foreach my $i (0 .. $#{ $client->{calls} })
	{
		my ($call, $answer) = ($client->{calls}[$i], $client->{answers}[$i] // 'none');
		my ($key, $what, $units) = @$call{ 'key', 'what', 'units' };
		my $right;

		if ($what =~ /consume|reserve/)
		{
			$right = $answer =~ /^[tf]$/;
			$allowed{$key} = $answer eq 't' ? $units : 0;
			$refused++ if $answer eq 'f';
			($what eq 'consume' ? $used : $held) += $allowed{$key};
		}
		elsif ($what eq 'refund')
		{
			$right = $answer eq $allowed{$key} || $answer eq '0' && $call->{retried};
			$used -= $allowed{$key};
		}
		else
		{
			$right = $answer eq ($allowed{$key} ? $what eq 'commit' ? "t|$units" : 't' : '');
			$held -= $allowed{$key};
			$used += $units if $what eq 'commit' && $allowed{$key};
		}
		push @wrong, "$what $key: $answer" if !$right;
	}
}
is(join(', ', @wrong), '', 'every call was answered rightly in the end');
cmp_ok($refused, '>', 0, 'some were refused');
is(one("SELECT used, held, remaining FROM momento_billing.quota_remaining('killed') WHERE feature = 'ai_chat'"),
	"$used|$held|" . (1000 - $used - $held), 'after all crashes, used and held are what the clients were told');
is(one("SELECT count(*) FROM momento_billing.quota_request WHERE user_id = 'killed' AND refunded NOT IN (0, amount)"), 0, 'what was refunded was refunded once');

$node->stop;
is(log_count($node, qr/PANIC|TRAP|deadlock|terminated by signal/), 0, 'no crash of its own, no deadlock');
done_testing();
